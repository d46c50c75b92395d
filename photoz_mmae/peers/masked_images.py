"""A masked autoencoder of images (He et al. 2022, arXiv:2111.06377): how encoders are pretrained.

Followed: three quarters of the patches are hidden, a ViT encodes the others alone, a lighter
decoder gets a learned token in each hidden place, the loss is the mean squared error of the hidden
patches, AdamW with beta2 = 0.95 and a cosine after a warm-up of 5 % of the steps.

Chosen here: arcsinh-stretched flux, not normalised patch by patch, because most patches of a stamp
are noise; learned positions; no class token, because the patches' mean is what is used; turned and
mirrored images instead of random crops, which would change a galaxy's size.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from photoz_mmae.model.blocks import SelfBlock
from photoz_mmae.model.frame import Frame
from photoz_mmae.model.masking import draw_mask, visible_tokens
from photoz_mmae.model.stretch import Stretch
from photoz_mmae.model.tokens import to_patches
from photoz_mmae.training.course import Course
from photoz_mmae.training.losses import masked_mse
from photoz_mmae.training.objective_parts import autocast, symmetries
from photoz_mmae.training.schedule import rate_factor
from photoz_mmae.training.views import View, make_view
from photoz_mmae.training_sets.training_set import Normalisation, TrainingBatch

HIDDEN = 0.75
DECODER_WIDTH = 64
DECODER_DEPTH = 2
DECODER_HEADS = 4

EPOCHS = 100
BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
BETAS = (0.9, 0.95)
WARMUP = 0.05

SETTINGS = {
    "hidden": HIDDEN,
    "decoder": [DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS],
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "learning_rate": LEARNING_RATE,
    "weight_decay": WEIGHT_DECAY,
    "betas": list(BETAS),
    "warmup": WARMUP,
}


def pretraining_course() -> Course:
    """Return how anything is pretrained by hiding parts of it."""
    return Course(
        epochs=EPOCHS,
        batch_size=BATCH,
        # The cosine is the end: while the rate is high, the loss rises now and then.
        patience=0,
        clip_norm=1.0,
        ema=0.0,
        optimizer=lambda network: torch.optim.AdamW(
            network.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY
        ),
        rate=lambda pace: rate_factor(pace.step, pace.steps, WARMUP),
    )


class ImageEncoder(nn.Module):
    """Vision transformer.

    Parameters
    ----------
    frame : Frame
        Of an image that whole patches do not fill, the central part is used that they do.
    patch : int
        Pixels.
    width, depth, heads : int
    """

    def __init__(self, frame: Frame, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        bands, side = len(frame.bands), frame.image_size // patch
        self.patch, self.tokens, self.width = patch, side**2, width
        self.pixels = bands * patch**2
        self.used, self.margin = side * patch, (frame.image_size - side * patch) // 2
        self.stretch = Stretch(bands)
        self.stem = nn.Linear(self.pixels, width)
        self.position = nn.Parameter(0.02 * torch.randn(self.tokens, width))
        self.blocks = nn.ModuleList(SelfBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def patches(self, image: Tensor) -> Tensor:
        """(N, B, S, S) flux -> (N, T, B * p * p), stretched."""
        rows = slice(self.margin, self.margin + self.used)
        return to_patches(self.stretch(image[:, :, rows, rows].contiguous()), self.patch)

    def forward(self, patches: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Encode those that are not hidden: (N, T, B * p * p), (N, T) bool -> (N, V, W)."""
        tokens = visible_tokens(self.stem(patches) + self.position, hidden)
        for block in self.blocks:
            tokens = block(tokens)
        encoded: Tensor = self.norm(tokens)
        return encoded


class MaskedImages(nn.Module):
    """Encoder and decoder."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        width = DECODER_WIDTH
        self.to_decoder = nn.Linear(encoder.width, width)
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.position = nn.Parameter(0.02 * torch.randn(encoder.tokens, width))
        self.decoder = nn.ModuleList(SelfBlock(width, DECODER_HEADS) for _ in range(DECODER_DEPTH))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, encoder.pixels))

    def forward(self, patches: Tensor, hidden: Tensor) -> Tensor:
        """Rebuild all patches from those that are not hidden: (N, T, B * p * p) -> the same."""
        visible = self.to_decoder(self.encoder(patches, hidden))  # (N, V, D)
        tokens = self.hidden.repeat(*hidden.shape, 1)  # (N, T, D)
        tokens[~hidden] = visible.flatten(0, 1).to(tokens.dtype)
        tokens = tokens + self.position
        for block in self.decoder:
            tokens = block(tokens)
        rebuilt: Tensor = self.out(tokens)
        return rebuilt


class Unlabelled:
    """What objectives without redshift have in common."""

    normalisation: Normalisation = "relative"

    def whole(self, batch: TrainingBatch) -> View:
        return make_view(batch)

    def redshift(self, view: View) -> Tensor:
        """NaN: there are none yet."""
        return torch.full_like(view.batch.redshift, torch.nan)


class MaskedImagesObjective(Unlabelled):
    """Hidden patches from the visible ones."""

    def __init__(self, network: MaskedImages, precision: torch.dtype) -> None:
        self.network, self._precision = network, precision

    def views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return self.validation_views(turned(batch), generator)

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        hidden = draw_mask(len(batch), self.network.encoder.tokens, HIDDEN, generator)
        return [make_view(batch, image_hidden=hidden.to(batch.image.device))]

    def losses(self, view: View) -> dict[str, Tensor]:
        patches, hidden = self.network.encoder.patches(view.batch.image), view.image_hidden
        with autocast(patches, self._precision):
            rebuilt = self.network(patches, hidden)
        loss = masked_mse(rebuilt.float(), patches, hidden.unsqueeze(-1))
        return {"total": (view.shares.image * loss).sum()}


def turned(batch: TrainingBatch) -> TrainingBatch:
    """Return a training batch with its images turned and mirrored."""
    return replace(batch, image=symmetries(batch.image))
