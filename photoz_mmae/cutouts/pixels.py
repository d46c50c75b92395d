"""Pixels of one file: decoded, and checked against what the headers promise."""

import dataclasses
import math
import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import fitsio
import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.headers import (
    BLOCK,
    CARD,
    Damaged,
    Header,
    ReadAt,
)
from photoz_mmae.cutouts.tiles import check_tiles
from photoz_mmae.flags import Flag

MAX_BYTES = 128 << 20
"""Decompressed bytes of one image: a cutout is smaller, a damaged header may promise anything."""

_DTYPES: dict[int, np.dtype[Any]] = {
    8: np.dtype("u1"),
    16: np.dtype(">i2"),
    32: np.dtype(">i4"),
    64: np.dtype(">i8"),
    -32: np.dtype(">f4"),
    -64: np.dtype(">f8"),
}
_ORDER = b"XTENSION BITPIX NAXIS NAXIS1 NAXIS2 PCOUNT GCOUNT TFIELDS".split()
_STRUCTURE = re.compile(rb"(%s|THEAP|TTYPE\d+|TFORM\d+|Z[A-Z]+\d*)" % b"|".join(_ORDER))


class Unusable(Exception):
    """An object that gets no redshift: the flag that says so, and why in words."""

    def __init__(self, flag: Flag, reason: str) -> None:
        super().__init__(reason)
        self.flag = flag
        self.reason = reason


def stored_dtype(header: Header) -> np.dtype[Any]:
    """Return the type of the stored pixels of a plain image."""
    return _DTYPES[header.integer("BITPIX")]


def is_scaled(header: Header) -> bool:
    """Whether stored pixels are not the physical ones: BSCALE, BZERO, or BLANK of integers."""
    scale, zero, blank = _scaling(header)
    return scale != 1 or zero != 0 or blank is not None


def _scaling(header: Header) -> tuple[float, float, float | None]:
    scale, zero = header.number("BSCALE"), header.number("BZERO")
    key = "ZBITPIX" if header.is_compressed else "BITPIX"
    blank = header.number("BLANK") if header.integer(key) > 0 else None
    return 1.0 if scale is None else scale, zero or 0.0, blank


def read_pixels(header: Header, read_at: ReadAt) -> NDArray[Any]:
    """Read one image, see `read_images`."""
    return read_images([header], read_at)[0]


def read_images(headers: Sequence[Header], read_at: ReadAt) -> list[NDArray[Any]]:
    """Read images of one file as physical values, in any byte order; blank integers become NaN.

    A plain image is fully described by its header, which was checked, and its bytes are taken as
    they are. Tile-compressed ones are decoded by cfitsio, which gets to see these images only, in
    a file of their own: passing by the damaged header of some table can corrupt its memory.

    Parameters
    ----------
    headers : sequence of Header
        Of images.
    read_at : callable
        Reads the file that the headers are from.

    Raises
    ------
    Damaged
        The bytes do not make the image that a header promises.
    Unusable
        WRONG_SIZE: too large for a cutout.
    """
    for header in headers:
        if math.prod(header.shape) * 8 > MAX_BYTES or header.data_size > MAX_BYTES:
            raise Unusable(Flag.WRONG_SIZE, f"an image with axes {header.shape} is no cutout")
    decoded = _decoded([header for header in headers if header.is_compressed], read_at)
    return [
        _physical(next(decoded) if header.is_compressed else _plain(header, read_at), header)
        for header in headers
    ]


def read_rows(header: Header, rows: slice, read_at: ReadAt) -> NDArray[Any]:
    """Read some rows of an image of two axes, and no others; else as `read_images`.

    Parameters
    ----------
    header : Header
    rows : slice
        Inside the image.
    read_at : callable
    """
    height, width = rows.stop - rows.start, header.plain_shape[1]
    if height * width * 8 > MAX_BYTES or header.is_compressed * header.data_size > MAX_BYTES:
        raise Unusable(Flag.WRONG_SIZE, f"an image with axes {header.shape} is too large")
    if header.is_compressed:
        return _physical(next(_decoded([header], read_at, rows)), header)
    row = width * stored_dtype(header).itemsize
    strip = dataclasses.replace(
        header, shape=(height, width), data_start=header.data_start + rows.start * row
    )
    return _physical(_plain(strip, read_at), header)


