"""AstroCLIP: encoders of image and spectrum, aligned by contrast; redshifts from the embedding.

Parker et al. 2024, arXiv:2310.03024, and its code (github.com/PolymathicAI/AstroCLIP).

Followed: each encoder is a transformer pretrained alone; a learned query looks at its tokens, and
gives the embedding through a residual network; InfoNCE both ways at the fixed scale 15.5, batches
of 512, AdamW with decay 0.01, 100 epochs of which 20 warm up, cosine; from the standardised
embedding of the image alone, redshifts by 64 neighbours weighted by 1 / distance, and by a network
with 32 hidden units and dropout 0.1, Adam at 1e-3, batches of 64.

Chosen here, for a CPU: encoders 96 wide with 4 blocks (published are 1024 and 24, 768 and 6), an
embedding of 128, and 5e-4 for 1e-4, as small networks take; patches of 8 pixels for 12, as stamps
are smaller. The image encoder is pretrained as `masked_images` says, not by DINOv2, and both keep
learning in the alignment, because frozen ones ask for a pretraining on millions of objects. Images
are turned and mirrored. Redshifts are learned as ln(1+z), whose errors are dz / (1+z), because this
sample reaches beyond z = 4, and the network on the embedding until its validation loss is flat or
for 200 epochs, not for 10 of far more objects. The usual way is that network: of the two, it learns
from labels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from photoz_mmae.model.blocks import QueryBlock
from photoz_mmae.model.frame import Frame
from photoz_mmae.peers import masked_images, masked_spectra
from photoz_mmae.peers.contestant import Batches, Stage
from photoz_mmae.peers.masked_images import (
    ImageEncoder,
    MaskedImages,
    MaskedImagesObjective,
    Unlabelled,
    pretraining_course,
    turned,
)
from photoz_mmae.peers.masked_spectra import (
    MaskedSpectra,
    MaskedSpectraObjective,
    SpectrumEncoder,
)
from photoz_mmae.peers.outcome import FLAT_EPOCHS
from photoz_mmae.training.course import Course
from photoz_mmae.training.objective_parts import autocast
from photoz_mmae.training.objectives import Objective
from photoz_mmae.training.schedule import rate_factor
from photoz_mmae.training.views import View, make_view
from photoz_mmae.training_sets.training_set import Normalisation, TrainingBatch

PATCH = 8
WIDTH = 96
DEPTH = 4
HEADS = 4
EMBEDDING = 128

SCALE = 15.5
EPOCHS = 100
BATCH = 512
LEARNING_RATE = 5e-4
WEIGHT_DECAY = 0.01
WARMUP = 0.2
PATIENCE = 4 * FLAT_EPOCHS
"""Beyond the warm-up, a loss that rises for so long has seen its least: overfitting."""

NEIGHBOURS = 64
MLP_WIDTH = 32
MLP_EPOCHS = 200


class Head(nn.Module):
    """From tokens to the shared embedding: (N, T, W) -> (N, E)."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, EMBEDDING))
        self.block = QueryBlock(EMBEDDING, WIDTH, HEADS)

    def forward(self, tokens: Tensor) -> Tensor:
        embedding: Tensor = self.block(self.query.expand(len(tokens), -1, -1), tokens)
        return embedding.squeeze(1)


class AstroCLIPNetwork(nn.Module):
    """Everything but the neighbours."""

    centre: Tensor
    spread: Tensor

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.images = MaskedImages(ImageEncoder(frame, PATCH, WIDTH, DEPTH, HEADS))
        self.spectra = MaskedSpectra(SpectrumEncoder(WIDTH, DEPTH, HEADS))
        self.image_head, self.spectrum_head = Head(), Head()
        self.register_buffer("centre", torch.zeros(EMBEDDING))
        self.register_buffer("spread", torch.ones(EMBEDDING))
        self.mlp = nn.Sequential(
            nn.Linear(EMBEDDING, MLP_WIDTH), nn.ReLU(), nn.Dropout(0.1), nn.Linear(MLP_WIDTH, 1)
        )

    def embed_image(self, image: Tensor) -> Tensor:
        """(N, B, S, S) flux -> (N, E)."""
        encoder = self.images.encoder
        embedding: Tensor = self.image_head(encoder(encoder.patches(image)))
        return embedding

    def embed_spectrum(self, flux: Tensor, ivar: Tensor) -> Tensor:
        """(N, P), (N, P) -> (N, E)."""
        encoder = self.spectra.encoder
        embedding: Tensor = self.spectrum_head(encoder(*encoder.standardise(flux, ivar)))
        return embedding


def info_nce(images: Tensor, spectra: Tensor) -> Tensor:
    """Cost of telling each object's partner from the others', both ways: (N, E), (N, E) -> (N,)."""
    logits = SCALE * normalize(images, dim=1) @ normalize(spectra, dim=1).T
    own = torch.arange(len(logits), device=logits.device)
    one_way = cross_entropy(logits, own, reduction="none")
    return (one_way + cross_entropy(logits.T, own, reduction="none")) / 2


class AlignmentObjective(Unlabelled):
    """Image and spectrum of one object close, of two far; in pieces, of those of each piece."""

    def __init__(self, network: AstroCLIPNetwork, precision: torch.dtype) -> None:
        self.network, self._precision = network, precision

    def views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return [make_view(turned(batch), spectrum_shown=True)]

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        """Show spectra: without them there is nothing to align."""
        return [make_view(batch, spectrum_shown=True)]

    def losses(self, view: View) -> dict[str, Tensor]:
        batch, paired = view.batch, view.batch.has_spectrum
        with autocast(batch.image, self._precision):
            images = self.network.embed_image(batch.image)
            spectra = self.network.embed_spectrum(batch.flux, batch.ivar)
        loss = info_nce(images.float()[paired], spectra.float()[paired])
        return {"total": (view.shares.spectrum[paired] * loss).sum()}


