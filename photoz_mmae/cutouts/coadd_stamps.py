"""Objects on coadds to images of the model's size: each band of a patch read once, in strips.

The rows of a band's image that its objects lie on are read in strips of bounded height, from the
bottom up, and the stamps are cut out of them in memory; of a tile-compressed image only the tiles
of these rows are decoded. Stamps are placed as those of cutouts are (`placing.corner`), and the
same flags are set, but OFF_CENTRE: the object's place is given.

READ_ERROR: no coadd covers the object, or one of the patch's files cannot be read.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted
from photoz_mmae.cutouts.coadd_band import CoaddBand
from photoz_mmae.cutouts.companions import MaskBits, variance_of, where
from photoz_mmae.cutouts.fill_row import CAUTION_RADIUS, SCALE_TOLERANCE, around, require_bands
from photoz_mmae.cutouts.headers import Damaged, open_regular, reader
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.pixels import MAX_BYTES, Unusable
from photoz_mmae.cutouts.placing import MAX_FLUX, corners, is_pixel_scale, place
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.wcs import read_wcs
from photoz_mmae.flags import Flag

STRIP = 1024
"""Rows in memory at once at most; of an image 4,000 pixels wide 16 MB."""

_BLOCK = 32
"""Stamps cut at once: they stay in the cache."""


def fill_from_coadds(
    batch: CutoutBatch,
    rows: Sequence[int],
    sources: Sequence[Source],
    wanted: Wanted,
    positions: Positions | None,
) -> None:
    """Cut objects out of coadds into rows of a batch.

    Parameters
    ----------
    batch : CutoutBatch
        Filled in place.
    rows : sequence of int
        Where each source belongs.
    sources : sequence of Source
        Of kind `coadd`, with `object_id`, `ra` and `dec`; `bands` is empty where none covers it.
    wanted : Wanted
    positions : callable or None
        Not asked: the sources say where they are.
    """
    patches: dict[tuple[tuple[str, ...], str], list[int]] = {}
    for row, source in zip(rows, sources, strict=True):
        batch.object_id[row] = source.object_id or ""
        batch.ra[row], batch.dec[row] = source.ra, source.dec
        patches.setdefault((source.files, source.bands), []).append(row)
    for (files, bands), members in patches.items():
        objects = np.array(members)
        if bands:
            _fill_patch(batch, objects, dict(zip(bands, files, strict=True)), wanted)
        else:
            _give_up(batch, objects, f"{printable(files[0])}: no coadd covers it")


def _fill_patch(
    batch: CutoutBatch, rows: NDArray[np.intp], files: dict[str, str], wanted: Wanted
) -> None:
    """Cut the objects of one patch out of all its bands."""
    there = [band for band in wanted.bands if band in files]
    leader = "i" if "i" in there else there[0]
    alive = np.zeros((len(rows), len(wanted.bands)), bool)
    batch.written[rows] = False
    absent = [k for k, band in enumerate(wanted.bands) if band not in files]
    for k in absent:
        batch.images[rows, k], batch.missing[rows, k] = 0, True
    for band in there:
        k = wanted.bands.index(band)
        try:
            descriptor = open_regular(files[band])
            try:
                image = CoaddBand.find(reader(descriptor))
                alive[:, k] = _fill_band(batch, rows, k, image, wanted, band == leader)
            finally:
                os.close(descriptor)
        except (OSError, Damaged, Unusable) as error:
            reason = printable(str(getattr(error, "strerror", None) or error))
            _give_up(batch, rows, f"{printable(files[band])}: {reason}")
            return
        except Exception as error:  # one patch's oddity must never cost others their rows
            _give_up(batch, rows, f"{printable(files[band])}: {type(error).__name__}: {error}")
            return
    touched = batch.flags[rows] & int(Flag.PADDED | Flag.NONFINITE_PIXELS) != 0
    batch.written[rows] |= touched | ~alive.all(axis=1)
    batch.bands_used[rows] = alive @ (1 << np.arange(len(wanted.bands)))
    for n in np.flatnonzero(~alive.all(axis=1)):
        try:
            batch.flags[rows[n]] |= require_bands(wanted, there, alive[n])
        except Unusable as error:
            batch.flags[rows[n]] |= error.flag
            batch.reason[rows[n]] = error.reason


def _give_up(batch: CutoutBatch, rows: NDArray[np.intp], reason: str) -> None:
    batch.images[rows] = 0
    batch.missing[rows] = True
    batch.written[rows] = True
    batch.flags[rows] = Flag.READ_ERROR
    batch.x[rows] = batch.y[rows] = np.nan
    for row in rows:
        batch.reason[row] = reason


def _fill_band(
    batch: CutoutBatch,
    rows: NDArray[np.intp],
    k: int,
    band: CoaddBand,
    wanted: Wanted,
    is_leader: bool,
) -> NDArray[np.bool_]:
    """Cut n objects of one patch out of one band, the model's k-th; (n,) which are alive in it."""
    wcs = read_wcs(band.header)
    if wcs is None:
        raise Damaged("no WCS in its header any more")
    if not is_pixel_scale(wcs.pixel_scale):
        raise Damaged(f"pixels of {wcs.pixel_scale:.3g} arcsec by its WCS")
    x, y = wcs.to_pixels(batch.ra[rows], batch.dec[rows])
    if not np.isfinite(x + y).all():
        raise Damaged("its WCS is not what it was when its objects were looked for")
    left, bottom = corners(x, wanted.size), corners(y, wanted.size)
    if is_leader:
        batch.x[rows], batch.y[rows] = x - left, y - bottom
        if abs(wcs.pixel_scale / wanted.pixel_scale - 1) > SCALE_TOLERANCE:
            batch.flags[rows] |= Flag.OTHER_PIXEL_SCALE
            batch.scale[rows] = wcs.pixel_scale
    if not band.has_zero_point:
        batch.flags[rows] |= Flag.NO_ZERO_POINT
    radius = CAUTION_RADIUS / wcs.pixel_scale
    height, width = band.header.plain_shape
    most = max(wanted.size, min(STRIP, MAX_BYTES // (8 * width)))
    alive = np.zeros(len(rows), bool)
    for first, last, members in _strips(bottom, wanted.size, height, most):
        pixels = band.rows(band.header, first, last)
        own, at = rows[members], (left[members], bottom[members] - first)
        alive[members] = _cut(batch, own, k, pixels, band, *at)
        if band.mask is not None:
            mask = band.rows(band.mask, first, last)
            targets = (x[members] - left[members], y[members] - bottom[members])
            _cut_mask(batch, own, k, mask, band.bits, *at, targets, radius)
        if band.variance is not None:
            _cut_variance(batch, own, k, band.rows(band.variance, first, last), band, *at)
        if band.mask is not None or band.variance is not None:
            alive[members] = ~batch.missing[own, k].all(axis=(1, 2))
    return alive


def _strips(
    bottom: NDArray[np.intp], size: int, height: int, most: int
) -> Iterator[tuple[int, int, NDArray[np.intp]]]:
    """Yield first and last row (exclusive) of strips of `most` rows, and the objects on each."""
    order = np.argsort(bottom, kind="stable")
    lows = np.clip(bottom[order], 0, height).tolist()
    highs = np.clip(bottom[order] + size, 0, height).tolist()
    start = 0
    while start < len(order):
        first, last = lows[start], highs[start]
        stop = start + 1
        while stop < len(order) and lows[stop] <= last and highs[stop] - first <= most:
            last = highs[stop]
            stop += 1
        yield first, last, order[start:stop]
        start = stop


def _cut(
    batch: CutoutBatch,
    rows: NDArray[np.intp],
    k: int,
    pixels: NDArray[Any],
    band: CoaddBand,
    left: NDArray[np.intp],
    bottom: NDArray[np.intp],
) -> NDArray[np.bool_]:
    """Cut n stamps that begin at (left, bottom) out of rows of a band; (n,) which are alive."""
    size = batch.images.shape[-1]
    height, width = pixels.shape
    whole = (left >= 0) & (left + size <= width) & (bottom >= 0) & (bottom + size <= height)
    alive = np.zeros(len(rows), bool)
    # As `place` computes: float32 stays float32, all else is scaled in float64.
    single = pixels.dtype.kind == "f" and pixels.dtype.itemsize == 4
    kind = np.dtype(np.float32 if single else np.float64)
    for some, cut in _blocks(pixels, kind, np.flatnonzero(whole), left, bottom, size):
        with np.errstate(over="ignore", invalid="ignore"):
            if band.factor != 1:
                np.multiply(cut, kind.type(band.factor), out=cut)
            flat = cut.reshape(len(some), -1)
            low, high = flat.min(axis=1), flat.max(axis=1)  # NaN where a pixel is NaN
            fine = (low >= -MAX_FLUX) & (high <= MAX_FLUX) & (low < high)
        for n in np.flatnonzero(fine).tolist():
            batch.images[rows[some[n]], k] = cut[n]
        alive[some[fine]] = True
        for n in np.flatnonzero(fine & (high >= band.saturation)).tolist():
            _mark_saturated(batch, rows[some[n]], k, band)
    # At the edge, with pixels that are no numbers, or dead.
    for n in np.flatnonzero(~alive).tolist():
        row, this = rows[n], slice(k, k + 1)
        images, missing = batch.images[row, this], batch.missing[row, this]
        placed = place(pixels[None], int(left[n]), int(bottom[n]), band.factor, images, missing)
        batch.flags[row] |= Flag.PADDED * placed.padded | Flag.NONFINITE_PIXELS * placed.nonfinite
        alive[n] = not placed.dead
        if placed.highest >= band.saturation:
            _mark_saturated(batch, row, k, band)
    return alive


def _mark_saturated(batch: CutoutBatch, row: int, k: int, band: CoaddBand) -> None:
    batch.saturated[row, k] = batch.images[row, k] >= np.float32(band.saturation)
    batch.written[row] = True


def _cut_mask(
    batch: CutoutBatch,
    rows: NDArray[np.intp],
    k: int,
    mask: NDArray[Any],
    bits: MaskBits,
    left: NDArray[np.intp],
    bottom: NDArray[np.intp],
    targets: tuple[NDArray[np.float64], NDArray[np.float64]],
    radius: float,
) -> None:
    """Bring the mask of n stamps that `_cut` has filled to the batch; `radius` is for caution."""
    size = batch.images.shape[-1]
    every = bits.missing | bits.saturated | bits.caution
    kind = mask.dtype.newbyteorder("=")
    for some, cut in _blocks(mask, kind, np.arange(len(rows)), left, bottom, size):
        for n in np.flatnonzero(where(cut, every).any(axis=(1, 2))).tolist():
            row, pixels = rows[some[n]], cut[n]
            unmeasured = where(pixels, bits.missing)
            caution = where(pixels, bits.caution)
            near = around(targets[0][some[n]], targets[1][some[n]], radius)
            batch.saturated[row, k] |= where(pixels, bits.saturated)
            batch.missing[row, k] |= unmeasured
            batch.images[row, k][unmeasured] = 0
            batch.written[row] = True
            if unmeasured.any() or caution[near].any():
                batch.flags[row] |= Flag.MASKED_PIXELS


def _cut_variance(
    batch: CutoutBatch,
    rows: NDArray[np.intp],
    k: int,
    values: NDArray[Any],
    band: CoaddBand,
    left: NDArray[np.intp],
    bottom: NDArray[np.intp],
) -> None:
    """Bring the variance of n stamps that `_cut` has filled to the batch."""
    size = batch.images.shape[-1]
    for some, cut in _blocks(
        values, np.dtype(np.float64), np.arange(len(rows)), left, bottom, size
    ):
        for n, row in enumerate(rows[some]):
            variance, infinite = variance_of(cut[n], band.power, band.factor)
            missing = batch.missing[row, k]
            missing |= infinite
            variance[missing] = 0
            batch.variance[row, k] = variance
            batch.images[row, k][missing] = 0
    batch.written[rows] = True


def _blocks(
    pixels: NDArray[Any],
    kind: np.dtype[Any],
    numbers: NDArray[np.intp],
    left: NDArray[np.intp],
    bottom: NDArray[np.intp],
    size: int,
) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
    """Yield the numbers of a few stamps and the stamps (n, S, S); 0 outside the image."""
    stamps = np.empty((_BLOCK, size, size), kind)
    height, width = pixels.shape
    for start in range(0, len(numbers), _BLOCK):
        some = numbers[start : start + _BLOCK]
        for n, x, y in zip(range(_BLOCK), left[some].tolist(), bottom[some].tolist(), strict=False):
            if 0 <= x <= width - size and 0 <= y <= height - size:
                stamps[n] = pixels[y : y + size, x : x + size]
                continue
            stamps[n] = 0
            rows = slice(max(0, y), max(0, min(height, y + size)))
            columns = slice(max(0, x), max(0, min(width, x + size)))
            down = slice(rows.start - y, rows.stop - y)
            along = slice(columns.start - x, columns.stop - x)
            if rows.start < rows.stop and columns.start < columns.stop:
                stamps[n, down, along] = pixels[rows, columns]
        yield some, stamps[: len(some)]