def _plain(header: Header, read_at: ReadAt) -> NDArray[Any]:
    dtype = stored_dtype(header)
    count = math.prod(header.shape)
    raw = read_at(header.data_start, count * dtype.itemsize)
    if len(raw) < count * dtype.itemsize:
        raise Damaged(f"HDU {header.index} became shorter while it was read")
    return np.frombuffer(raw, dtype).reshape(header.shape)


def _decoded(
    headers: Sequence[Header], read_at: ReadAt, rows: slice | None = None
) -> Iterator[NDArray[Any]]:
    """Yield the images of tile-compressed units, or some rows of each, decoded by cfitsio."""
    if not headers:
        return
    alone = os.memfd_create("images", os.MFD_CLOEXEC)
    try:
        os.write(alone, _NO_IMAGE)
        for header in headers:
            check_tiles(header, read_at)
            content = read_at(header.data_start, header.data_size)
            padding = bytes(-len(content) % BLOCK)
            os.write(alone, b"".join((_structure(header), content, padding)))
        try:
            with fitsio.FITS(f"/proc/self/fd/{alone}") as file:
                units = [file[number] for number in range(1, len(headers) + 1)]
                images = [_rows(unit, rows) if rows else unit.read() for unit in units]
        except Exception as error:  # fitsio raises many kinds: all mean that it cannot
            # The last status is this one's; cfitsio repeats what went wrong before.
            status = [line for line in str(error).splitlines() if "status" in line]
            reason = status[-1] if status else f"cfitsio says: {error}"
            raise Damaged(f"a compressed image: {reason}") from error
    finally:
        os.close(alone)
    for header, image in zip(headers, images, strict=True):
        shape = (rows.stop - rows.start, header.plain_shape[1]) if rows else header.shape
        if image.shape != shape or image.dtype.kind not in "iuf":
            raise Damaged(f"HDU {header.index} is not the image that its header promises")
        yield image


def _rows(image: Any, rows: slice) -> NDArray[Any]:
    """Decode the tiles of some rows of an image of two axes, with axes of length one before."""
    axes = len(image.get_dims())
    data: NDArray[Any] = image[(*[slice(0, 1)] * (axes - 2), rows, slice(None))]
    return data.reshape(rows.stop - rows.start, -1)


def _structure(header: Header) -> bytes:
    """Return of a header what the decoder needs, as it was checked: no second card of a name."""
    raw, cards = header.raw, header.cards
    keys = _structure_keys(tuple(cards))
    return _filled([name + raw[slice(*cards[key])] for key, name in keys])


@lru_cache(maxsize=256)
def _structure_keys(names: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    """Return the keywords among `names` that the decoder needs, in order, and as cards begin."""
    keys = [key for key in names if _STRUCTURE.fullmatch(key)]
    keys.sort(key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    return [(key, key.ljust(8) + b"= ") for key in keys]


def _filled(cards: list[bytes]) -> bytes:
    """Return a header of these cards, filled to whole blocks."""
    text = b"".join([card.ljust(CARD) for card in [*cards, b"END"]])
    return text.ljust(-(-len(text) // BLOCK) * BLOCK)


_NO_IMAGE = _filled([b"SIMPLE  =                    T", b"BITPIX  = 8", b"NAXIS   = 0"])


def _physical(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """Apply BSCALE, BZERO and BLANK."""
    scale, zero, blank = _scaling(header)
    if scale == 1 and zero == 0 and blank is None:
        return stored
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored * np.float64(scale) + zero
    if blank is not None:
        values[stored == blank] = np.nan
    return values
