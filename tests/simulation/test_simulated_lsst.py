"""The mock survey as LSST: six bands, fluxes, noise of the stated depth, files from end to end."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.simulation.exposure import expose, sky_noise
from photoz_mmae.simulation.pointing import get_conditions
from photoz_mmae.simulation.render import STAMP, render
from photoz_mmae.simulation.sed import N_COMPONENTS, N_WARP, GalaxySeds, get_model
from photoz_mmae.simulation.sources import Clumps, Sources
from photoz_mmae.surveys import (
    LSST_DP1,
    LSST_Y1,
    LSST_Y10,
    SURVEYS,
    ZERO_POINT,
)

BANDS = "ugrizy"


@pytest.mark.parametrize("survey", SURVEYS.values(), ids=SURVEYS)
def test_every_survey_has_one_number_per_band(survey):
    n = len(survey.bands)
    for values in (survey.filters, survey.seeing, survey.extinction, survey.exposure):
        assert len(values) == n
    assert sorted([len(survey.negative_std), len(survey.depth)]) == [0, n]
    assert list(survey.extinction) == sorted(survey.extinction, reverse=True)


def test_a_year_is_a_tenth_of_the_exposure():
    np.testing.assert_allclose(np.array(LSST_Y10.exposure) / LSST_Y1.exposure, 10.0)
    patch = np.zeros(1, dtype=np.int64)
    ratio = sky_noise(LSST_Y1, patch) / sky_noise(LSST_Y10, patch)
    np.testing.assert_allclose(ratio, np.sqrt(10.0), rtol=1e-6)


def point_sources(flux, n):
    """Put one point source of `flux` (B,) on each of n stamps, a little off the pixels' grid."""
    places = np.random.default_rng(3).uniform(-0.5, 0.5, (2, n)) + (STAMP - 1) / 2
    zero, one = np.zeros(n), np.ones(n)
    return Sources(np.arange(n), *places, zero, one, one, zero, np.tile(flux, (n, 1)))


@pytest.mark.parametrize("survey", [LSST_Y10, LSST_DP1], ids=["y10", "dp1"])
def test_the_depth_measured_on_the_images_is_the_survey_s(survey):
    n = 400
    patch = np.arange(n) % 100
    n_bands = len(survey.bands)
    no_clumps = Clumps(np.zeros(0, dtype=np.int64), *np.zeros((3, 0)), np.zeros((0, n_bands)))
    faint = 10 ** (-0.4 * (np.array(survey.depth) - ZERO_POINT))
    images = expose(
        np.random.default_rng(1), survey, point_sources(faint, n), no_clumps, patch, "cpu"
    )
    unit = point_sources(np.ones(n_bands), n)
    psf = render(unit, no_clumps, n, get_conditions(survey).psfs, patch).numpy()
    # PSF photometry, as depths are quoted for.
    measured = (images * psf).sum(axis=(2, 3)) / (psf**2).sum(axis=(2, 3))  # (n, B)
    error = (measured - faint).std(axis=0)
    np.testing.assert_allclose(measured.mean(axis=0), faint, rtol=0.05)
    depth = ZERO_POINT - 2.5 * np.log10(5 * error)
    np.testing.assert_allclose(depth, survey.depth, atol=0.1)


def test_band_fluxes_are_those_of_speclite():
    filters = pytest.importorskip("speclite.filters", reason="speclite is not installed")
    curves = filters.load_filters(*LSST_Y10.filters)
    model = get_model(LSST_Y10, 4e-4)
    z = np.array([0.03, 0.2, 0.5, 0.9, 2.5])
    n = len(z)
    seds = GalaxySeds(
        share=np.eye(N_COMPONENTS),
        ebv=np.full(n, 0.1),
        dust_slope=np.zeros(n),
        metallicity=np.full(n, 8.6),
        line_boost=np.ones(n),
        warp=np.zeros((n, N_WARP)),
    )
    observed = model.observe(model.galaxies(seds), z)
    theirs = curves.get_ab_maggies(observed.numpy().astype(np.float64) * 1e-17, model.observed)
    expected = np.stack([theirs[name] for name in LSST_Y10.filters], axis=1)
    difference = 2.5 * np.log10(model.band_fluxes(observed) / expected) - 0.4 * 2.5 * ZERO_POINT
    assert np.abs(difference).max() < 0.003


def test_simulate_writes_six_bands_that_predict_can_read(tmp_path):
    code = "from photoz_mmae.cli.main import main; main()"
    subprocess.run(
        [
            *(sys.executable, "-c", code, "simulate", "-n", "30", "--survey", "lsst-y10"),
            *("-o", tmp_path / "x.hdf5", "--cutouts", tmp_path / "y"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=120,
    )
    with h5py.File(tmp_path / "x.hdf5") as file:
        assert file["image"].shape == (30, 6, 64, 64)
        assert file.attrs["bands"] == BANDS
        magnitudes = np.stack([file[f"HSC_metadata/{band}_cmodel_mag"][:] for band in BANDS])
        truth = np.stack([file[f"simulation/{band}_mag"][:] for band in BANDS])
        images, ids = file["image"][:], file["object_id"][:]
    assert np.isfinite(magnitudes).all()
    assert np.median(np.abs(magnitudes - truth)) < 0.1
    assert np.median(truth[0] - truth[1]) > 0.5  # u - g: most are red
    batch = read_batch(discover([str(tmp_path / "y")]).sources, Wanted(BANDS, 64, 0.2))
    measure_batch(batch, tuple(BANDS))
    assert [int(number) for number in batch.object_id] == ids.tolist()
    np.testing.assert_array_equal(batch.images, images)
    assert not batch.flags.any()
    # A circle of 2" holds only a part of the light, but of the same colour.
    apparent = 31.4 - 2.5 * np.log10(batch.flux.T)
    assert np.all(apparent[2] - truth[2] > -0.1)
    colours = (apparent[:-1] - apparent[1:]) - (truth[:-1] - truth[1:])
    assert np.all(np.abs(np.median(colours, axis=1)) < 0.15)
