"""FITS headers, read and checked by hand before anything else touches a file.

A header that promises more data than the file holds, or makes no sense, is found here, where it
costs an exception, and not in a C library or in an allocation. FITS standard 4.0, sections 3-4.
"""

import gzip
import io
import math
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

BLOCK = 2880
CARD = 80
MAX_HEADER = 4 << 20
"""Bytes: a header longer than this is not one."""

MAX_FILE = 1 << 60
"""Bytes: beyond this a position in a file is nonsense."""

ReadAt = Callable[[int, int], bytes]
"""(offset, length) -> bytes, fewer than asked for at the end of the file."""

_STRING = re.compile(rb"\s*'((?:[^']|'')*)'")
_INTEGER = re.compile(rb"[+-]?\d+")
_TABLES = ("BINTABLE", "TABLE", "A3DTABLE")
# Whole words in EXTNAME or EXTTYPE that say that an image is not the sky itself.
_ANCILLARY = re.compile(
    r"(?<![A-Z])(VAR|VARIANCE|STD|SIGMA|ERR|ERROR|UNC|NOISE|MASK|MSK|BITMASK|DQ|FLAGS?|QUALITY|WHT"
    r"|WEIGHT|IVAR|INVVAR|WGT|RMS|PSF|BKG|BACKGROUND|SKY|EXPMAP|COVERAGE|NEXP|SEG|SEGMAP|MODEL|RESIDUAL)"
    r"(?![A-Z])",
    re.IGNORECASE,
)


class Damaged(Exception):
    """The bytes are no FITS file, or a broken one; the message says how."""


@dataclass(slots=True)
class Header:
    """One header-data unit.

    Attributes
    ----------
    index : int
        Number of the unit in the file; 0 is the primary one.
    cards : dict of bytes to (int, int)
        Where in `raw` stands what follows `KEYWORD = `; of a repeated keyword the first.
    raw : bytes
        The header's cards up to END, or the whole file that begins with them.
    span : (int, int)
        Where in `raw` the cards are, from the first to the one before END.
    start : int
        Where the header begins in the file.
    shape : tuple of int
        Of the image, slowest axis first, that of the image itself where it is tile-compressed;
        empty for a table and for a unit without data.
    is_table, is_compressed : bool
        A table; a table that is a tile-compressed image counts as the latter only.
    data_start, data_size : int
        Where the data lie in the file, in bytes, without the padding to whole blocks.
    asked : set of bytes or None
        Keywords whose values were asked for, present or not; None where nobody wants to know.
    """

    index: int
    cards: dict[bytes, tuple[int, int]]
    raw: bytes
    span: tuple[int, int]
    start: int = 0
    shape: tuple[int, ...] = ()
    is_table: bool = False
    is_compressed: bool = False
    data_start: int = 0
    data_size: int = 0
    asked: set[bytes] | None = field(default_factory=set)

    def value(self, key: str) -> bytes | None:
        """Return what follows `KEYWORD = ` as it is written, comment and all."""
        name = key.encode()
        if self.asked is not None:
            self.asked.add(name)
        place = self.cards.get(name)
        return None if place is None else self.raw[place[0] : place[1]]

    def text(self, key: str) -> str:
        """Return the value as text: a string without its quotes, a number as written, or ''."""
        value = self.value(key)
        return "" if value is None else _text(value)

    def number(self, key: str) -> float | None:
        """Return a finite number; None for a missing keyword, a string, or anything else."""
        name = key.encode()
        if self.asked is not None:
            self.asked.add(name)
        place = self.cards.get(name)
        return None if place is None else _number(self.raw[place[0] : place[1]])

    def integer(self, key: str, default: int | None = None) -> int:
        """Return an integer that the structure of the file needs; raises Damaged without it."""
        card = self.value(key)
        if card is None and default is not None:
            return default
        value = b"" if card is None else card.partition(b"/")[0].strip()
        if value.isdigit() and len(value) <= 20:
            return int(value)
        if not _INTEGER.fullmatch(value) or len(value) > 20:
            raise Damaged(
                f"HDU {self.index}: {key} is {'missing' if card is None else 'no integer'}"
            )
        return int(value)

    def number_span(self, name: bytes) -> tuple[int, int]:
        """Return where in `raw` the value of a card is that is there, without a comment."""
        start, stop = self.cards[name]
        end = self.raw.find(b" /", start, stop)
        return start, stop if end < 0 else end

    @property
    def all_cards(self) -> bytes:
        """All cards before END as they are, for readers that need the whole header."""
        if self.asked is not None:
            self.asked.update(self.cards)
        return self.raw[slice(*self.span)]

    def within(self, file: bytes) -> "Header":
        """Return the same header with places counted from the beginning of its whole file."""
        shift = self.start - self.span[0]
        cards = {key: (one + shift, two + shift) for key, (one, two) in self.cards.items()}
        span = (self.start, self.span[1] + shift)
        return replace(self, raw=file, cards=cards, span=span)

    def of(self, file: bytes) -> "Header":
        """Return the header of another file that has it in the same place."""
        return Header(
            self.index,
            self.cards,
            file,
            self.span,
            self.start,
            self.shape,
            self.is_table,
            self.is_compressed,
            self.data_start,
            self.data_size,
            None,
        )

    @property
    def plain_shape(self) -> tuple[int, ...]:
        """The shape without axes of length one, which some writers add in front."""
        if len(self.shape) <= 2:
            return self.shape
        return tuple(length for length in self.shape if length > 1)

    @property
    def is_science(self) -> bool:
        """An image of the sky: not a variance, a mask, a weight, a PSF."""
        is_ancillary = self.text("PRODCATG").upper().startswith("ANCILLARY")  # of ESO
        return bool(self.shape) and not is_ancillary and _ANCILLARY.search(self.kind_words) is None

    @property
    def kind_words(self) -> str:
        """What the header says of what the image is."""
        return f"{self.text('EXTNAME')} {self.text('EXTTYPE')} {self.text('IMAGETYP')}"


