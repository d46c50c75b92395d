"""AstroMAE: a masked autoencoder's frozen encoder beside Inception blocks and magnitudes.

Fathkouhi & Fox 2024, arXiv:2409.01825; the sizes of the parts beside the encoder are those of the
network its authors' group uses (github.com/UVA-MLSys/DS5110_Summer_2025).

Followed: the encoder is pretrained on the training images without redshift, 75 % of the patches
hidden, and then frozen; beside the mean of its tokens, an Inception network on the image and a
network on magnitudes, of the published widths; concatenated, two layers, a point redshift. The
encoder is 192 wide, as follows from the sizes of those parts.

Chosen here: what `masked_images` says of the pretraining; 64x64 pixels of 0.168 arcsec, about the
patch of sky that their 32x32 of 0.396 arcsec are, in patches of 8; 4 blocks, for a CPU;
arcsinh-stretched flux; in place of catalogued magnitudes, fluxes in six apertures on the image at
arcsinh, and their ratios. Loss, optimiser and schedule were not to be had: mean squared error, of
ln(1+z), whose errors are dz / (1+z), because in z it would be the quasars' alone here; AdamW, its
rate cut when the validation loss is flat; turned and mirrored images.
"""

from typing import Any

import torch
from torch import Tensor, nn

from photoz_mmae.model.frame import Frame
from photoz_mmae.model.presets import MMAENetwork
from photoz_mmae.model.stretch import Stretch
from photoz_mmae.model.tokens import FluxToken
from photoz_mmae.peers import masked_images
from photoz_mmae.peers.contestant import Batches, Stage
from photoz_mmae.peers.masked_images import (
    ImageEncoder,
    MaskedImages,
    MaskedImagesObjective,
    turned,
)
from photoz_mmae.peers.outcome import FLAT, FLAT_EPOCHS
from photoz_mmae.training.course import Course
from photoz_mmae.training.objective_parts import autocast
from photoz_mmae.training.objectives import Objective
from photoz_mmae.training.views import View, make_view
from photoz_mmae.training_sets.training_set import Normalisation, TrainingBatch

PATCH = 8
WIDTH = 192
DEPTH = 4
HEADS = 3

BRANCH = 1096
MAGNITUDES = 1024
FUSION = 1024

EPOCHS = 200
BATCH = 128
LEARNING_RATE = 5e-4
WEIGHT_DECAY = 0.05
WAIT = 3
CUT = 0.2
"""The learning rate is multiplied by it after `WAIT` epochs without a lower validation loss."""


def convolution(channels: int, out: int, kernel: int) -> nn.Sequential:
    """Make a convolution that keeps the image's size, normalised."""
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, padding=kernel // 2), nn.BatchNorm2d(out), nn.ReLU()
    )


