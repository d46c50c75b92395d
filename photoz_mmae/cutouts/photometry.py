"""Flux in a circular aperture and its error from the background's scatter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.flags import Flag
from photoz_mmae.surveys import NJY_PER_FLUX

APERTURE_DIAMETER = 2.0
"""arcsec."""

LOW_SNR = 5.0
"""Signal to noise in the i-band aperture below which an object is flagged."""

_SUBPIXELS = 20
_MIN_PIXELS = 50
_ENOUGH_PIXELS = 1024
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
    """Measure all objects of a batch: sets `flux`, `flux_err` and flags.

    Parameters
    ----------
    batch : CutoutBatch
    bands : sequence of str
        Of its images.
    """
    size = batch.images.shape[-1]
    for row in np.flatnonzero(np.isfinite(batch.x)):
        # Positions are rounded to a quarter of a pixel, so that few apertures serve all objects.
        x, y = (round(4 * value) / 4 for value in (batch.x[row], batch.y[row]))
        around = _aperture(size, APERTURE_DIAMETER / 2 / float(batch.scale[row]), x, y)
        flux, error = measure(batch.images[row], ~batch.missing[row], around)
        batch.flux[row], batch.flux_err[row] = flux * NJY_PER_FLUX, error * NJY_PER_FLUX
        if "i" in bands and flux[bands.index("i")] < LOW_SNR * error[bands.index("i")]:
            batch.flags[row] |= Flag.LOW_SNR


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


def measure(
    images: NDArray[np.float32], valid: NDArray[np.bool_], around: Aperture
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure the flux in an aperture and its error, per band.

    The error is the background's robust scatter, 1.4826 MAD of the pixels beyond two radii (one,
    where too few are left), times sqrt(sum of squared weights): it leaves out the object's own
    photon noise and the correlation between a coadd's pixels. The sky is taken to be subtracted.

    Parameters
    ----------
    images, valid : ndarray (B, S, S)
        Pixels, and whether each was measured (not padding, not NaN).
    around : Aperture

    Returns
    -------
    flux, error : ndarray (B,)
        In the images' unit. NaN flux where a pixel of the aperture was not measured; NaN error
        where the background has fewer than 50 pixels or no scatter.
    """
    bands, size = images.shape[0], images.shape[-1]
    weights = around.weights
    flux = np.einsum("byx,yx->b", images[(slice(None), *around.box)], weights, dtype=np.float64)
    missing = (~valid[(slice(None), *around.box)] & (weights > 0)).any(axis=(1, 2))
    flux[missing | (not around.whole)] = np.nan
    error = np.full(bands, np.nan)
    alive = np.array([band.any() for band in valid])
    measured = valid[alive].reshape(-1, size * size).all(axis=0)
    for background in around.background:
        places = background if measured.all() else background[measured[background]]
        if len(places) >= _MIN_PIXELS:
            # The median of a thousand pixels is as good as one needs, and quick.
            places = places[:: max(1, len(places) // _ENOUGH_PIXELS)]
            pixels = images.reshape(bands, -1)[:, places]
            spread = _SIGMA_PER_MAD * _median(np.abs(pixels - _median(pixels)[:, None]))
            spread[~alive | (spread == 0)] = np.nan
            error = spread * math.sqrt(float((weights**2).sum()))
            break
    return flux, error


def _median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (upper) median along the last axis."""
    middle = values.shape[-1] // 2
    median: NDArray[np.float32] = np.partition(values, middle, axis=-1)[..., middle]
    return median