def _text(value: bytes) -> str:
    end = value.rfind(b"'")
    if value.startswith(b"'") and value.find(b"'", 1) == end > 0:
        text = value[1:end]
    else:
        quoted = _STRING.match(value)
        text = quoted[1].replace(b"''", b"'") if quoted else value.partition(b"/")[0]
    return text.decode("utf-8", "backslashreplace").strip()


def _number(value: bytes) -> float | None:
    try:
        number = float(value.partition(b"/")[0])
    except ValueError:
        try:
            number = float(value.partition(b"/")[0].replace(b"D", b"E"))
        except ValueError:
            return None
    return number if math.isfinite(number) else None


def open_regular(path: str) -> int:
    """Open a regular file for reading and return its descriptor.

    Raises
    ------
    OSError
        It cannot be opened.
    Damaged
        It is a pipe, a device, a directory: reading could block for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged("not a regular file")
    return descriptor


def is_gzip(descriptor: int) -> bool:
    """Whether the file's content, whatever its name, is gzip-compressed."""
    return os.pread(descriptor, 2, 0) == b"\x1f\x8b"


def reader(descriptor: int) -> ReadAt:
    """Return a function that reads a piece of the file, decompressed where it is gzip."""
    if not is_gzip(descriptor):
        return lambda offset, length: os.pread(descriptor, length, offset)
    os.lseek(descriptor, 0, os.SEEK_SET)
    stream = gzip.GzipFile(fileobj=io.FileIO(descriptor, closefd=False))

    def read_at(offset: int, length: int) -> bytes:
        try:
            stream.seek(offset)
            return stream.read(length)
        except (OSError, EOFError, zlib.error) as error:
            raise Damaged(f"gzip: {error}") from error

    return read_at