def neighbours_mean(query: Tensor, known: Tensor, value: Tensor, k: int) -> Tensor:
    """Mean value of the `k` nearest, weighted by 1 / distance: (M, E), (N, E), (N,) -> (M,)."""
    distance, index = torch.cdist(query, known).topk(min(k, len(known)), largest=False)
    weight = 1 / distance.clamp(min=1e-6)
    return (weight * value[index]).sum(dim=1) / weight.sum(dim=1)


@dataclass
class Labelled:
    """Standardised embeddings (N, E) with ln(1+z) (N,)."""

    embedding: Tensor
    value: Tensor


class AstroCLIP:
    """The contestant: two pretrainings, the alignment, then redshifts on the frozen embedding."""

    name = "astroclip"
    source = (
        "Parker et al. 2024, arXiv:2310.03024: contrastive alignment of image and spectrum; small "
        "encoders pretrained by masking on the same objects, not frozen in the alignment"
    )
    normalisation: Normalisation = "relative"
    labelled_only = False

    def __init__(self, frame: Frame) -> None:
        self._seed = torch.initial_seed()
        self.network = AstroCLIPNetwork(frame)
        self.settings: dict[str, Any] = {
            "pretraining": masked_images.SETTINGS,
            "encoders": [PATCH, masked_spectra.RUN, WIDTH, DEPTH, HEADS, EMBEDDING],
            "spectrum_hidden": masked_spectra.HIDDEN,
            "scale": SCALE,
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "warmup": WARMUP,
            "patience": PATIENCE,
            "neighbours": NEIGHBOURS,
            "mlp": [MLP_WIDTH, MLP_EPOCHS],
        }

    @torch.no_grad()
    def fit(self, sample: TrainingBatch, objects: int) -> None:
        self.network.images.encoder.stretch.fit(sample.image)

    def stages(self) -> list[Stage]:
        alignment = Course(
            epochs=EPOCHS,
            batch_size=BATCH,
            patience=PATIENCE,
            clip_norm=1.0,
            ema=0.0,
            optimizer=lambda network: torch.optim.AdamW(
                network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
            ),
            rate=lambda pace: rate_factor(pace.step, pace.steps, WARMUP),
        )
        network, course = self.network, pretraining_course()
        return [
            Stage("image-pretraining", network.images, course, _make_objective),
            Stage("spectrum-pretraining", network.spectra, course, _make_objective),
            Stage("alignment", network, alignment, _make_objective),
        ]

    def finish(self, training: Batches, validation: Batches) -> None:
        """Embed the training objects: the neighbours, and what the network is trained on."""
        network = self.network
        network.centre.zero_()
        network.spread.fill_(1.0)
        known = self._label(training)
        network.centre.copy_(known.embedding.mean(dim=0))
        network.spread.copy_(known.embedding.std(dim=0).clamp(min=1e-6))
        self._known = Labelled((known.embedding - network.centre) / network.spread, known.value)
        fit_mlp(network.mlp, self._known, self._label(validation), self._seed)

    def redshift(self, batch: TrainingBatch) -> Tensor:
        return self._by_mlp(self._embed(batch.image))

    def redshifts(self, batch: TrainingBatch) -> dict[str, Tensor]:
        embedding, known = self._embed(batch.image), self._known
        nearest = neighbours_mean(embedding, known.embedding, known.value, NEIGHBOURS)
        return {"MLP": self._by_mlp(embedding), "k-NN": torch.expm1(nearest)}

    def _embed(self, image: Tensor) -> Tensor:
        return (self.network.embed_image(image) - self.network.centre) / self.network.spread

    def _by_mlp(self, embedding: Tensor) -> Tensor:
        return torch.expm1(self.network.mlp(embedding).squeeze(1))

    @torch.no_grad()
    def _label(self, batches: Batches) -> Labelled:
        embeddings, values = [], []
        for batch in batches():
            shown = batch[batch.has_redshift]
            embeddings.append(self._embed(shown.image))
            values.append(torch.log1p(shown.redshift))
        return Labelled(torch.cat(embeddings), torch.cat(values))


def fit_mlp(mlp: nn.Sequential, training: Labelled, validation: Labelled, seed: int) -> None:
    """Train from the beginning, until the validation loss is flat; it ends with the best."""
    device = training.embedding.device
    # Named, since otherwise every GPU that torch counts is set up, whether it can be used or not.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for layer in mlp:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        optimizer = torch.optim.Adam(mlp.parameters(), lr=1e-3)
        least, waited, best = float("inf"), 0, {}
        for _ in range(MLP_EPOCHS):
            mlp.train()
            order = torch.randperm(len(training.value))
            for rows in (order[k : k + 64] for k in range(0, len(order), 64)):
                optimizer.zero_grad()
                found = mlp(training.embedding[rows]).squeeze(1)
                loss = mse_loss(found, training.value[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            mlp.eval()
            with torch.no_grad():
                found = mlp(validation.embedding).squeeze(1)
            reached = mse_loss(found, validation.value).item()
            waited += 1
            if reached < least:
                least, waited = reached, 0
                best = {name: value.clone() for name, value in mlp.state_dict().items()}
            if waited == FLAT_EPOCHS:
                break
        mlp.load_state_dict(best)


def _make_objective(network: nn.Module, precision: torch.dtype) -> Objective:
    if isinstance(network, MaskedImages):
        return MaskedImagesObjective(network, precision)
    if isinstance(network, MaskedSpectra):
        return MaskedSpectraObjective(network, precision)
    assert isinstance(network, AstroCLIPNetwork)  # there is no fourth
    return AlignmentObjective(network, precision)
