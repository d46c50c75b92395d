"""What training asks of a data set, whether it is a file or a simulated survey."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.surveys import Survey

Normalisation = Literal["paper", "relative"]
"""`paper`: mean 0 and rms 1, as published. `relative`: over the mean, never subtracted."""

HeldOut = Literal["validation", "test"]

KINDS = ("galaxy", "qso", "star")
"""What an object can be; the places in a batch's `kind`."""

UNKNOWN_KIND = -1


@dataclass
class TrainingBatch:
    """N objects to train on.

    Attributes
    ----------
    image : Tensor, (N, B, S, S)
        Flux at zero point 27. In place of a pixel that was not measured is the one opposite to it,
        as in prediction, or else 0.
    measured : Tensor of bool, (N, B)
        Bands that the image has; the others are 0.
    flux, ivar : Tensor, (N, 259)
        Normalised spectrum and its inverse variance in the same units; 0 where invalid.
    has_spectrum : Tensor of bool, (N,)
    redshift : Tensor, (N,)
        0 where there is none.
    has_redshift : Tensor of bool, (N,)
    weight : Tensor, (N,)
        How much the object counts in the losses; 1 on average.
    ebv : Tensor, (N,)
        Galactic E(B-V), mag; NaN where it is not known.
    psf_fwhm : Tensor, (N, B)
        Width of the PSF, arcsec; NaN where it is not known.
    kind : Tensor of int64, (N,)
        Place in KINDS, or UNKNOWN_KIND.
    """

    image: Tensor
    measured: Tensor
    flux: Tensor
    ivar: Tensor
    has_spectrum: Tensor
    redshift: Tensor
    has_redshift: Tensor
    weight: Tensor
    ebv: Tensor
    psf_fwhm: Tensor
    kind: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: str) -> "TrainingBatch":
        """Return the same objects on another device."""
        return TrainingBatch(**{name: value.to(device) for name, value in vars(self).items()})

    def __getitem__(self, rows: slice | Tensor) -> "TrainingBatch":
        """Return some of the objects, by a slice or by their numbers."""
        return TrainingBatch(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Composition:
    """What became of the objects of a data set: `objects` is the sum of the parts and the dropped.

    Attributes
    ----------
    source : str
        Name of the file, or what else the objects come from.
    split : str
        How the parts were told apart, in words.
    objects, training, validation, test : int
    unlabelled : int
        Of those for training, the ones whose images alone are trained on.
    lacking : dict of str to int
        The other training objects that are kept without: `redshift`, `spectrum`.
    dropped : dict of str to int
        Why, in words, and how many.
    notes : list of str
        What else is to be known, one sentence each.
    """

    source: str
    split: str
    objects: int
    training: int
    validation: int
    test: int
    lacking: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unlabelled: int = 0

    def lines(self) -> list[str]:
        """Say it in a few lines."""
        dropped = ", ".join(f"{n:,} {why}" for why, n in self.dropped.items() if n) or "none"
        lacking = "".join(f"; {n:,} without {what}" for what, n in self.lacking.items() if n)
        unlabelled = f" ({self.unlabelled:,} unlabelled)" if self.unlabelled else ""
        return [
            f"{self.source}: {counted(self.objects, 'object')}; dropped: {dropped}",
            f"{self.training:,} for training{unlabelled}, {self.validation:,} for validation, "
            f"{self.test:,} for the test ({self.split}){lacking}",
            *self.notes,
        ]


class TrainingSet(Protocol):
    """A data set in three parts, whose order of a given epoch is always the same.

    Attributes
    ----------
    name, description : str
        `description` is what the data say of themselves; mock data say so.
    mock_seed : int or None
        Of simulated data.
    survey : Survey
        What the images are of.
    wave : array, (259,)
        Observed wavelengths of the spectra, Angstrom.
    composition : Composition
    """

    name: str
    description: str
    mock_seed: int | None
    survey: Survey
    wave: NDArray[np.float64]
    composition: Composition

    def sample(self, n: int) -> TrainingBatch:
        """Give up to `n` training objects: what the stretch is measured on."""

    def epoch(self, epoch: int, batch_size: int, first_step: int) -> Iterator[TrainingBatch]:
        """Give the batches of an epoch from one of its steps on."""

    def held_out(self, part: HeldOut, batch_size: int) -> Iterator[TrainingBatch]:
        """Give the objects of a part in batches, all with redshift, in a fixed order."""

    def classes(self, part: HeldOut) -> NDArray[np.str_] | None:
        """Class of each object of a part, in that order, where the data know it."""


def counted(n: int, what: str) -> str:
    """`1 epoch`, `2,000 epochs`."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
