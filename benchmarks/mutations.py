"""Damage done to files: the same for the same number.

Half of the damage aims at headers, tables of objects and the structures of HDF5, where a flipped
bit changes what the rest of the file means; the other half may hit anything.
"""

import gzip
import random
import struct
import zlib
from collections.abc import Callable

Files = dict[str, bytes]
"""Names and contents of one object's files."""

BLOCK = 2880
CARD = 80
HDF5 = b"\x89HDF"
SHARD = b"photoz-mmae shard"
NAN, INF = float("nan"), float("inf")


def _words(text: str) -> list[str]:
    return text.split()


VALUES = _words("""
    0 -1 1 2 3 7 -64 63 65 4096 99999 2147483647 2147483648 4294967296 9223372036854775807
    -9223372036854775808 18446744073709551616 1E30 -1E308 1E-320 1D5 NaN INF 'x' '' T F 'grizy'
    'RICE_1' 'GZIP_1' 'GZIP_2' 'HCOMPRESS_1' 'PLIO_1' 'NOCOMPRESS' '1PB(9)' '1QB(57)' '1PJ' '0PB'
    '9999B' '1D' '1PE(2147483647)' 'RA---SIN' 'RA---TAN-SIP' 'DEC--TPV' 'GLON-TAN' 'BYTEPIX' 'nJy'
    'BINTABLE' 'IMAGE' 'TABLE' 'HSC-G' 'MASK' (1,2) 1/0 2,5 ''' 0x10 +5 5. .5E+2
""")
KEYWORDS = _words("""
    SIMPLE XTENSION BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 NAXIS999 PCOUNT GCOUNT TFIELDS TFORM1 TFORM2
    TTYPE1 THEAP ZIMAGE ZBITPIX ZNAXIS ZNAXIS1 ZNAXIS2 ZNAXIS3 ZTILE1 ZTILE2 ZCMPTYPE ZNAME1 ZVAL1
    ZVAL2 ZQUANTIZ ZDITHER0 ZBLANK ZSCALE ZZERO ZMASKCMP BSCALE BZERO BLANK EXTNAME EXTTYPE FILTER
    BAND BANDS OBJECT_ID OBJECT RA_TARG DEC_TARG RA DEC CTYPE1 CTYPE2 CUNIT1 CRPIX1 CRPIX2 CRVAL1
    CRVAL2 CD1_1 CD1_2 CD2_2 CDELT1 PC1_1 LONPOLE LATPOLE PV2_1 A_ORDER A_0_2 MAGZERO FLUXMAG0 ZP
    BUNIT SATURATE PIXSCALE MP_BAD MP_SAT EXTEND INHERIT END CONTINUE HIERARCH COMMENT
""")


def damage(files: Files, rng: random.Random) -> tuple[Files, str]:
    """Damage one of the files, once to three times; also say what was done."""
    files = dict(files)
    name = rng.choice(sorted(files))
    if len(files) > 1 and rng.random() < 0.05:
        other = rng.choice(sorted(files))
        files[name], files[other] = files[other], files[name]
        return files, f"{name}: swapped with {other}"
    content = bytearray(files[name])
    done = []
    # Damage below the compression, then to the stream itself.
    inside = content[:2] == b"\x1f\x8b" and rng.random() < 0.5
    if inside:
        content = bytearray(gzip.decompress(bytes(content)))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.choice(_KINDS)
        kind(content, rng)
        done.append(kind.__name__.strip("_"))
    if inside:
        content = bytearray(gzip.compress(bytes(content), 1, mtime=0))
    files[name] = bytes(content)
    return files, f"{name}: {', '.join(done)}{' (inside gzip)' * inside}"


def _somewhere(raw: bytearray, rng: random.Random) -> int:
    """Choose a byte: in half of the cases one that decides on others."""
    if not raw:
        return 0
    if rng.random() < 0.5:
        if raw.startswith(HDF5):
            return min(rng.choice(_structures(raw)) + rng.randrange(600), len(raw) - 1)
        if SHARD in raw[:BLOCK] and rng.random() < 0.5:  # its table is the last that is in it
            return max(0, len(raw) - 1 - rng.randrange(2 * BLOCK))
        if cards := _cards(raw):
            return rng.choice(cards) + rng.randrange(CARD)
    return rng.randrange(len(raw))


