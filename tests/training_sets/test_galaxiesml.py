"""Training files of both spectrum lengths, read in any order, with what real files contain."""

import h5py
import numpy as np
import pytest

from photoz_mmae.errors import InputError
from photoz_mmae.spectra import grid
from photoz_mmae.training_sets.galaxiesml import SpectraFile

N = 7


def write(path, pixels, **replace):
    rng = np.random.default_rng(0)
    wave = grid.desi_wave(pixels) if pixels > 259 else grid.pooled_wave()[:pixels]
    flux = 2 + 0.1 * rng.normal(size=(N, pixels))
    values = {
        "image": rng.normal(size=(N, 5, 64, 64)).astype(np.float32),
        "spectrum/flux": flux,
        "spectrum/ivar": np.full((N, pixels), 100.0),
        "spectrum/wave": np.broadcast_to(wave, (N, pixels)),
        "DESI_fibermap/DESI_redshift": np.linspace(0.1, 0.7, N),
        **replace,
    }
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name] = value
    return values


@pytest.mark.parametrize("pixels", [259, 7781, 7783])
@pytest.mark.parametrize("normalisation", ["paper", "relative"])
def test_rows_come_in_the_order_asked_for(tmp_path, pixels, normalisation):
    values = write(tmp_path / "t.hdf5", pixels)
    data = SpectraFile(tmp_path / "t.hdf5")
    rows = np.array([5, 0, 3])
    batch = data.read(rows, normalisation)
    np.testing.assert_array_equal(batch.image, values["image"][rows])
    np.testing.assert_allclose(batch.redshift, values["DESI_fibermap/DESI_redshift"][rows])
    assert batch.flux.shape == batch.ivar.shape == (3, 259)
    assert batch.has_spectrum.all()
    alone = data.read(rows[1:2], normalisation)
    np.testing.assert_array_equal(alone.flux[0], batch.flux[1])
    assert data.wave.shape == (259,)
    np.testing.assert_allclose(data.wave, grid.pooled_wave(), rtol=1e-6)


def test_relative_spectrum_keeps_ratios_and_paper_does_not(tmp_path):
    write(tmp_path / "t.hdf5", 7783)
    data = SpectraFile(tmp_path / "t.hdf5")
    relative = data.read(np.arange(N), "relative")
    np.testing.assert_allclose(relative.flux.mean(dim=1), 1, atol=0.01)
    # 30 pixels of ivar 100 at mean 2: 30 * 100 * 2^2.
    np.testing.assert_allclose(relative.ivar, 12000, rtol=0.01)
    paper = data.read(np.arange(N), "paper")
    np.testing.assert_allclose(paper.flux.mean(dim=1), 0, atol=0.01)


def test_objects_without_redshift_are_told_apart(tmp_path):
    redshift = np.array([0.1, np.nan, -1.0, 0.4, np.inf, 0.0, 0.7])
    warning = np.array([0, 0, 0, 4, 0, 0, 0])
    write(
        tmp_path / "t.hdf5",
        259,
        **{"DESI_fibermap/DESI_redshift": redshift, "DESI_fibermap/ZWARN": warning},
    )
    batch = SpectraFile(tmp_path / "t.hdf5").read(np.arange(N), "relative")
    assert np.flatnonzero(batch.has_redshift).tolist() == [0, 5, 6]
    assert batch.redshift[:5].tolist() == pytest.approx([0.1, 0, 0, 0, 0])


def test_dead_spectrum_and_dead_pixels(tmp_path):
    ivar = np.full((N, 259), 100.0)
    ivar[2] = 0
    image = np.random.default_rng(0).normal(size=(N, 5, 64, 64)).astype(np.float32)
    image[1, 0, 3, 4] = np.nan
    image[1, 1, [5, 58], [6, 57]] = np.inf, np.nan  # opposite to each other
    image[2, 1] = np.nan
    write(tmp_path / "t.hdf5", 259, image=image, **{"spectrum/ivar": ivar})
    batch = SpectraFile(tmp_path / "t.hdf5").read(np.arange(N), "relative")
    assert batch.has_spectrum.tolist() == [True, True, False, True, True, True, True]
    assert (batch.flux[2] == 0).all()
    assert batch.image[1, 0, 3, 4] == image[1, 0, 60, 59]
    assert (batch.image[1, 1, [5, 58], [6, 57]] == 0).all()
    assert batch.measured.all(dim=1).tolist() == [True, True, False, True, True, True, True]
    assert not batch.image[2, 1].any()
    whole = np.isfinite(image)
    np.testing.assert_array_equal(batch.image.numpy()[whole], image[whole])


def test_unknown_number_of_pixels_and_unequal_lengths_are_refused(tmp_path):
    write(tmp_path / "t.hdf5", 100)
    with pytest.raises(InputError, match="100 pixels; 259 or 7783"):
        SpectraFile(tmp_path / "t.hdf5")
    write(tmp_path / "u.hdf5", 259, **{"DESI_fibermap/DESI_redshift": np.ones(N - 1)})
    with pytest.raises(InputError, match="different lengths"):
        SpectraFile(tmp_path / "u.hdf5")


def test_a_redshift_of_99_is_none(tmp_path):
    redshift = np.array([0.1, 99.0, 999.0, 9999.0, 15.1, 6.5, 0.7])
    write(tmp_path / "t.hdf5", 259, **{"DESI_fibermap/DESI_redshift": redshift})
    batch = SpectraFile(tmp_path / "t.hdf5").read(np.arange(N), "relative")
    assert np.flatnonzero(batch.has_redshift).tolist() == [0, 5, 6]
    assert batch.redshift.max() == 6.5
