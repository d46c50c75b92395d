"""Objects on coadds to images of the model's size: each band of a patch read once, in strips.

The rows of a band's image that its objects lie on are read in strips of bounded height, from the
bottom up, and the stamps are cut out of them in memory; of a tile-compressed image only the tiles
of these rows are decoded. Stamps are placed as those of cutouts are (`placing.corner`), and the
same flags are set, but OFF_CENTRE: the object's place is given.

READ_ERROR: no coadd covers the object, or one of the patch's files cannot be read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted
from photoz_mmae.cutouts.coadds import is_coadd_image
from photoz_mmae.cutouts.files import SCALE_TOLERANCE, require_bands
from photoz_mmae.cutouts.fits import Planes
from photoz_mmae.cutouts.headers import Damaged, Header, ReadAt, open_regular, reader, walk_headers
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.pixels import Unusable, read_rows
from photoz_mmae.cutouts.placing import MAX_FLUX, corners, flux_factor, place
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.wcs import read_wcs
from photoz_mmae.flags import Flag

STRIP = 1024
"""Rows in memory at once, about; of an image 4,000 pixels wide 16 MB."""

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
    absent = [k for k, band in enumerate(wanted.bands) if band not in files]
    for k in absent:
        batch.images[rows, k], batch.missing[rows, k] = 0, True
    for band in there:
        k = wanted.bands.index(band)
        try:
            descriptor = open_regular(files[band])
            try:
                image = _Band.find(reader(descriptor))
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
    batch.written[rows] = touched | ~alive.all(axis=1)
    batch.bands_used[rows] = alive @ (1 << np.arange(len(wanted.bands)))
    for n in np.flatnonzero(~alive.all(axis=1)):
        try:
            require_bands(wanted.bands, there, alive[n])
        except Unusable as error:
            batch.flags[rows[n]] |= error.flag
            batch.reason[rows[n]] = error.reason


def _give_up(batch: CutoutBatch, rows: NDArray[np.intp], reason: str) -> None:
    batch.images[rows] = 0
    batch.missing[rows] = True
    batch.flags[rows] = Flag.READ_ERROR
    batch.x[rows] = batch.y[rows] = np.nan
    for row in rows:
        batch.reason[row] = reason


@dataclass(frozen=True)
class _Band:
    """The image of one band of a patch, in an open file."""

    header: Header
    primary: Header
    read_at: ReadAt

    @classmethod
    def find(cls, read_at: ReadAt) -> Self:
        primary = None
        for header in walk_headers(read_at):
            primary = primary or header
            if is_coadd_image(header):
                if not read_at(header.data_start + header.data_size - 1, 1):
                    raise Damaged(f"truncated: the image of HDU {header.index} is not all there")
                return cls(header, primary, read_at)
        raise Damaged("no image in the file any more")

    def rows(self, first: int, last: int) -> NDArray[Any]:
        """Read rows from the first to the last (exclusive); there may be none."""
        if first == last:
            return np.zeros((0, self.header.plain_shape[1]), np.float32)
        return read_rows(self.header, slice(first, last), self.read_at)


def _fill_band(
    batch: CutoutBatch,
    rows: NDArray[np.intp],
    k: int,
    band: _Band,
    wanted: Wanted,
    is_leader: bool,
) -> NDArray[np.bool_]:
    """Cut n objects of one patch out of one band, the model's k-th; (n,) which are alive in it."""
    wcs = read_wcs(band.header)
    if wcs is None:
        raise Damaged("no WCS in its header any more")
    x, y = wcs.to_pixels(batch.ra[rows], batch.dec[rows])
    if not np.isfinite(x + y).all():
        raise Damaged("its WCS is not what it was when its objects were looked for")
    left, bottom = corners(x, wanted.size), corners(y, wanted.size)
    if is_leader:
        batch.x[rows], batch.y[rows] = x - left, y - bottom
        if abs(wcs.pixel_scale / wanted.pixel_scale - 1) > SCALE_TOLERANCE:
            batch.flags[rows] |= Flag.OTHER_PIXEL_SCALE
            batch.scale[rows] = wcs.pixel_scale
    height, _ = band.header.plain_shape
    alive = np.zeros(len(rows), bool)
    for first, last, members in _strips(bottom, wanted.size, height):
        pixels = band.rows(first, last)
        factor = flux_factor(Planes(k, pixels[None], band.header, band.primary, 1, "none"))
        alive[members] = _cut(
            batch, rows[members], k, pixels, factor, left[members], bottom[members] - first
        )
    return alive


def _strips(
    bottom: NDArray[np.intp], size: int, height: int
) -> Iterator[tuple[int, int, NDArray[np.intp]]]:
    """Yield the first and the last row (exclusive) of strips, and the objects that lie on each."""
    order = np.argsort(bottom, kind="stable")
    lows = np.clip(bottom[order], 0, height).tolist()
    highs = np.clip(bottom[order] + size, 0, height).tolist()
    start = 0
    while start < len(order):
        first, last = lows[start], highs[start]
        stop = start + 1
        while stop < len(order) and lows[stop] <= last and highs[stop] - first <= STRIP:
            last = highs[stop]
            stop += 1
        yield first, last, order[start:stop]
        start = stop


def _cut(
    batch: CutoutBatch,
    rows: NDArray[np.intp],
    k: int,
    pixels: NDArray[Any],
    factor: float,
    left: NDArray[np.intp],
    bottom: NDArray[np.intp],
) -> NDArray[np.bool_]:
    """Cut n stamps that begin at (left, bottom) out of rows of a band; (n,) which are alive."""
    size = batch.images.shape[-1]
    height, width = pixels.shape
    whole = (left >= 0) & (left + size <= width) & (bottom >= 0) & (bottom + size <= height)
    alive = np.zeros(len(rows), bool)
    inside = np.flatnonzero(whole)
    # As `place` computes: float32 stays float32, all else is scaled in float64.
    single = pixels.dtype.kind == "f" and pixels.dtype.itemsize == 4
    stamps = np.empty((_BLOCK, size, size), np.float32 if single else np.float64)
    for start in range(0, len(inside), _BLOCK):
        some = inside[start : start + _BLOCK]
        for n, x, y in zip(range(_BLOCK), left[some].tolist(), bottom[some].tolist(), strict=False):
            stamps[n] = pixels[y : y + size, x : x + size]
        cut = stamps[: len(some)]
        with np.errstate(over="ignore", invalid="ignore"):
            if factor != 1:
                np.multiply(cut, stamps.dtype.type(factor), out=cut)
            flat = cut.reshape(len(some), -1)
            low, high = flat.min(axis=1), flat.max(axis=1)  # NaN where a pixel is NaN
            fine = (low >= -MAX_FLUX) & (high <= MAX_FLUX) & (low < high)
        for n in np.flatnonzero(fine).tolist():
            batch.images[rows[some[n]], k] = cut[n]
        alive[some[fine]] = True
    # At the edge, with pixels that are no numbers, or dead.
    for n in np.flatnonzero(~alive).tolist():
        row, band = rows[n], slice(k, k + 1)
        images, missing = batch.images[row, band], batch.missing[row, band]
        placed = place(pixels[None], int(left[n]), int(bottom[n]), factor, images, missing)
        batch.flags[row] |= Flag.PADDED * placed.padded | Flag.NONFINITE_PIXELS * placed.nonfinite
        alive[n] = not placed.dead
    return alive
