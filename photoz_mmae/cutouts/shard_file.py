"""The format of packed shards, many objects' stamps in one FITS file, and how one is opened.

===========  ==================================================================================
primary      header only: FORMAT `photoz-mmae shard`, FORMATV 1, BANDS, NOBJECTS, CREATOR, and
             PIXSCALE (arcsec) where all objects have the same
`IMAGE`      (N, B, S, S) float32, or float64 where a source holds anything else: pixels as they
             are in the sources, NaN where nothing was measured or nothing is
`VARIANCE`   (N, B, S, S) float32, only where a source has variances: of flux at zero point 27, 0
             where unknown
`SATURATED`  (N, B, S, S) uint8, only where a source has such pixels: 1 is saturated
`OBJECTS`    a table with one row per object (`COLUMNS`)
===========  ==================================================================================

Every unit has CHECKSUM and DATASUM. Texts in the table are ASCII; in `object_id` and `reason`
anything else, a backslash, and a blank at the end are written as Python escapes them.
"""

import errno
import math
import mmap
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.headers import (
    Damaged,
    Header,
    is_gzip,
    open_regular,
    reader,
    walk_headers,
)
from photoz_mmae.cutouts.ids import printable

FORMAT = "photoz-mmae shard"
VERSION = 1
MAX_OBJECTS = 1 << 20
"""In one shard: a header that promises more is damaged."""

_MAX_ROW = 1 << 20  # bytes
_FORM = re.compile(r"(\d{0,7})([ABIJKED])")
_TYPES = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_PIXELS = {8: "u1", -32: ">f4", -64: ">f8"}
_POPULATE_READ = 22  # MADV_POPULATE_READ of Linux; Python has no name for it


class ColumnKind(NamedTuple):
    """A column of the table: its number type ("S" is text), one per object or one per band."""

    name: str
    kind: str
    per_band: bool
    unit: str
    meaning: str


COLUMNS = (
    ColumnKind("object_id", "S", False, "", "id of the object"),
    ColumnKind("ra", "f8", False, "deg", "right ascension of the target; NaN where unknown"),
    ColumnKind("dec", "f8", False, "deg", "declination of the target; NaN where unknown"),
    ColumnKind("x", "f8", False, "pixel", "target in the stamp, from 0; NaN where not on it"),
    ColumnKind("y", "f8", False, "pixel", "target in the stamp, from 0; NaN where not on it"),
    ColumnKind("pixel_scale", "f8", False, "arcsec", "NaN where the source does not tell"),
    ColumnKind("factor", "f8", True, "", "IMAGE to flux at AB zero point 27; NaN: no band"),
    ColumnKind("float32", "u1", True, "", "1: the source is float32, multiply in float32"),
    ColumnKind("flags", "i4", False, "", "quality flags, as in the catalogue"),
    ColumnKind("bands_used", "u1", False, "", "bit k: the k-th of BANDS holds an image"),
    ColumnKind("flux", "f4", True, "nJy", "in an aperture of 2 arcsec diameter"),
    ColumnKind("flux_err", "f4", True, "nJy", "error of it"),
    ColumnKind("reason", "S", False, "", "why it can have no redshift; empty when fine"),
    ColumnKind("files", "S", False, "", "JSON list of the source's files"),
    ColumnKind("size", "i8", False, "byte", "of these files, summed"),
    ColumnKind("mtime_ns", "i8", False, "ns", "when the newest changed, since 1970-01-01"),
)


@dataclass(frozen=True)
class Shard:
    """An open shard of N objects.

    Attributes
    ----------
    bands : tuple of str
    pixels : dict of str to ndarray (N, B, S, S)
        `IMAGE`, and `VARIANCE` and `SATURATED` where they are there, in the file's byte order.
        Mapped into memory: to be looked at only after `require`.
    object_id, reason : list of str
    table : dict of str to ndarray (N,) or (N, B)
        The other columns that reading needs.
    file, length, starts, there
        The map, its bytes, where the pixels begin in it, and which rows were in memory already.
    """

    bands: tuple[str, ...]
    pixels: dict[str, NDArray[Any]]
    object_id: list[str]
    reason: list[str]
    table: dict[str, NDArray[Any]]
    file: mmap.mmap
    length: int
    starts: dict[str, int]
    there: bytearray

    def require(self, start: int, stop: int) -> None:
        """Bring the pixels of some rows into memory; raises Damaged where that fails.

        Looked at without, a file that became shorter or a disk that fails ends the process.
        """
        if all(self.there[start:stop]):
            if self.file.size() < self.length:
                raise Damaged("became shorter")
            return
        for name, array in self.pixels.items():
            each = array[0].nbytes
            first = self.starts[name] + start * each
            end = self.starts[name] + stop * each
            first -= first % mmap.PAGESIZE
            try:
                self.file.madvise(_POPULATE_READ, first, end - first)
            except OSError as error:
                # A kernel before 5.14 has no such advice: the size is all that can be looked at.
                if error.errno != errno.EINVAL or self.file.size() < self.length:
                    raise Damaged("its pixels cannot be read, or became fewer") from error
        self.there[start:stop] = bytes([1]) * (stop - start)


def objects_in(primary: Header) -> int | None:
    """Return how many objects a shard holds by its primary header; None for any other file."""
    if primary.text("FORMAT") != FORMAT:
        return None
    count = primary.integer("NOBJECTS")
    if not 0 < count <= MAX_OBJECTS:
        raise Damaged(f"NOBJECTS is {count}")
    return count


