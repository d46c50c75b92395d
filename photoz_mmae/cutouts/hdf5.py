"""Objects in GalaxiesML and GalaxiesML-Spectra files (HDF5) to images of the model's size.

The dataset `image` is (N, B, H, W), 64 or 127 pixels a side, flux at AB zero point 27, or at that
of the file's attribute `zero_point`. The bands are those of the attribute `bands`, else grizy;
the pixel scale is that of the attribute `pixel_scale`, else the model's. The target is at the
centre. Ids are in `object_id`; positions in the first pair of `POSITIONS` that is there.

Only datasets of the file itself are read: links that lead elsewhere, external storage and virtual
datasets are as if they were not there.
"""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import bands_in
from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted
from photoz_mmae.cutouts.containers import (
    fallback_id,
    give_up,
    give_up_beyond,
    runs,
    take_positions,
)
from photoz_mmae.cutouts.fill_row import SCALE_TOLERANCE, require_bands
from photoz_mmae.cutouts.find_bands import MIN_SIDE
from photoz_mmae.cutouts.headers import Damaged, open_regular
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.pixels import MAX_BYTES, Unusable
from photoz_mmae.cutouts.placing import corner
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.stamps import make_cut, put_stamps
from photoz_mmae.flags import Flag
from photoz_mmae.surveys import HSC_WIDE, ZERO_POINT

POSITIONS = (
    ("DESI_fibermap/TARGET_RA", "DESI_fibermap/TARGET_DEC"),
    ("HSC_metadata/ra", "HSC_metadata/dec"),
    ("ra", "dec"),
    ("simulation/ra", "simulation/dec"),
)
"""Datasets with right ascension and declination of the objects, deg."""

SLICE = 64
"""Objects that are read at a time."""

MAX_COLUMN = 1 << 30
"""Bytes of ids or positions: beyond this a dataset is not theirs."""


@dataclass(frozen=True)
class _Facts:
    """What a file says of its N objects.

    Attributes
    ----------
    bands : tuple of str
    factor : float
        Brings the pixels to zero point 27.
    scale : float
        arcsec per pixel; NaN where the file does not tell.
    object_id : list of str
    ra, dec : ndarray (N,)
        deg; NaN where unknown.
    """

    bands: tuple[str, ...]
    factor: float
    scale: float
    object_id: list[str]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]


def count_objects(path: str) -> int:
    """Return how many objects a file holds: 0 without images, 1 where it cannot be read."""
    try:
        with _opened(path) as file:
            images = _dataset(file, "image")
            if images is None or images.ndim != 4:
                return 0
            # An object takes a byte at least: a damaged file may promise any number.
            return min(int(images.shape[0]), os.path.getsize(path))  # noqa: PTH202
    except Exception:  # h5py raises many kinds of a damaged file
        return 1


def is_readable(path: str) -> bool:
    """Whether a file can be opened, and its images found."""
    try:
        with _opened(path) as file:
            return _dataset(file, "image") is not None
    except Exception:  # h5py raises many kinds of a damaged file
        return False


def read_hdf5_id(source: Source) -> str:
    """Return the id that `fill_from_hdf5` gives an object."""
    try:
        return _facts(source.files[0]).object_id[source.row] or fallback_id(source)
    except Exception:  # whatever is wrong with it, it has an id
        return fallback_id(source)


def fill_from_hdf5(
    batch: CutoutBatch,
    rows: Sequence[int],
    sources: Sequence[Source],
    wanted: Wanted,
    positions: Positions | None,
) -> None:
    """Read objects of HDF5 files into rows of a batch.

    Parameters
    ----------
    batch : CutoutBatch
        Filled in place.
    rows : sequence of int
        Where each source belongs.
    sources : sequence of Source
        Of kind `hdf5`. Neighbours in a file that are neighbours here are read together.
    wanted : Wanted
    positions : callable or None
        Tells where the targets are; the image stays as it is.
    """
    for first, start, count in runs(rows, sources):
        source, row = sources[first], rows[first]
        try:
            facts = _facts(source.files[0])
            count = give_up_beyond(batch, row, start, count, len(facts.object_id), source)
            with _opened(source.files[0]) as file:
                _fill_run(batch, row, _images(file), facts, start, count, wanted, source)
        except Exception as error:  # whatever is wrong with it, its objects have rows
            give_up(batch, range(row, row + count), start, source, shortened(error))
            continue
        some = slice(start, start + count)
        batch.object_id[row : row + count] = facts.object_id[some]
        batch.ra[row : row + count], batch.dec[row : row + count] = facts.ra[some], facts.dec[some]
    for row, source in zip(rows, sources, strict=True):
        batch.object_id[row] = batch.object_id[row] or fallback_id(source)
    if positions is not None:
        take_positions(batch, rows, positions)


def _fill_run(
    batch: CutoutBatch,
    row: int,
    images: Any,
    facts: _Facts,
    start: int,
    count: int,
    wanted: Wanted,
    source: Source,
) -> None:
    """Fill neighbours, some at a time; where that fails, one by one."""
    for at in range(0, count, SLICE):
        n = min(SLICE, count - at)
        try:
            _fill_block(batch, row + at, images, facts, start + at, n, wanted)
        except Exception:  # one object's oddity must never cost the others their rows
            for one in range(at, at + n):
                try:
                    _fill_block(batch, row + one, images, facts, start + one, 1, wanted)
                except Unusable as error:
                    batch.missing[row + one] = True
                    batch.flags[row + one] = error.flag
                    batch.reason[row + one] = error.reason
                except Exception as error:
                    rows = range(row + one, row + one + 1)
                    give_up(batch, rows, start + one, source, shortened(error))


