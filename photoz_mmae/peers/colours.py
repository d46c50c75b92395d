"""What photometry alone gives a neural network: a dense one on magnitudes from the image.

Of no publication: a strong baseline in the manner of those that take fluxes (such as B-MLP of Zhou
et al. 2022, arXiv:2206.13696), with the binned p(z), losses and weight average of our own networks.
What a network that learns from images and redshifts alone gains over it is the gain from images.
Its settings were chosen on 8,000 mock objects.
"""

import math

import torch
from torch import Tensor, nn

from photoz_mmae.model.frame import Frame
from photoz_mmae.peers.image_only import ImageContestant, ImageNetwork, Photometry, Standardised
from photoz_mmae.training.course import Course
from photoz_mmae.training.losses import bin_cross_entropy, crps
from photoz_mmae.training.mmae_objective import CRPS_WEIGHT, median_redshift
from photoz_mmae.training.schedule import rate_factor

SOURCE = "no publication: a dense network on aperture magnitudes measured on the image"

RADII = (0.5, 0.85, 1.3, 2.0, 3.0, 4.5)
"""Arcsec: from the light inside the seeing to all of a large galaxy."""

BINS, REDSHIFT_MAX = 320, 6.0
WIDTH, LAYERS, DROPOUT = 512, 3, 0.3

EPOCHS, BATCH = 50, 128
RATE, DECAY, WARMUP = 1e-3, 0.03, 0.05
EMA = 0.998


class Colours(ImageNetwork):
    """Magnitudes, colours and curves of growth in, logits of bins in ln(1+z) out.

    Parameters
    ----------
    frame : Frame
    """

    edges: Tensor

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        bands, apertures = len(frame.bands), len(RADII)
        features = bands * apertures + (bands - 1) * apertures + bands * (apertures - 1)
        self.photometry = Photometry(frame, RADII)
        self.standardised = Standardised(features)
        edges = torch.linspace(0, math.log1p(REDSHIFT_MAX), BINS + 1, dtype=torch.float64)
        self.register_buffer("edges", edges, persistent=False)
        layers: list[nn.Module] = []
        for inputs in [features] + [WIDTH] * (LAYERS - 1):
            layers += [nn.Linear(inputs, WIDTH), nn.GELU(), nn.Dropout(DROPOUT)]
        self.net = nn.Sequential(*layers, nn.Linear(WIDTH, BINS))

    def fit(self, image: Tensor, objects: int) -> None:
        self.photometry.fit(image)
        self.standardised.fit(self._features(image))

    def forward(self, image: Tensor) -> Tensor:
        """(N, B, S, S) -> (N, 320) logits."""
        logits: Tensor = self.net(self.standardised(self._features(image)))
        return logits

    def loss(self, output: Tensor, redshift: Tensor) -> Tensor:
        cross_entropy = bin_cross_entropy(output, redshift, self.edges)
        return cross_entropy + CRPS_WEIGHT * crps(output, redshift, self.edges)

    def redshift(self, output: Tensor) -> Tensor:
        """Median of p(z)."""
        return median_redshift(output, self.edges)

    def _features(self, image: Tensor) -> Tensor:
        magnitude = self.photometry(image)  # (N, B, A)
        colour, growth = -magnitude.diff(dim=1), -magnitude.diff(dim=2)
        return torch.cat([magnitude.flatten(1), colour.flatten(1), growth.flatten(1)], dim=1)


def make_colours(frame: Frame) -> ImageContestant:
    """Make the network with random weights."""
    course = Course(
        epochs=EPOCHS,
        batch_size=BATCH,
        patience=0,
        clip_norm=1.0,
        ema=EMA,
        optimizer=lambda network: torch.optim.AdamW(
            network.parameters(), lr=RATE, weight_decay=DECAY
        ),
        rate=lambda pace: rate_factor(pace.step, pace.steps, WARMUP),
    )
    settings = {
        "rate": RATE,
        "decay": DECAY,
        "warmup": WARMUP,
        "radii": list(RADII),
        "bins": BINS,
        "redshift_max": REDSHIFT_MAX,
        "width": WIDTH,
        "layers": LAYERS,
        "dropout": DROPOUT,
    }
    return ImageContestant("colours", SOURCE, Colours(frame), course, settings)