@lru_cache(maxsize=4)
def open_shard(path: str, mtime_ns: int, size: int) -> Shard:
    """Map a shard into memory and read its table; once, as long as it is the same file.

    Parameters
    ----------
    path : str
    mtime_ns, size : int
        Of the file as it is now.

    Raises
    ------
    OSError
        It cannot be opened.
    Damaged
        It is no shard, or not whole, or its parts do not belong together.
    """
    descriptor = open_regular(path)
    try:
        headers = list(walk_headers(reader(descriptor)))
        count = objects_in(headers[0])
        if count is None:
            raise Damaged("not a packed shard")
        if is_gzip(descriptor):
            raise Damaged("a shard that was gzipped; gunzip it, as shards are mapped into memory")
        if headers[0].integer("FORMATV") != VERSION:
            raise Damaged(f"a shard of format {headers[0].text('FORMATV')}; {VERSION} is read")
        bands = tuple(headers[0].text("BANDS"))
        units = {header.text("EXTNAME"): header for header in headers[1:]}
        file = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        pixels = {
            name: _pixels(units[name], file, types)
            for name, types in (("IMAGE", (-32, -64)), ("VARIANCE", (-32,)), ("SATURATED", (8,)))
            if name in units
        }
        shapes = {array.shape for array in pixels.values()}
        if (
            "IMAGE" not in pixels
            or len(shapes) > 1
            or not all(_is_stack(shape, count, bands) for shape in shapes)
        ):
            raise Damaged("no IMAGE with a square image of every object in every band")
        table = _read_table(units.get("OBJECTS"), descriptor, count, len(bands))
    finally:
        os.close(descriptor)
    return Shard(
        bands=bands,
        pixels=pixels,
        object_id=[printable(_unescaped(text)) for text in table.pop("object_id").tolist()],
        reason=[printable(_unescaped(text)) for text in table.pop("reason").tolist()],
        table=table,
        file=file,
        length=len(file),
        starts={name: units[name].data_start for name in pixels},
        there=bytearray(count),
    )


def escaped(text: str) -> bytes:
    """Return a text as the table holds it."""
    if text.isascii() and text.isprintable() and "\\" not in text and text[-1:] != " ":
        return text.encode()
    data = text.encode("unicode_escape")
    return data[:-1] + rb"\x20" if data.endswith(b" ") else data


def _unescaped(data: bytes) -> str:
    data = data.rstrip(b" ")
    if b"\\" not in data:
        return data.decode("ascii", "backslashreplace")
    try:
        return data.decode("unicode_escape")
    except UnicodeDecodeError:  # damaged
        return data.decode("ascii", "backslashreplace")


def _is_stack(shape: tuple[int, ...], count: int, bands: tuple[str, ...]) -> bool:
    known = set(bands) <= set("ugrizy") and len(set(bands)) == len(bands)
    return known and len(shape) == 4 and shape[2] == shape[3] and shape[:2] == (count, len(bands))


def _pixels(header: Header, file: mmap.mmap, types: tuple[int, ...]) -> NDArray[Any]:
    bitpix = header.integer("BITPIX")
    scaled = header.number("BSCALE") not in (None, 1) or header.number("BZERO") not in (None, 0)
    if bitpix not in types or not header.shape or header.is_compressed or scaled:
        raise Damaged(f"{header.text('EXTNAME')} is not an image as a shard has it")
    if header.data_start + header.data_size > file.size():
        raise Damaged("truncated while it was opened")
    pixels = np.frombuffer(file, _PIXELS[bitpix], math.prod(header.shape), header.data_start)
    return pixels.reshape(header.shape)


def _read_table(
    header: Header | None, descriptor: int, count: int, depth: int
) -> dict[str, NDArray[Any]]:
    """Read the columns: texts as bytes, numbers in native byte order."""
    if header is None or not header.is_table or header.integer("NAXIS2") != count:
        raise Damaged("no table OBJECTS with a row for every object")
    width = header.integer("NAXIS1")
    kinds: list[Any] = []
    for n in range(1, header.integer("TFIELDS") + 1):
        form = _FORM.fullmatch(header.text(f"TFORM{n}"))
        if form is None:
            raise Damaged(f"TFORM{n} is no column of a shard")
        repeat = int(form[1] or 1)
        kind = (f"{n}", f"S{repeat}") if form[2] == "A" else (f"{n}", _TYPES[form[2]], (repeat,))
        kinds.append(kind)
    row = np.dtype(kinds)
    if row.itemsize != width or not 0 < width <= _MAX_ROW:
        raise Damaged("the columns of OBJECTS do not fill its rows")
    raw = os.pread(descriptor, width * count, header.data_start)
    if len(raw) < width * count:
        raise Damaged("truncated while it was opened")
    rows = np.frombuffer(raw, row, count)
    names = {header.text(f"TTYPE{n}"): n for n in range(1, len(kinds) + 1)}
    table = {}
    for column in COLUMNS:
        values = rows[str(names[column.name])] if column.name in names else rows[:0]
        per_object = values.size // count
        if values.dtype.kind != column.kind[0] or per_object != (depth if column.per_band else 1):
            raise Damaged(f"OBJECTS has no column {column.name!r} as a shard has it")
        if column.kind == "S":
            table[column.name] = values
        else:
            shape = (count, depth) if column.per_band else (count,)
            table[column.name] = values.astype(column.kind).reshape(shape)
    return table
