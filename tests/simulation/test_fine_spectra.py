"""Spectra of 7783 pixels of 0.8 Angstrom: the same light as in the 259 of 24, with narrow lines."""

import numpy as np
import pytest

from photoz_mmae.simulation import lines, population
from photoz_mmae.simulation.fibre import FINE_WAVE, add_noise
from photoz_mmae.simulation.observe import light_of
from photoz_mmae.simulation.population import ELG, QSO
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.surveys import HSC_WIDE

POOL = 30


@pytest.fixture(scope="module")
def targets():
    rng = np.random.default_rng(8)
    return population.draw_targets(rng, 300, Recipe(HSC_WIDE, 8, fraction_stars=0.05))


@pytest.fixture(scope="module")
def both(targets):
    return light_of(targets, HSC_WIDE, 259), light_of(targets, HSC_WIDE, 7783)


def test_pooled_they_are_the_coarse_ones(both):
    coarse, fine = both
    pooled = fine.fibre[:, : 259 * POOL].reshape(len(fine.fibre), 259, POOL).mean(axis=2)
    scale = coarse.fibre.mean(axis=1, keepdims=True)
    difference = np.abs(pooled - coarse.fibre) / scale
    # A line at the border of two coarse pixels is shared a little differently.
    assert np.median(difference.max(axis=1)) < 0.03
    assert np.quantile(difference, 0.98) < 0.02
    np.testing.assert_allclose(pooled.mean(axis=1), coarse.fibre.mean(axis=1), rtol=0.01)


def test_bands_do_not_depend_on_the_spectrum(both):
    coarse, fine = both
    for a, b in zip(coarse.parts, fine.parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_lines_are_as_wide_as_desi_sees_them(targets, both):
    z = targets.z
    line = lines.NEBULAR["OIII"]
    chosen = np.flatnonzero((targets.kind == ELG) & (z < 0.9))
    assert len(chosen) > 3
    for row in chosen:
        centre = line * (1 + z[row])
        near = np.abs(FINE_WAVE - centre) < 9.0
        flux = both[1].fibre[row, near].astype(np.float64)
        wave = FINE_WAVE[near]
        flux -= np.interp(wave, wave[[0, -1]], flux[[0, -1]])
        mean = (flux * wave).sum() / flux.sum()
        sigma = np.sqrt((flux * (wave - mean) ** 2).sum() / flux.sum())
        resolution = np.interp(centre, [3600.0, 9800.0], [2000.0, 5500.0])
        expected = centre * np.hypot(90.0 / 299792.458, 1 / 2.355 / resolution)
        assert mean == pytest.approx(centre, abs=0.3)
        assert sigma == pytest.approx(expected, rel=0.15)


def test_noise_per_angstrom_is_that_of_the_coarse_spectra():
    rng = np.random.default_rng(1)
    kind = np.full(40, QSO)
    _, coarse = add_noise(rng, np.zeros((40, 259), np.float32), kind)
    _, fine = add_noise(rng, np.zeros((40, 7783), np.float32), kind)
    pooled = fine[:, : 259 * POOL].reshape(40, 259, POOL).sum(axis=2)
    assert np.median(pooled) == pytest.approx(np.median(coarse), rel=0.2)
