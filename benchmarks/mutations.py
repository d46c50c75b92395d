"""Whole cutouts in every layout, and damage done to them: the same for the same number.

Half of the damage aims at headers, where a flipped bit changes what the rest of the file means;
the other half may hit anything.
"""

import gzip
import random
import re
import shutil
import struct
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from survey_files import BANDS, LAYOUTS, make_object

Files = dict[str, bytes]
"""Names and contents of one object's files."""

BLOCK = 2880
CARD = 80


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


def whole_files(shared: Path | None) -> dict[str, Files]:
    """Make an object in every layout; `shared` has real files, read where it is there."""
    found: dict[str, Files] = {}
    with tempfile.TemporaryDirectory() as name:
        for layout in ("cube", "one HDU per band", "five files", "Rice"):
            found[layout] = _written(Path(name), partial(LAYOUTS[layout], made=_MADE))
        for layout, make in _BY_ASTROPY.items():
            found[layout] = _written(Path(name), make)
    for layout in ("cube", "one HDU per band"):
        for file, content in found[layout].items():
            found[f"{layout}, gzip"] = {f"{file}.gz": gzip.compress(content, 6, mtime=0)}
    if shared is not None:
        for layout, pattern in _REAL.items():
            path = min(shared.glob(pattern))
            found[layout] = {path.name: path.read_bytes()}
    return found


_MADE = make_object(2026)
# Checksums hold the time of writing; files are to be the same every day.
_DATED = re.compile(rb"(CHECKSUM|DATASUM )= .{70}")
_UNDATED = rb"\1= '0               '".ljust(CARD - 8 + 2)
_REAL = {
    "real HSC cube": "hsc_cubes/*.fits",
    "real HSC cutout service": "hsc_das_cutouts/2-cutout-*.fits",
    "simulated HSC stamp": "hsc_like_sim/cutouts/*.fits",
    "LSST exposure": "lsst_exposure/*.fits",
    "DESI spectra": "desi/zall*.fits",
}


def _written(folder: Path, write: Callable[[Path], Any]) -> Files:
    inside = folder / "one"
    inside.mkdir()
    write(inside)
    files = {path.name: _DATED.sub(_UNDATED, path.read_bytes()) for path in inside.iterdir()}
    shutil.rmtree(inside)
    return files


def _planes() -> np.ndarray:
    return _MADE[1][:, 16:48, 16:48]


def _header() -> fits.Header:
    """Make the header of an image of `_planes`."""
    header = fits.Header()
    for card in _MADE[2] + _MADE[3]:
        header[card["name"] if len(card["name"]) <= 8 else f"HIERARCH {card['name']}"] = card[
            "value"
        ]
    header["CRPIX1"] -= 16
    header["CRPIX2"] -= 16
    return header


def _scaled(folder: Path) -> None:
    unit = fits.PrimaryHDU(_planes(), _header())
    unit.scale("int16", bscale=0.01, bzero=1.0)
    unit.header["BLANK"] = -32768
    unit.writeto(folder / "7.fits")


def _bands_last(folder: Path) -> None:
    data = np.ascontiguousarray(_planes().transpose(1, 2, 0)).astype(float)
    fits.PrimaryHDU(data, _header()).writeto(folder / "7.fits")


def _compressed(method: str, kind: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        units: list[Any] = [fits.PrimaryHDU()]
        for band, plane in zip(BANDS, _planes(), strict=True):
            data = (plane * 50).astype(kind) if kind != "f4" else plane
            keys = {"name": f"HSC-{band.upper()}", "compression_type": method}
            units.append(fits.CompImageHDU(np.maximum(data, 0), _header(), **keys))
        fits.HDUList(units).writeto(folder / "7.fits")

    return write


def _with_masks(folder: Path) -> None:
    """Write a file per band as the HSC cutout service does: image, mask, variance."""
    mask = np.zeros((32, 32), np.int32)
    mask[3:5, 3:9] = 1 << 3
    planes = {f"MP_{name}": bit for bit, name in enumerate(("BAD", "SAT", "INTRP", "CR", "EDGE"))}
    for line, (band, plane) in enumerate(zip(BANDS, _planes(), strict=True), start=2):
        primary = fits.Header({"FILTER": band, "FLUXMAG0": 63095734448.0})
        units: list[Any] = [fits.PrimaryHDU(header=primary)]
        kinds = {"IMAGE": plane, "MASK": mask, "VARIANCE": plane * 0 + 1}
        for kind, data in kinds.items():
            units.append(fits.ImageHDU(data, _header()))
            units[-1].header.update({"EXTTYPE": kind} | (planes if kind == "MASK" else {}))
        name = f"{line}-cutout-HSC-{band.upper()}-8279-pdr2_wide.fits"
        fits.HDUList(units).writeto(folder / name)


def _with_variances(folder: Path) -> None:
    units: list[Any] = [fits.PrimaryHDU()]
    for band, plane in zip(BANDS, _planes(), strict=True):
        units.append(fits.ImageHDU(plane, _header(), name=f"HSC-{band.upper()}"))
        units.append(fits.ImageHDU(plane * 0 + 1, name=f"HSC-{band.upper()}-VAR"))
    column = fits.Column("a", "K", array=np.arange(40))
    units.insert(2, fits.BinTableHDU.from_columns([column]))
    fits.HDUList(units).writeto(folder / "7.fits")


_BY_ASTROPY: dict[str, Callable[[Path], None]] = {
    "scaled integers": _scaled,
    "bands fastest": _bands_last,
    "with variances": _with_variances,
    "with masks": _with_masks,
    "Rice, integers": _compressed("RICE_1", "i2"),
    "GZIP_1 tiles": _compressed("GZIP_1", "f4"),
    "GZIP_2 tiles": _compressed("GZIP_2", "i4"),
    "HCOMPRESS": _compressed("HCOMPRESS_1", "i4"),
    "PLIO": _compressed("PLIO_1", "i2"),
}


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
    """Choose a byte: of a header in half of the cases."""
    cards = _cards(raw)
    if cards and rng.random() < 0.5:
        return rng.choice(cards) + rng.randrange(CARD)
    return rng.randrange(len(raw)) if raw else 0


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
    if at >= 0:  # a GZIP_1 tile
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
