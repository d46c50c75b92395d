"""What each network is trained for: a batch in, the losses out.

Everything random about a batch is decided first, for all of it: `views` says who sees what. A view
can then be cut into pieces that are computed one after the other; their losses add up.
"""

from typing import Protocol

import torch
from torch import Tensor

from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import Schedule
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.training.mmae_objective import MMAEObjective
from photoz_mmae.training.published_objective import PublishedObjective
from photoz_mmae.training.views import View
from photoz_mmae.training_sets.training_set import Normalisation, TrainingBatch


class Objective(Protocol):
    """What the loop asks of a network's training."""

    @property
    def network(self) -> torch.nn.Module:
        """What is trained."""

    @property
    def normalisation(self) -> Normalisation:
        """How it wants spectra."""

    def views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        """Decide what is shown of each object of a training batch."""

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        """Show the same of an object every time; the least mean `total` makes the epoch kept."""

    def losses(self, view: View) -> dict[str, Tensor]:
        """Losses by name, each the view's part of the batch's mean; `total` is minimised."""

    def whole(self, batch: TrainingBatch) -> View:
        """Show all of the images, and no spectra, as prediction does."""

    def redshift(self, view: View) -> Tensor:
        """Point redshifts from what is shown, (N,)."""


def make_objective(
    network: torch.nn.Module,
    schedule: Schedule,
    bands: tuple[str, ...],
    precision: torch.dtype = torch.float32,
) -> Objective:
    """Choose the objective of a network for images in `bands`.

    `precision` is that of its matrix products.
    """
    if isinstance(network, MMAE):
        return MMAEObjective(network, schedule, bands, precision)
    assert isinstance(network, PublishedMMAE)  # there is no third
    return PublishedObjective(network, schedule, precision)
