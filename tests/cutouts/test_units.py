"""Zero points and saturation levels that headers state."""

import numpy as np
import pytest
from astropy import units
from cutout_files import header_of
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.headers import Damaged
from photoz_mmae.cutouts.units import (
    flux_factor,
    saturation,
    stated_zero_points,
    unit_zero_point,
    zero_point,
)

NOTHING = header_of()


@pytest.mark.parametrize(
    "unit", ["Jy", "mJy", "uJy", "nJy", "1e-9 Jy", "10**-6 Jy", "10^(-3)Jy", "3.631e-6 Jy", "5 nJy"]
)
def test_units_are_what_astropy_makes_of_them(unit: str) -> None:
    janskys = units.Quantity(1, units.Unit(unit.replace("10^(-3)Jy", "1e-3 Jy"))).to_value("Jy")
    assert unit_zero_point(unit) == pytest.approx(8.9 - 2.5 * np.log10(janskys), abs=1e-9)


@pytest.mark.parametrize("unit", ["nanomaggy", "nanomaggies", "nmgy", "NMGY", "1e-9 maggies"])
def test_maggies(unit: str) -> None:
    assert unit_zero_point(unit) == pytest.approx(22.5)


@pytest.mark.parametrize("unit", ["microJy", "µJy", "UJY", "uJy/pixel", "uJy pix**-1", "uJy /pix"])
def test_spellings(unit: str) -> None:
    assert unit_zero_point(unit) == pytest.approx(23.9)


@pytest.mark.parametrize("unit", ["", "adu", "count", "electron/s", "DN", "MJy", "MJY", "unknown"])
def test_units_that_say_nothing(unit: str) -> None:
    assert unit_zero_point(unit) is None


@pytest.mark.parametrize(
    "unit",
    ["mag", "mag/arcsec2", "ABmag/arcsec^2", "MJy/sr", "nJy arcsec**-2", "Jy/beam", "1.2.3 Jy"],
)
def test_units_that_are_no_flux(unit: str) -> None:
    with pytest.raises(Damaged, match="BUNIT"):
        unit_zero_point(unit)


@given(st.text(max_size=20))
def test_any_text_is_a_unit_or_an_error(unit: str) -> None:
    try:
        value = unit_zero_point(unit)
    except Damaged:
        return
    assert value is None or isinstance(value, float)


def test_keywords_in_their_order() -> None:
    image = header_of(ZP=25.0, FLUXMAG0=63095734448.0194, BUNIT="nJy")
    primary = header_of(MAGZERO=22.0)
    assert [round(value, 6) for value, _ in stated_zero_points(image, primary)] == [
        *(27.0, 25.0, 31.4),
        22.0,
    ]
    assert zero_point(image, primary) == pytest.approx(27, abs=1e-12)
    assert zero_point(NOTHING, primary) == 22
    assert zero_point(NOTHING, NOTHING) is None
    assert list(stated_zero_points(primary, primary)) == [(22.0, "MAGZERO")]


@pytest.mark.parametrize("cards", [{"MAGZERO": 0.0}, {"FLUXMAG0": -1.0}, {"ZP": "unknown"}])
def test_keywords_that_nobody_filled_in(cards: dict[str, float | str]) -> None:
    assert zero_point(header_of(**cards), header_of(BUNIT="uJy")) == pytest.approx(23.9)


def test_flux_factor() -> None:
    nanojanskys = flux_factor(header_of(BUNIT="nJy"), NOTHING)
    assert nanojanskys == pytest.approx(0.01738, rel=1e-3)
    assert flux_factor(NOTHING, NOTHING) is None
    assert flux_factor(NOTHING, NOTHING, archive=31.4) == pytest.approx(nanojanskys)
    assert flux_factor(header_of(MAGZERO=27.0), NOTHING, archive=31.4) == 1


def test_saturation() -> None:
    assert saturation(header_of(SATURATE=0.0), header_of(SATURATE=6e4)) == 6e4
    assert saturation(NOTHING, NOTHING) is None


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({"BSOFTEN": 4.3, "BOFFSET": 0.1, "MAGZERO": 27.0}, "asinh magnitudes"),
        ({"PHOTSYS": "VEGA", "PHOTZP": 27.0}, "not AB"),
        ({"BUNIT": "mag", "MAGZERO": 27.0}, "no fluxes"),
    ],
)
def test_what_is_no_flux_is_none_whatever_zero_point_is_stated(cards, reason):
    header = header_of(**cards)
    with pytest.raises(Damaged, match=reason):
        zero_point(header, header)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"MAGZERO": 23.0, "FLUXMAG0": 10**10.8}, 27.0),  # the former is of counts per second
        ({"MAGZPT": 24.5, "PHOTZP": 30.0}, 30.0),
        ({"ZP": 25.0, "BUNIT": "nJy"}, 25.0),
    ],
)
def test_which_of_two_zero_points_counts(cards, expected):
    header = header_of(**cards)
    assert zero_point(header, header) == pytest.approx(expected)
