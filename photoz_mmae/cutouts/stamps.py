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
    """Put a block of stamps into rows of a batch that were not touched before.

    Parameters
    ----------
    batch : CutoutBatch
    rows : slice
        Of the n objects.
    stamps : ndarray (n, C, H, W)
        Of any number type and byte order.
    factor : ndarray (n, C)
        Brings the pixels to flux at zero point 27.
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
    is_single = stamps.dtype.kind == "f" and stamps.dtype.itemsize == 4
    values: NDArray[Any] = images if is_single else np.zeros(images.shape)
    if cut.plain:
        inner = values
        inner[...] = stamps
    else:
        missing[...] = True
        inner = values[:, :, *cut.box]
        for k, plane in cut.planes:
            inner[:, k] = stamps[:, plane, *cut.inside]
    if batch.raw is not None:
        batch.raw.pixels[rows] = values
    scale = np.zeros((count, bands))
    product_single = np.zeros((count, bands), bool)
    for k, plane in cut.planes:
        scale[:, k], product_single[:, k] = factor[:, plane], single[:, plane]
        if batch.raw is not None:
            batch.raw.factor[rows, k] = factor[:, plane]
            batch.raw.single[rows, k] = single[:, plane]
    absent = np.isnan(scale)
    scale[absent] = 1
    with np.errstate(over="ignore", invalid="ignore"):
        if is_single:
            if (scale != 1).any():
                inner *= scale.astype(np.float32)[:, :, None, None]
        else:
            inner *= np.where(product_single, 1, scale)[:, :, None, None]
            chosen = np.nonzero(product_single & (scale != 1))
            factors = scale[chosen].astype(np.float32)[:, None, None]
            inner[chosen] = inner[chosen].astype(np.float32) * factors
        alive, nonfinite = _clean(inner, missing[:, :, *cut.box], cut.plain)
        if not is_single:
            images[...] = values
    return alive & ~absent, nonfinite & ~absent


def _clean(
    pixels: NDArray[Any], missing: NDArray[np.bool_], untouched: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Set what was not measured to zero; tell which bands are alive, and which not all measured.

    Parameters
    ----------
    pixels : ndarray (n, B, h, w)
    missing : ndarray (n, B, h, w) of bool
        Set; all of one value before, which is False when `untouched`.
    """
    if not pixels.size:
        nothing = np.zeros(pixels.shape[:2], bool)
        return nothing, nothing
    low, high = pixels.min(axis=(2, 3)), pixels.max(axis=(2, 3))  # NaN where a pixel is
    whole = (low >= -MAX_FLUX) & (high <= MAX_FLUX)
    alive = whole & (low < high)
    if alive.all():
        if not untouched:
            missing[...] = False
        return alive, ~whole
    odd = np.nonzero(~whole)
    some = pixels[odd]  # (m, h, w)
    finite = np.abs(some) <= MAX_FLUX
    lowest = np.where(finite, some, np.inf).min(axis=(1, 2))
    alive[odd] = lowest < np.where(finite, some, -np.inf).max(axis=(1, 2))
    some[~finite] = 0
    pixels[odd] = some
    missing[odd] = ~finite
    good = np.nonzero(whole & alive)
    missing[good] = False
    dead = np.nonzero(~alive)
    pixels[dead] = 0
    missing[dead] = True
    return alive, ~whole
