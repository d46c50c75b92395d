"""Slope and 4000 A break of spectra whose values are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.spectra.grid import DESI_WAVE, pool_mean, pooled_wave
from photoz_mmae.spectra.summary import break_4000, continuum_slope, summarise_spectrum

WAVE = pooled_wave()


@given(st.floats(-4, 4), st.floats(1e-3, 1e3))
def test_a_power_law_gives_its_slope(beta, level):
    flux = level * (WAVE / 6000) ** beta
    assert continuum_slope(flux[None, :], WAVE) == pytest.approx(beta, abs=1e-6)


@given(
    st.floats(-3, 3),
    st.lists(st.tuples(st.integers(0, 258), st.floats(2, 30)), min_size=1, max_size=8),
)
def test_a_few_lines_do_not_tilt_the_slope(beta, lines):
    flux = (WAVE / 6000) ** beta
    for pixel, strength in lines:
        flux[pixel] *= strength
    assert continuum_slope(flux[None, :], WAVE) == pytest.approx(beta, abs=1e-3)


def test_slope_under_noise_and_negative_pixels():
    rng = np.random.default_rng(1)
    flux = (WAVE / 6000) ** -1.5 * rng.normal(1, 0.1, (200, 259))
    flux[:, ::10] = -0.3
    slope = continuum_slope(flux, WAVE)
    assert slope.mean() == pytest.approx(-1.5, abs=0.02)
    assert slope.std() < 0.1


def test_slope_needs_positive_pixels():
    flux = np.ones((3, 259))
    flux[1, :140] = -1
    flux[2] = np.nan
    slope = continuum_slope(flux, WAVE)
    assert slope[0] == pytest.approx(0, abs=1e-9)
    assert np.isnan(slope[1:]).all()


def step_spectrum(ratio, z):
    """Flat F_nu that rises by `ratio` at rest 4000 A, on pixels of 0.05 A, then pooled to 24 A."""
    fine = np.arange(3600, 3600 + 259 * 24, 0.05)
    flux = np.where(fine / (1 + z) > 4000, ratio, 1) * 1e7 / fine**2
    return flux.reshape(259, 480).mean(axis=1), fine.reshape(259, 480).mean(axis=1)


@given(st.floats(0.5, 4), st.floats(0.0, 1.3))
def test_d4000_of_a_step_is_its_height(ratio, z):
    flux, wave = step_spectrum(ratio, z)
    assert flux.shape == (259,)
    # Pixels of 24 A leave the windows and their gap apart: the step lies 50 A from either.
    assert break_4000(flux[None, :], wave, np.array([z])) == pytest.approx(ratio, rel=1e-3)


def test_pixels_are_cut_at_the_ends_of_the_window():
    """A tilted spectrum: the mean over a window needs the exact share of its end pixels."""
    z = np.linspace(0.1, 1.2, 40)
    fine = break_4000((DESI_WAVE**1.0)[None, :].repeat(40, 0), DESI_WAVE, z)
    coarse = break_4000((WAVE**1.0)[None, :].repeat(40, 0), WAVE, z)
    # F_nu ~ lambda^3: analytic means over 4050-4250 and 3750-3950.
    exact = (4250.0**4 - 4050.0**4) / (3950.0**4 - 3750.0**4)
    assert fine == pytest.approx(exact, rel=1e-5)
    assert coarse == pytest.approx(exact, rel=5e-4)


def test_d4000_is_nan_where_the_windows_are_not_in_the_spectrum():
    first, last = WAVE[0] - 12, WAVE[-1] + 12
    inside = [first / 3750 - 1 + 1e-6, last / 4250 - 1 - 1e-6]
    outside = [first / 3750 - 1 - 1e-4, last / 4250 - 1 + 1e-4, np.nan, -0.5]
    result = break_4000(np.ones((6, 259)), WAVE, np.array(inside + outside))
    assert np.isfinite(result[:2]).all()
    assert np.isnan(result[2:]).all()


def test_d4000_is_nan_without_blue_light_or_with_a_bad_pixel_in_the_window():
    z = np.full(4, 0.5)
    flux = np.ones((4, 259))
    blue = np.abs(WAVE / 1.5 - 3850) < 150
    flux[0, blue] = 0
    flux[1, blue] = -1
    flux[2, np.argmin(np.abs(WAVE / 1.5 - 4150))] = np.nan
    flux[3, np.argmin(np.abs(WAVE / 1.5 - 5000))] = np.nan  # outside both windows
    assert np.isfinite(break_4000(flux, WAVE, z)).tolist() == [False, False, False, True]


def test_summary_columns():
    z = np.array([0.3, 4.0], dtype=np.float32)
    flux = pool_mean(np.ones((2, 7783), dtype=np.float32))
    columns = summarise_spectrum(flux, WAVE, z)
    assert set(columns) == {"spec_slope", "spec_d4000"}
    assert all(values.dtype == np.float32 and values.shape == (2,) for values in columns.values())
    assert columns["spec_slope"] == pytest.approx(0, abs=1e-6)
    # Constant F_lambda: F_nu ~ lambda^2.
    exact = (4250.0**3 - 4050.0**3) / (3950.0**3 - 3750.0**3)
    assert columns["spec_d4000"][0] == pytest.approx(exact, rel=1e-3)
    assert np.isnan(columns["spec_d4000"][1])
    none = summarise_spectrum(flux[:0], WAVE, z[:0])
    assert none["spec_slope"].shape == none["spec_d4000"].shape == (0,)


def test_d4000_of_real_galaxies(shared_data):
    """Three SDSS galaxies: the break of galaxies lies between 1 and 2.5."""
    import fitsio

    for name in ("0001", "0162", "0573"):
        path = shared_data / f"sdss_spectra/spec-0266-51602-{name}.fits"
        coadd, facts = fitsio.read(path, 1), fitsio.read(path, 2)
        wave, flux = 10 ** coadd["loglam"].astype(np.float64), coadd["flux"].astype(np.float64)
        assert 1.0 < break_4000(flux[None, :], wave, facts["Z"].astype(np.float64))[0] < 2.5, name