def _fill_block(
    batch: CutoutBatch,
    row: int,
    images: Any,
    facts: _Facts,
    start: int,
    count: int,
    wanted: Wanted,
) -> None:
    """Fill `count` rows of the batch from `row` on with the file's objects from `start` on."""
    height, width = images.shape[2:]
    if min(height, width) < MIN_SIDE:
        raise Unusable(Flag.WRONG_SIZE, f"{height} x {width} pixels")
    if math.prod(images.shape[1:]) * 8 > MAX_BYTES:
        raise Unusable(Flag.WRONG_SIZE, f"images with axes {images.shape[1:]} are no cutouts")
    rows = slice(row, row + count)
    x, y = (width - 1) / 2, (height - 1) / 2
    left, bottom = corner(x, wanted.size), corner(y, wanted.size)
    cut = make_cut(facts.bands, (height, width), wanted.bands, wanted.size, left, bottom)
    stamps = images[start : start + count]
    factor = np.full((count, len(facts.bands)), facts.factor)
    single = np.full(factor.shape, stamps.dtype.char == "f")
    alive, nonfinite = put_stamps(batch, rows, stamps, factor, single, cut)
    if batch.raw is not None:
        batch.raw.scale[rows] = facts.scale
    batch.x[rows], batch.y[rows] = x - left, y - bottom
    flags = np.where(nonfinite.any(axis=1), int(Flag.NONFINITE_PIXELS), 0)
    if cut.planes and any(part != slice(0, wanted.size) for part in cut.box):
        flags |= int(Flag.PADDED)
    if abs(facts.scale / wanted.pixel_scale - 1) > SCALE_TOLERANCE:
        flags |= int(Flag.OTHER_PIXEL_SCALE)
        batch.scale[rows] = facts.scale
    batch.flags[rows] = flags
    batch.bands_used[rows] = (alive << np.arange(alive.shape[1])).sum(axis=1)
    for n in np.flatnonzero(~alive.all(axis=1)):
        try:
            batch.flags[row + n] |= require_bands(wanted, facts.bands, alive[n])
        except Unusable as error:
            batch.flags[row + n] |= error.flag
            batch.reason[row + n] = error.reason


def _opened(path: str) -> Any:
    """Open a file for reading; for a short time, as HDF5 keeps what it knows of an open one."""
    os.close(open_regular(path))
    # Without a lock, which not every file system has, and which nobody needs for reading.
    return h5py.File(path, "r", locking=False)


def _images(file: Any) -> Any:
    images = _dataset(file, "image")
    if images is None or images.ndim != 4 or images.dtype.kind not in "iuf":
        raise Damaged("no dataset 'image' of (objects, bands, height, width) in the file itself")
    if images.chunks and math.prod(images.chunks) * images.dtype.itemsize > MAX_BYTES:
        raise Damaged(f"'image' in pieces of {images.chunks}")
    return images


def _facts(path: str) -> _Facts:
    about = os.stat(path)  # noqa: PTH116
    return _read_facts(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4)
def _read_facts(path: str, mtime_ns: int, size: int) -> _Facts:
    """Read everything but the images; once, as long as it is the same file."""
    with _opened(path) as file:
        images = _images(file)
        count, depth = min(int(images.shape[0]), size), int(images.shape[1])
        text = file.attrs.get("bands", "".join(HSC_WIDE.bands))
        bands = tuple(bands_in(text.decode() if isinstance(text, bytes) else str(text)))
        if len(bands) != depth:
            raise Damaged(f"images of {depth} planes, bands {''.join(bands)}")
        ra, dec = _positions(file, count)
        ids = _column(file, "object_id", count)
        return _Facts(
            bands=bands,
            factor=10 ** (0.4 * (ZERO_POINT - _number(file, "zero_point", ZERO_POINT))),
            scale=_number(file, "pixel_scale", math.nan),
            object_id=[""] * count if ids is None else [_text(value) for value in ids.tolist()],
            ra=ra,
            dec=dec,
        )


def _positions(file: Any, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for names in POSITIONS:
        ra, dec = (_column(file, name, count) for name in names)
        if ra is not None and dec is not None and {ra.dtype.kind, dec.dtype.kind} <= set("iuf"):
            ra, dec = ra.astype(float), dec.astype(float)
            good = (np.abs(ra) <= 360) & (np.abs(dec) <= 90)
            return np.where(good, ra % 360.0, np.nan), np.where(good, dec, np.nan)
    return np.full(count, np.nan), np.full(count, np.nan)


def _dataset(file: Any, name: str) -> Any:
    """Return a dataset that lies in this very file, else None."""
    group = file
    for part in name.split("/"):
        if not isinstance(group, h5py.Group) or part not in group:
            return None
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            return None
        group = group[part]
    if not isinstance(group, h5py.Dataset) or group.external or group.is_virtual:
        return None
    return group


def _column(file: Any, name: str, count: int) -> NDArray[Any] | None:
    dataset = _dataset(file, name)
    if dataset is None or dataset.shape != (count,) or dataset.nbytes > MAX_COLUMN:
        return None
    return np.asarray(dataset[()])


def _number(file: Any, name: str, default: float) -> float:
    try:
        value = float(file.attrs.get(name, default))
    except (TypeError, ValueError):
        return default
    return value if value > 0 and math.isfinite(value) else default


def _text(value: Any) -> str:
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
    return printable(text.strip())


def shortened(error: BaseException) -> Damaged:
    """Say what HDF5 says, and the beginning of why, without the inner workings it adds."""
    outer, _, inner = str(error).partition(" (")
    why = re.split(r"[:)]", inner)[0]
    return Damaged(getattr(error, "strerror", None) or (f"{outer}: {why}" if why else outer))
