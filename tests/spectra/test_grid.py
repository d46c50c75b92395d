"""Normalising and pooling spectra."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from photoz_mmae.spectra.grid import (
    DESI_WAVE,
    paper_normalise,
    pool_mean,
    pool_weighted,
    pooled_wave,
    relative_to_mean,
)

fluxes = arrays(np.float32, (3, 40), elements=st.floats(-100, 100, width=32))
ivars = arrays(np.float32, (3, 40), elements=st.floats(0, 10, width=32).map(lambda x: round(x, 2)))


def test_the_grid_is_that_of_the_data_set():
    assert DESI_WAVE.shape == (7783,)
    assert DESI_WAVE[[0, 1, -1]] == pytest.approx([3600, 3600.8, 9825.6])
    wave = pooled_wave()
    assert wave.shape == (259,)
    assert wave[0] == pytest.approx(DESI_WAVE[:30].mean())
    assert np.diff(wave) == pytest.approx(24)


@given(fluxes, ivars)
def test_paper_normalisation_has_weighted_mean_0_and_rms_1(flux, ivar):
    normalised = paper_normalise(flux, ivar).astype(np.float64)
    assert normalised.shape == flux.shape
    for f, w, n in zip(flux.astype(float), ivar.astype(float), normalised, strict=True):
        valid = (w > 0) & (f != 0)
        assert (n[~valid] == 0).all()
        if valid.sum() < 2 or f[valid].std() < 1e-2:
            continue
        mean, rms = np.average(n, weights=w * valid), np.average(n**2, weights=w * valid)
        if np.abs(n).max() < 100:  # no spike was replaced
            assert mean == pytest.approx(0, abs=1e-3)
            assert rms == pytest.approx(1, rel=1e-3)


def test_paper_normalisation_ignores_what_is_invalid():
    flux = np.array([[1.0, 2.0, 3.0, np.nan, 1e9, 0.0, 5.0]])
    ivar = np.array([[1.0, 1.0, 1.0, 1.0, 0.0, 1.0, np.inf]])
    expected = np.array([-1, 0, 1, 0, 0, 0, 0]) / np.sqrt(2 / 3)
    assert paper_normalise(flux, ivar)[0] == pytest.approx(expected)
    assert (paper_normalise(flux, np.zeros_like(ivar)) == 0).all()
    assert (paper_normalise(np.ones((1, 7)), np.ones((1, 7))) == 0).all()


def test_paper_normalisation_replaces_a_spike_at_the_end():
    rng = np.random.default_rng(0)
    flux, ivar = rng.normal(5, 1, (2, 500)), np.ones((2, 500))
    flux[0, -1], ivar[0, -1] = 1e5, 1e-8
    normalised = paper_normalise(flux, ivar)
    assert normalised[0, -1] == pytest.approx(np.median(normalised[0]), abs=0.01)
    assert normalised[1, -1] == pytest.approx((flux[1, -1] - flux[1].mean()) / flux[1].std())


@given(fluxes, ivars)
def test_relative_spectrum_has_mean_1_or_is_refused(flux, ivar):
    relative, relative_ivar, valid = relative_to_mean(flux, ivar)
    for row in range(3):
        w, f = ivar[row].astype(float), flux[row].astype(float)
        significance = (w * f).sum() / np.sqrt(w.sum()) if w.sum() > 0 else 0
        if abs(significance - 3) > 1e-6:
            assert valid[row] == (significance > 3)
        if valid[row]:
            assert np.average(relative[row], weights=w) == pytest.approx(1, rel=1e-4)
            good = w > 0
            assert f[good] * np.sqrt(w[good]) == pytest.approx(
                relative[row][good] * np.sqrt(relative_ivar[row][good]), rel=1e-4, abs=1e-4
            )  # signal to noise is kept
        else:
            assert (relative[row] == 0).all()
            assert (relative_ivar[row] == 0).all()


def test_relative_spectrum_keeps_ratios_and_sets_invalid_pixels_to_0():
    flux = np.array([[2.0, 4.0, 6.0, np.nan, 99.0]])
    ivar = np.array([[9.0, 9.0, 9.0, 9.0, -1.0]])
    relative, relative_ivar, valid = relative_to_mean(flux, ivar)
    assert valid.tolist() == [True]
    assert relative[0] == pytest.approx([0.5, 1.0, 1.5, 0, 0])
    assert relative_ivar[0] == pytest.approx([144, 144, 144, 0, 0])


def test_pooling_drops_the_last_incomplete_block():
    flux = np.arange(7783, dtype=np.float32)[None, :]
    pooled = pool_mean(flux)
    assert pooled.shape == (1, 259)
    assert pooled[0] == pytest.approx(30 * np.arange(259) + 14.5)
    weighted, ivar = pool_weighted(flux, np.full_like(flux, 2))
    assert weighted == pytest.approx(pooled)
    assert ivar == pytest.approx(60)


def test_plain_pooling_counts_zeros_and_weighted_pooling_does_not():
    flux = np.array([[4.0, 0.0, 1.0, 3.0, np.nan, 7.0]])
    ivar = np.array([[1.0, 0.0, 1.0, 3.0, 1.0, 0.0]])
    assert pool_mean(np.nan_to_num(flux), 2)[0] == pytest.approx([2, 2, 3.5])
    pooled, weight = pool_weighted(flux, ivar, 2)
    assert pooled[0] == pytest.approx([4, 2.5, 0])
    assert weight[0] == pytest.approx([1, 4, 0])


@given(fluxes, ivars)
def test_weighted_pooling_keeps_the_weighted_mean(flux, ivar):
    pooled, weight = pool_weighted(flux, ivar, 8)
    assert weight.sum(axis=1) == pytest.approx(ivar.sum(axis=1), rel=1e-4)
    assert (pooled * weight).sum(axis=1) == pytest.approx(
        (flux.astype(float) * ivar).sum(axis=1), rel=1e-3, abs=0.5
    )


def test_no_spectra():
    empty = np.zeros((0, 7783), dtype=np.float32)
    assert paper_normalise(empty, empty).shape == (0, 7783)
    assert relative_to_mean(empty, empty)[2].shape == (0,)
    assert pool_weighted(empty, empty)[0].shape == pool_mean(empty).shape == (0, 259)
