"""N objects as a model takes them: images of one size, with what is known of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = Callable[[Sequence[str]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Ids of n objects -> their right ascension and declination, deg, (n,) each; NaN where unknown."""


@dataclass(frozen=True)
class Wanted:
    """What a model takes of each object.

    Attributes
    ----------
    bands : tuple of str
        In the model's order, one letter each, at most eight.
    size : int
        Side S of its images, pixels.
    pixel_scale : float
        arcsec.
    resample : bool
        Whether images of another pixel scale are resampled to the model's.
    every_band : bool
        Whether the model cannot do without one of its bands.
    raw : bool
        Whether the pixels are wanted as the files have them, too (`CutoutBatch.raw`).
    """

    bands: tuple[str, ...]
    size: int
    pixel_scale: float
    resample: bool = False
    every_band: bool = True
    raw: bool = False


@dataclass
class RawPixels:
    """Pixels of N objects in their files' own units, where they are in the images of the batch.

    Attributes
    ----------
    pixels : ndarray (N, B, S, S) of float64
        Of any value where the batch says `missing`.
    factor : ndarray (N, B) of float64
        Brings them to flux at zero point 27; NaN where the band is not there.
    single : ndarray (N, B) of bool
        The file holds float32: the product with `factor` is to be taken in float32.
    scale : ndarray (N,) of float64
        Of the file's image, arcsec per pixel; NaN where it does not tell.
    """

    pixels: NDArray[np.float64]
    factor: NDArray[np.float64]
    single: NDArray[np.bool_]
    scale: NDArray[np.float64]


@dataclass
class CutoutBatch:
    """N objects in the order of their sources; nothing is ever dropped.

    Attributes
    ----------
    images : ndarray (N, B, S, S) of float32
        Flux at AB zero point 27; 0 where `missing`.
    missing : ndarray (N, B, S, S) of bool
        Not measured: padding, not finite, absurdly large, masked as bad by the survey, or of a
        band that is not there.
    saturated : ndarray (N, B, S, S) of bool
        By the survey's mask, or above the header's SATURATE.
    variance : ndarray (N, B, S, S) of float32
        Of the pixels, flux at zero point 27, squared; 0 where the file does not tell it.
    x, y : ndarray (N,) of float64
        Of the target in the image, pixels from 0; NaN where there is no image.
    scale : ndarray (N,) of float64
        Of the image, arcsec per pixel.
    object_id, source : list of str
        `source` is the (first) file's path, undecodable bytes escaped.
    ra, dec : ndarray (N,) of float64
        Of the target, deg; NaN where unknown.
    flags : ndarray (N,) of int32
        Bits of `photoz_mmae.flags.Flag`.
    bands_used : ndarray (N,) of uint8
        Bit k is set when the model's k-th band holds an image.
    flux, flux_err : ndarray (N, B) of float32
        nJy, as `photoz_mmae.cutouts.photometry` measures them; NaN until then.
    reason : list of str
        Why an object has no redshift; empty when it is fine.
    raw : RawPixels or None
        Where `Wanted.raw` asks for them.
    """

    images: NDArray[np.float32]
    missing: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    variance: NDArray[np.float32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    scale: NDArray[np.float64]
    object_id: list[str]
    source: list[str]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    flags: NDArray[np.int32]
    bands_used: NDArray[np.uint8]
    flux: NDArray[np.float32]
    flux_err: NDArray[np.float32]
    reason: list[str]
    raw: RawPixels | None = None


def empty_batch(source: list[str], wanted: Wanted) -> CutoutBatch:
    """Make a batch of objects of which nothing is known yet but their sources."""
    count, depth = len(source), len(wanted.bands)
    shape = (count, depth, wanted.size, wanted.size)
    return CutoutBatch(
        images=np.zeros(shape, np.float32),
        missing=np.zeros(shape, bool),
        saturated=np.zeros(shape, bool),
        variance=np.zeros(shape, np.float32),
        x=np.full(count, np.nan),
        y=np.full(count, np.nan),
        scale=np.full(count, wanted.pixel_scale),
        object_id=[""] * count,
        source=source,
        ra=np.full(count, np.nan),
        dec=np.full(count, np.nan),
        flags=np.zeros(count, np.int32),
        bands_used=np.zeros(count, np.uint8),
        flux=np.full((count, depth), np.nan, np.float32),
        flux_err=np.full((count, depth), np.nan, np.float32),
        reason=[""] * count,
        raw=RawPixels(
            pixels=np.zeros(shape),
            factor=np.full((count, depth), np.nan),
            single=np.zeros((count, depth), bool),
            scale=np.full(count, np.nan),
        )
        if wanted.raw
        else None,
    )
