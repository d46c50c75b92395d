"""What the comparison asks of a network, whoever published it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from photoz_mmae.training.course import Course
from photoz_mmae.training.objectives import Objective
from photoz_mmae.training_sets.training_set import Normalisation, TrainingBatch

Batches = Callable[[], Iterator[TrainingBatch]]
"""Gives objects in batches, as the network is to see them; the same ones at each call."""


@dataclass(frozen=True)
class Stage:
    """A part of a training: most networks have one, some are first taught something else.

    Attributes
    ----------
    name : str
        Of a file, such as `training`, `pretraining`, `finetuning`.
    network : nn.Module
        What is trained and kept; of what is saved of the contestant it may be a part.
    course : Course
    make_objective : callable
        Of that network, or of another with the same structure (the average of its weights).
    """

    name: str
    network: nn.Module
    course: Course
    make_objective: Callable[[nn.Module, torch.dtype], Objective]


class Contestant(Protocol):
    """A network with everything its publication says about how it is trained and used.

    Attributes
    ----------
    name : str
    source : str
        The publication, and what of it is followed or not, in a sentence or two.
    normalisation : {"paper", "relative"}
        How it wants spectra.
    labelled_only : bool
        Objects without redshift and spectrum can teach it nothing, and are not shown to it.
    settings : dict
        Everything about it that may change from version to version and decides what comes out.
    """

    name: str
    source: str
    normalisation: Normalisation
    labelled_only: bool
    settings: dict[str, Any]

    @property
    def network(self) -> nn.Module:
        """All of it, what is saved; on one device."""

    def fit(self, sample: TrainingBatch, objects: int) -> None:
        """Set what is measured on training objects before any training, such as a stretch.

        Parameters
        ----------
        sample : TrainingBatch
            Some of the training objects.
        objects : int
            How many training objects there are.
        """

    def stages(self) -> list[Stage]:
        """Return the parts of its training, in order."""

    def finish(self, training: Batches, validation: Batches) -> None:
        """Do what comes after the stages and needs no gradient through images, such as k-NN."""

    def redshift(self, batch: TrainingBatch) -> Tensor:
        """Give point redshifts in the usual way, from images alone, and E(B-V): (N,)."""

    def redshifts(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Give point redshifts by each way it has, the usual one first, none from spectra.

        Parameters
        ----------
        batch : TrainingBatch
            Of N objects, as the network is to see them.

        Returns
        -------
        dict of str to Tensor, (N,)
        """
