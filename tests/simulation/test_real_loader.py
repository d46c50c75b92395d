"""A loader written for the real GalaxiesML-Spectra file runs on a mock one unchanged."""

import h5py
import numpy as np
import pytest

from photoz_mmae.cli.main import main

N = 40


@pytest.fixture(scope="module", params=[259, 7783])
def path(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("real") / "DESI_HSC_64x64_v2.hdf5"
    words = ["simulate", "-n", str(N), "--seed", "5", "-o", str(file)]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--spectrum-pixels", str(request.param)])
    assert stop.value.code == 0
    return file


def test_objects_as_the_published_training_code_asks_for_them(path):
    with h5py.File(path) as file:
        for row in range(N):
            assert file["image"][row].shape == (5, 64, 64)
            flux, ivar = file["spectrum"]["flux"][row], file["spectrum"]["ivar"][row]
            wave = file["spectrum"]["wave"][row]
            valid = (ivar > 0) & (flux != 0)
            assert valid.any()
            assert flux.shape == ivar.shape == wave.shape
            assert np.all(np.diff(wave) > 0)
            assert np.isfinite(float(file["DESI_fibermap"]["DESI_redshift"][row]))
            assert int(file["targetid"][row].decode("utf-8")) > 0


def test_objects_as_catalogue_codes_select_them(path):
    with h5py.File(path) as file:
        morphology = file["DESI_fibermap"]["MORPHTYPE"][:].astype("U")
        assert set(morphology) <= {"PSF", "REX", "EXP", "DEV", "SER"}
        good = (file["DESI_fibermap"]["DESI_redshift"][:] > 0) & (morphology != "PSF")
        good &= file["HSC_metadata"]["specz_flag_homogeneous"][:].astype(bool)
        error = file["DESI_fibermap"]["DESI_redshift_err"][:]
        good &= (error > 0) & (error < 1)
        for band in "grizy":
            magnitude = file["HSC_metadata"][f"{band}_cmodel_mag"][:]
            good &= (magnitude > 0) & (magnitude < 50)
        assert good.sum() > N / 2
        assert len(np.unique(file["object_id"][:])) == N
        for name in ("FLUX_R", "FLUX_W1", "FLUX_W2"):
            assert np.all(np.isfinite(file["DESI_fibermap"][name][:]))


def test_the_fine_grid_is_desi_s(path):
    with h5py.File(path) as file:
        wave = file["spectrum"]["wave"][0].astype(np.float64)
    if len(wave) == 7783:
        np.testing.assert_allclose(wave, 3600.0 + 0.8 * np.arange(7783), atol=1e-3)
    else:
        np.testing.assert_allclose(np.diff(wave), 24.0, atol=1e-2)
