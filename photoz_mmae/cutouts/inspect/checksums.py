"""Whether the checksums that a FITS file carries are those of its bytes.

FITS standard 4.0, section 4.4.2.7 and appendix J: DATASUM is the ones' complement sum of the data's
32-bit words; CHECKSUM is such that the sum over the whole unit is all ones.
"""

import math

import numpy as np

from photoz_mmae.cutouts.headers import BLOCK, Header, ReadAt

_PIECE = 1 << 20
_ALL_ONES = 0xFFFFFFFF


def wrong_checksums(header: Header, begin: int, read_at: ReadAt) -> list[str]:
    """Return which of the checksums that a unit carries are wrong.

    Parameters
    ----------
    header : Header
    begin : int
        Where the unit begins in the file: the end of the one before.
    read_at : callable
        Reads the file.

    Returns
    -------
    list of str
        DATASUM, CHECKSUM, both or neither.
    """
    text = header.text("DATASUM")
    stated = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else None
    is_checked = bool(header.text("CHECKSUM").strip("0 "))
    if stated is None and not is_checked:
        return []
    size = math.ceil(header.data_size / BLOCK) * BLOCK
    data = _sum(read_at, header.data_start, size)
    wrong = []
    if stated is not None and data != stated:
        wrong.append("DATASUM")
    if is_checked:
        total = _folded(data + _sum(read_at, begin, header.data_start - begin))
        if total not in (0, _ALL_ONES):
            wrong.append("CHECKSUM")
    return wrong


def _sum(read_at: ReadAt, start: int, size: int) -> int:
    total = 0
    for offset in range(0, size, _PIECE):
        piece = read_at(start + offset, min(_PIECE, size - offset))
        piece += bytes(-len(piece) % 4)
        total = _folded(total + int(np.frombuffer(piece, ">u4").sum(dtype=np.uint64)))
    return total


def _folded(total: int) -> int:
    """Bring what went over 32 bits back in, as ones' complement addition does."""
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total
