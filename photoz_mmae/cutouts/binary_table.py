"""Rows of FITS binary tables as structured arrays, for the few that say something about an image.

By FITS standard 4.0, section 7.3. The bytes are checked against the header before they are read;
what stands in the heap behind the rows stays there, as pairs of length and place.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.headers import Damaged, Header, ReadAt

MAX_ROWS_BYTES = 64 << 20
"""Bytes of the rows that are read at once."""

_FORMAT = re.compile(r"(\d{0,9})([LXBIJKAEDCMPQ])(?:[BIJKAEDCMLX].*)?")
_DIMENSIONS = re.compile(r"\(\s*\d{1,9}(?:\s*,\s*\d{1,9})*\s*\)")
_TYPES = {"L": "u1", "X": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8"}
_TYPES |= {"E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16"}
_PAIRS = {"P": ">i4", "Q": ">i8"}


def columns(header: Header) -> list[tuple[str, str, str]]:
    """Return name, format and unit of every column of a table, as they are written."""
    count = header.integer("TFIELDS", 0)
    if not 0 <= count <= 999:
        raise Damaged(f"HDU {header.index}: TFIELDS is {count}")
    return [
        (header.text(f"TTYPE{n}"), header.text(f"TFORM{n}"), header.text(f"TUNIT{n}"))
        for n in range(1, count + 1)
    ]


def row_type(header: Header) -> np.dtype[Any]:
    """Return the type of a table's rows; raises Damaged where its columns do not add up.

    A column of bits (X) comes as bytes, logical ones too, text as bytes with its padding, one of
    arrays in the heap (P, Q) as pairs of length and place.
    """
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    start = 0
    for n, (name, form, _) in enumerate(columns(header), start=1):
        match = _FORMAT.fullmatch(form)
        if match is None:
            raise Damaged(f"HDU {header.index}: TFORM{n} is {form!r}")
        kind, repeat = match[2], int(match[1] or 1)
        shape: tuple[int, ...] = () if repeat == 1 else (repeat,)
        dimensions = header.text(f"TDIM{n}")
        if _DIMENSIONS.fullmatch(dimensions) and kind not in "AXPQ":
            shape = tuple(int(length) for length in re.findall(r"\d+", dimensions))[::-1]
            if math.prod(shape) != repeat:
                raise Damaged(f"HDU {header.index}: TDIM{n} and TFORM{n} do not agree")
        if kind == "A":
            column = np.dtype((np.bytes_, repeat))
        elif kind == "X":
            column = np.dtype(("u1", (-(-repeat // 8),)))
        elif kind in _PAIRS:
            column = np.dtype((_PAIRS[kind], (2,)))
        else:
            column = np.dtype((_TYPES[kind], shape))
        if repeat and column.itemsize:
            names.append(name if name and name not in names else f"column {n}")
            formats.append(column)
            offsets.append(start)
            start += column.itemsize
    if start != header.integer("NAXIS1") or not start:
        raise Damaged(f"HDU {header.index}: columns of {start} bytes do not fill the rows")
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": start})


def read_rows(header: Header, read_at: ReadAt, first: int = 0, count: int = 1) -> NDArray[Any]:
    """Read `count` rows of a table from row `first` on, (count,); raises Damaged without them."""
    rows = row_type(header)
    if first < 0 or count < 0 or first + count > header.integer("NAXIS2"):
        raise Damaged(f"HDU {header.index}: no row {first + count - 1}")
    if count * rows.itemsize > MAX_ROWS_BYTES:
        raise Damaged(f"HDU {header.index}: rows of {rows.itemsize} bytes")
    raw = read_at(header.data_start + first * rows.itemsize, count * rows.itemsize)
    if len(raw) < count * rows.itemsize:
        raise Damaged(f"truncated: the table in HDU {header.index} is longer than the file")
    return np.frombuffer(raw, rows)