def _structures(raw: bytearray) -> list[int]:
    """Return where something begins in an HDF5 file that says where other things are."""
    marks = (b"TREE", b"HEAP", b"SNOD", b"image\0", b"object_id\0", b"GCOL")
    return [0, 96, *(at for mark in marks for at in _all(raw, mark))]


def _all(raw: bytearray, mark: bytes) -> list[int]:
    found = []
    at = raw.find(mark)
    while at >= 0:
        found.append(at)
        at = raw.find(mark, at + 1)
    return found


def _cards(raw: bytearray) -> list[int]:
    return [at for at in range(0, len(raw) - CARD + 1, CARD) if raw[at + 8 : at + 10] == b"= "]


def _truncate(raw: bytearray, rng: random.Random) -> None:
    del raw[_somewhere(raw, rng) :]


def _truncate_at_a_block(raw: bytearray, rng: random.Random) -> None:
    del raw[BLOCK * rng.randrange(len(raw) // BLOCK + 1) :]


def _empty(raw: bytearray, rng: random.Random) -> None:
    raw.clear()


def _flip_bits(raw: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 2, 5, 50]) if raw else 0):
        raw[min(_somewhere(raw, rng), len(raw) - 1)] ^= 1 << rng.randrange(8)


def _overwrite_bytes(raw: bytearray, rng: random.Random) -> None:
    at = _somewhere(raw, rng)
    length = rng.choice([1, 4, 80, 1000])
    fill = rng.choice([b"\0", b"\xff", b" ", b"\n", b"'", b""])
    piece = fill * length if fill else rng.randbytes(length)
    raw[at : at + length] = piece[: len(raw) - at]


def _overwrite_number(raw: bytearray, rng: random.Random) -> None:
    """Put an absurd binary number where one may be: a size, a place, a position."""
    at = _somewhere(raw, rng)
    at -= at % rng.choice([1, 4, 8])
    if rng.random() < 0.3:
        piece = struct.pack(rng.choice(["<d", ">d"]), rng.choice([NAN, INF, -1, 1e300, 1e-300, 0]))
    else:
        numbers = [0, 1, 2, 8, 255, 2**31 - 1, 2**32, 2**40, 2**62, 2**64 - 1, at, len(raw)]
        piece = rng.choice(numbers).to_bytes(8, rng.choice(["little", "big"]))
        if rng.random() < 0.3:
            piece = piece[:4] if piece[:4].strip(b"\0") else piece[4:]
    raw[at : at + len(piece)] = piece[: len(raw) - at]


def _overwrite_value(raw: bytearray, rng: random.Random) -> None:
    if cards := _cards(raw):
        _set_value(raw, rng.choice(cards), rng)


def _overwrite_structure(raw: bytearray, rng: random.Random) -> None:
    wanted = {keyword.ljust(8).encode() for keyword in KEYWORDS}
    cards = [at for at in _cards(raw) if bytes(raw[at : at + 8]) in wanted]
    if cards:
        _set_value(raw, rng.choice(cards), rng)


def _set_value(raw: bytearray, at: int, rng: random.Random) -> None:
    value = rng.choice(VALUES) if rng.random() < 0.8 else str(rng.randint(-300, 70_000))
    raw[at + 10 : at + CARD] = value.rjust(20).ljust(CARD - 10).encode()


def _overwrite_keyword(raw: bytearray, rng: random.Random) -> None:
    if cards := _cards(raw):
        at = rng.choice(cards)
        raw[at : at + 8] = rng.choice(KEYWORDS)[:8].ljust(8).encode()


