"""Flux in a circular aperture, its error, and what else is in the aperture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.neighbours import flag_neighbours
from photoz_mmae.flags import Flag
from photoz_mmae.surveys import NJY_PER_FLUX

APERTURE_DIAMETER = 2.0
"""arcsec."""

LOW_SNR = 5.0
"""Signal to noise in the i-band aperture below which an object is flagged."""

_SUBPIXELS = 20
_MIN_PIXELS = 50
_ENOUGH_PIXELS = 512
_SIGMA_PER_MAD = 1.4826


@dataclass(frozen=True)
class Aperture:
    """Pixel weights of a circular aperture in an image of S x S pixels.

    Attributes
    ----------
    box : tuple of slice
        Rows and columns that the circle touches.
    weights : ndarray (h, w)
        Share of each of those pixels inside the circle.
    whole : bool
        The circle lies inside the image.
    background : tuple of ndarray
        Flat indices of the pixels beyond two radii, and of those beyond one.
    """

    box: tuple[slice, slice]
    weights: NDArray[np.float64]
    whole: bool
    background: tuple[NDArray[np.intp], NDArray[np.intp]]


def measure_batch(batch: CutoutBatch, bands: Sequence[str]) -> None:
    """Measure all objects of a batch: sets `flux`, `flux_err` and flags of what was found.

    The flux is that in a circle of `APERTURE_DIAMETER` around the target, NaN where a pixel of it
    was not measured; the sky is taken to be subtracted. Its error is the root of the pixels'
    variance, summed with the square of their weights, in a band whose variance is known all over
    the circle. Elsewhere it is the scatter of the background, see `background_scatter`, times the
    root of the sum of the squared weights: that leaves out the object's own photon noise. Both
    leave out the correlation between a coadd's pixels.

    Parameters
    ----------
    batch : CutoutBatch
    bands : sequence of str
        Of its images.
    """
    size = batch.images.shape[-1]
    spread = np.full(batch.flux.shape, np.nan)
    damaged = np.array([missing.any() for missing in batch.missing], dtype=np.bool_)
    rows = np.flatnonzero(np.isfinite(batch.x))
    # Positions are rounded to a quarter of a pixel, so that few apertures serve all objects.
    places = np.stack(
        [np.rint(4 * batch.x[rows]) / 4, np.rint(4 * batch.y[rows]) / 4, batch.scale[rows]], axis=1
    )
    kinds, which = np.unique(places, axis=0, return_inverse=True)
    for number, (x, y, scale) in enumerate(kinds.tolist()):
        around = _aperture(size, APERTURE_DIAMETER / 2 / scale, x, y)
        some = rows[which.ravel() == number]
        spread[some] = _measure_rows(batch, some, damaged[some], around)
    if "i" in bands:
        i = list(bands).index("i")
        faint = batch.flux[:, i] < LOW_SNR * batch.flux_err[:, i]  # False for NaN
        batch.flags[faint] |= Flag.LOW_SNR
    flag_neighbours(batch, spread, damaged)


@lru_cache(maxsize=256)
def _aperture(size: int, radius: float, x: float, y: float) -> Aperture:
    """Make the aperture of `radius` pixels around the 0-based position (x, y).

    The overlap with a pixel is counted on 20 x 20 points inside it: its area is right to 1e-3.
    """
    pixel = np.arange(size)
    distance = np.hypot(pixel[None, :] - x, pixel[:, None] - y).ravel()
    columns, rows = (
        slice(max(0, math.floor(c - radius)), min(size, math.ceil(c + radius) + 1)) for c in (x, y)
    )
    offsets = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5
    fine_x = (pixel[columns, None] + offsets).ravel() - x
    fine_y = (pixel[rows, None] + offsets).ravel() - y
    inside = np.hypot(fine_x[None, :], fine_y[:, None]) <= radius
    shape = (len(pixel[rows]), _SUBPIXELS, len(pixel[columns]), _SUBPIXELS)
    weights = inside.reshape(shape).mean(axis=(1, 3))
    whole = min(x, y) - radius >= -0.5 and max(x, y) + radius <= size - 0.5
    background = (np.flatnonzero(distance > 2 * radius), np.flatnonzero(distance > radius + 1))
    return Aperture((rows, columns), weights, whole, background)


def _measure_rows(
    batch: CutoutBatch, rows: NDArray[np.intp], damaged: NDArray[np.bool_], around: Aperture
) -> NDArray[np.float64]:
    """Measure n objects that share an aperture; returns the background's scatter (n, B).

    `damaged` (n,) says whose pixels were not all measured.
    """
    box = (slice(None), *around.box)
    inside = around.weights.ravel() > 0
    weights = around.weights.ravel()[inside]  # (P,)

    def in_circle(pixels: NDArray[Any]) -> NDArray[Any]:
        """(N, B, S, S) -> (n, B, P)."""
        cut: NDArray[Any] = pixels[(rows, *box)]
        return cut.reshape(len(rows), pixels.shape[1], -1)[:, :, inside]

    flux = in_circle(batch.images).astype(np.float64) @ weights
    if not around.whole:
        flux[:] = np.nan
    flux[in_circle(batch.missing).any(axis=2)] = np.nan
    variance = in_circle(batch.variance)
    known = (variance > 0).all(axis=2)
    spread = background_scatter(batch, rows, damaged, around.background)
    error = np.where(
        known,
        np.sqrt(variance.astype(np.float64) @ weights**2),
        spread * math.sqrt(float((weights**2).sum())),
    )
    batch.flux[rows], batch.flux_err[rows] = flux * NJY_PER_FLUX, error * NJY_PER_FLUX
    saturated = in_circle(batch.saturated).any(axis=(1, 2))
    batch.flags[rows[saturated]] |= Flag.SATURATED
    return spread


def background_scatter(
    batch: CutoutBatch,
    rows: NDArray[np.intp],
    damaged: NDArray[np.bool_],
    background: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> NDArray[np.float64]:
    """Robust scatter of the background's pixels, 1.4826 MAD, of some objects: (n, B).

    Of the pixels that were measured in all bands that are there, those of the first of two sets
    that has enough. NaN where neither has 50, where a band is missing or has no scatter.

    Parameters
    ----------
    batch : CutoutBatch
    rows : ndarray (n,)
    damaged : ndarray (n,) of bool
        Whose pixels were not all measured.
    background : tuple of ndarray
        Flat indices of pixels.
    """
    bands = batch.images.shape[1]
    flat = batch.images.reshape(len(batch.images), bands, -1)
    spread = np.full((len(rows), bands), np.nan)
    whole = rows[~damaged]
    if len(whole) and (places := _some_of(background)) is not None:
        pixels = flat[whole[:, None, None], np.arange(bands)[:, None], places]
        spread[~damaged] = _scatter(pixels)
    for number in np.flatnonzero(damaged):
        lost = batch.missing[rows[number]].reshape(bands, -1)
        alive = ~lost.all(axis=1)
        measured = ~lost[alive].any(axis=0)
        some = _some_of(tuple(places[measured[places]] for places in background))
        if some is not None:
            spread[number, alive] = _scatter(flat[rows[number]][:, some])[alive]
    spread[spread == 0] = np.nan
    return spread


def _some_of(background: tuple[NDArray[np.intp], ...]) -> NDArray[np.intp] | None:
    """Return the first set that is large enough, thinned out; None where none is."""
    for places in background:
        if len(places) >= _MIN_PIXELS:
            # They tell the scatter to 5 per cent, and more take several times longer to sort.
            return places[:: -(-len(places) // _ENOUGH_PIXELS)]
    return None


def _scatter(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """1.4826 MAD along the last axis, with upper medians.

    Of sorted values, those nearest to the median stand side by side: the MAD is the least, over
    all runs of just more than half of them, of the larger distance from the median to its ends.
    """
    ordered = np.sort(pixels, axis=-1)
    half = ordered.shape[-1] // 2
    median = ordered[..., half, None]
    below = median - ordered[..., : ordered.shape[-1] - half]
    above = ordered[..., half:] - median
    mad: NDArray[np.float32] = np.maximum(below, above).min(axis=-1)
    return _SIGMA_PER_MAD * mad
