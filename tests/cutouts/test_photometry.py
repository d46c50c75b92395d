"""Errors, saturation, neighbours and large objects, on batches whose truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Wanted, empty_batch
from photoz_mmae.cutouts.photometry import APERTURE_DIAMETER, measure_batch
from photoz_mmae.flags import Flag
from photoz_mmae.surveys import NJY_PER_FLUX

BANDS = tuple("grizy")
SCALE = 0.168
NOISE = np.array([0.04, 0.06, 0.06, 0.11, 0.22], np.float32)[:, None, None]


def blob(x: float, y: float, flux: float, sigma: float = 2.0) -> NDArray[np.float32]:
    rows, columns = np.mgrid[:64, :64]
    image = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return (flux * image / (2 * np.pi * sigma**2)).astype(np.float32)


def measured(*images: NDArray[np.float32], **changes: NDArray[np.generic]) -> CutoutBatch:
    batch = empty_batch([""] * len(images), Wanted(BANDS, 64, SCALE))
    rng = np.random.default_rng(1)
    for row, image in enumerate(images):
        noise = NOISE * rng.standard_normal((5, 64, 64), dtype=np.float32)
        batch.images[row] = noise + image
    batch.x[:] = batch.y[:] = 31.5
    for name, value in changes.items():
        getattr(batch, name)[:] = value
    batch.images[batch.missing] = 0
    measure_batch(batch, BANDS)
    return batch


def test_company_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    images = [blob(*rng.uniform(30, 33, 2), flux=50) for _ in range(8)]
    positions = rng.uniform(31, 32, 8)
    missing = np.zeros((8, 5, 64, 64), bool)
    missing[2, :, :, :5] = missing[5, 1] = missing[6, 3, 31, 31] = True
    together = measured(*images, x=positions, missing=missing)
    for row in range(8):
        alone = empty_batch([""], Wanted(BANDS, 64, SCALE))
        alone.images[0], alone.missing[0] = together.images[row], missing[row]
        alone.x[0], alone.y[0] = positions[row], 31.5
        measure_batch(alone, BANDS)
        np.testing.assert_array_equal(alone.flags[0], together.flags[row])
        for name in ("flux", "flux_err"):
            np.testing.assert_allclose(
                getattr(alone, name)[0], getattr(together, name)[row], rtol=1e-6
            )


def test_error_comes_from_the_variance_where_there_is_one() -> None:
    variance = np.zeros((2, 5, 64, 64), np.float32)
    variance[:, :3] = (3 * NOISE[:3]) ** 2
    variance[1, 1, 30, 30] = 0  # not known all over the circle
    batch = measured(blob(31.5, 31.5, 50), blob(31.5, 31.5, 50), variance=variance)
    root = np.sqrt(np.pi) * APERTURE_DIAMETER / 2 / SCALE
    expected = np.array([3, 3, 3, 1, 1]) * NOISE.ravel() * root * NJY_PER_FLUX
    # The circle's rim counts by the square of its share: a little less than its area.
    np.testing.assert_allclose(batch.flux_err[0, :3], expected[:3], rtol=0.05)
    np.testing.assert_allclose(batch.flux_err[0, 3:], expected[3:], rtol=0.2)
    np.testing.assert_allclose(batch.flux_err[1, 1], expected[1] / 3, rtol=0.2)


def test_a_saturated_pixel_counts_in_the_aperture_of_any_band() -> None:
    saturated = np.zeros((3, 5, 64, 64), bool)
    saturated[1, 4, 33, 34] = saturated[2, :, 10, 10] = True
    batch = measured(*[blob(31.5, 31.5, 50)] * 3, saturated=saturated)
    assert (batch.flags & Flag.SATURATED != 0).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("distance", "flux", "blended"),
    [(8, 0, False), (8, 25, True), (8, 100, True), (20, 100, False), (8, 0.3, False)],
)
@pytest.mark.parametrize("angle", [0.3, 2.0, 4.4])
def test_a_neighbour_in_the_aperture(
    distance: float, flux: float, blended: bool, angle: float
) -> None:
    x, y = 31.3, 31.8
    there = x + distance * np.cos(angle), y + distance * np.sin(angle)
    batch = measured(blob(x, y, 50) + blob(*there, flux=flux), x=np.array(x), y=np.array(y))
    assert bool(batch.flags[0] & Flag.BLENDED) == blended


def test_an_elongated_galaxy_is_no_blend() -> None:
    two_arms = blob(25.5, 28.5, 30) + blob(37.5, 34.5, 30) + blob(31.5, 31.5, 50)
    assert not measured(two_arms).flags[0] & Flag.BLENDED


def test_larger_than_the_stamp() -> None:
    large, small = blob(31.5, 31.5, 4000, sigma=18), blob(31.5, 31.5, 4000, sigma=4)
    beside = blob(31.5, 31.5, 50) + blob(61, 40, 3000, sigma=2.5)
    batch = measured(large, small, beside)
    assert (batch.flags & Flag.TRUNCATED != 0).tolist() == [True, False, False]


def test_too_little_is_known_to_flag() -> None:
    missing = np.zeros((2, 5, 64, 64), bool)
    missing[0, :, :8] = True
    missing[1, :, 20:44, 33:] = True
    large = blob(31.5, 31.5, 4000, sigma=18)
    blend = blob(31.5, 31.5, 50) + blob(24, 31.5, 50)
    batch = measured(large, blend, missing=missing)
    assert batch.flags[0] & Flag.TRUNCATED  # three sides are enough
    assert not batch.flags[1] & Flag.BLENDED


def test_without_objects_and_without_pixels() -> None:
    measure_batch(empty_batch([], Wanted(BANDS, 64, SCALE)), BANDS)
    batch = measured(blob(31.5, 31.5, 50), missing=np.array(True))
    assert np.isnan(batch.flux).all()
    assert np.isnan(batch.flux_err).all()
    assert batch.flags[0] == 0
