"""DeepZ: an Inception CNN with a branch for magnitudes, and p(z) over bins.

K. Bielby 2026, https://github.com/kimbielby/DeepZ-Photometric-Redshift-Estimator, after Pasquet et
al. 2019 (arXiv:1806.06607) and Treyer et al. 2024 (doi:10.1093/mnras/stad3171).

Followed, from the public code and its baseline configuration, the one with the best sigma_NMAD:
the stretch, the layers and their 995,177 parameters, 200 bins over 0 < z < 4, the discrete CRPS,
Adam at 1e-4 with batches of 128, the learning rate halved after more than 5 epochs without
progress and never below 1e-6, early stopping after 10, no augmentation, and the mean of p(z) as
point redshift.

Chosen: magnitudes are measured on the image and standardised, where DeepZ takes CModel magnitudes
from a catalogue; progress is the validation loss, where DeepZ takes the validation sigma_NMAD; as
many epochs as it takes instead of at most 100, since here an epoch may have far fewer objects.
`inception-turned` adds the flips and quarter turns of Pasquet et al., without which few training
objects are soon learnt by heart.
"""

import torch
from torch import Tensor, nn

from photoz_mmae.model.frame import Frame
from photoz_mmae.model.stretch import Stretch
from photoz_mmae.peers.image_only import (
    ImageContestant,
    ImageNetwork,
    Photometry,
    Standardised,
    adam,
)
from photoz_mmae.peers.presets import MOST_EPOCHS
from photoz_mmae.training.course import Course, Pace

SOURCE = (
    "DeepZ (Bielby 2026), baseline configuration of the public code; magnitudes measured on the "
    "image instead of catalogued, training without a limit of epochs"
)

BINS, REDSHIFT_MAX = 200, 4.0

RADIUS = 2.0
"""Arcsec, of the aperture: nearly all the light of most galaxies, as in CModel magnitudes."""

RATE, LEAST_RATE = 1e-4, 1e-6
BATCH = 128
PLATEAU, PATIENCE = 5, 10
PROGRESS = 1e-4
"""Relative; less of a lower loss than this does not keep the learning rate."""

BRANCH, BOTTLENECK = 32, 16
IMAGE_WIDTH, MAGNITUDE_WIDTH = 96, 32


class Inception(nn.Module):
    """Four branches side by side: 1x1, 3x3 and 5x5 convolutions, and an average of 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                _convolution(channels, BRANCH, 1),
                nn.Sequential(
                    _convolution(channels, BOTTLENECK, 1), _convolution(BOTTLENECK, BRANCH, 3)
                ),
                nn.Sequential(
                    _convolution(channels, BOTTLENECK, 1), _convolution(BOTTLENECK, BRANCH, 5)
                ),
                nn.Sequential(
                    nn.AvgPool2d(3, stride=1, padding=1), _convolution(channels, BRANCH, 1)
                ),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 128, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class DeepZ(ImageNetwork):
    """Image and five magnitudes in, logits of the bins out.

    Parameters
    ----------
    frame : Frame
    """

    edges: Tensor

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        bands, width = len(frame.bands), 4 * BRANCH
        self.stretch = Stretch(bands)
        self.photometry = Photometry(frame, (RADIUS,))
        self.standardised = Standardised(bands)
        self.register_buffer("edges", torch.linspace(0, REDSHIFT_MAX, BINS + 1), persistent=False)
        self.backbone = nn.Sequential(
            _convolution(bands, 32, 3, nn.PReLU()),
            _convolution(32, 64, 3, nn.Tanh()),
            nn.AvgPool2d(2),
            Inception(64),
            nn.AvgPool2d(2),
            Inception(width),
            Inception(width),
            nn.AvgPool2d(2),
            Inception(width),
            Inception(width),
            # Over all that is left of the image: (N, 128, S / 8, S / 8) -> (N, 96, 1, 1).
            nn.Conv2d(width, IMAGE_WIDTH, frame.image_size // 8),
            nn.BatchNorm2d(IMAGE_WIDTH),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.magnitudes = nn.Sequential(
            nn.Linear(bands, MAGNITUDE_WIDTH),
            nn.ReLU(),
            nn.Linear(MAGNITUDE_WIDTH, MAGNITUDE_WIDTH),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Linear(IMAGE_WIDTH + MAGNITUDE_WIDTH, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, BINS),
        )

    def fit(self, image: Tensor, objects: int) -> None:
        self.stretch.fit(image)
        self.photometry.fit(image)
        self.standardised.fit(self.photometry(image).squeeze(2))

    def forward(self, image: Tensor) -> Tensor:
        """(N, B, S, S) -> (N, 200) logits."""
        # Stored by pixel, convolutions on a CPU are faster.
        stretched = self.stretch(image).contiguous(memory_format=torch.channels_last)
        magnitudes = self.standardised(self.photometry(image).squeeze(2))  # (N, B)
        both = [self.backbone(stretched), self.magnitudes(magnitudes)]
        logits: Tensor = self.head(torch.cat(both, dim=1))
        return logits

    def loss(self, output: Tensor, redshift: Tensor) -> Tensor:
        """Sum over bins of (CDF - step)^2, the discrete CRPS in units of a bin."""
        cdf = output.softmax(dim=1).cumsum(dim=1)
        label = torch.bucketize(redshift, self.edges[1:-1])  # (N,)
        step = torch.arange(BINS, device=label.device) >= label.unsqueeze(1)
        return (cdf - step.to(cdf.dtype)).square().sum(dim=1)

    def redshift(self, output: Tensor) -> Tensor:
        """Mean of p(z)."""
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        return output.softmax(dim=1) @ centres


def _convolution(
    channels: int, width: int, size: int, activation: nn.Module | None = None
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, size, padding=size // 2),
        nn.BatchNorm2d(width),
        activation or nn.ReLU(),
    )


def rate_on_plateau(pace: Pace) -> float:
    """Halve the learning rate whenever more than five epochs have brought no progress."""
    factor, best, waited = 1.0, float("inf"), 0
    for loss in pace.validation:
        if loss < best * (1 - PROGRESS):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > PLATEAU:
            factor, waited = max(factor / 2, LEAST_RATE / RATE), 0
    return factor


def make_inception(frame: Frame, turned: bool = False) -> ImageContestant:
    """Make DeepZ with random weights; `turned` adds flips and quarter turns."""
    course = Course(
        epochs=MOST_EPOCHS,
        batch_size=BATCH,
        patience=PATIENCE,
        clip_norm=0.0,
        ema=0.0,
        optimizer=adam(RATE),
        rate=rate_on_plateau,
    )
    settings = {
        "rate": RATE,
        "least_rate": LEAST_RATE,
        "plateau": PLATEAU,
        "bins": BINS,
        "redshift_max": REDSHIFT_MAX,
        "radius": RADIUS,
    }
    name = "inception-turned" if turned else "inception"
    return ImageContestant(name, SOURCE, DeepZ(frame), course, settings, turned)
