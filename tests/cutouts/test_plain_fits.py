"""Plain FITS files of every shape, through our parser and through astropy: the same pixels."""

import io
import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from cutout_files import BANDS, SCALE, galaxy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.headers import BLOCK, CARD, Header, ReadAt, reader, walk_headers
from photoz_mmae.cutouts.pixels import read_pixels
from photoz_mmae.cutouts.read import read_batch

BITPIX = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}

# Cards that mean nothing here, some of them made to look like others.
FILLERS = [
    "COMMENT NAXIS1  =                    7 of another image",
    "COMMENT END",
    "HISTORY made by hand",
    "",
    " " * 30 + "END",
    "NOTE    = 'a / slash, it''s quoted, NAXIS   = 9' / END",
    "HIERARCH ESO DET CHIP1 NAXIS1 = 2048 / longer than eight letters",
    "HIERARCH NAXIS1 = 'no'",
    # A long string: one item, several cards.
    "LONGTEXT= 'the first part of a long string that goes on in another card, &'".ljust(CARD)
    + "CONTINUE  'and on &'".ljust(CARD)
    + "CONTINUE  'NAXIS2  =                 4 &' / with a comment".ljust(CARD)
    + "CONTINUE  'END'",
    "lower   =                    3 / no keyword of the standard",
    "REPEATED=                    1",
    "NOVALUE =",
    "NOVALUE2",
    "COMPLEX =         (1.0, -2.5)",
    "BOOL    =                    T",
    "SMALL   =              1.5D-07",
    "TEXT    = 'END     '",
    "XTENSIO = 'IMAGE   '",
    "ZIMAGE0 =                    T",
    "NAXIS10 =                   12",
    "EXTEND2 =                    T",
]


def card(key: str, value: object) -> str:
    return f"{key:<8}= {value!s:>20}"


def padded(content: bytes, fill: bytes) -> bytes:
    return content + fill * (-len(content) % BLOCK)


