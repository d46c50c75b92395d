"""Whether a neighbour's light is in the aperture, and whether the object is larger than its stamp.

Both ask what is alike on opposite sides of the target, in the sum of the bands over their noise: a
galaxy is nearly the same turned by 180 degrees, a neighbour is on one side only (the idea of SDSS's
deblender). Quality and thresholds: `benchmarks/neighbours.py`, on mock data.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.flags import Flag
from photoz_mmae.surveys import NJY_PER_FLUX

RING = (0.85, 1.5)
"""arcsec from the target: around the aperture's edge, where a neighbour shows first."""

ONE_SIDED = 0.1
"""BLENDED: light on one side of the ring only, over the light in the aperture."""

BORDER = 16
"""TRUNCATED looks at a frame along the stamp's edges, so many times narrower than its side."""

EDGE_LIGHT = 2.0
"""TRUNCATED: mean light on both sides of that frame, over the noise of a pixel."""

_NOISE_DIFFERENCE = 2 / math.sqrt(math.pi)
_NOISE_LOWER = -1 / math.sqrt(math.pi)
"""Means of abs(a - b) and min(a, b) of two unit Gaussian numbers."""

_STEP = 6  # of the frame's pixel pairs, one in so many is plenty

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


def flag_neighbours(batch: CutoutBatch, spread: Floats, damaged: Bools) -> None:
    """Set BLENDED and TRUNCATED.

    Parameters
    ----------
    batch : CutoutBatch
        With its fluxes.
    spread : ndarray (N, B)
        Scatter of the background's pixels; NaN where it is not known.
    damaged : ndarray (N,) of bool
        Whose pixels were not all measured.
    """
    size = batch.images.shape[-1]
    rows = np.flatnonzero(np.isfinite(spread).any(axis=1))
    with np.errstate(invalid="ignore"):
        weight = np.where(spread > 0, 1 / spread, 0)  # (N, B)
    # Of the bands together, the noise of a pixel is 1.
    weight[rows] /= np.sqrt((weight[rows] > 0).sum(axis=1, keepdims=True))
    first, second = _light(batch, rows, weight, damaged, _frame_pairs(size))
    lower = _mean(np.minimum(first, second)) - _NOISE_LOWER
    batch.flags[rows[lower > EDGE_LIGHT]] |= Flag.TRUNCATED

    known = np.all(np.isfinite(batch.flux) | (weight == 0), axis=1)
    inside = np.nansum(batch.flux * weight, axis=1) / NJY_PER_FLUX
    rows = rows[known[rows] & (inside[rows] > 0)]
    # About half pixels, so that the opposite of a pixel is a pixel.
    centres = np.stack([np.rint(2 * batch.x) / 2, np.rint(2 * batch.y) / 2, batch.scale], axis=1)
    kinds, which = np.unique(centres[rows], axis=0, return_inverse=True)
    for number, (x, y, scale) in enumerate(kinds.tolist()):
        some = rows[which.ravel() == number]
        pairs = _ring_pairs(size, x, y, scale)
        first, second = _light(batch, some, weight, damaged, pairs)
        excess = (_mean(np.abs(first - second)) - _NOISE_DIFFERENCE) * len(pairs[0])
        batch.flags[some[excess > ONE_SIDED * inside[some]]] |= Flag.BLENDED


def _light(
    batch: CutoutBatch, rows: NDArray[np.intp], weight: Floats, damaged: Bools, pairs: Pairs
) -> tuple[Floats, Floats]:
    """Bands summed at both pixels of each pair: two (n, P); NaN where either was not measured."""
    n, depth, size, _ = batch.images.shape
    bands = np.arange(depth)[:, None]
    flat = batch.images.reshape(n, depth, size * size)
    missing = batch.missing.reshape(flat.shape)
    first, second = (
        np.einsum("nbp,nb->np", flat[rows[:, None, None], bands, places], weight[rows])
        for places in pairs
    )
    some = rows[damaged[rows]]
    used = (weight[some] > 0)[:, :, None]
    for places in pairs if len(some) else ():
        lost = (missing[some[:, None, None], bands, places] & used).any(axis=1)
        first[damaged[rows]] += np.where(lost, np.nan, 0)
    return first, second


def _mean(values: Floats) -> Floats:
    """Mean over the pairs that were measured, (n, P) -> (n,); NaN where less than a third were."""
    known = np.isfinite(values)
    number = known.sum(axis=1)
    mean = np.where(known, values, 0).sum(axis=1) / np.maximum(number, 1)
    return np.where(3 * number >= max(1, values.shape[1]), mean, np.nan)


@lru_cache(maxsize=8)
def _frame_pairs(size: int) -> Pairs:
    """Pixels of one half of the frame along the edges, and those opposite about the centre."""
    depth = max(1, size // BORDER)
    frame = np.ones((size, size), bool)
    frame[depth:-depth, depth:-depth] = False
    places = np.flatnonzero(frame)
    places = places[: len(places) // 2 : _STEP]
    return places, size * size - 1 - places


@lru_cache(maxsize=256)
def _ring_pairs(size: int, x: float, y: float, scale: float) -> Pairs:
    """Pixels of one half of the ring around (x, y), and those opposite, both on the stamp."""
    rows, columns = np.divmod(np.arange(size * size), size)
    distance = np.hypot(columns - x, rows - y) * scale
    opposite_rows, opposite_columns = np.rint(2 * y) - rows, np.rint(2 * x) - columns
    there = (np.minimum(opposite_rows, opposite_columns) >= 0) & (
        np.maximum(opposite_rows, opposite_columns) < size
    )
    half = (rows < y) | ((rows == y) & (columns < x))
    ring = (distance > RING[0]) & (distance < RING[1]) & there & half
    opposite = (opposite_rows * size + opposite_columns).astype(np.intp)
    places = np.flatnonzero(ring)
    return places, opposite[places]
