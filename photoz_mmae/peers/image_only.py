"""What peers have in common that see images only: objective, contestant, measured magnitudes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from photoz_mmae.model.frame import Frame
from photoz_mmae.model.stretch import Stretch
from photoz_mmae.peers.contestant import Batches, Stage
from photoz_mmae.surveys import ZERO_POINT
from photoz_mmae.training.course import Course
from photoz_mmae.training.objective_parts import symmetries
from photoz_mmae.training.views import View, make_view
from photoz_mmae.training_sets.training_set import Normalisation, TrainingBatch


class ImageNetwork(nn.Module, ABC):
    """A network that takes nothing but images: `forward` gives whatever its own loss takes."""

    def fit(self, image: Tensor, objects: int) -> None:
        """Set what is measured on a sample (N, B, S, S) of that many training objects."""

    @abstractmethod
    def loss(self, output: Tensor, redshift: Tensor) -> Tensor:
        """Give what each object costs, (N,)."""

    @abstractmethod
    def redshift(self, output: Tensor) -> Tensor:
        """Give point redshifts, (N,)."""


class ImageObjective:
    """Whole images in, one loss out.

    Parameters
    ----------
    network : ImageNetwork
    precision : torch.dtype
        Of matrix products.
    turned : bool
        Show each training image in one of the square's eight ways.
    """

    normalisation: Normalisation = "relative"

    def __init__(self, network: nn.Module, precision: torch.dtype, turned: bool) -> None:
        assert isinstance(network, ImageNetwork)
        self.network: ImageNetwork = network
        self._precision, self._turned = precision, turned

    def views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        if self._turned:
            batch = replace(batch, image=symmetries(batch.image))
        return [make_view(batch)]

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return [make_view(batch)]

    def losses(self, view: View) -> dict[str, Tensor]:
        batch = view.batch
        reduced = self._precision != torch.float32
        with torch.autocast(batch.image.device.type, self._precision, enabled=reduced):
            output = self.network(batch.image)
        loss = self.network.loss(output.float(), batch.redshift)
        return {"total": (view.shares.redshift * loss).sum()}

    def whole(self, batch: TrainingBatch) -> View:
        return make_view(batch)

    def redshift(self, view: View) -> Tensor:
        return self.network.redshift(self.network(view.batch.image))


class ImageContestant:
    """A peer that is trained in one stage on images only.

    Parameters
    ----------
    name, source : str
    network : ImageNetwork
    course : Course
    settings : dict
    turned : bool
        Show each training image in one of the square's eight ways.
    """

    normalisation: Normalisation = "relative"
    labelled_only = True

    def __init__(
        self,
        name: str,
        source: str,
        network: ImageNetwork,
        course: Course,
        settings: dict[str, Any],
        turned: bool = False,
    ) -> None:
        self.name, self.source, self.network = name, source, network
        self._course, self._turned = course, turned
        self.settings = {
            "most_epochs": course.epochs,
            "batch_size": course.batch_size,
            "patience": course.patience,
            "clip_norm": course.clip_norm,
            "ema": course.ema,
            "turned": turned,
            **settings,
        }

    def fit(self, sample: TrainingBatch, objects: int) -> None:
        # The network comes to the device of the images only after this.
        self.network.fit(sample.image.cpu(), objects)

    def stages(self) -> list[Stage]:
        return [Stage("training", self.network, self._course, self._make)]

    def finish(self, training: Batches, validation: Batches) -> None:
        """Do nothing: there is nothing after the training."""

    def redshift(self, batch: TrainingBatch) -> Tensor:
        return self._make(self.network).redshift(make_view(batch))

    def redshifts(self, batch: TrainingBatch) -> dict[str, Tensor]:
        return {"whole image": self.redshift(batch)}

    def _make(self, network: nn.Module, precision: torch.dtype = torch.float32) -> ImageObjective:
        return ImageObjective(network, precision, self._turned)


def adam(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Make Adam at a learning rate."""
    return lambda network: torch.optim.Adam(network.parameters(), lr=rate)


class Photometry(nn.Module):
    """Magnitudes in round apertures about the image's centre, measured on its pixels.

    asinh magnitudes (Lupton, Gunn & Szalay 1999, AJ 118, 1406), which a flux of 0 or less has too.
    They are softened at the noise of sky in the aperture.

    Parameters
    ----------
    frame : Frame
    radii : tuple of float
        Arcsec.
    """

    weight: Tensor
    softening: Tensor

    def __init__(self, frame: Frame, radii: tuple[float, ...]) -> None:
        super().__init__()
        pixel = torch.arange(frame.image_size) - (frame.image_size - 1) / 2
        distance = torch.hypot(pixel[:, None], pixel[None, :]).flatten()  # (S * S,)
        # Pixels at the edge count in part, about by the part of them that is inside.
        inside = [(r / frame.pixel_scale - distance + 0.5).clamp(0, 1) for r in radii]
        self.register_buffer("weight", torch.stack(inside), persistent=False)  # (A, S * S)
        self.register_buffer("softening", torch.ones(len(frame.bands), len(radii)))

    def fit(self, image: Tensor) -> None:
        """Set the softening from training images (N, B, S, S)."""
        sky = Stretch(image.shape[1])
        sky.fit(image)
        # Negative pixels are half a Gaussian, which has 0.603 of its standard deviation.
        noise = sky.noise / math.sqrt(1 - 2 / math.pi)
        self.softening.copy_(noise.unsqueeze(1) * self.weight.square().sum(dim=1).sqrt())

    def forward(self, image: Tensor) -> Tensor:
        """(N, B, S, S) flux -> (N, B, A) magnitudes."""
        with torch.autocast(image.device.type, enabled=False):  # sums need full precision
            flux = (image.float().flatten(2) @ self.weight.T).double()
        soft = self.softening.double()
        magnitude = ZERO_POINT - 2.5 / math.log(10) * (torch.asinh(flux / (2 * soft)) + soft.log())
        return magnitude.float()


class Standardised(nn.Module):
    """Features brought to mean 0 and standard deviation 1; five of them from the mean is the end.

    Parameters
    ----------
    features : int
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, values: Tensor) -> None:
        """Set mean and standard deviation from training objects (N, F)."""
        self.mean.copy_(values.mean(dim=0))
        self.std.copy_(values.std(dim=0).clamp(min=1e-6))

    def forward(self, values: Tensor) -> Tensor:
        """(N, F) -> (N, F)."""
        return ((values - self.mean) / self.std).clamp(-5, 5)
