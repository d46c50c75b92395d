"""N objects of a batch with what the network is shown of them, and how much each counts."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from photoz_mmae.training_sets.training_set import UNKNOWN_KIND, TrainingBatch


@dataclass
class Shares:
    """How much each of N objects counts in the mean losses of its batch.

    Attributes
    ----------
    image, spectrum, redshift, kind, unknown : Tensor, (N,)
        Each adds up to 1 over the batch, over those that have a spectrum, a redshift or a known
        class; all 0 where there is none. `unknown`, of those with neither redshift nor class, adds
        up to their part of the batch: a single one must not count as much as all the others.
    """

    image: Tensor
    spectrum: Tensor
    redshift: Tensor
    kind: Tensor
    unknown: Tensor

    def __getitem__(self, rows: slice | Tensor) -> "Shares":
        """Return those of some of the objects."""
        return Shares(**{name: value[rows] for name, value in vars(self).items()})


@dataclass
class View:
    """N objects with what the network is shown of them.

    Attributes
    ----------
    batch : TrainingBatch
    shares : Shares
        In the batch that the objects are part of.
    image_hidden, spectrum_hidden : Tensor of bool, (N, T)
        Tokens that are hidden.
    present : Tensor of bool, (N, B)
        Bands that are shown.
    spectrum_shown : bool
        False: no spectrum is shown at all.
    apertures_whole : bool
        True: apertures are measured on hidden patches, too.
    taught : Tensor, (N, K), optional
        p(z) per bin by a teacher, which counts for those with neither redshift nor class.
    """

    batch: TrainingBatch
    shares: Shares
    image_hidden: Tensor
    spectrum_hidden: Tensor
    present: Tensor
    spectrum_shown: bool
    apertures_whole: bool = False
    taught: Tensor | None = None

    def __len__(self) -> int:
        return len(self.batch)

    def __getitem__(self, rows: slice) -> "View":
        """Return some of the objects."""
        return View(
            self.batch[rows],
            self.shares[rows],
            self.image_hidden[rows],
            self.spectrum_hidden[rows],
            self.present[rows],
            self.spectrum_shown,
            self.apertures_whole,
            None if self.taught is None else self.taught[rows],
        )

    def pieces(self, n: int) -> Iterator["View"]:
        """Cut into up to `n` pieces."""
        size = -(-len(self) // n)
        for start in range(0, len(self), max(1, size)):
            yield self[start : start + size]


def shares_of(batch: TrainingBatch) -> Shares:
    """Return how much each object of a whole batch counts."""

    def normalised(weight: Tensor) -> Tensor:
        return weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)

    unknown = ~batch.has_redshift & (batch.kind == UNKNOWN_KIND)
    return Shares(
        image=normalised(batch.weight),
        spectrum=normalised(batch.weight * batch.has_spectrum),
        redshift=normalised(batch.weight * batch.has_redshift),
        kind=normalised(batch.weight * (batch.kind != UNKNOWN_KIND)),
        unknown=normalised(batch.weight) * unknown,
    )


def make_view(
    batch: TrainingBatch,
    image_hidden: Tensor | None = None,
    spectrum_hidden: Tensor | None = None,
    spectrum_shown: bool = False,
) -> View:
    """Make the view of a whole batch; by default nothing is hidden."""
    nothing = batch.image.new_zeros((len(batch), 0), dtype=torch.bool)
    return View(
        batch,
        shares_of(batch),
        nothing if image_hidden is None else image_hidden,
        nothing if spectrum_hidden is None else spectrum_hidden,
        batch.measured,
        spectrum_shown,
    )
