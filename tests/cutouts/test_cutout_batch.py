"""Flags, positions, units and fluxes of what was read."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from cutout_files import (
    BANDS,
    SCALE,
    galaxy,
    header,
    hsc_names,
    read_measured,
    source,
    write_cube,
    write_mef,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.photometry import APERTURE_DIAMETER
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.surveys import NJY_PER_FLUX


def read(one: Source, size: int = 24) -> CutoutBatch:
    return read_measured([one], BANDS, size, SCALE)


def test_a_batch_has_the_agreed_types(tmp_path: Path) -> None:
    batch = read(write_cube(tmp_path / "1.fits", galaxy(), header()))
    assert batch.images.dtype == batch.flux.dtype == batch.flux_err.dtype == np.float32
    assert batch.ra.dtype == batch.dec.dtype == np.float64
    assert (batch.flags.dtype, batch.bands_used.dtype) == (np.int32, np.uint8)
    assert batch.images.shape == (1, 5, 24, 24)
    assert batch.flux.shape == batch.flux_err.shape == (1, 5)


def test_no_sources_make_an_empty_batch() -> None:
    batch = read_measured([], BANDS, 24, SCALE)
    assert batch.images.shape == (0, 5, 24, 24)
    assert batch.object_id == batch.source == batch.reason == []


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    size=st.integers(8, 40),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    keys=st.sampled_from([("RA_TARG", "DEC_TARG"), ("RA", "DEC")]),
)
def test_the_target_comes_to_the_middle(
    height: int, width: int, size: int, place: tuple[float, float], keys: tuple[str, str]
) -> None:
    x, y = place[0] * (width - 1), place[1] * (height - 1)
    head = header((height, width))
    head[keys[0]], head[keys[1]] = (float(v) for v in WCS(head).all_pix2world([[x, y]], 0)[0])
    # Every pixel says where it is.
    rows, columns = np.mgrid[:height, :width]
    planes = np.stack([columns + 1.0, rows + 1.0] + [rows + columns + 1.0] * 3)
    with tempfile.TemporaryDirectory() as folder:
        batch = read(write_cube(Path(folder) / "1.fits", planes, head), size)
    image = batch.images[0]
    inside = image[0] > 0
    at_y, at_x = np.argwhere(inside)[0]
    left, bottom = image[0, at_y, at_x] - 1 - at_x, image[1, at_y, at_x] - 1 - at_y
    # The target is within half a pixel of the middle, and a tie goes down.
    assert -0.51 <= x - left - (size - 1) / 2 <= 0.5
    assert -0.51 <= y - bottom - (size - 1) / 2 <= 0.5
    assert inside.sum() == sum(
        0 <= c + left < width and 0 <= r + bottom < height for r in range(size) for c in range(size)
    )
    assert bool(batch.flags[0] & Flag.PADDED) is not inside.all()
    off = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2)
    if abs(off - 1.5) > 1e-3:
        assert bool(batch.flags[0] & Flag.OFF_CENTRE) is bool(off > 1.5)
    assert (batch.ra[0], batch.dec[0]) == pytest.approx((head[keys[0]], head[keys[1]]), abs=1e-9)


def test_an_odd_image_in_an_even_size_goes_to_the_lower_side(tmp_path: Path) -> None:
    data = np.zeros((5, 25, 25), np.float32)
    data[:, 12, 12] = 1
    batch = read(write_cube(tmp_path / "1.fits", data, header((25, 25))), 64)
    assert np.argwhere(batch.images[0, 2]).tolist() == [[31, 31]]


def test_bands_shifted_against_each_other_are_placed_by_their_own_wcs(tmp_path: Path) -> None:
    units: list[Any] = [fits.PrimaryHDU()]
    for k, name in enumerate(hsc_names()):
        shape = (24 + k, 24 + 2 * k)
        head = header(shape, RA_TARG=150.0, DEC_TARG=2.0)
        head["CRPIX1"], head["CRPIX2"] = 10.0 + k, 14.0
        units.append(fits.ImageHDU(galaxy(shape, x=9 + k, y=13)[k], head, name=name))
    fits.HDUList(units).writeto(tmp_path / "1.fits")
    batch = read(source(tmp_path / "1.fits"), 23)
    peaks = [np.unravel_index(image.argmax(), image.shape) for image in batch.images[0]]
    assert peaks == [(11, 11)] * 5
    assert batch.flags[0] & Flag.OFF_CENTRE


def test_bands_of_different_size_that_say_the_same_have_their_own_centres(tmp_path: Path) -> None:
    sizes = (24, 30, 24, 24, 28)
    for size, band, k in zip(sizes, "grizy", range(5), strict=True):
        plain = fits.Header({"MAGZERO": 27.0, "RA_TARG": 150.0, "DEC_TARG": 2.0})
        fits.PrimaryHDU(galaxy((size, size))[k], plain).writeto(tmp_path / f"1_{band}.fits")
    batch = read(source(*[tmp_path / f"1_{band}.fits" for band in "grizy"]))
    whole = batch.images[0]
    for k, image in enumerate(whole):
        np.testing.assert_allclose(image, galaxy()[k], atol=0.4)


def test_a_telescopes_position_is_not_the_targets(tmp_path: Path) -> None:
    one = write_cube(tmp_path / "1.fits", galaxy(), header(RA=149.0, DEC=2.5))
    batch = read(one)
    assert (batch.ra[0], batch.dec[0]) == pytest.approx((150, 2))
    assert batch.flags[0] == 0


def test_a_target_off_the_image_gets_no_redshift(tmp_path: Path) -> None:
    batch = read(write_cube(tmp_path / "1.fits", galaxy(), header(RA_TARG=150.01, DEC_TARG=2.0)))
    assert batch.flags[0] & NO_REDSHIFT == Flag.NO_FINITE_PIXELS
    assert batch.flags[0] & Flag.OFF_CENTRE
    assert (batch.ra[0], batch.dec[0]) == (150.01, 2.0)
    assert not batch.images.any()
    assert np.isnan(batch.flux).all()


def test_without_a_wcs_the_centre_is_the_target_and_has_no_position(tmp_path: Path) -> None:
    batch = read(write_cube(tmp_path / "1.fits", galaxy()))
    assert np.isnan(batch.ra[0])
    assert np.isnan(batch.dec[0])
    assert batch.flags[0] == Flag.NO_ZERO_POINT
    named = fits.Header({"RA_TARG": 10.0, "DEC_TARG": -3.0})
    batch = read(write_cube(tmp_path / "2.fits", galaxy(), named))
    assert (batch.ra[0], batch.dec[0]) == (10.0, -3.0)


@pytest.mark.parametrize(
    ("cards", "other"),
    [
        ({"CD1_1": -0.2 / 3600, "CD2_2": 0.2 / 3600}, True),
        ({"CD1_1": -0.17 / 3600}, False),
        ({"CTYPE1": "LINEAR", "PIXSCALE": 0.2}, True),
        ({"CTYPE1": "LINEAR", "PIXSCALE": 0.168}, False),
        ({"CTYPE1": "LINEAR"}, False),
    ],
)
def test_another_pixel_scale_is_flagged(tmp_path: Path, cards: dict[str, Any], other: bool) -> None:
    batch = read(write_cube(tmp_path / "1.fits", galaxy(), header(**cards)))
    assert batch.flags[0] == (Flag.OTHER_PIXEL_SCALE if other else 0)
    # Of one band among five, too.
    units: list[Any] = [fits.PrimaryHDU()]
    for image, name in zip(galaxy(), hsc_names(), strict=True):
        head = header(**cards) if name == "HSC-Y" else header()
        units.append(fits.ImageHDU(image, head, name=name))
    fits.HDUList(units).writeto(tmp_path / "2.fits")
    batch = read(source(tmp_path / "2.fits"))
    assert batch.flags[0] == (Flag.OTHER_PIXEL_SCALE if other else 0)


@pytest.mark.parametrize(
    ("cards", "primary", "zero_point"),
    [
        ({}, {}, None),
        ({"MAGZERO": 30.0}, {"MAGZERO": 25.0}, 30.0),
        ({}, {"MAGZERO": 25.0}, 25.0),
        ({}, {"FLUXMAG0": 63095734448.0194}, 27.0),
        ({"FLUXMAG0": 1e10}, {}, 25.0),
        ({"ZP": 22.5}, {}, 22.5),
        ({"BUNIT": "nJy"}, {}, 31.4),
        ({"BUNIT": "nanomaggy"}, {}, 22.5),
        ({"BUNIT": "count"}, {}, None),
        ({"MAGZERO": 0.0}, {}, None),
        ({"MAGZERO": "27"}, {"ZP": 26.0}, 26.0),
    ],
)
def test_pixels_come_to_zero_point_27(
    tmp_path: Path, cards: dict[str, Any], primary: dict[str, Any], zero_point: float | None
) -> None:
    planes = galaxy()
    data = dict(zip(hsc_names(), planes, strict=True))
    head = header(**({"MAGZERO": None} | cards))
    one = write_mef(tmp_path / "1.fits", data, head, fits.Header(primary))
    expected = planes if zero_point is None else planes * 10 ** (0.4 * (27 - zero_point))
    batch = read(one)
    np.testing.assert_allclose(batch.images[0], expected, rtol=1e-5)
    assert bool(batch.flags[0] & Flag.NO_ZERO_POINT) is (zero_point is None)


def test_one_band_without_a_zero_point_is_flagged(tmp_path: Path) -> None:
    units: list[Any] = [fits.PrimaryHDU()]
    for image, name in zip(galaxy(), hsc_names(), strict=True):
        head = header(MAGZERO=None) if name == "HSC-Y" else header()
        units.append(fits.ImageHDU(image, head, name=name))
    fits.HDUList(units).writeto(tmp_path / "1.fits")
    assert read(source(tmp_path / "1.fits")).flags[0] == Flag.NO_ZERO_POINT


def test_each_band_has_its_own_saturation_level(tmp_path: Path) -> None:
    units: list[Any] = [fits.PrimaryHDU()]
    planes = galaxy()
    for image, name in zip(planes, hsc_names(), strict=True):
        head = header(SATURATE=float(image.max()) * (1.1 if name == "HSC-G" else 0.9))
        units.append(fits.ImageHDU(image, head, name=name))
    fits.HDUList(units).writeto(tmp_path / "1.fits")
    batch = read(source(tmp_path / "1.fits"))
    assert batch.saturated[0].any(axis=(1, 2)).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e13, -1e13])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pixels_that_are_no_measurement_are_zero(tmp_path: Path, bad: float, dtype: type) -> None:
    planes = galaxy().astype(dtype)
    planes[3, 2, 5] = bad
    batch = read(write_cube(tmp_path / "1.fits", planes, header()))
    assert batch.flags[0] == Flag.NONFINITE_PIXELS
    planes[3, 2, 5] = 0
    np.testing.assert_array_equal(batch.images[0], planes.astype(np.float32))


def test_a_bad_pixel_outside_the_model_is_of_no_account(tmp_path: Path) -> None:
    planes = galaxy((40, 40))
    planes[:, 0, 0] = np.nan
    assert read(write_cube(tmp_path / "1.fits", planes, header((40, 40)))).flags[0] == 0


@pytest.mark.parametrize(
    ("dead", "value", "flag", "used"),
    [
        ([0, 1, 2, 3, 4], np.nan, Flag.NO_FINITE_PIXELS, 0),
        ([0, 1, 2, 3, 4], 0.0, Flag.NO_FINITE_PIXELS, 0),
        ([0, 1, 2, 3, 4], 7.0, Flag.NO_FINITE_PIXELS, 0),
        ([1], np.nan, Flag.MISSING_BAND, 0b11101),
        ([1], 0.0, Flag.MISSING_BAND, 0b11101),
        ([0, 2], 7.0, Flag.MISSING_BAND, 0b11010),
    ],
)
def test_dead_bands(tmp_path: Path, dead: list[int], value: float, flag: Flag, used: int) -> None:
    planes = galaxy()
    planes[dead] = value
    batch = read(write_cube(tmp_path / "1.fits", planes, header()))
    assert batch.flags[0] & NO_REDSHIFT == flag
    assert batch.bands_used[0] == used
    assert not batch.images[0, dead].any()
    live = [k for k in range(5) if k not in dead]
    np.testing.assert_array_equal(batch.images[0, live], planes[live])
    assert np.isnan(batch.flux[0, dead]).all()
    assert np.isfinite(batch.flux[0, live]).all()
    assert np.isfinite(batch.flux_err[0, live]).all()
    assert batch.reason[0]


def test_an_absent_band_leaves_the_others_measured(tmp_path: Path) -> None:
    data = dict(zip(hsc_names(), galaxy(), strict=True))
    del data["HSC-Z"]
    batch = read(write_mef(tmp_path / "1.fits", data, header()))
    assert batch.flags[0] == Flag.MISSING_BAND
    assert batch.reason == ["no band z"]
    assert batch.bands_used[0] == 0b10111
    assert np.isfinite(batch.flux[0]).tolist() == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("shape", "flag"),
    [
        ((3, 24, 24), Flag.MISSING_BAND),
        ((7, 24, 24), Flag.MISSING_BAND),
        ((24, 24), Flag.MISSING_BAND),
        ((5, 7, 24), Flag.WRONG_SIZE),
        ((5, 5, 5), Flag.WRONG_SIZE),
        ((100,), Flag.WRONG_SIZE),
        ((2, 5, 24, 24), Flag.WRONG_SIZE),
    ],
)
def test_wrong_shapes(tmp_path: Path, shape: tuple[int, ...], flag: Flag) -> None:
    batch = read(
        write_cube(tmp_path / "1.fits", np.arange(np.prod(shape), dtype="f4").reshape(shape))
    )
    assert batch.flags[0] == flag
    assert not batch.images.any()
    assert batch.reason[0]


def test_flux_is_that_of_the_aperture(tmp_path: Path) -> None:
    batch = read(write_cube(tmp_path / "1.fits", galaxy((64, 64)), header((64, 64))), 64)
    radius = APERTURE_DIAMETER / 2 / SCALE
    inside = 1 - np.exp(-(radius**2) / (2 * 2**2))  # of a Gaussian of sigma 2 pixels
    expected = 100 * np.arange(1, 6) * inside * NJY_PER_FLUX
    error = 0.05 * np.sqrt(np.pi) * radius * NJY_PER_FLUX
    np.testing.assert_allclose(batch.flux_err[0], error, rtol=0.12)
    assert (np.abs(batch.flux[0] - expected) < 4 * error).all()
    assert not batch.flags[0]


def test_flux_does_not_depend_on_the_pixel_phase(tmp_path: Path) -> None:
    fluxes = []
    for n, shift in enumerate((0.0, 0.25, 0.5, -0.5)):
        x, y = 31.5 + shift, 31.5 - shift
        head = header((64, 64))
        head["RA_TARG"], head["DEC_TARG"] = (
            float(v) for v in WCS(head).all_pix2world([[x, y]], 0)[0]
        )
        one = write_cube(tmp_path / f"{n}.fits", galaxy((64, 64), x=x, y=y), head)
        fluxes.append(read(one, 64).flux[0])
    np.testing.assert_allclose(fluxes, [fluxes[0]] * 4, rtol=0.01)


def test_flux_scatters_as_its_error_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sources = []
    for n in range(60):
        noise = rng.normal(0, 0.3, (5, 40, 40)).astype(np.float32)
        sources.append(write_cube(tmp_path / f"{n}.fits", noise, header((40, 40))))
    batch = read_measured(sources, BANDS, 40, SCALE)
    pull = batch.flux / batch.flux_err
    assert np.std(pull) == pytest.approx(1, abs=0.15)
    assert abs(np.mean(pull)) < 0.25
    # Noise alone: every object is faint.
    assert (batch.flags & Flag.LOW_SNR).astype(bool).all()


def test_no_flux_where_the_aperture_is_not_covered(tmp_path: Path) -> None:
    planes = galaxy()
    planes[1, 12, 12] = np.nan
    batch = read(write_cube(tmp_path / "1.fits", planes, header()))
    assert np.isfinite(batch.flux[0]).tolist() == [True, False, True, True, True]
    corner = header(RA_TARG=150 - 0.0005, DEC_TARG=2.0)
    batch = read(write_cube(tmp_path / "2.fits", galaxy(), corner))
    assert np.isnan(batch.flux).all()
    assert not batch.flags[0] & NO_REDSHIFT


def test_padding_does_not_count_as_background(tmp_path: Path) -> None:
    batch = read(write_cube(tmp_path / "1.fits", galaxy((28, 30)), header((28, 30))), 64)
    error = 0.05 * np.sqrt(np.pi) * APERTURE_DIAMETER / 2 / SCALE * NJY_PER_FLUX
    np.testing.assert_allclose(batch.flux_err[0], error, rtol=0.3)


def test_low_snr_is_that_of_the_i_band_alone(tmp_path: Path) -> None:
    faint = galaxy() * np.array([1, 1, 0, 1, 1], np.float32)[:, None, None]
    faint[2] = np.random.default_rng(3).normal(0, 0.05, (24, 24))
    one = write_cube(tmp_path / "1.fits", faint, header(BANDS="grizy"))
    assert read(one).flags[0] == Flag.LOW_SNR
    assert read_measured([one], ("g", "r"), 24, SCALE).flags[0] == 0


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["good", "text", "gone", "small", "nan"]), max_size=8))
def test_one_row_per_source_in_their_order(kinds: list[str]) -> None:
    expected = {
        "good": 0,
        "text": Flag.READ_ERROR,
        "gone": Flag.READ_ERROR,
        "small": Flag.WRONG_SIZE,
        "nan": Flag.NO_FINITE_PIXELS,
    }
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for n, kind in enumerate(kinds):
            path = Path(folder) / f"{n}-{kind}.fits"
            if kind == "text":
                path.write_text("not FITS")
            elif kind != "gone":
                planes = galaxy((6, 6) if kind == "small" else (24, 24))
                write_cube(path, planes * (np.nan if kind == "nan" else 1), header())
            sources.append(source(path))
        batch = read_measured(sources, BANDS, 24, SCALE)
    assert batch.object_id == [f"{n}-{kind}" for n, kind in enumerate(kinds)]
    assert [flag & NO_REDSHIFT for flag in batch.flags] == [expected[kind] for kind in kinds]
    assert [bool(reason) for reason in batch.reason] == [kind != "good" for kind in kinds]
    for row, kind in enumerate(kinds):
        assert batch.images[row].any() == (kind == "good")
