"""Labelled and unlabelled objects in one epoch, evenly mixed."""

from dataclasses import fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from photoz_mmae.training_sets.training_set import KINDS, UNKNOWN_KIND, TrainingBatch

Numbers = NDArray[np.int64]


def mixed_batches(
    labelled: Numbers, unlabelled: Numbers, size: int, rng: np.random.Generator
) -> Numbers:
    """Deal all objects into batches at random, each as rich in labelled ones as the whole.

    Losses are means over a batch's labelled objects: by chance alone, those that meet few others
    would count for more.

    Parameters
    ----------
    labelled, unlabelled : array, (L,), (U,)
    size : int
        Of a batch, at most L + U; what does not fill one is left out.

    Returns
    -------
    array, (steps, size)
        Numbers of labelled ones in two batches differ by one at most.
    """
    n = len(labelled) + len(unlabelled)
    steps = n // size
    order = rng.permutation(labelled)
    if not len(unlabelled):
        return order[: steps * size].reshape(steps, size)
    # Every n / L-th place is a labelled object's, whatever the size of a batch.
    passed = np.arange(n + 1) * len(labelled) // n
    place = passed[1:] > passed[:-1]
    mixed = np.empty(n, np.int64)
    mixed[place], mixed[~place] = order, rng.permutation(unlabelled)
    # Objectives go by the place in the batch: it must not tell who is labelled.
    return rng.permuted(mixed[: steps * size].reshape(steps, size), axis=1)


def without_labels(batch: TrainingBatch, hidden: NDArray[np.bool_]) -> TrainingBatch:
    """Hide redshift, spectrum and class of some objects, (N,) bool."""
    if not hidden.any():
        return batch
    chosen = torch.from_numpy(hidden)
    return replace(
        batch,
        has_spectrum=batch.has_spectrum & ~chosen,
        redshift=batch.redshift.masked_fill(chosen, 0.0),
        has_redshift=batch.has_redshift & ~chosen,
        kind=batch.kind.masked_fill(chosen, UNKNOWN_KIND),
    )


def without_star_redshifts(batch: TrainingBatch) -> TrainingBatch:
    """Hide the redshift of stars, for a network whose p(z) is that of an object that is none."""
    is_star = batch.kind == KINDS.index("star")
    return replace(
        batch,
        redshift=batch.redshift.masked_fill(is_star, 0.0),
        has_redshift=batch.has_redshift & ~is_star,
    )


def join(batches: list[TrainingBatch]) -> TrainingBatch:
    """Put batches together, one after the other."""
    names = [field.name for field in fields(TrainingBatch)]
    return TrainingBatch(
        **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}
    )
