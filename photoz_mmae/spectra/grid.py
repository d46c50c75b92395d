"""DESI's wavelength grid, the two normalisations of a spectrum, and pooling to fewer pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[Any]


def desi_wave(pixels: int) -> Float:
    """Centres of the first pixels of DESI's coadds, Angstrom, vacuum, observed: (P,)."""
    return 3600 + 0.8 * np.arange(pixels)


DESI_WAVE: Float = desi_wave(7783)
"""Pixel centres of the spectra of GalaxiesML-Spectra, Angstrom, vacuum, observed (7783,)."""

POOL = 30
"""Pixels averaged into one: 7783 -> 259, the last 13 are dropped."""

POOLED_PIXELS = len(DESI_WAVE) // POOL

_SPIKE = 100  # in units of the rms: `paper_normalise` replaces end pixels beyond it
_MIN_SIGNIFICANCE = 3  # of the mean flux, below which nothing can be divided by it


def pooled_wave(wave: Float = DESI_WAVE, factor: int = POOL) -> NDArray[np.float64]:
    """Centres of the pooled pixels, (P,) -> (P // factor,)."""
    return np.asarray(_blocks(wave[None, :], factor).mean(axis=2, dtype=np.float64)[0])


def paper_normalise(flux: Float, ivar: Float) -> NDArray[np.float32]:
    """Normalise as the published MMAE: weighted mean 0, weighted rms 1, invalid pixels 0.

    A pixel is invalid where ivar is not positive, flux or ivar is not finite, or flux is exactly
    0. A first or last pixel that ends up beyond 100 rms is replaced by the median, as there.

    Parameters
    ----------
    flux, ivar : (N, P) float

    Returns
    -------
    (N, P) float32
        All zeros for a spectrum without a valid pixel.

    References
    ----------
    arXiv:2510.22527 and its code (astrodatalab/himes_2025).
    """
    valid, weight = _weights(flux, ivar)
    valid &= flux != 0
    weight = np.where(valid, weight, 0)
    flux = np.where(valid, flux, 0)
    total = np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    centred = np.where(valid, flux - (weight * flux).sum(axis=1, keepdims=True) / total, 0)
    rms = np.sqrt((weight * centred**2).sum(axis=1, keepdims=True) / total)
    normalised = centred / np.where(rms > 0, rms, 1)
    for end in (0, -1):
        for row in np.flatnonzero(np.abs(normalised[:, end]) > _SPIKE):
            normalised[row, end] = np.median(normalised[row, valid[row]])
    return normalised.astype(np.float32)


def relative_to_mean(
    flux: Float, ivar: Float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Divide a spectrum by its inverse-variance weighted mean; nothing is subtracted.

    Ratios to the continuum (breaks, equivalent widths, slopes) survive this normalisation.

    Parameters
    ----------
    flux, ivar : (N, P) float

    Returns
    -------
    flux : (N, P) float32
        Weighted mean 1; invalid pixels (ivar not positive, or not finite) are 0.
    ivar : (N, P) float32
        Of that flux; 0 at invalid pixels.
    valid : (N,) bool
        False where the mean is not positive at 3 sigma; flux and ivar of that row are all 0.
    """
    valid_pixel, weight = _weights(flux, ivar)
    flux = np.where(valid_pixel, flux, 0)
    total = weight.sum(axis=1)
    summed = (weight * flux).sum(axis=1)
    # mean = summed / total with error 1 / sqrt(total)
    valid = (total > 0) & (summed > _MIN_SIGNIFICANCE * np.sqrt(total))
    mean = np.divide(summed, total, out=np.ones_like(total), where=valid)[:, None]
    keep = valid[:, None]
    relative = np.where(keep, flux / mean, 0).astype(np.float32)
    return relative, np.where(keep, weight * mean**2, 0).astype(np.float32), valid


def pool_mean(flux: Float, factor: int = POOL) -> NDArray[np.float32]:
    """Pool by the plain mean of each block, as the published MMAE does after normalising.

    Invalid pixels count as the 0 they were set to. (N, P) -> (N, P // factor).
    """
    return np.asarray(_blocks(flux, factor).mean(axis=2, dtype=np.float64), dtype=np.float32)


def pool_weighted(
    flux: Float, ivar: Float, factor: int = POOL
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pool by the inverse-variance weighted mean of each block.

    Parameters
    ----------
    flux, ivar : (N, P) float
        Pixels with ivar not positive, or not finite, do not count.

    Returns
    -------
    flux, ivar : (N, P // factor) float32
        ivar is the sum over the block; both are 0 where no pixel of the block is valid.
    """
    valid, weight = _weights(flux, ivar)
    weight = _blocks(weight, factor)
    total = weight.sum(axis=2)
    summed = (weight * _blocks(np.where(valid, flux, 0), factor)).sum(axis=2)
    mean = np.divide(summed, total, out=np.zeros_like(total), where=total > 0)
    return mean.astype(np.float32), total.astype(np.float32)


def _weights(flux: Float, ivar: Float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which pixels are valid, and their weights (0 where not), both (N, P)."""
    valid = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
    return valid, np.where(valid, ivar, 0).astype(np.float64)


def _blocks(values: Float, factor: int) -> Float:
    """(N, P) -> (N, P // factor, factor); the last incomplete block is dropped."""
    n, pixels = values.shape
    blocks = pixels // factor
    return values[:, : blocks * factor].reshape(n, blocks, factor)