def walk_headers(read_at: ReadAt) -> Iterator[Header]:
    """Yield the headers of a FITS file one by one, each after it was checked.

    That the data of a unit are all there is checked before the next unit is looked for, so a
    reader that needs the first units only may stop early. Bytes behind the last unit that are no
    extension end the walk without an error, as the standard allows.

    Raises
    ------
    Damaged
        Not FITS, a header that makes no sense, or less data than it promises.
    """
    start = 0
    index = 0
    while True:
        raw, data_start = _read_cards(read_at, start, index)
        if not raw:
            return
        header = _checked(raw, index, start, data_start)
        yield header
        end = data_start + header.data_size
        if header.data_size and (end > MAX_FILE or not read_at(end - 1, 1)):
            raise Damaged(f"truncated: HDU {index} goes on to byte {end}, the file does not")
        start = data_start + -(-header.data_size // BLOCK) * BLOCK
        index += 1


def _read_cards(read_at: ReadAt, start: int, index: int) -> tuple[bytes, int]:
    """Return the cards of the header at `start` (empty: there is none) and where its data begin."""
    raw = b""
    while len(raw) < MAX_HEADER:
        block = read_at(start + len(raw), BLOCK)
        if not raw and not block.startswith(b"SIMPLE  =" if index == 0 else b"XTENSION="):
            if index == 0:
                raise Damaged("not a FITS file" if block else "empty file")
            return b"", start
        end = block.find(b"END" + b" " * 77)
        while end > 0 and end % CARD:
            end = block.find(b"END" + b" " * 77, end + 1)
        raw += block
        if end >= 0:
            return raw[: len(raw) - len(block) + end], start + -(-len(raw) // BLOCK) * BLOCK
        if len(block) < BLOCK:
            break
    raise Damaged(f"truncated: the header of HDU {index} has no end")


def _checked(raw: bytes, index: int, start: int, data_start: int) -> Header:
    cards: dict[bytes, tuple[int, int]] = {}
    for place in range(0, len(raw), CARD):
        name = raw[place : place + 10]
        if name[8:] == b"= ":
            name = name[:8].rstrip()
            if name not in cards:
                cards[name] = place + 10, place + CARD
        elif name[:9] == b"HIERARCH ":
            # A keyword of more than eight letters, OBJECT_ID for one.
            key, _, value = raw[place + 9 : place + CARD].partition(b"=")
            cards.setdefault(key.strip(), (place + CARD - len(value), place + CARD))
    header = Header(index, cards, raw, (0, len(raw)), start, data_start=data_start)
    axes = _axes(header, "")
    bitpix = _bitpix(header, "BITPIX")
    pcount, gcount = header.integer("PCOUNT", 0), header.integer("GCOUNT", 1)
    if pcount < 0 or gcount < 0:
        raise Damaged(f"HDU {index}: PCOUNT or GCOUNT is negative")
    pixels = math.prod(axes) if axes else 0
    header.data_size = abs(bitpix) // 8 * gcount * (pcount + pixels)
    extension = header.text("XTENSION")
    if extension in _TABLES:
        header.is_compressed = header.text("ZIMAGE") == "T"
        header.is_table = not header.is_compressed
        if header.is_compressed:
            _bitpix(header, "ZBITPIX")
            header.shape = tuple(_axes(header, "Z")[::-1])
            if not math.prod(header.shape):
                raise Damaged(f"HDU {index}: a compressed image without pixels")
    elif pixels and extension in ("", "IMAGE"):
        header.shape = tuple(axes[::-1])
    return header


def _axes(header: Header, prefix: str) -> list[int]:
    """Return NAXIS1, NAXIS2, ... (or ZNAXIS1, ...)."""
    count = header.integer(f"{prefix}NAXIS")
    if not 0 <= count <= 999:
        raise Damaged(f"HDU {header.index}: {prefix}NAXIS is {count}")
    axes = [header.integer(f"{prefix}NAXIS{n}") for n in range(1, count + 1)]
    if any(axis < 0 for axis in axes):
        raise Damaged(f"HDU {header.index}: a {prefix}NAXISn is negative")
    return axes


def _bitpix(header: Header, key: str) -> int:
    bitpix = header.integer(key)
    if bitpix not in (8, 16, 32, 64, -32, -64):
        raise Damaged(f"HDU {header.index}: {key} is {bitpix}")
    return bitpix
