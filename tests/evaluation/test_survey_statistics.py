"""Statistics of a survey, against plain numpy, other definitions and real files."""

import csv
import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from photoz_mmae.evaluation import published
from photoz_mmae.evaluation.survey_file import SurveyFile
from photoz_mmae.evaluation.survey_statistics import (
    colour_difficulty,
    colour_percentiles,
    half_light_radius,
    pixel_statistics,
    psf_share,
    redshift_distance,
)
from photoz_mmae.simulation.population import draw_redshifts


def ignore(_):
    """Watch nothing."""


@pytest.fixture(scope="module")
def zcosmos(shared_data):
    """Magnitudes griz (N, 4) and redshifts (N,) of the real table."""
    with (shared_data / "zcosmos/griz_specz.csv").open() as file:
        rows = list(csv.DictReader(file))
    mag = np.array([[float(row[f"mag_{band}"]) for band in "griz"] for row in rows])
    return mag, np.array([float(row["z_spec"]) for row in rows])


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 9), max_size=3))
def test_pixel_statistics_do_not_depend_on_the_blocks(seed, cuts):
    images = np.random.default_rng(seed).normal(0.2, 1.0, (9, 2, 3, 3)).astype(np.float32)
    images[0, 0, 0, 0] = np.nan
    images[4, 1, 1, 1] = np.inf
    counted = []
    blocks = np.split(images, sorted(cuts))
    found = pixel_statistics(blocks, (0.5, 2.0), counted.append)
    assert sum(counted) == 9
    for band, noise in enumerate((0.5, 2.0)):
        x = images[:, band].astype(np.float64)
        x = x[np.isfinite(x)]
        stretched = np.arcsinh(x / noise)
        wanted = x.mean(), x.std(), x[x < 0].std(), stretched.mean(), stretched.std()
        np.testing.assert_allclose(found[:, band], wanted, rtol=1e-9)


def test_std_of_negative_pixels_of_noise_is_that_of_a_half_gaussian():
    noise = np.random.default_rng(1).normal(0, 1, (50, 1, 64, 64))
    found = pixel_statistics([noise], (1.0,), ignore)
    assert found[2, 0] == pytest.approx(np.sqrt(1 - 2 / np.pi), rel=0.01)


def test_pixels_that_are_not_there_have_no_statistics():
    found = pixel_statistics([np.full((1, 1, 2, 2), np.nan)], (1.0,), ignore)
    assert np.isnan(found).all()
    constant = pixel_statistics([np.full((1, 1, 2, 2), 0.3)], (1.0,), ignore)[:, 0]
    assert np.isnan(constant[2])
    np.testing.assert_allclose(constant[[0, 1]], (0.3, 0.0), atol=1e-7)


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for n in (600, 2400):
        path = tmp_path / f"{n}.hdf5"
        with h5py.File(path, "w") as file:
            file.create_dataset("image", (n, 5, 64, 64), "f4", fillvalue=-1.0)  # 49, 197 MB
        with SurveyFile(path) as file:
            tracemalloc.start()
            pixel_statistics(file.images(), np.ones(5), ignore)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0] < 100e6


def test_redshift_distance_is_that_of_two_samples(shared_data):
    with (shared_data / "published/mmae_image_only_25pct_mask.csv").open() as file:
        real = np.array([float(row["y_test"]) for row in csv.DictReader(file)])
    assert redshift_distance(real[real > 0]) < 0.012  # what binning makes of it
    z = draw_redshifts(np.random.default_rng(5), 5000)
    for sample in (z, z * 1.2, z[z < 1], z[:50]):
        two = ks_2samp(sample, real).statistic
        assert redshift_distance(sample) == pytest.approx(two, abs=0.012)


def test_redshift_distance_has_its_ends():
    assert np.isnan(redshift_distance(np.array([])))
    assert redshift_distance(np.array([9.0])) == 1.0
    z = draw_redshifts(np.random.default_rng(6), 200_000)
    assert redshift_distance(z) < 0.004


def test_psf_share_counts_padded_types():
    assert psf_share(np.array([b"PSF", b"PSF ", b"EXP", b"REX"])) == 0.5
    assert np.isnan(psf_share(np.array([], dtype="S4")))


def test_published_colours_are_those_of_zcosmos(zcosmos):
    count, percentiles = colour_percentiles(*zcosmos, published.COLOUR_EDGES)
    assert count.tolist() == [765, 1646, 2701, 1797, 1730, 2767, 1358, 1482, 377]
    np.testing.assert_allclose(percentiles, published.COLOUR_PERCENTILES, atol=6e-4)


def test_published_difficulty_is_that_of_zcosmos(zcosmos):
    mag, z = zcosmos
    # The split of 80 and 20 per cent makes 4 per cent, 2,389 objects to test on.
    assert colour_difficulty(mag, z) == pytest.approx(published.DIFFICULTY, rel=0.06)
    guess = np.random.default_rng(0).permutation(z)
    assert colour_difficulty(mag[:3000], guess[:3000]) > 0.1


def test_objects_without_a_magnitude_have_no_colour():
    mag = np.array([[21.0, 20.0, 19.0], [21.0, np.nan, 19.0], [22.0, 20.5, 19.0]])
    count, percentiles = colour_percentiles(mag, np.full(3, 0.5), np.array([0.0, 0.5, 1.0]))
    assert count.tolist() == [0, 2]
    assert np.isnan(percentiles[0]).all()
    np.testing.assert_allclose(percentiles[1, :, 1], (1.25, 1.25))


@pytest.mark.parametrize("sigma", [2.0, 4.0, 8.0])
def test_half_light_radius_of_a_gaussian(sigma):
    y, x = np.indices((64, 64)) - 31.5
    image = 50.0 * np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2)
    image[5, 60] += 30.0  # a neighbour outside does not matter
    radius = half_light_radius(image[None], np.array([50.0]), pixel_scale=0.168)
    assert radius[0] == pytest.approx(np.sqrt(2 * np.log(2)) * sigma * 0.168, rel=0.02)


def test_half_light_radius_needs_half_of_the_light():
    image = np.full((3, 8, 8), 1e-3)
    radius = half_light_radius(image, np.array([50.0, np.nan, -1.0]), 0.168)
    assert np.isnan(radius).all()