def unit(cards: list[str], data: bytes = b"") -> bytes:
    text = "".join(one.ljust(-(-len(one) // CARD) * CARD or CARD) for one in [*cards, "END"])
    return padded(text.encode(), b" ") + padded(data, b"\0")


fillers = st.lists(st.sampled_from(FILLERS), max_size=6) | st.lists(
    st.sampled_from(FILLERS), min_size=30, max_size=90
)


@st.composite
def images(draw: st.DrawFn, first: bool, scaled: bool = False) -> bytes:
    """Bytes of an image unit with one to four axes, of any type."""
    bitpix = draw(st.sampled_from(sorted(BITPIX)))
    shape = draw(
        st.lists(st.integers(0, 9) if first else st.integers(1, 9), min_size=1, max_size=4)
    )
    count = math.prod(shape)
    raw = draw(st.binary(min_size=0, max_size=64)) + b"\x01"
    size = count * abs(bitpix) // 8
    data = (raw * (size // len(raw) + 1))[:size]
    start = "SIMPLE  =                    T" if first else "XTENSION= 'IMAGE   '"
    cards = [start, card("BITPIX", bitpix), card("NAXIS", len(shape))]
    cards += [card(f"NAXIS{n}", axis) for n, axis in enumerate(shape, start=1)]
    if not first:
        cards += [card("PCOUNT", 0), card("GCOUNT", 1)]
    if scaled:
        unsigned = {8: -128, 16: 2**15, 32: 2**31, 64: 2**63}
        scale = draw(st.sampled_from([1, 2, 0.5, -3.25, 1e-3, 1e6]))
        zero = draw(st.sampled_from([1, -7.5, 1e4]))  # of BLANK alone astropy makes an error
        if bitpix in unsigned and draw(st.booleans()):
            scale, zero = 1, unsigned[bitpix]
        cards += [card("BSCALE", scale), card("BZERO", zero)]
        if bitpix > 0 and draw(st.booleans()):
            # In half of the cases a value that occurs.
            stored = np.frombuffer(data, BITPIX[bitpix])
            value = stored[0] if count and draw(st.booleans()) else 7
            cards.append(card("BLANK", value))
    return unit(cards + draw(fillers), data)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Bytes of a binary table with or without a heap, or of a table of text."""
    rows, text = draw(st.integers(0, 5)), draw(st.booleans())
    heap = 0 if text else draw(st.sampled_from([0, 1, 4000]))
    cards = [
        f"XTENSION= '{'TABLE   ' if text else 'BINTABLE'}'",
        card("BITPIX", 8),
        card("NAXIS", 2),
        card("NAXIS1", 8),
        card("NAXIS2", rows),
        card("PCOUNT", heap),
        card("GCOUNT", 1),
        card("TFIELDS", 1),
        card("TFORM1", "'I8      '" if text else "'1K      '"),
        card("TTYPE1", "'a       '"),
    ] + ([card("TBCOL1", 1)] if text else [])
    return unit(cards + draw(fillers), b"       1" * rows + bytes(heap))


@st.composite
def files(draw: st.DrawFn, scaled: bool = False) -> bytes:
    """Bytes of a file: images, tables and empty units in any order."""
    empty_first = ["SIMPLE  =                    T", card("BITPIX", 8), card("NAXIS", 0)]
    empty = ["XTENSION= 'IMAGE   '", card("BITPIX", 16), card("NAXIS", 0)]
    empty += [card("PCOUNT", 0), card("GCOUNT", 1)]
    content = draw(images(True, scaled) | fillers.map(lambda cards: unit(empty_first + cards)))
    more = images(False, scaled) | tables() | fillers.map(lambda cards: unit(empty + cards))
    return content + b"".join(draw(st.lists(more, max_size=5)))


@contextmanager
def ours(content: bytes) -> Iterator[tuple[list[Header], ReadAt]]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        read_at = reader(file.fileno())
        yield list(walk_headers(read_at)), read_at


@contextmanager
def theirs(content: bytes) -> Iterator[fits.HDUList]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Without `uint`, astropy turns unsigned integers into floats and respects their BLANK.
        with fits.open(io.BytesIO(content), uint=False) as units:
            yield units


@settings(max_examples=150)
@given(files())
def test_pixels_are_astropys_bit_for_bit(content: bytes) -> None:
    with ours(content) as (headers, read_at), theirs(content) as units:
        assert len(headers) == len(units)
        for header, one in zip(headers, units, strict=True):
            if not one.is_image or one.data is None or not one.data.size:
                assert header.shape == ()
                assert header.is_table is (not one.is_image)
                continue
            pixels = read_pixels(header, read_at)
            assert header.shape == pixels.shape == one.data.shape
            assert big_endian(pixels) == big_endian(one.data)


@settings(max_examples=150)
@given(files(scaled=True))
def test_scaled_and_blank_pixels_are_astropys(content: bytes) -> None:
    with ours(content) as (headers, read_at), theirs(content) as units:
        for header, one in zip(headers, units, strict=True):
            if header.shape:
                expected = one.data.astype(float)  # float32 so far, where integers are short
                precise = one.data.dtype.itemsize == 8
                largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
                if not precise:  # what is too large for it
                    expected = np.clip(expected, -3e38, 3e38)
                np.testing.assert_allclose(
                    read_pixels(header, read_at) if precise else short(header, read_at),
                    expected,
                    rtol=1e-15 if precise else 1e-6,
                    atol=0 if precise else 1e-6 * min(largest, 1e6),
                )


def short(header: Header, read_at: ReadAt) -> NDArray[Any]:
    """Return pixels as far as float32 can tell them."""
    return np.clip(read_pixels(header, read_at), -3e38, 3e38)


def big_endian(pixels: NDArray[Any]) -> bytes:
    return pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


VALUES = (
    st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.booleans()
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
)


@settings(max_examples=200)
@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_-]{0,7}", fullmatch=True), VALUES, max_size=9))
def test_values_are_astropys(cards: dict[str, Any]) -> None:
    wanted = {f"Q{key[1:]}": value for key, value in cards.items()}
    head = fits.Header(wanted)
    head["HIERARCH OBJECT_ID"] = "40000000000000007"
    raw = fits.PrimaryHDU(header=head).header.tostring().encode()
    written = fits.Header.fromstring(raw)
    with ours(raw) as (headers, _):
        for key, value in wanted.items():
            if isinstance(value, str):
                assert headers[0].text(key) == value.strip()
                assert headers[0].number(key) is None
            elif isinstance(value, bool):
                assert headers[0].text(key) == ("T" if value else "F")
            else:
                # As it is written: astropy writes 16 digits.
                assert headers[0].number(key) == float(written[key])
        assert headers[0].text("OBJECT_ID") == "40000000000000007"


@st.composite
def cutouts(draw: st.DrawFn) -> list[fits.HDUList]:
    """Make files that look much alike: what one is laid out like must not be taken for another."""
    height, width = draw(st.integers(8, 20)), draw(st.integers(8, 20))
    kind = draw(st.sampled_from(["cube", "bands last", "mef"]))
    type_name = draw(st.sampled_from(["f4", "f8", "i2", "i4"]))
    made = []
    for number in range(draw(st.integers(2, 4))):
        shape = (width, height) if draw(st.integers(0, 3)) == 0 else (height, width)
        planes = galaxy(shape, seed=number)
        planes = np.round(planes * 100).astype(type_name) if type_name[0] == "i" else planes
        planes = planes.astype(type_name)
        order = draw(st.sampled_from([BANDS, BANDS[::-1], ("g", "i", "r", "z", "y")]))
        head = fits.Header({"OBJECT": f"object {number}"})
        head["MAGZERO"] = draw(st.sampled_from([27.0, 27.0, 31.4, 22.5]))
        if draw(st.integers(0, 4)) == 0:
            head["BSCALE"] = draw(st.sampled_from([1.0, 2.0]))
        else:
            head["BOTHER"] = 2.0
        if kind == "mef":
            units: list[Any] = [fits.PrimaryHDU()]
            units += [fits.ImageHDU(plane, head) for plane in planes]
            for one, band in zip(units[1:], order, strict=True):
                one.header["EXTNAME"] = f"HSC-{band.upper()}"
        else:
            data = planes if kind == "cube" else np.ascontiguousarray(planes.transpose(1, 2, 0))
            units = [fits.PrimaryHDU(data, head)]
            units[0].header["BANDS"] = "".join(order)
        if "BSCALE" in head:
            for one in units:
                if one.data is not None:
                    one.header["BSCALE"] = head["BSCALE"]
        made.append(fits.HDUList(units))
    return made


@settings(max_examples=60)
@given(cutouts(), st.integers(8, 24))
def test_files_much_alike_are_not_taken_for_each_other(made: list[fits.HDUList], size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        for number, units in enumerate(made):
            units.writeto(Path(name) / f"{number}.fits")
        batch = read_batch(discover([name]).sources, Wanted(BANDS, size, SCALE))
        for row in range(len(made)):
            expected, missing = by_astropy(Path(name) / f"{row}.fits", size)
            assert batch.reason[row] == ""
            assert batch.object_id[row] == f"object {row}"
            np.testing.assert_array_equal(batch.missing[row], missing)
            np.testing.assert_allclose(batch.images[row], expected, rtol=2e-7)


def by_astropy(path: Path, size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an object's images, cut or padded to `size` around the centre, and what is missing."""
    planes = {}
    with fits.open(path) as units:
        for one in units:
            if one.data is not None:
                names = one.header.get("BANDS") or one.header["EXTNAME"][-1].lower()
                data = one.data if one.data.ndim == 3 else one.data[None]
                data = data if len(data) == len(names) else np.moveaxis(data, 2, 0)
                factor = 10 ** (0.4 * (27 - one.header["MAGZERO"]))
                planes |= {band: plane * factor for band, plane in zip(names, data, strict=True)}
    images = np.zeros((len(BANDS), size, size))
    missing = np.ones(images.shape, bool)
    for k, band in enumerate(BANDS):
        height, width = planes[band].shape
        # The file's pixel that becomes pixel 0: the lower one where two are as near.
        left, bottom = (math.floor((side - size) / 2 + 0.51) for side in (width, height))
        for y in range(size):
            for x in range(size):
                if 0 <= y + bottom < height and 0 <= x + left < width:
                    images[k, y, x] = planes[band][y + bottom, x + left]
                    missing[k, y, x] = False
    return images, missing


def test_blank_pixels_of_unscaled_integers() -> None:
    cards = ["SIMPLE  =                    T", card("BITPIX", 16), card("NAXIS", 1)]
    content = unit([*cards, card("NAXIS1", 3), card("BLANK", -32768)], b"\0\1\x80\0\0\3")
    with ours(content) as (headers, read_at):
        np.testing.assert_array_equal(read_pixels(headers[0], read_at), [1, np.nan, 3])


@pytest.mark.parametrize("length", [35, 36, 37, 71, 72, 73])
def test_headers_that_end_at_the_edge_of_a_block(length: int) -> None:
    cards = ["SIMPLE  =                    T", card("BITPIX", 16), card("NAXIS", 1)]
    cards += [card("NAXIS1", 3)]
    cards += ["COMMENT filler"] * (length - len(cards))
    content = unit(cards, b"\0\1\0\2\0\3")
    with ours(content) as (headers, read_at):
        np.testing.assert_array_equal(read_pixels(headers[0], read_at), [1, 2, 3])