class Inception(nn.Module):
    """Convolutions of several sizes side by side, `width` channels each.

    Parameters
    ----------
    channels, width : int
    largest : {3, 5}
        Kernel.
    """

    def __init__(self, channels: int, width: int, largest: int = 5) -> None:
        super().__init__()
        self.branches = nn.ModuleList([convolution(channels, width, 1)])
        for kernel in range(3, largest + 1, 2):
            self.branches.append(
                nn.Sequential(convolution(channels, width, 1), convolution(width, width, kernel))
            )
        self.branches.append(nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(channels, width, 1)))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, branches * width, S, S)."""
        return torch.cat([branch(maps) for branch in self.branches], dim=1)


def inception_branch(bands: int, image_size: int) -> nn.Sequential:
    """Make the part on the stretched image: (N, B, S, S) -> (N, BRANCH)."""
    return nn.Sequential(
        nn.Conv2d(bands, 32, 1),
        nn.AvgPool2d(2),
        Inception(32, 16),
        Inception(64, 16),
        nn.AvgPool2d(2),
        Inception(64, 8),
        Inception(32, 8),
        nn.AvgPool2d(2),
        Inception(32, 4, largest=3),
        nn.Flatten(),
        *two_layers(12 * (image_size // 8) ** 2, BRANCH),
    )


def two_layers(features: int, width: int) -> nn.Sequential:
    """(N, F) -> (N, W)."""
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))


class AstroMAENetwork(nn.Module):
    """Everything, the decoder of the pretraining included."""

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        bands, size = len(frame.bands), frame.image_size
        self.pretraining = MaskedImages(ImageEncoder(frame, PATCH, WIDTH, DEPTH, HEADS))
        self.tokens_branch = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), *two_layers(WIDTH, BRANCH)
        )
        self.inception_branch = inception_branch(bands, size)
        self.magnitudes = FluxToken(
            MMAENetwork(bands=bands, image_size=size, pixel_scale=frame.pixel_scale)
        )
        layers: list[nn.Module] = [nn.Linear(len(self.magnitudes.mean), MAGNITUDES)]
        for _ in range(4):
            layers += [nn.ReLU(), nn.Linear(MAGNITUDES, MAGNITUDES)]
        self.magnitudes.net = nn.Sequential(*layers)
        self.fusion = nn.Sequential(
            nn.Linear(2 * BRANCH + MAGNITUDES, FUSION), nn.ReLU(), nn.Linear(FUSION, 1)
        )

    @property
    def stretch(self) -> Stretch:
        """The one of the encoder, which all parts use."""
        return self.pretraining.encoder.stretch

    def forward(self, image: Tensor) -> Tensor:
        """(N, B, S, S) flux -> (N,) ln(1+z)."""
        encoder = self.pretraining.encoder
        with torch.no_grad():  # frozen
            tokens = encoder(encoder.patches(image))
        parts = [
            self.tokens_branch(tokens.mean(dim=1)),
            # Channels last: small convolutions are twice as fast on a CPU.
            self.inception_branch(
                self.stretch(image).contiguous(memory_format=torch.channels_last)
            ),
            self.magnitudes(image, self.stretch.noise).squeeze(1),
        ]
        found: Tensor = self.fusion(torch.cat(parts, dim=1)).squeeze(1)
        return found


class AstroMAEObjective:
    """Redshifts of whole images."""

    normalisation: Normalisation = "relative"

    def __init__(self, network: AstroMAENetwork, precision: torch.dtype) -> None:
        self.network, self._precision = network, precision

    def views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return [make_view(turned(batch))]

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return [make_view(batch)]

    def losses(self, view: View) -> dict[str, Tensor]:
        with autocast(view.batch.image, self._precision):
            found = self.network(view.batch.image)
        loss = (found.float() - torch.log1p(view.batch.redshift)).square()
        return {"total": (view.shares.redshift * loss).sum()}

    def whole(self, batch: TrainingBatch) -> View:
        return make_view(batch)

    def redshift(self, view: View) -> Tensor:
        return torch.expm1(self.network(view.batch.image))


def plateau_factor(validation: tuple[float, ...]) -> float:
    """Factor on the learning rate after these validation losses."""
    factor, best, waited = 1.0, float("inf"), 0
    for loss in validation:
        if loss < best * (1 - FLAT):
            best, waited = loss, 0
        else:
            waited += 1
        if waited == WAIT:
            factor, waited = factor * CUT, 0
    return factor


class AstroMAE:
    """The contestant: pretraining, then finetuning."""

    name = "astromae"
    source = (
        "Fathkouhi & Fox 2024, arXiv:2409.01825: frozen encoder of a masked autoencoder beside "
        "Inception blocks and magnitudes, which are measured on the image here; 4 blocks, loss "
        "(mean squared error in ln(1+z)) and schedule are not from the publication"
    )
    normalisation: Normalisation = "relative"
    labelled_only = False

    def __init__(self, frame: Frame) -> None:
        self.network = AstroMAENetwork(frame)
        self.settings: dict[str, Any] = {
            "pretraining": masked_images.SETTINGS,
            "encoder": [PATCH, WIDTH, DEPTH, HEADS],
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "plateau": [WAIT, CUT, FLAT],
            "patience": FLAT_EPOCHS,
        }

    @torch.no_grad()
    def fit(self, sample: TrainingBatch, objects: int) -> None:
        self.network.stretch.fit(sample.image)
        self.network.magnitudes.fit(sample.image, self.network.stretch.noise)

    def stages(self) -> list[Stage]:
        finetuning = Course(
            epochs=EPOCHS,
            batch_size=BATCH,
            patience=FLAT_EPOCHS,
            clip_norm=1.0,
            ema=0.0,
            optimizer=lambda network: torch.optim.AdamW(
                network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
            ),
            rate=lambda pace: plateau_factor(pace.validation),
        )
        return [
            Stage(
                "pretraining",
                self.network.pretraining,
                masked_images.pretraining_course(),
                _pretraining,
            ),
            Stage("finetuning", self.network, finetuning, _finetuning),
        ]

    def finish(self, training: Batches, validation: Batches) -> None:
        """Do nothing: there is nothing after the finetuning."""

    def redshift(self, batch: TrainingBatch) -> Tensor:
        return torch.expm1(self.network(batch.image))

    def redshifts(self, batch: TrainingBatch) -> dict[str, Tensor]:
        return {"whole image": self.redshift(batch)}


def _pretraining(network: nn.Module, precision: torch.dtype) -> Objective:
    assert isinstance(network, MaskedImages)
    return MaskedImagesObjective(network, precision)


def _finetuning(network: nn.Module, precision: torch.dtype) -> Objective:
    assert isinstance(network, AstroMAENetwork)
    return AstroMAEObjective(network, precision)
