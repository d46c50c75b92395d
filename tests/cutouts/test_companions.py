"""Which mask and variance belong to which image, and what they say of its pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from cutout_files import headers_of
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.companions import (
    Companions,
    find_companions,
    mask_bits,
    mask_planes,
    variance_of,
    where,
)
from photoz_mmae.cutouts.headers import Header

IMAGE = np.zeros((8, 8), np.float32)
MASK = np.zeros((8, 8), np.int32)
HSC_PLANES = {
    "MP_BAD": 0,
    "MP_SAT": 1,
    "MP_INTRP": 2,
    "MP_CR": 3,
    "MP_EDGE": 4,
    "HIERARCH MP_DETECTED": 5,
}
HSC_PLANES |= {"HIERARCH MP_NO_DATA": 8, "HIERARCH MP_BRIGHT_OBJECT": 9}
HSC_PLANES |= {"HIERARCH MP_UNMASKEDNAN": 15}


def units(path: Path, *extensions: tuple[str, str] | fits.ImageHDU) -> list[Header]:
    """Headers of a file with these extensions: (EXTNAME, EXTTYPE) or the unit itself."""
    made = [fits.PrimaryHDU()]
    for unit in extensions:
        if isinstance(unit, tuple):
            name, kind = unit
            unit = fits.ImageHDU(IMAGE)
            if name:
                unit.header["EXTNAME"] = name
            if kind:
                unit.header["EXTTYPE"] = kind
        made.append(unit)
    fits.HDUList(made).writeto(path)
    return headers_of(path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["IMAGE", "MASK", "VARIANCE"], {1: (2, 3, 1)}),
        (["MASK", "VARIANCE", "IMAGE"], {3: (1, 2, 1)}),
        (["SCI", "ERR", "DQ"], {1: (3, 2, 2)}),
        (["HSC-G", "HSC-G-VAR", "HSC-R", "HSC-R-VAR"], {1: (None, 2, 1), 3: (None, 4, 1)}),
        (["g", "r", "VAR_R", "G_MASK", "IVAR_G"], {1: (4, 5, -1), 2: (None, 3, 1)}),
        (["HSC-G", "HSC-R", "MASK-G", "R-MASK"], {1: (3, None, 1), 2: (4, None, 1)}),
        (["G", "MASK", "VARIANCE", "R", "MASK", "VARIANCE"], {1: (2, 3, 1), 4: (5, 6, 1)}),
        (["IMAGE", "MASK", "IMAGE", "MASK"], {1: (2, None, 1), 3: (4, None, 1)}),
        (["MASK", "VARIANCE"], {}),
        (["g", "r", "i_MASK"], {1: (None, None, 1), 2: (None, None, 1)}),
        (["IMAGE", "MASK_FRACTIONS/REJECTED", "NOISE_REALIZATIONS/0", "PSF"], {1: (None, None, 1)}),
    ],
)
def test_companions_by_name(
    tmp_path: Path, names: Sequence[str], expected: dict[int, tuple[int | None, int | None, int]]
) -> None:
    headers = units(tmp_path / "f.fits", *((name, "") for name in names))
    assert find_companions(headers) == {i: Companions(*own) for i, own in expected.items()}


def test_companions_by_type_as_the_hsc_service_writes_them(tmp_path: Path) -> None:
    kinds = [("", "IMAGE"), ("", "MASK"), ("", "VARIANCE")]
    assert find_companions(units(tmp_path / "1.fits", *kinds)) == {1: Companions(2, 3)}
    empty = fits.ImageHDU()
    assert find_companions(units(tmp_path / "2.fits", kinds[0], empty, empty)) == {1: Companions()}
    both = units(tmp_path / "3.fits", *kinds, *kinds)
    assert find_companions(both) == {1: Companions(2, 3), 4: Companions(5, 6)}


def test_companions_without_names_where_the_mask_names_its_planes(tmp_path: Path) -> None:
    mask = fits.ImageHDU(MASK, fits.Header(HSC_PLANES))
    headers = units(tmp_path / "1.fits", ("", ""), mask, ("", ""))
    assert find_companions(headers) == {1: Companions(2, 3)}
    headers = units(tmp_path / "2.fits", ("", ""), fits.ImageHDU(MASK), ("", ""))
    assert list(find_companions(headers)) == [1, 2, 3]


def test_a_companion_of_another_shape_is_none(tmp_path: Path) -> None:
    other = fits.ImageHDU(np.zeros((8, 9), np.int32), name="MASK")
    headers = units(tmp_path / "1.fits", ("IMAGE", ""), other, ("VARIANCE", ""))
    assert find_companions(headers) == {1: Companions(None, 3)}


def bits_of(tmp_path: Path, cards: dict[str, object]) -> Header:
    return units(tmp_path / "m.fits", fits.ImageHDU(MASK, fits.Header(cards), name="MASK"))[1]


def test_planes_by_name_and_never_by_number(tmp_path: Path) -> None:
    header = bits_of(tmp_path, HSC_PLANES)
    assert mask_planes(header)["NO_DATA"] == 256
    bits = mask_bits(header)
    assert bits.missing == 1 | 1 << 8 | 1 << 15
    assert bits.saturated == 2
    assert bits.caution == 1 << 2 | 1 << 3 | 1 << 4 | 1 << 9
    (tmp_path / "m.fits").unlink()
    moved = mask_bits(bits_of(tmp_path, {"MP_SAT": 30, "HIERARCH MP_NO_DATA": 31, "MP_ODD": 99}))
    assert (moved.missing, moved.saturated, moved.caution) == (1 << 31, 1 << 30, 0)


def test_planes_of_lsst_images(tmp_path: Path) -> None:
    names = ["NO_DATA", "INTERPOLATED", "COSMIC_RAY", "SATURATED", "DETECTION_EDGE"]
    names += ["REJECTED", "DETECTED", "INEXACT_PSF"]
    cards: dict[str, object] = {}
    for n, name in enumerate(names):
        cards |= {f"MSKN{n:04d}": name, f"MSKM{n:04d}": 1 << n}
    bits = mask_bits(bits_of(tmp_path, cards))
    assert (bits.missing, bits.saturated, bits.caution) == (1, 8, 2 | 4 | 16)


def test_a_mask_without_names_says_nothing(tmp_path: Path) -> None:
    header = bits_of(tmp_path, {"MP_": 1, "MSKN0000": "", "MP_BAD": "x"})
    assert mask_bits(header) == type(mask_bits(header))()


@given(
    st.lists(st.integers(0, 31), max_size=8),
    st.lists(st.integers(0, 31), max_size=8),
    st.sampled_from(["i4", ">i4", "u4", "i8", "f8"]),
)
def test_bits_of_pixels(planes: list[int], wanted: list[int], kind: str) -> None:
    value, bits = (sum(1 << bit for bit in set(which)) for which in (planes, wanted))
    pixels = np.array([[value]], np.int64).astype("i4" if "i4" in kind else kind).astype(kind)
    assert where(pixels, bits)[0, 0] == bool(set(planes) & set(wanted))


def test_variances() -> None:
    values = np.array([4, 0.25, 0, -1, np.nan, np.inf])
    variance, missing = variance_of(values, 1)
    np.testing.assert_array_equal(variance, np.float32([4, 0.25, 0, 0, 0, 0]))
    np.testing.assert_array_equal(missing, [0, 0, 0, 0, 1, 1])
    variance, missing = variance_of(values, -1)
    np.testing.assert_array_equal(variance, np.float32([0.25, 4, 0, 0, 0, 0]))
    np.testing.assert_array_equal(missing, [0, 0, 1, 0, 1, 0])
    variance, missing = variance_of(values, 2)
    np.testing.assert_array_equal(variance, np.float32([16, 0.0625, 0, 0, 0, 0]))
    np.testing.assert_array_equal(missing, [0, 0, 0, 0, 1, 1])


@pytest.mark.parametrize("values", [np.full(4, np.nan), np.full(4, np.inf)])
def test_a_variance_that_nobody_filled_in(values: np.ndarray) -> None:
    variance, missing = variance_of(values, 1)
    assert not variance.any()
    assert not missing.any()
    assert not variance_of(np.zeros(4), -1)[1].any()


def test_what_has_no_bits_has_none_set() -> None:
    mask = np.array([np.nan, np.inf, -np.inf, 1e300, 2.0**63, 4.0, 3.0])
    with np.errstate(all="raise"):
        assert where(mask, 4).tolist() == [False] * 5 + [True, False]


def test_a_variance_too_large_for_float32_once_scaled_is_unknown() -> None:
    values = np.array([1e-3, 1e30, 4.0])
    variance, missing = variance_of(values, 1, factor=1e6)
    assert variance.tolist() == pytest.approx([1e9, 0.0, 4e12])
    assert not missing.any()
