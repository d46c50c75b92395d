"""Pixels of one open file: inflated, decoded, checked against what the header promises."""

import contextlib
import dataclasses
import gzip
import math
import os
import re
import zlib
from collections.abc import Iterator
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
    is_gzip,
    open_regular,
)
from photoz_mmae.cutouts.tiles import check_tiles
from photoz_mmae.flags import Flag

MAX_BYTES = 256 << 20
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


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a file; a gzip file is inflated into memory first, within `MAX_BYTES`."""
    descriptor = open_regular(path)
    try:
        if is_gzip(descriptor):
            inflated = os.memfd_create("cutout", os.MFD_CLOEXEC)
            try:
                _inflate(descriptor, inflated)
            except BaseException:
                os.close(inflated)
                raise
            os.close(descriptor)
            descriptor = inflated
        yield descriptor
    finally:
        os.close(descriptor)


def _inflate(source: int, target: int) -> None:
    total = 0
    try:
        with gzip.GzipFile(fileobj=os.fdopen(source, "rb", closefd=False)) as stream:
            while piece := stream.read(1 << 20):
                total += len(piece)
                if total > MAX_BYTES:
                    raise Unusable(Flag.WRONG_SIZE, "too large for a cutout once decompressed")
                os.write(target, piece)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"gzip: {error}") from error


def read_pixels(header: Header, read_at: ReadAt) -> NDArray[Any]:
    """Read one image as physical values in native byte order; blank integers become NaN.

    A plain image is fully described by its header, which was checked, and its bytes are taken as
    they are. A tile-compressed one is decoded by cfitsio, which gets to see that image only, in
    a file of its own: passing by the damaged header of some table can corrupt its memory.

    Parameters
    ----------
    header : Header
        Of an image.
    read_at : callable
        Reads the file that the header is from.

    Raises
    ------
    Damaged
        The bytes do not make the image that the header promises.
    Unusable
        WRONG_SIZE: too large for a cutout.
    """
    if math.prod(header.shape) * 8 > MAX_BYTES or header.data_size > MAX_BYTES:
        raise Unusable(Flag.WRONG_SIZE, f"an image with axes {header.shape} is no cutout")
    if header.is_compressed:
        return _physical(_decoded(header, read_at), header)
    stored = _plain(header, read_at)
    return _physical(stored.astype(stored.dtype.newbyteorder("=")), header)


def read_rows(header: Header, rows: slice, read_at: ReadAt) -> NDArray[Any]:
    """Read some rows of an image of two axes, in any byte order; else as `read_pixels`.

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
        return _physical(_decoded(header, read_at, rows), header)
    row = width * _DTYPES[header.integer("BITPIX")].itemsize
    strip = dataclasses.replace(
        header, shape=(height, width), data_start=header.data_start + rows.start * row
    )
    return _physical(_plain(strip, read_at), header)


def _plain(header: Header, read_at: ReadAt) -> NDArray[Any]:
    dtype = _DTYPES[header.integer("BITPIX")]
    count = math.prod(header.shape)
    raw = read_at(header.data_start, count * dtype.itemsize)
    if len(raw) < count * dtype.itemsize:
        raise Damaged(f"HDU {header.index} became shorter while it was read")
    return np.frombuffer(raw, dtype).reshape(header.shape)


def _decoded(header: Header, read_at: ReadAt, rows: slice | None = None) -> NDArray[Any]:
    check_tiles(header, read_at)
    # Only what the decoder needs, as it was checked: no second card of the same name.
    structure = [key for key in header.cards if _STRUCTURE.fullmatch(key)]
    structure.sort(key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    cards = [key.ljust(8) + b"= " + header.cards[key] for key in structure]
    content = (
        _filled([b"SIMPLE  =                    T", b"BITPIX  = 8", b"NAXIS   = 0"])
        + _filled(cards)
        + read_at(header.data_start, header.data_size)
    )
    alone = os.memfd_create("image", os.MFD_CLOEXEC)
    try:
        os.write(alone, content + bytes(-len(content) % BLOCK))
        with fitsio.FITS(f"/proc/self/fd/{alone}") as file:
            data: NDArray[Any] = file[1].read() if rows is None else _rows(file[1], rows)
    except Exception as error:  # fitsio raises many kinds: all mean that it cannot
        # The last status is this one's; cfitsio repeats what went wrong before.
        status = [line for line in str(error).splitlines() if "status" in line]
        reason = status[-1] if status else f"{type(error).__name__}: {error}"
        raise Damaged(f"HDU {header.index}: {reason}") from error
    finally:
        os.close(alone)
    shape = header.shape if rows is None else (rows.stop - rows.start, header.plain_shape[1])
    if data.shape != shape or data.dtype.kind not in "iuf":
        raise Damaged(f"HDU {header.index} is not the image that its header promises")
    return data


def _rows(image: Any, rows: slice) -> NDArray[Any]:
    """Decode the tiles of some rows of an image of two axes, with axes of length one before."""
    axes = len(image.get_dims())
    data: NDArray[Any] = image[(*[slice(0, 1)] * (axes - 2), rows, slice(None))]
    return data.reshape(rows.stop - rows.start, -1)


def _filled(cards: list[bytes]) -> bytes:
    """Return a header of these cards, filled to whole blocks."""
    text = b"".join(card.ljust(CARD) for card in [*cards, b"END"])
    return text.ljust(-(-len(text) // BLOCK) * BLOCK)


def _physical(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """Apply BSCALE, BZERO and BLANK."""
    scale, zero = header.number("BSCALE"), header.number("BZERO") or 0.0
    scale = 1.0 if scale is None else scale
    blank = header.number("BLANK") if stored.dtype.kind != "f" else None
    if scale == 1 and not zero and blank is None:
        return stored
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored * np.float64(scale) + zero
    if blank is not None:
        values[stored == blank] = np.nan
    return values
