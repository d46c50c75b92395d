"""Rows of tables, read by hand, are those that astropy reads."""

import io
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.binary_table import columns, read_rows, row_type
from photoz_mmae.cutouts.headers import Damaged, walk_headers

FORMATS = ["J", "3J", "1D", "2E", "K", "5A", "I", "B", "L", "11X", "PJ()", "QD()", "C"]


def table(formats: list[str], rows: int) -> bytes:
    generator = np.random.default_rng(len(formats))
    made = []
    for n, form in enumerate(formats):
        count = int("".join(c for c in form if c.isdigit()) or 1)
        values: Any = generator.integers(0, 100, (rows, count))
        if "A" in form:
            values = np.array([b"abcde"[: n % 6]] * rows)
        elif form == "11X":
            values = generator.random((rows, 11)) > 0.5
        elif form[0] in "PQ":
            values = np.array([np.arange(k, dtype="i4") for k in range(rows)] + [None], object)[:-1]
        elif count == 1:
            values = values[:, 0]
        made.append(fits.Column(f"c{n}", form, array=values))
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made, nrows=rows)]).writeto(file)
    return file.getvalue()


@given(st.lists(st.sampled_from(FORMATS), min_size=1, max_size=6), st.integers(1, 5))
def test_rows_are_those_of_astropy(formats: list[str], rows: int) -> None:
    content = table(["J", *formats], rows)
    read_at = lambda start, length: content[start : start + length]  # noqa: E731
    header = list(walk_headers(read_at))[1]
    expected = fits.open(io.BytesIO(content))[1].data
    got = read_rows(header, read_at, 0, rows)
    assert len(columns(header)) == len(formats) + 1
    for n, form in enumerate(["J", *formats]):
        if form[-1] in "JDEKIBC":
            np.testing.assert_array_equal(got[f"c{n}"], expected[f"c{n}"])
        elif form == "5A":
            assert [text.rstrip(b"\0 ").decode() for text in got[f"c{n}"].tolist()] == list(
                expected[f"c{n}"]
            )
        elif form[0] in "PQ":
            assert got[f"c{n}"][:, 0].tolist() == [len(values) for values in expected[f"c{n}"]]


def test_tables_that_do_not_add_up() -> None:
    content = table(["J", "2D"], 3)
    for old, new in ((b"TFORM2  = '2D", b"TFORM2  = '3D"), (b"TFORM2  = '2D", b"TFORM2  = '2Y")):
        bent = content.replace(old, new)
        header = list(walk_headers(lambda start, length, b=bent: b[start : start + length]))[1]
        with pytest.raises(Damaged, match="HDU 1"):
            row_type(header)
    read_at = lambda start, length: content[start : start + length]  # noqa: E731
    header = list(walk_headers(read_at))[1]
    for first, count in ((3, 1), (-1, 1), (0, 4)):
        with pytest.raises(Damaged, match="no row"):
            read_rows(header, read_at, first, count)
    with pytest.raises(Damaged, match="longer than the file"):
        read_rows(header, lambda start, length: b"", 0, 1)
