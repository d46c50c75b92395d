"""Stamps that lie in one array, cut around their targets, into the images of a batch.

What shards and HDF5 files have in common: (N, C, H, W) pixels, all of one size. A run of objects
is copied, brought to zero point 27 and searched for what was not measured, block by block, while
the block is in the processor's cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.placing import MAX_FLUX, overlap

BLOCK = 8
"""Objects (640 KB of 5 x 64 x 64 float32) that are worked on at a time."""


@dataclass(frozen=True)
class Cut:
    """Which pixels of stamps of one size are in the model's images, and where.

    Attributes
    ----------
    planes : tuple of (int, int)
        Band of the model, plane of the stamps; bands that the stamps do not have are left out.
    inside, box : tuple of slice
        Rows and columns of the stamps, and the same of the model's images.
    plain : bool
        The stamps are the model's images: same bands, same size.
    """

    planes: tuple[tuple[int, int], ...]
    inside: tuple[slice, slice]
    box: tuple[slice, slice]
    plain: bool


def make_cut(
    stamp_bands: Sequence[str],
    shape: tuple[int, int],
    bands: Sequence[str],
    size: int,
    left: int,
    bottom: int,
) -> Cut:
    """Return how stamps become the model's images.

    Parameters
    ----------
    stamp_bands, bands : sequence of str
        Of the stamps' planes, and of the model.
    shape : tuple of int
        Height and width of the stamps.
    size : int
        Side of the model's images.
    left, bottom : int
        The stamps' pixel that becomes pixel (0, 0); may lie outside.
    """
    inside, box = overlap(shape, left, bottom, size)
    planes = tuple((k, stamp_bands.index(b)) for k, b in enumerate(bands) if b in stamp_bands)
    same_size = shape == (size, size) and left == bottom == 0
    return Cut(planes, inside, box, same_size and list(stamp_bands) == list(bands))


def put_stamps(
    batch: CutoutBatch,
    rows: slice,
    stamps: NDArray[Any],
    factor: NDArray[np.float64],
    single: NDArray[np.bool_],
    cut: Cut,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Put stamps into rows of a batch of which nothing is missing yet.

    Parameters
    ----------
    batch : CutoutBatch
    rows : slice
        Of the n objects.
    stamps : ndarray (n, C, H, W)
        Of any number type and byte order; may be mapped from a file.
    factor : ndarray (n, C)
        Brings the pixels to flux at zero point 27; NaN: no such band.
    single : ndarray (n, C) of bool
        Where the product is to be taken in float32, as it always is where the stamps are float32.
    cut : Cut

    Returns
    -------
    alive : ndarray (n, B) of bool
        The band holds an image: finite pixels that differ. Of others nothing was measured.
    nonfinite : ndarray (n, B) of bool
        A pixel of the stamp is NaN, infinite or absurdly large.
    """
    images, missing = batch.images[rows], batch.missing[rows]
    count, bands = images.shape[:2]
    scale, in_single = np.full((count, bands), np.nan), np.zeros((count, bands), bool)
    for k, plane in cut.planes:
        scale[:, k], in_single[:, k] = factor[:, plane], single[:, plane]
    if batch.raw is not None:
        batch.raw.factor[rows], batch.raw.single[rows] = scale, in_single
    there = ~np.isnan(scale)
    scale[~there] = 1
    scaled = bool((scale != 1).any())
    is_float32 = stamps.dtype.kind == "f" and stamps.dtype.itemsize == 4
    in_single |= is_float32
    if not cut.plain:
        images[...], missing[...] = 0, True
    alive, whole = np.zeros((count, bands), bool), np.zeros((count, bands), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, count, BLOCK):
            block = slice(start, min(start + BLOCK, count))
            target = images[block]
            values = target if is_float32 else np.zeros(target.shape)
            inner = _copy(stamps[block], values, cut)
            if batch.raw is not None:
                batch.raw.pixels[rows][block] = values
            if scaled:
                _scale(inner, scale[block], in_single[block])
            alive[block], whole[block] = _look(inner)
            if not alive[block].all():
                _clean(inner, missing[block][:, :, *cut.box], alive[block], whole[block])
            elif not cut.plain:
                missing[block][:, :, *cut.box] = False
            if not is_float32:
                target[...] = values
    absent = np.nonzero(~there)
    images[absent], missing[absent] = 0, True
    batch.written[rows] = ~(alive & whole & there).all(axis=1) | (not cut.plain)
    return alive & there, ~whole & there


def _copy(stamps: NDArray[Any], values: NDArray[Any], cut: Cut) -> NDArray[Any]:
    """Copy the part that is wanted; returns where it is, (n, B, h, w)."""
    if cut.plain:
        np.copyto(values, stamps)
        return values
    inner = values[:, :, *cut.box]
    for k, plane in cut.planes:
        inner[:, k] = stamps[:, plane, *cut.inside]
    return inner


def _scale(pixels: NDArray[Any], factor: NDArray[np.float64], in_single: NDArray[np.bool_]) -> None:
    """Bring pixels to zero point 27, each in the precision that it is to be done in."""
    if pixels.dtype == np.float32:
        pixels *= factor.astype(np.float32)[:, :, None, None]
        return
    pixels *= np.where(in_single, 1, factor)[:, :, None, None]
    chosen = np.nonzero(in_single & (factor != 1))
    pixels[chosen] = (
        pixels[chosen].astype(np.float32) * factor[chosen].astype(np.float32)[:, None, None]
    )


def _look(pixels: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which planes of (n, B, h, w) hold only measured pixels, not all alike; and only such."""
    if not pixels.size:
        nothing = np.zeros(pixels.shape[:2], bool)
        return nothing, nothing
    if pixels.flags.c_contiguous:  # numpy is quicker along one axis
        pixels = pixels.reshape(*pixels.shape[:2], -1)
    axes = tuple(range(2, pixels.ndim))
    low, high = pixels.min(axis=axes), pixels.max(axis=axes)  # NaN where a pixel is
    whole = (low >= -MAX_FLUX) & (high <= MAX_FLUX)
    return whole & (low < high), whole


def _clean(
    pixels: NDArray[Any],
    missing: NDArray[np.bool_],
    alive: NDArray[np.bool_],
    whole: NDArray[np.bool_],
) -> None:
    """Set what was not measured to zero, and say so in `missing`; planes may come to life.

    Parameters
    ----------
    pixels, missing : ndarray (n, B, h, w)
    alive, whole : ndarray (n, B) of bool
        As `_look` gives them; `alive` is completed.
    """
    finite = np.abs(pixels) <= MAX_FLUX
    np.logical_not(finite, out=missing)
    np.copyto(pixels, 0, where=missing)
    # Two neighbours in the middle that differ are enough; else every pixel is looked at.
    height, width = pixels.shape[2:]
    pair = (..., height // 2, slice(width // 2 - 1, width // 2 + 1))
    if width > 1:
        alive |= ~whole & finite[pair].all(axis=2) & (np.ptp(pixels[pair], axis=2) > 0)
    for n, k in zip(*np.nonzero(~whole & ~alive), strict=True):
        measured = pixels[n, k][finite[n, k]]
        alive[n, k] = measured.size > 0 and measured.min() < measured.max()
    dead = np.nonzero(~alive)
    pixels[dead] = 0
    missing[dead] = True