def _replace_card(raw: bytearray, rng: random.Random) -> None:
    """Put a card of another meaning where one was: BSCALE, a second NAXIS1, an END too early."""
    if cards := _cards(raw):
        at = rng.choice(cards)
        raw[at : at + 10] = rng.choice(KEYWORDS)[:8].ljust(8).encode() + b"= "
        _set_value(raw, at, rng)


def _swap_blocks(raw: bytearray, rng: random.Random) -> None:
    one, two = (BLOCK * rng.randrange(len(raw) // BLOCK + 1) for _ in range(2))
    first, second = raw[one : one + BLOCK], raw[two : two + BLOCK]
    if len(first) == len(second) == BLOCK:
        raw[one : one + BLOCK], raw[two : two + BLOCK] = second, first


def _drop_or_repeat(raw: bytearray, rng: random.Random) -> None:
    at, length = _somewhere(raw, rng), rng.choice([1, 80, 2880, 30_000])
    piece = raw[at : at + length]
    raw[at : at + length] = b"" if rng.random() < 0.5 else piece * 2


def _double_header(raw: bytearray, rng: random.Random) -> None:
    """Run two headers together, or repeat one whole."""
    ends = [at for at in range(0, len(raw), CARD) if raw[at : at + 8] == b"END     "]
    if ends:
        at = rng.choice(ends)
        if rng.random() < 0.5:
            raw[at : at + 3] = b"EN "
        else:
            raw[:0] = raw[: -(-(at + CARD) // BLOCK) * BLOCK]


def _append(raw: bytearray, rng: random.Random) -> None:
    pieces = [b"\n<!-- served by -->", bytes(BLOCK), b" " * BLOCK, bytes(raw), rng.randbytes(9000)]
    raw += rng.choice(pieces)


def _bomb(raw: bytearray, rng: random.Random) -> None:
    """Add what decompresses to hundreds of megabytes, as a stream or as a tile of an image."""
    zeros = gzip.compress(bytes(1 << 20))
    if raw[:2] == b"\x1f\x8b":
        raw += zeros * rng.choice([10, 600])
        return
    at = raw.find(b"\x1f\x8b\x08")
    if raw.startswith(HDF5):  # a piece of a dataset
        if (at := raw.find(b"x^")) >= 0:
            piece = zlib.compress(bytes(200 << 20), 1)
            raw[at : at + len(piece)] = piece[: len(raw) - at]
    elif at >= 0:  # a GZIP_1 tile
        raw[at : at + len(zeros)] = zeros
    # A descriptor of a tile that is as long as the heap or longer.
    elif (start := raw.find(b"ZIMAGE")) >= 0:
        row = raw.find(b"END     ", start)
        row = -(-row // BLOCK) * BLOCK if row >= 0 else start
        raw[row : row + 8] = struct.pack(">ii", rng.choice([2**31 - 1, 60_000, -1]), 0)


def _promise(raw: bytearray, rng: random.Random) -> None:
    """Let a header promise far more than there is."""
    keys = (b"NAXIS1  ", b"NAXIS2  ", b"NAXIS3  ", b"ZNAXIS1 ", b"ZNAXIS2 ", b"PCOUNT  ")
    cards = [at for at in _cards(raw) if bytes(raw[at : at + 8]) in keys]
    for at in rng.sample(cards, min(len(cards), rng.choice([1, 2, 4]))):
        value = rng.choice([5000, 20_000, 10**6, 2**31 - 1, 2**32, 2**40, 2**62, 10**18])
        raw[at + 10 : at + CARD] = str(value).rjust(20).ljust(CARD - 10).encode()


_KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _truncate,
    _truncate,
    _truncate_at_a_block,
    _empty,
    _flip_bits,
    _flip_bits,
    _flip_bits,
    _overwrite_bytes,
    _overwrite_number,
    _overwrite_number,
    _overwrite_value,
    _overwrite_structure,
    _overwrite_structure,
    _overwrite_structure,
    _overwrite_keyword,
    _replace_card,
    _replace_card,
    _swap_blocks,
    _drop_or_repeat,
    _double_header,
    _append,
    _bomb,
    _promise,
)
