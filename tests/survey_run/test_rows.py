"""Rows of the catalogue from what was read and predicted."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from photoz_mmae.catalog.schema import catalogue_schema
from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.flags import Flag
from photoz_mmae.inference.engine import Prediction
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.spectra.summary import summarise_spectrum
from photoz_mmae.survey_run.rows import catalogue_rows

N, BINS, PASSES = 4, 20, 3


@pytest.fixture
def batch():
    """Four objects: good, unreadable, faint (negative flux), without positions and errors."""
    nan = np.nan
    flux = np.array([[10, 20, 1000, 40, 50], [nan] * 5, [1, 2, -3, 4, 5], [1, 1, 1, 1, 1]])
    error = np.array([[1, 1, 10, 1, 1], [nan] * 5, [1, 1, 2, 1, 1], [nan] * 5])
    return CutoutBatch(
        images=np.zeros((N, 5, 64, 64), np.float32),
        missing=np.zeros((N, 5, 64, 64), bool),
        saturated=np.zeros((N, 5, 64, 64), bool),
        variance=np.zeros((N, 5, 64, 64), np.float32),
        x=np.full(N, 31.5),
        y=np.full(N, 31.5),
        scale=np.full(N, 0.168),
        object_id=["1", "x", "3", "4"],
        source=["a", "b", "c", "d"],
        ra=np.array([150.0, nan, 151.0, nan]),
        dec=np.array([2.0, nan, 3.0, nan]),
        flags=np.array([0, Flag.READ_ERROR, Flag.LOW_SNR, 0], np.int32),
        bands_used=np.array([31, 0, 31, 31], np.uint8),
        flux=flux.astype(np.float32),
        flux_err=error.astype(np.float32),
        reason=["", "torn", "", ""],
        written=np.ones(N, bool),
    )


@pytest.fixture
def prediction(tiny_info):
    """p(z) with one peak in row 0, two in row 2, flat else; spectra with a slope of -1."""
    rng = np.random.default_rng(0)
    mass = np.full((N, BINS), 1 / BINS)
    mass[0] = np.exp(-((np.arange(BINS) - 5.0) ** 2))
    mass[2] = np.isin(np.arange(BINS), (3, 12))
    mass /= mass.sum(axis=1, keepdims=True)
    wave = np.array(tiny_info.wave)
    spectrum = np.tile(6000 / wave, (N, 1))
    slopes = np.array([-0.9, -1.0, -1.1])[:, None]
    masked = np.tile((wave / 6000) ** slopes, (N, 1, 1))
    return Prediction(
        mass=mass.astype(np.float32),
        z_point=None,
        z_masked=rng.normal(0.5, 0.1, (N, PASSES)).astype(np.float32),
        spectrum=spectrum.astype(np.float32),
        spectrum_masked=masked.astype(np.float32),
        class_mass=None,
    )


def make_rows(batch, prediction, info, masks=PASSES, pdf="grid"):
    columns = catalogue_schema(info, masks, pdf, 2.0, ebv=True, psf_fwhm_i="i" in info.bands)
    psf_fwhm = np.full((len(batch.source), len(info.bands)), np.nan, np.float32)
    psf_fwhm[:1] = 0.5 + 0.1 * np.arange(len(info.bands))
    ebv = np.array([0.1, np.nan, np.nan, 0.0], np.float32)[: len(batch.source)]
    return catalogue_rows(batch, prediction, info, columns, ebv, psf_fwhm)


def test_columns_hold_what_they_say(batch, prediction, tiny_info):
    table = make_rows(batch, prediction, tiny_info)
    assert table["psf_fwhm_i"].to_pylist() == [pytest.approx(0.7), None, None, None]
    points = summarise(prediction.mass, np.array(tiny_info.z_edges), batch.object_id)
    good = [0, 2, 3]
    for name, values in points.items():
        found = np.stack(table[name].to_numpy(zero_copy_only=False))
        np.testing.assert_array_equal(found[good], values[good], err_msg=name)
    np.testing.assert_array_equal(np.stack(table["z_pdf"].to_numpy())[good], prediction.mass[good])
    spread = prediction.z_masked.std(axis=1, ddof=1)
    np.testing.assert_allclose(table["z_std_epistemic"].to_numpy()[good], spread[good], rtol=1e-5)
    np.testing.assert_allclose(table["spec_slope"].to_numpy()[good], -1, atol=1e-3)
    np.testing.assert_allclose(table["spec_slope_err"].to_numpy()[good], 0.1, atol=1e-3)
    # The break is measured where z_best puts it.
    wave = np.array(tiny_info.wave)
    d4000 = summarise_spectrum(prediction.spectrum, wave, points["z_best"])["spec_d4000"]
    np.testing.assert_allclose(table["spec_d4000"].to_numpy()[good], d4000[good])
    assert np.isfinite(d4000[0])


def test_unreadable_objects_have_no_redshift_and_null_is_null(batch, prediction, tiny_info):
    table = make_rows(batch, prediction, tiny_info)
    bad = table.slice(1, 1).to_pylist()[0]
    for name, value in bad.items():
        if name in ("object_id", "source", "flags", "bands_used"):
            assert value is not None
        elif name in ("z_quantiles", "z_pdf"):
            assert np.isnan(value).all()
        else:
            assert value is None, name
    assert bad["flags"] == Flag.READ_ERROR
    assert all(not np.isnan(v) for v in table["ra"].to_pylist() if v is not None)


def test_flags_of_pdf_and_calibration_are_added(batch, prediction, tiny_info):
    flags = make_rows(batch, prediction, tiny_info)["flags"].to_pylist()
    assert flags[0] & Flag.UNCALIBRATED
    assert not flags[0] & Flag.MULTI_PEAK
    assert flags[2] & Flag.LOW_SNR
    assert flags[2] & Flag.MULTI_PEAK
    assert flags[3] & Flag.WIDE_PDF


@pytest.mark.parametrize(("dust", "extinction"), [("deredden", (1.0,) * 5), ("none", None)])
def test_missing_ebv_is_null_and_flagged_where_the_model_wants_it(
    batch, prediction, make_info, dust, extinction
):
    table = make_rows(batch, prediction, make_info(dust=dust, extinction=extinction))
    assert table["ebv"].to_pylist() == [pytest.approx(0.1), None, None, 0.0]
    flagged = [bool(flags & Flag.NO_EBV) for flags in table["flags"].to_pylist()]
    assert flagged == [dust != "none" and i in (1, 2) for i in range(N)]


def test_magnitudes(batch, prediction, tiny_info):
    table = make_rows(batch, prediction, tiny_info)
    assert table["mag_i"].to_pylist() == [
        pytest.approx(31.4 - 7.5),
        None,
        None,
        pytest.approx(31.4),
    ]
    assert table["snr_i"].to_pylist() == [pytest.approx(100), None, pytest.approx(-1.5), None]


def test_point_model(batch, make_info):
    info = make_info(z_edges=None, wave=None)
    z = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    passes = np.stack([z, z + 0.02], axis=1)
    prediction = Prediction(None, z, passes, None, None, None)
    table = make_rows(batch, prediction, info, masks=2)
    assert table["z_best"].to_pylist() == [z[0], None, z[2], z[3]]
    assert table["z_std_epistemic"][0].as_py() == pytest.approx(0.02 / np.sqrt(2), rel=1e-4)


def test_probabilities_of_the_classes(batch, prediction, make_info):
    info = make_info()
    info = replace(info, network=replace(info.network, classes=("galaxy", "star")))
    mass = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [1.0, 0.0]], np.float32)
    table = make_rows(batch, replace(prediction, class_mass=mass), info)
    assert [name for name in table.column_names if name.startswith("prob_")] == [
        "prob_galaxy",
        "prob_star",
    ]
    assert table["prob_star"].to_pylist() == [mass[0, 1], None, mass[2, 1], 0.0]
    assert table["prob_galaxy"].to_pylist() == [mass[0, 0], None, mass[2, 0], 1.0]


def test_no_objects(tiny_info, prediction, batch):
    fields = vars(batch).items()
    empty = CutoutBatch(**{name: value[:0] for name, value in fields if value is not None})
    nothing = Prediction(**{n: None if v is None else v[:0] for n, v in vars(prediction).items()})
    table = make_rows(empty, nothing, tiny_info)
    assert table.num_rows == 0
    assert table.schema.field("z_pdf").type == pa.list_(pa.float32(), BINS)
