"""How good a network is on objects that are kept from training: losses, metrics, tables."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.model.info import ClassResult, Result
from photoz_mmae.redshift.metrics import point_metrics
from photoz_mmae.training.mmae_objective import MMAEObjective
from photoz_mmae.training.objectives import Objective
from photoz_mmae.training.step import Pieces
from photoz_mmae.training.views import View
from photoz_mmae.training_sets.training_set import (
    KINDS,
    UNKNOWN_KIND,
    HeldOut,
    TrainingBatch,
    TrainingSet,
)

REDSHIFT_BINS = (0.0, 0.4, 0.8, 1.2, 2.0, 4.5)
"""Edges in true redshift; each bin holds its lower edge."""

_METRICS = ("sigma_nmad", "bias_median", "outlier_015")


@dataclass
class Scored:
    """Losses, and redshifts of N objects in the order of the data set.

    Attributes
    ----------
    losses : dict of str to float
    z_phot, z_true : array, (N,)
    rows : array of bool, (all objects of the part,)
        Which of them these N are.
    """

    losses: dict[str, float]
    z_phot: NDArray[np.float64]
    z_true: NDArray[np.float64]
    rows: NDArray[np.bool_]

    def metrics(self) -> dict[str, float]:
        """Losses and the main point metrics, NaN where no redshifts are given, in one record."""
        if np.isfinite(self.z_phot).all():
            scores = point_metrics(self.z_phot, self.z_true)
        else:
            scores = dict.fromkeys(_METRICS, float("nan"))
        losses = {f"loss_{name}": value for name, value in self.losses.items()}
        return {**losses, **{name: scores[name] for name in _METRICS}}


@dataclass(frozen=True)
class Shown:
    """What a network is shown of the objects it is scored on; by default what prediction has.

    Attributes
    ----------
    image, spectrum : bool
    without : int or None
        Number of a band that is not shown.
    seeing : bool
        Whether the PSF's widths are told.
    """

    image: bool = True
    spectrum: bool = False
    without: int | None = None
    seeing: bool = True

    def of(self, objective: Objective, batch: TrainingBatch) -> View:
        """Show it to a network."""
        if not self.seeing:
            batch = replace(batch, psf_fwhm=torch.full_like(batch.psf_fwhm, torch.nan))
        view = replace(objective.whole(batch), spectrum_shown=self.spectrum)
        if not self.image:
            hidden = torch.ones_like(view.image_hidden)
            view = replace(view, image_hidden=hidden, present=torch.zeros_like(view.present))
        if self.without is not None:
            view = replace(view, present=self._left(batch))
        return view

    def can_score(self, batch: TrainingBatch) -> Tensor:
        """Which objects have a redshift, and something to be shown, (N,) bool."""
        there = batch.has_redshift
        if self.spectrum:
            there = there & batch.has_spectrum
        if self.without is not None:
            there = there & self._left(batch).any(dim=1)
        return there

    def _left(self, batch: TrainingBatch) -> Tensor:
        """Bands of each object but the one that is not shown, (N, B)."""
        bands = torch.arange(batch.measured.shape[1], device=batch.measured.device)
        return batch.measured & (bands != self.without)


WHOLE = Shown()


@torch.no_grad()
def score(
    objective: Objective,
    data: TrainingSet,
    part: HeldOut,
    batch_size: int,
    prepare: Callable[[TrainingBatch], TrainingBatch],
    pieces: Pieces,
    look_up: Callable[[], None] = lambda: None,
    shown: Shown = WHOLE,
) -> Scored:
    """Score a network on objects it has not seen; the losses are those of validation.

    `prepare` brings a batch to the device, as the network is to see it; `look_up` is called between
    batches, and may raise.
    """
    objective.network.eval()
    generator = torch.Generator().manual_seed(0)
    sums: dict[str, float] = {}
    points, truth, scored, objects = [], [], [], 0
    for read in data.held_out(part, batch_size):
        look_up()
        batch = prepare(read)
        losses, redshift = _score_batch(objective, batch, generator, pieces, shown)
        objects += len(batch)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + len(batch) * value
        rows = shown.can_score(batch).cpu().numpy()
        points.append(redshift.double().cpu().numpy()[rows])
        truth.append(batch.redshift.double().cpu().numpy()[rows])
        scored.append(rows)
    means = {name: value / objects for name, value in sums.items()}
    return Scored(means, np.concatenate(points), np.concatenate(truth), rows=np.concatenate(scored))


@torch.no_grad()
def score_classes(
    objective: MMAEObjective,
    data: TrainingSet,
    part: HeldOut,
    batch_size: int,
    prepare: Callable[[TrainingBatch], TrainingBatch],
    pieces: Pieces,
) -> list[ClassResult]:
    """Score the classes of whole images, of a network that tells some apart."""
    objective.network.eval()
    found, truth = [], []
    for read in data.held_out(part, batch_size):
        found.append(_likeliest(objective, prepare(read), pieces).cpu().numpy())
        truth.append(read.kind.numpy())
    given, true = np.concatenate(found), np.concatenate(truth)
    given, true = given[true != UNKNOWN_KIND], true[true != UNKNOWN_KIND]
    table = []
    for name in objective.network.settings.classes:
        kind = KINDS.index(name)
        right = int(((given == kind) & (true == kind)).sum())
        of_kind, as_kind = int((true == kind).sum()), int((given == kind).sum())
        table.append(
            ClassResult(
                name,
                of_kind,
                completeness=right / of_kind if of_kind else None,
                purity=right / as_kind if as_kind else None,
            )
        )
    return table


def _score_batch(
    objective: Objective,
    batch: TrainingBatch,
    generator: torch.Generator,
    pieces: Pieces,
    shown: Shown,
) -> tuple[dict[str, float], Tensor]:
    views = objective.validation_views(batch, generator)
    whole = shown.of(objective, batch)

    def compute(n: int) -> tuple[dict[str, float], Tensor]:
        sums: dict[str, float] = {}
        for view in views:
            for piece in view.pieces(n):
                for name, value in objective.losses(piece).items():
                    sums[name] = sums.get(name, 0.0) + value.item()
        redshifts = [objective.redshift(piece) for piece in whole.pieces(n)]
        return sums, torch.cat(redshifts)

    return pieces.attempt(len(batch), compute)


def _likeliest(objective: MMAEObjective, batch: TrainingBatch, pieces: Pieces) -> Tensor:
    whole = objective.whole(batch)
    return pieces.attempt(
        len(batch), lambda n: torch.cat([objective.likeliest(piece) for piece in whole.pieces(n)])
    )


def result_table(scored: Scored, classes: NDArray[np.str_] | None) -> list[Result]:
    """Metrics over all objects, per bin of true redshift, and per class where it is known."""
    z = scored.z_true
    classes = None if classes is None else classes[scored.rows]
    groups = {"all": np.ones(len(z), dtype=bool)}
    for low, high in itertools.pairwise(REDSHIFT_BINS):
        groups[f"z {low:g} - {high:g}"] = (low <= z) & (z < high)
    for name in [] if classes is None else np.unique(classes):
        groups[f"class {name}"] = classes == name
    table = []
    for name, rows in groups.items():
        if rows.any():
            table.append(result(name, scored.z_phot[rows], z[rows]))
    return table


def result(name: str, z_phot: NDArray[np.float64], z_true: NDArray[np.float64]) -> Result:
    """Metrics of objects under a name."""
    scores = point_metrics(z_phot, z_true)
    values = {key: scores[key] for key in _METRICS}
    numbers = {key: value if np.isfinite(value) else None for key, value in values.items()}
    return Result(name, len(z_true), **numbers)
