"""Resampling: flux, place, what is missing and the variance."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from cutout_files import BANDS, header, source, write_cube
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.resample import resample
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag

MODEL_SCALE = 0.168


def gaussian(shape: tuple[int, int], x: float, y: float, sigma: float) -> NDArray[np.float32]:
    rows, columns = np.indices(shape)
    image = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return (image / (2 * np.pi * sigma**2)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    ratio=st.floats(0.5, 3),
    place=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    off=st.tuples(st.floats(-4, 4), st.floats(-4, 4)),
)
def test_flux_and_place_are_kept(
    ratio: float, place: tuple[float, float], off: tuple[float, float]
) -> None:
    """A star beside the target keeps its flux and its distance from it."""
    size = 64
    shape = (int(size * ratio) + 9, int(size * ratio) + 12)
    x, y = shape[1] / 2 + place[0], shape[0] / 2 + place[1]
    sigma = 2.0 * max(ratio, 1)
    data = gaussian(shape, x + off[0] * ratio, y + off[1] * ratio, sigma)
    image, missing, _ = resample(data, np.zeros(shape, bool), x, y, ratio, size)
    assert not missing[8:-8, 8:-8].any()
    assert image.sum() == pytest.approx(1, abs=0.01)
    rows, columns = np.indices(image.shape)
    assert (columns * image).sum() / image.sum() == pytest.approx(31.5 + off[0], abs=0.1)
    assert (rows * image).sum() / image.sum() == pytest.approx(31.5 + off[1], abs=0.1)


def test_the_same_scale_in_the_middle_changes_nothing() -> None:
    data = np.random.default_rng(1).normal(size=(20, 20)).astype(np.float32)
    variance = np.full_like(data, 4.0)
    image, missing, spread = resample(data, data > 2, 9.5, 9.5, 1.0, 20, variance)
    np.testing.assert_allclose(image, np.where(data > 2, 0, data), rtol=1e-6)
    np.testing.assert_array_equal(missing, data > 2)
    np.testing.assert_allclose(spread, np.where(data > 2, 0, 4.0))


@pytest.mark.parametrize("ratio", [0.84, 1.7])
def test_what_is_missing_stays_missing_and_spoils_nothing(ratio: float) -> None:
    data = np.full((60, 60), 3.0, np.float32)
    lost = np.zeros(data.shape, bool)
    lost[20:27, 30:36] = True
    lost[:, 50:] = True
    data[lost] = np.nan
    image, missing, _ = resample(data, lost, 29.5, 29.5, ratio, 24)
    # A flat image stays one: each pixel's flux is that of its area.
    np.testing.assert_allclose(image[~missing], 3.0 * ratio**2, rtol=1e-5)
    assert not image[missing].any()
    rows = 29.5 + ratio * (np.arange(24) - 11.5)
    well_inside = (rows > 20.5 + ratio / 2) & (rows < 25.5 - ratio / 2)
    columns = (rows > 30.5 + ratio / 2) & (rows < 34.5 - ratio / 2)
    assert missing[np.ix_(well_inside, columns)].all()
    assert well_inside.any()
    assert missing.sum() < 0.6 * missing.size


def test_scatter_is_what_the_variance_says() -> None:
    rng = np.random.default_rng(2)
    data = rng.normal(0, 2, (300, 300)).astype(np.float32)
    variance = np.full_like(data, 4.0)
    variance[:10] = 0
    image, missing, spread = resample(
        data, np.zeros(data.shape, bool), 149.5, 149.5, 1.37, 210, variance
    )
    known = ~missing & (spread > 0)
    assert known.mean() == pytest.approx(206 / 210, abs=0.01)
    assert not spread[:3].any()
    pull = image[known] / np.sqrt(spread[known])
    assert np.std(pull) == pytest.approx(1, abs=0.02)


def read(one: Source, resample: bool = True) -> CutoutBatch:
    batch = read_batch([one], Wanted(BANDS, 64, MODEL_SCALE, resample=resample))
    measure_batch(batch, BANDS)
    return batch


def other_scale(shape: tuple[int, int], scale: float) -> fits.Header:
    return header(shape, CD1_1=-scale / 3600, CD2_2=scale / 3600)


@pytest.mark.parametrize("scale", [0.2, 0.1, 0.15])
def test_files_of_another_scale(tmp_path: Path, scale: float) -> None:
    """The same sky in other pixels gives the same fluxes, with the target in the middle."""
    rng = np.random.default_rng(5)
    batches = []
    for n, pixel in enumerate((MODEL_SCALE, scale)):
        side = int(13 / pixel)
        head = other_scale((side, side), pixel)
        x, y = side / 2 + 2.3, side / 2 - 1.8
        head["RA_TARG"], head["DEC_TARG"] = (
            float(value) for value in WCS(head).all_pix2world([[x, y]], 0)[0]
        )
        star = 100 * gaussian((side, side), x, y, 0.45 / pixel)
        planes = star * np.arange(1, 6)[:, None, None] + rng.normal(0, 1e-3, (5, side, side))
        one = write_cube(tmp_path / f"{n}.fits", planes.astype(np.float32), head)
        batches.append(read(one))
        raw = read(one, resample=False)
        assert bool(raw.flags[0] & Flag.OTHER_PIXEL_SCALE) == (n == 1)
        assert not raw.flags[0] & Flag.RESAMPLED
    same, other = batches
    assert not same.flags[0] & (Flag.RESAMPLED | Flag.OTHER_PIXEL_SCALE)
    assert other.flags[0] & (Flag.RESAMPLED | Flag.OTHER_PIXEL_SCALE) == Flag.RESAMPLED
    assert (other.x[0], other.y[0], other.scale[0]) == (31.5, 31.5, MODEL_SCALE)
    np.testing.assert_allclose(other.flux, same.flux, rtol=0.02)
    image = other.images[0, 2]
    rows, columns = np.indices(image.shape)
    assert (columns * image).sum() / image.sum() == pytest.approx(31.5, abs=0.1)
    assert (rows * image).sum() / image.sum() == pytest.approx(31.5, abs=0.1)


def test_padding_bad_pixels_and_absurd_scales(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    planes = rng.normal(0, 1, (5, 40, 40)).astype(np.float32)
    planes[3, 20, 22] = np.nan
    small = read(write_cube(tmp_path / "1.fits", planes, other_scale((40, 40), 0.2)))
    wanted = Flag.RESAMPLED | Flag.PADDED | Flag.NONFINITE_PIXELS
    assert small.flags[0] & wanted == wanted
    assert small.missing[0, :, :4].all()
    assert small.missing[0, 3, 25:40, 25:40].any()
    assert not small.missing[0, 2, 25:40, 25:40].any()
    whole = write_cube(
        tmp_path / "2.fits", np.abs(rng.normal(0, 1, (5, 54, 54))), other_scale((54, 54), 0.2)
    )
    assert not read(whole).flags[0] & Flag.PADDED
    for n, scale in enumerate((2e-3, 60.0)):
        absurd = write_cube(tmp_path / f"{n + 3}.fits", planes, other_scale((40, 40), scale))
        assert read(absurd).flags[0] & Flag.OTHER_PIXEL_SCALE


def test_a_dead_band_stays_dead() -> None:
    planes = np.random.default_rng(7).normal(0, 1, (5, 64, 64)).astype(np.float32)
    planes[1] = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1.fits"
        fits.PrimaryHDU(planes, other_scale((64, 64), 0.2)).writeto(path)
        batch = read(source(path))
    assert batch.flags[0] & Flag.MISSING_BAND
    assert batch.missing[0, 1].all()
