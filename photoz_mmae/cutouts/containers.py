"""Files that hold many objects each: what they are, and what their readers have in common."""

import itertools
import os
from collections.abc import Iterator, Sequence

import numpy as np

from photoz_mmae.cutouts.batch import CutoutBatch, Positions
from photoz_mmae.cutouts.fill_row import OFF_CENTRE_PIXELS
from photoz_mmae.cutouts.headers import Damaged, open_regular, reader, walk_headers
from photoz_mmae.cutouts.ids import fits_stem, hdf5_stem, is_hdf5_name, printable
from photoz_mmae.cutouts.shard_file import objects_in
from photoz_mmae.cutouts.source import Kind, Source
from photoz_mmae.flags import Flag


def rows_in(path: str) -> tuple[Kind, int] | None:
    """Tell whether a file holds many objects, by its headers; None for any other file.

    Parameters
    ----------
    path : str
        A FITS file, whose content decides, or one named `*.h5` or `*.hdf5`. Such a file that
        cannot be read counts as one object, which gets a row that says so; one that can be read
        and has no images is None.

    Returns
    -------
    (kind, number of objects) or None
    """
    if is_hdf5_name(path):
        from photoz_mmae.cutouts.hdf5 import count_objects

        images = count_objects(path)
        return ("hdf5", images) if images else None
    try:
        descriptor = open_regular(path)
        try:
            count = objects_in(next(walk_headers(reader(descriptor))))
        finally:
            os.close(descriptor)
    except (OSError, Damaged):
        return None
    return ("shard", count) if count else None


def is_readable_container(path: str) -> bool:
    """Whether the number of objects that `rows_in` tells of a file is that which it holds."""
    if not is_hdf5_name(path):
        return True
    from photoz_mmae.cutouts.hdf5 import is_readable

    return is_readable(path)


def runs(rows: Sequence[int], sources: Sequence[Source]) -> Iterator[tuple[int, int, int]]:
    """Yield (index, row in the file, number) of sources that follow each other in one file."""
    first = 0
    for index in range(1, len(sources) + 1):
        if index < len(sources):
            before, source = sources[index - 1], sources[index]
            if (
                source.row == before.row + 1
                and rows[index] == rows[index - 1] + 1
                and source.files[0] == before.files[0]
            ):
                continue
        yield first, sources[first].row, index - first
        first = index


def give_up_beyond(
    batch: CutoutBatch, row: int, start: int, count: int, total: int, source: Source
) -> int:
    """Give up those of `count` objects from `start` on that a file of `total` does not hold.

    Returns the number of the others.
    """
    there = max(min(count, total - start), 0)
    if there < count:
        error = Damaged(f"it holds {total} objects")
        give_up(batch, range(row + there, row + count), start + there, source, error)
    return there


def fallback_id(source: Source) -> str:
    """Return the id of an object whose file does not tell it."""
    name = os.path.basename(source.files[0])  # noqa: PTH119
    return printable(f"{hdf5_stem(fits_stem(name))}#{source.row}")


def take_positions(batch: CutoutBatch, rows: Sequence[int], positions: Positions) -> None:
    """Take the targets' positions from a table; OFF_CENTRE where the stamp was cut elsewhere."""
    index = np.asarray(rows)
    ra, dec = positions([batch.object_id[row] for row in rows])
    known = np.isfinite(ra) & np.isfinite(dec)
    index, ra, dec = index[known], ra[known], dec[known]
    east = (ra - batch.ra[index] + 180) % 360 - 180
    offset = np.hypot(east * np.cos(np.radians(dec)), dec - batch.dec[index]) * 3600
    off = offset > OFF_CENTRE_PIXELS * batch.scale[index]  # not where the stamp's is unknown
    batch.flags[index[off]] |= Flag.OFF_CENTRE
    batch.ra[index], batch.dec[index] = ra, dec


def give_up(batch: CutoutBatch, rows: range, start: int, source: Source, error: Exception) -> None:
    """Leave rows without anything but a READ_ERROR."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    some = slice(rows.start, rows.stop)
    batch.images[some] = 0
    batch.missing[some] = True
    batch.written[some] = True
    batch.saturated[some] = False
    batch.variance[some] = 0
    batch.flags[some] = Flag.READ_ERROR
    batch.bands_used[some] = 0
    batch.x[some] = batch.y[some] = np.nan
    for row, number in zip(rows, itertools.count(start)):
        batch.reason[row] = printable(f"{source.files[0]}, row {number}: {reason}")
