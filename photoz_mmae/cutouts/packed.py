"""Objects in packed shards to images of the model's size, with flags.

The stamps are cut around the target already, so a model of another size takes the middle of them,
or has them padded. What the packing found out stays: READ_ERROR, WRONG_SIZE, OFF_CENTRE, masked
and non-finite pixels. What depends on the model, its bands, size and pixel scale, is found anew,
by the rules of `photoz_mmae.cutouts.fill_row`.
"""

import itertools
import os
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted
from photoz_mmae.cutouts.containers import (
    fallback_id,
    give_up,
    give_up_beyond,
    runs,
    take_positions,
)
from photoz_mmae.cutouts.fill_row import SCALE_TOLERANCE, require_bands
from photoz_mmae.cutouts.pixels import Unusable
from photoz_mmae.cutouts.placing import corner
from photoz_mmae.cutouts.shard_file import Shard, open_shard
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.stamps import Cut, make_cut, put_stamps
from photoz_mmae.flags import Flag

_LOST = int(Flag.READ_ERROR | Flag.WRONG_SIZE)
_KEPT = _LOST | int(Flag.OFF_CENTRE | Flag.MASKED_PIXELS | Flag.NO_ZERO_POINT)


def fill_from_shards(
    batch: CutoutBatch,
    rows: Sequence[int],
    sources: Sequence[Source],
    wanted: Wanted,
    positions: Positions | None,
) -> None:
    """Read objects of shards into rows of a batch.

    Parameters
    ----------
    batch : CutoutBatch
        Filled in place.
    rows : sequence of int
        Where each source belongs.
    sources : sequence of Source
        Of kind `shard`. Neighbours in a shard that are neighbours here are read together.
    wanted : Wanted
    positions : callable or None
        Tells where the targets are; a stamp stays as it was cut, and is OFF_CENTRE when that was
        elsewhere.
    """
    for first, start, count in runs(rows, sources):
        source = sources[first]
        row = rows[first]
        try:
            shard = _opened(source.files[0])
        except Exception as error:  # whatever is wrong with it, its objects have rows
            give_up(batch, range(row, row + count), start, source, error)
            continue
        count = give_up_beyond(batch, row, start, count, len(shard.object_id), source)
        batch.object_id[row : row + count] = shard.object_id[start : start + count]
        # One position of the stamp serves all objects, unless the sizes are odd and even.
        for at, n, cut in _cuts(shard, start, count, wanted):
            place = row + at - start
            try:
                _fill_run(batch, slice(place, place + n), shard, slice(at, at + n), wanted, cut)
            except Exception as error:  # one run's oddity must never cost the others their rows
                give_up(batch, range(place, place + n), at, source, error)
    for row, source in zip(rows, sources, strict=True):
        batch.object_id[row] = batch.object_id[row] or fallback_id(source)
    if positions is not None:
        take_positions(batch, rows, positions)


def read_shard_id(source: Source) -> str:
    """Return the id that `fill_from_shards` gives an object."""
    try:
        return _opened(source.files[0]).object_id[source.row] or fallback_id(source)
    except Exception:  # whatever is wrong with it, it has an id
        return fallback_id(source)


def read_shard_bands(source: Source) -> str:
    """Return the bands that a shard holds; '' where it cannot be read."""
    try:
        return "".join(_opened(source.files[0]).bands)
    except Exception:  # its rows will say what is wrong with it
        return ""


def _opened(path: str) -> Shard:
    about = os.stat(path)  # noqa: PTH116
    return open_shard(path, about.st_mtime_ns, about.st_size)


def _cuts(shard: Shard, start: int, count: int, wanted: Wanted) -> Iterator[tuple[int, int, Cut]]:
    """Yield (row, number, cut) of neighbours of which the same part is taken."""
    side = shard.pixels["IMAGE"].shape[-1]
    if side == wanted.size:
        yield start, count, make_cut(shard.bands, (side, side), wanted.bands, side, 0, 0)
        return
    middle = (side - 1) / 2
    some = slice(start, start + count)
    places = [
        tuple(corner(v if -0.5 <= v <= side - 0.5 else middle, wanted.size) for v in position)
        for position in zip(shard.table["x"][some], shard.table["y"][some], strict=True)
    ]
    for (left, bottom), group in itertools.groupby(places):
        n = len(list(group))
        shape = (side, side)
        yield start, n, make_cut(shard.bands, shape, wanted.bands, wanted.size, left, bottom)
        start += n


