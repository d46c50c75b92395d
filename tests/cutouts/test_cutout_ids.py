import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.ids import canonical_integer, fits_stem, is_fits_name, printable


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_int64_is_canonical_as_python_prints_it(value: int) -> None:
    assert canonical_integer(str(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0012",
        "+12",
        "-0",
        "1e3",
        "1.0",
        " 12",
        "12 ",
        "12\n",
        "٣",
        "1_0",
        "9223372036854775808",
    ],
)
def test_other_spellings_are_strings(text: str) -> None:
    assert canonical_integer(text) is None


@given(st.text(alphabet="0123456789+-_. e", max_size=22))
def test_what_is_canonical_prints_as_it_was_written(text: str) -> None:
    value = canonical_integer(text)
    assert value is None or str(value) == text


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.fits", "a"),
        ("a.b.FITS.GZ", "a.b"),
        ("7.fits.fz", "7"),
        (".fits", ".fits"),
        ("x.npz", "x.npz"),
    ],
)
def test_fits_stem(name: str, stem: str) -> None:
    assert fits_stem(name) == stem
    assert is_fits_name(name) is (name != "x.npz")


@given(st.binary(max_size=40))
def test_printable_text_can_be_stored_and_shown(raw: bytes) -> None:
    text = printable(os.fsdecode(raw))
    assert text.isprintable()
    text.encode("utf-8")


def test_printable_escapes_and_keeps() -> None:
    assert printable(os.fsdecode(b"a\xffb\nc\xc3\xa9")) == "a\\xffb\\ncé"
