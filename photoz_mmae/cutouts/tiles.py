"""Tile-compressed images: whether one may be handed to cfitsio at all.

cfitsio's decoders believe what the header and the table say, and take the whole process with
them where that is wrong (a tile axis of zero divides by zero, a wrong BYTEPIX writes past the
buffer). So what they believe is checked first, by FITS standard 4.0, section 10.1.
"""

import math
import re
import zlib

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.headers import Damaged, Header, ReadAt

# HCOMPRESS_1 and PLIO_1 are left out: damaged streams crash their decoders, checks or not.
_METHODS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS")
_FORMAT = re.compile(r"(\d{0,4})(?:([PQ])([BIJKAED])(?:\(\d+\))?|([LXBIJKAED]))")
_WIDTHS = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8}
_OPTIONS = [(b"ZNAME%d" % n, f"ZNAME{n}", f"ZVAL{n}") for n in range(1, 10)]
_RICE_BYTES = {8: 1, 16: 2, 32: 4, -32: 4, -64: 4}


def check_tiles(header: Header, read_at: ReadAt) -> None:
    """Raise Damaged where a tile-compressed image does not add up.

    Parameters
    ----------
    header : Header
        Of the table that holds the image.
    read_at : callable
        Reads the file that the header is from.
    """
    method = header.text("ZCMPTYPE")
    if method not in _METHODS:
        raise Damaged(
            f"HDU {header.index}: compression {method!r} is not read; known: {', '.join(_METHODS)}"
        )
    fixed = [("BITPIX", 8), ("NAXIS", 2), ("GCOUNT", 1)]
    for key, value in fixed:
        if header.integer(key) != value:
            raise Damaged(f"HDU {header.index}: {key} is not {value}")
    _check_axes(header)
    if method.startswith("RICE"):
        _check_rice(header)
    _check_columns(header, read_at)


def _check_axes(header: Header) -> None:
    axes = header.shape[::-1]
    if len(axes) > 4:
        raise Damaged(f"HDU {header.index}: a compressed image with {len(axes)} axes")
    tiles = _tile_shape(header)
    if any(not 1 <= tile <= axis for tile, axis in zip(tiles, axes, strict=True)):
        raise Damaged(f"HDU {header.index}: a compression tile larger than the image, or empty")
    count = math.prod(-(-axis // tile) for axis, tile in zip(axes, tiles, strict=True))
    if count != header.integer("NAXIS2"):
        raise Damaged(f"HDU {header.index}: not the number of compressed tiles it should have")


def _tile_shape(header: Header) -> list[int]:
    """Return the length of a tile along each axis, first axis first; default is a row."""
    axes = header.shape[::-1]
    return [
        header.integer(f"ZTILE{n}", axis if n == 1 else 1) for n, axis in enumerate(axes, start=1)
    ]


def _check_rice(header: Header) -> None:
    options = {}
    for name, key, value in _OPTIONS:
        if name in header.cards and (option := header.text(key)) in ("BLOCKSIZE", "BYTEPIX"):
            options[option] = header.integer(value)
    expected = _RICE_BYTES.get(header.integer("ZBITPIX"))
    if options.get("BLOCKSIZE", 32) not in (16, 32) or options.get("BYTEPIX", 4) != expected:
        raise Damaged(f"HDU {header.index}: Rice parameters that do not belong together")


def _check_columns(header: Header, read_at: ReadAt) -> None:
    """Check that the columns fill the rows, and that every tile lies in the heap and inflates."""
    fields, width, rows = (header.integer(key) for key in ("TFIELDS", "NAXIS1", "NAXIS2"))
    heap = header.integer("THEAP", width * rows)
    heap_size = width * rows + header.integer("PCOUNT") - heap
    if not 1 <= fields <= 50 or heap < width * rows or heap_size < 0:
        raise Damaged(f"HDU {header.index}: a table whose columns or heap make no sense")
    table = np.frombuffer(read_at(header.data_start, width * rows), np.uint8)
    table = table.reshape(rows, width)
    start = 0
    for n in range(1, fields + 1):
        form = _FORMAT.fullmatch(header.text(f"TFORM{n}"))
        if form is None:
            raise Damaged(f"HDU {header.index}: TFORM{n} is no column of a compressed image")
        repeat = int(form[1] or 1)
        if form[2]:
            size = 8 if form[2] == "P" else 16
            if repeat != 1 or start + size > width:
                raise Damaged(f"HDU {header.index}: TFORM{n} does not fit the row")
            pairs = table[:, start : start + size].copy().view(">i4" if size == 8 else ">i8")
            lengths, places = pairs.astype(np.int64).T
            # Each number alone first: a sum of absurd ones may overflow.
            sane = pairs.min() >= 0 and pairs.max() <= heap_size
            if not sane or (places + lengths * _WIDTHS[form[3]]).max() > heap_size:
                raise Damaged(f"HDU {header.index}: a tile outside the table's heap")
            if _is_gzip(header, n):
                _check_inflates(header, read_at, header.data_start + heap + places, lengths)
            start += size
        else:
            start += -(-repeat // 8) if form[4] == "X" else repeat * _WIDTHS[form[4]]
    if start != width:
        raise Damaged(f"HDU {header.index}: columns of {start} bytes in rows of {width}")


def _is_gzip(header: Header, column: int) -> bool:
    name = header.text(f"TTYPE{column}")
    return name == "GZIP_COMPRESSED_DATA" or (
        name == "COMPRESSED_DATA" and header.text("ZCMPTYPE").startswith("GZIP")
    )


def _check_inflates(
    header: Header, read_at: ReadAt, places: NDArray[np.int64], lengths: NDArray[np.int64]
) -> None:
    """Inflate every tile: of a damaged one cfitsio asks for memory without end."""
    limit = 8 * math.prod(_tile_shape(header))
    for place, length in zip(places.tolist(), lengths.tolist(), strict=True):
        if length:
            stream = zlib.decompressobj(wbits=47)
            try:
                stream.decompress(read_at(place, length), limit)
            except zlib.error as error:
                raise Damaged(f"HDU {header.index}: a gzip tile: {error}") from error
            if not stream.eof:
                raise Damaged(f"HDU {header.index}: a gzip tile without its end")