def _fill_run(
    batch: CutoutBatch, rows: slice, shard: Shard, some: slice, wanted: Wanted, cut: Cut
) -> None:
    """Fill neighbours in the batch from neighbours in the shard."""
    table = {name: values[some] for name, values in shard.table.items()}
    side = shard.pixels["IMAGE"].shape[-1]
    factor = np.where(table["factor"] > 0, table["factor"], np.nan)
    shard.require(some.start, some.stop)
    stamps = shard.pixels["IMAGE"][some]
    alive, nonfinite = put_stamps(batch, rows, stamps, factor, table["float32"] != 0, cut)
    for name, images in (("VARIANCE", batch.variance), ("SATURATED", batch.saturated)):
        if name in shard.pixels:
            for k, plane in cut.planes:
                values = shard.pixels[name][some, plane, *cut.inside]
                good = (values > 0) & (values < np.inf)
                images[rows, k, *cut.box] = values if good.all() else np.where(good, values, 0)
            batch.written[rows] = True

    batch.ra[rows], batch.dec[rows] = _sky(table["ra"], table["dec"])
    x, y = table["x"], table["y"]
    on_it = (x >= -0.5) & (x <= side - 0.5) & (y >= -0.5) & (y <= side - 0.5)
    # Only what holds no image has its target elsewhere, unless the table is damaged.
    unknown = np.where(alive.any(axis=1), (side - 1) / 2, np.nan)
    x, y = np.where(on_it, x, unknown), np.where(on_it, y, unknown)
    batch.x[rows] = x - cut.inside[1].start + cut.box[1].start
    batch.y[rows] = y - cut.inside[0].start + cut.box[0].start
    scale = table["pixel_scale"]
    scale = np.where((scale > 1e-3) & (scale < 1e3), scale, np.nan)
    if batch.raw is not None:
        batch.raw.scale[rows] = scale
    other = np.abs(scale / wanted.pixel_scale - 1) > SCALE_TOLERANCE
    batch.scale[rows] = np.where(other, scale, wanted.pixel_scale)

    stored = _one_reason(table["flags"])
    flags = stored & _KEPT
    flags |= np.where(other, int(Flag.OTHER_PIXEL_SCALE), 0).astype(np.int32)
    flags |= _pixel_flags(stored, batch.missing[rows], nonfinite, alive, cut)
    lost = stored & _LOST != 0
    batch.flags[rows] = np.where(lost, stored & _LOST, flags)
    batch.bands_used[rows] = (alive << np.arange(alive.shape[1])).sum(axis=1)
    for n in np.flatnonzero(lost):
        row = rows.start + n
        batch.reason[row] = shard.reason[some.start + n] or "the shard does not say why"
        batch.images[row], batch.missing[row], batch.bands_used[row] = 0, True, 0
        batch.saturated[row], batch.variance[row], batch.written[row] = False, 0, True
        batch.x[row] = batch.y[row] = np.nan
    for n in np.flatnonzero(~alive.all(axis=1) & ~lost):
        there = {wanted.bands[k] for k, plane in cut.planes if np.isfinite(factor[n, plane])}
        try:
            batch.flags[rows.start + n] |= require_bands(wanted, there, alive[n])
        except Unusable as error:
            batch.flags[rows.start + n] |= error.flag
            batch.reason[rows.start + n] = error.reason


def _one_reason(flags: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep the first of two flags without redshift: no reader sets both, a damaged table may."""
    both = flags & _LOST == _LOST
    return np.where(both, flags & ~int(Flag.WRONG_SIZE), flags)


def _sky(
    ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    good = (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)
    return np.where(good, ra, np.nan), np.where(good, dec, np.nan)


def _pixel_flags(
    stored: NDArray[np.int32],
    missing: NDArray[np.bool_],
    nonfinite: NDArray[np.bool_],
    alive: NDArray[np.bool_],
    cut: Cut,
) -> NDArray[np.int32]:
    """Return PADDED and NONFINITE_PIXELS, (N,): as stored for whole stamps, else found anew."""
    both = int(Flag.PADDED | Flag.NONFINITE_PIXELS)
    if cut.plain:
        return stored & both
    flags = stored & both
    flags[~nonfinite.any(axis=1)] &= ~int(Flag.NONFINITE_PIXELS)
    size = missing.shape[-1]
    whole = all(part == slice(0, size) for part in cut.box)
    lost = stored & _LOST != 0
    if not whole:
        flags[~lost & alive.any(axis=1)] |= int(Flag.PADDED)
        return flags
    for n in np.flatnonzero(flags & int(Flag.PADDED)):
        # An edge of the sky that was there is a side without any pixel.
        edges = missing[n][alive[n]]
        sides = (edges[:, 0], edges[:, -1], edges[:, :, 0], edges[:, :, -1])
        if len(edges) and not any(side.all(axis=1).any() for side in sides):
            flags[n] &= ~int(Flag.PADDED)
    return flags
