"""A CNN with variational dense layers and a branch for magnitudes: Jones et al. 2024.

E. Jones, T. Do, Y. Q. Li, K. Alfaro, J. Singal & B. Boscoe 2024, "Redshift prediction with images
for cosmology using a Bayesian convolutional neural network with conformal predictions"; code
https://github.com/astrodatalab/photoz, `code/BCNN_with_batching_and_mags_github.ipynb`.

Followed, from that code: raw flux in, without any stretch; convolutions of 32 channels, the first
two with tanh and each followed by maximum pooling, the next two with ReLU; variational layers of
400 and 200 units with tanh, whose weights have Gaussian posteriors, narrow from the beginning, and
Gaussian priors of width 1 about means that are learnt; beside them four dense layers of 200 units
with ReLU on the magnitudes; a dense layer on both that gives mean and width of a Gaussian in z; its
negative log-likelihood plus the Kullback-Leibler divergence over the number of training objects;
Adam at a constant 1e-4, batches of 200, no augmentation. The point redshift is the mean over
several passes with other weights.

Chosen: magnitudes are measured on the image and standardised, where the code takes them from a
catalogue; pre-activations are drawn instead of weights (local reparameterisation, Kingma et al.
2015, arXiv:1506.02557), the same for each object and less noise in the gradient; 50 passes, whose
noise is always the same, and the same for all objects; the divergence, nearly constant and
thousands of times the rest, is left out of the validation loss. The code makes a fixed number of
epochs and saves that of least training loss, which is the last; here the epoch of least validation
sigma_NMAD is kept, after 20 without a lower one, since the validation likelihood gets worse, too
narrow in p(z), while the mean still gets better.
`bcnn-turned` adds flips and quarter turns, without which few training objects are soon learnt by
heart.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from photoz_mmae.model.frame import Frame
from photoz_mmae.peers.image_only import (
    ImageContestant,
    ImageNetwork,
    Photometry,
    Standardised,
    adam,
)
from photoz_mmae.peers.presets import MOST_EPOCHS
from photoz_mmae.training.course import Course

SOURCE = (
    "BCNN (Jones et al. 2024), public code; magnitudes measured on the image, not catalogued, "
    "pre-activations drawn instead of weights, and training ends by early stopping"
)

CHANNELS, DENSE = 32, (400, 200)
MAGNITUDE_WIDTH, MAGNITUDE_LAYERS = 200, 4
RADIUS = 2.0
"""Arcsec, of the aperture: nearly all the light of most galaxies."""

POSTERIOR_SCALE = 1e-3
SCALE_OFFSET = math.log(math.expm1(1.0))
"""softplus of this is 1."""

RATE, BATCH, PATIENCE = 1e-4, 200, 20
PASSES = 50

LEAST_WIDTH = 1e-4
"""Of the Gaussian in z: keeps the logarithm finite."""


class Variational(nn.Module):
    """A dense layer whose weights are drawn anew from their posterior at each pass.

    Parameters
    ----------
    inputs, units : int
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        shape = (units, inputs + 1)  # the bias is the last
        self.mean = nn.Parameter(0.1 * torch.randn(shape))
        self.width = nn.Parameter(-3 + 0.1 * torch.randn(shape))
        self.prior = nn.Parameter(torch.zeros(shape))

    def posterior_std(self) -> Tensor:
        """Give the standard deviation of each weight, (units, inputs + 1)."""
        return POSTERIOR_SCALE * softplus(SCALE_OFFSET + self.width)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """(..., inputs) -> (..., units); `noise` is standard normal, by default drawn here."""
        mean = linear(x, self.mean[:, :-1], self.mean[:, -1])
        variance = self.posterior_std().square()
        std = linear(x.square(), variance[:, :-1], variance[:, -1]).sqrt()
        return mean + std * (torch.randn_like(mean) if noise is None else noise)

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence of the posterior from the prior, a scalar."""
        std = self.posterior_std()
        return (((self.mean - self.prior).square() + std.square() - 1) / 2 - std.log()).sum()


class BayesianCNN(ImageNetwork):
    """Image and its magnitudes in, mean and width of a Gaussian in z out, once per pass.

    Parameters
    ----------
    frame : Frame
    """

    objects: Tensor
    first_noise: Tensor
    second_noise: Tensor

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            # The maximum before tanh, not after: the same, with a quarter of the work.
            nn.Conv2d(len(frame.bands), CHANNELS, 3, padding=1),
            nn.MaxPool2d(2),
            nn.Tanh(),
            *_convolution(),
            nn.MaxPool2d(2),
            nn.Tanh(),
            *_convolution(),
            nn.ReLU(),
            *_convolution(),
            nn.ReLU(),
            nn.Flatten(),
        )
        inputs = CHANNELS * (frame.image_size // 4) ** 2
        self.first = Variational(inputs, DENSE[0])
        self.second = Variational(*DENSE)
        bands = len(frame.bands)
        self.photometry = Photometry(frame, (RADIUS,))
        self.standardised = Standardised(bands)
        widths = [bands, *[MAGNITUDE_WIDTH] * MAGNITUDE_LAYERS]
        dense = [(nn.Linear(one, two), nn.ReLU()) for one, two in itertools.pairwise(widths)]
        self.magnitudes = nn.Sequential(*itertools.chain.from_iterable(dense))
        self.gaussian = nn.Linear(DENSE[1] + MAGNITUDE_WIDTH, 2)
        plain = (self.convolutions, self.magnitudes, self.gaussian)
        for parameter in itertools.chain.from_iterable(part.parameters() for part in plain):
            if parameter.dim() > 1:  # as Keras begins
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
        self.register_buffer("objects", torch.ones(()))
        # The same for every object, so that a redshift does not depend on its neighbours.
        generator = torch.Generator().manual_seed(0)
        for layer, units in zip(("first", "second"), DENSE, strict=True):
            noise = torch.randn(1, PASSES, units, generator=generator)
            self.register_buffer(f"{layer}_noise", noise, persistent=False)

    def fit(self, image: Tensor, objects: int) -> None:
        self.objects.fill_(objects)
        self.photometry.fit(image)
        self.standardised.fit(self.photometry(image).squeeze(2))

    def forward(self, image: Tensor) -> Tensor:
        """(N, B, S, S) -> (N, passes, 2), one pass in training."""
        features = self.convolutions(image).unsqueeze(1)  # (N, 1, inputs)
        first, second = (None, None) if self.training else (self.first_noise, self.second_noise)
        hidden = self.first(features, first).tanh()  # (N, passes, 400)
        hidden = self.second(hidden, second).tanh()  # (N, passes, 200)
        magnitudes = self.magnitudes(
            self.standardised(self.photometry(image).squeeze(2))
        )  # (N, 200)
        beside = magnitudes.unsqueeze(1).expand(-1, hidden.shape[1], -1)
        gaussian: Tensor = self.gaussian(torch.cat([hidden, beside], dim=2))
        return gaussian

    def loss(self, output: Tensor, redshift: Tensor) -> Tensor:
        mean, width = output[..., 0], softplus(output[..., 1]) + LEAST_WIDTH  # (N, passes)
        deviation = (redshift.unsqueeze(1) - mean) / width
        log_density = -deviation.square() / 2 - width.log() - math.log(2 * math.pi) / 2
        # Of the mean of the passes' densities.
        loss: Tensor = math.log(output.shape[1]) - log_density.logsumexp(dim=1)
        if self.training:
            loss = loss + (self.first.divergence() + self.second.divergence()) / self.objects
        return loss

    def redshift(self, output: Tensor) -> Tensor:
        """Mean over the passes."""
        return output[..., 0].mean(dim=1)


def _convolution() -> tuple[nn.Module, nn.Module]:
    """Give a convolution by 2x2 pixels that keeps the size."""
    return nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(CHANNELS, CHANNELS, 2)


def make_bcnn(frame: Frame, turned: bool = False) -> ImageContestant:
    """Make the BCNN with random weights; `turned` adds flips and quarter turns."""
    course = Course(
        epochs=MOST_EPOCHS,
        batch_size=BATCH,
        patience=PATIENCE,
        clip_norm=0.0,
        ema=0.0,
        optimizer=adam(RATE),
        rate=lambda pace: 1.0,
        watched="sigma_nmad",
    )
    settings = {
        "rate": RATE,
        "passes": PASSES,
        "posterior_scale": POSTERIOR_SCALE,
        "radius": RADIUS,
        "watched": course.watched,
    }
    name = "bcnn-turned" if turned else "bcnn"
    return ImageContestant(name, SOURCE, BayesianCNN(frame), course, settings, turned)
