"""Defects planted into the mock survey: where they are, what they leave alone, what flags say."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from photoz_mmae.flags import Flag
from photoz_mmae.simulation.defects import DEFECTS, draw_defects, mask_bit
from photoz_mmae.simulation.observe import simulate_chunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.surveys import HSC_WIDE

N = 120
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
ABOUT_PIXELS = (
    Flag.READ_ERROR
    | Flag.MISSING_BAND
    | Flag.WRONG_SIZE
    | Flag.NO_FINITE_PIXELS
    | Flag.NONFINITE_PIXELS
    | Flag.PADDED
    | Flag.OFF_CENTRE
    | Flag.FEWER_BANDS
)
EXPECTED = {
    "": Flag(0),
    "missing_band": Flag.FEWER_BANDS,
    "nan_edge": Flag.NONFINITE_PIXELS,
    "saturated": Flag(0),
    "cosmic_ray": Flag(0),
    "trimmed": Flag.PADDED | Flag.OFF_CENTRE,
    "off_centre": Flag.PADDED | Flag.OFF_CENTRE,
    "masked_strip": Flag.NONFINITE_PIXELS,
}


def photoz_mmae(*arguments):
    code = "from photoz_mmae.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def good():
    return simulate_chunk(Recipe(HSC_WIDE, 4), N, chunk=1)


@pytest.fixture(scope="module")
def bad():
    return simulate_chunk(Recipe(HSC_WIDE, 4, fraction_bad=0.7), N, chunk=1)


def test_other_objects_are_the_same_without_the_bad_ones(good, bad):
    assert not any(good.defect)
    assert not good.damage
    fine = bad.defect == ""
    assert 0.2 * N < fine.sum() < 0.4 * N
    np.testing.assert_array_equal(bad.images[fine], good.images[fine])
    for name in ("redshift", "mag", "cmodel_mag", "ra", "flux", "ebv", "kind", "object_id"):
        np.testing.assert_array_equal(getattr(bad, name), getattr(good, name), err_msg=name)
    moved = bad.defect == "off_centre"
    np.testing.assert_array_equal(bad.offset[~moved], good.offset[~moved])


def test_fewer_bad_objects_are_some_of_the_same(bad):
    fewer = simulate_chunk(Recipe(HSC_WIDE, 4, fraction_bad=0.3), N, chunk=1)
    some = fewer.defect != ""
    assert 0.15 * N < some.sum() < 0.45 * N
    np.testing.assert_array_equal(fewer.defect[some], bad.defect[some])
    np.testing.assert_array_equal(fewer.images[some], bad.images[some])


def test_all_defects_are_drawn_about_as_often():
    kinds = draw_defects(Recipe(HSC_WIDE, 4, fraction_bad=1.0), 5000, chunk=0)
    counts = np.array([(kinds == defect).sum() for defect in DEFECTS])
    assert counts.sum() == 5000
    assert np.all(np.abs(counts - 5000 / 7) < 5 * np.sqrt(5000 / 7))


def rows_of(chunk, defect):
    rows = np.flatnonzero(chunk.defect == defect)
    assert len(rows) >= 4
    return rows


def test_a_missing_band_is_one_and_empty(good, bad):
    for row in rows_of(bad, "missing_band"):
        lost = np.isnan(bad.images[row]).all(axis=(1, 2))
        assert np.flatnonzero(lost).tolist() == [bad.damage[row].missing]
        np.testing.assert_array_equal(bad.images[row, ~lost], good.images[row, ~lost])


def test_edges_strips_and_trims_lose_pixels_and_change_no_other(good, bad):
    for defect in ("nan_edge", "masked_strip", "trimmed"):
        for row in rows_of(bad, defect):
            lost = np.isnan(bad.images[row])
            assert 0 < lost.mean() < 0.4
            np.testing.assert_array_equal(bad.images[row][~lost], good.images[row][~lost])
            np.testing.assert_array_equal(
                bad.damage[row].mask & mask_bit("NO_DATA") > 0, lost, err_msg=defect
            )
            beyond = np.ones_like(lost)
            beyond[(slice(None), *bad.damage[row].box)] = False
            assert beyond.any() == (defect == "trimmed")
            np.testing.assert_array_equal(lost[beyond], True)
            assert lost[~beyond].any() == (defect != "trimmed")
            # Strips along the rows or columns, whole ones.
            for band in lost:
                columns, rows = band.any(axis=0), band.any(axis=1)
                np.testing.assert_array_equal(band, rows[:, None] & columns)
                assert rows.all() or columns.all() or not band.any()


def test_a_saturated_star_is_clipped_and_bleeds(good, bad):
    for row in rows_of(bad, "saturated"):
        saturated = bad.damage[row].mask & mask_bit("SAT") > 0
        for band in range(5):
            values = bad.images[row, band][saturated[band]]
            assert len(values) >= 8
            assert np.ptp(values) == 0
            assert bad.images[row, band][~saturated[band]].max() <= values[0]
            assert saturated[band].any(axis=1).sum() > saturated[band].any(axis=0).sum()
        # Much brighter than what was there, but the target's own pixels are not clipped.
        assert bad.images[row].sum() > good.images[row].sum()


def test_a_cosmic_ray_is_a_track_in_one_band(good, bad):
    for row in rows_of(bad, "cosmic_ray"):
        changed = bad.images[row] != good.images[row]
        np.testing.assert_array_equal(changed, bad.damage[row].mask == mask_bit("CR"))
        (band,) = np.flatnonzero(changed.any(axis=(1, 2)))
        assert 1 <= changed.sum() <= 60
        charge = (bad.images[row] - good.images[row])[changed]
        assert np.all(charge > 10 * bad.sky_noise[row, band])


def test_targets_off_the_centre_are_where_the_offset_says(good, bad):
    for row in rows_of(bad, "off_centre"):
        moved = bad.offset[row] - good.offset[row]
        np.testing.assert_allclose(moved, np.rint(moved), atol=1e-12)
        assert 3 <= np.hypot(*moved) <= 13
    # Light moved with them: the sum over bands and objects has its peak there, not at the centre.
    rows = [row for row in rows_of(bad, "off_centre") if bad.mag[row, 2] < 21]
    assert rows
    for row in rows:
        dx, dy = np.rint(bad.offset[row]).astype(int)
        there = bad.images[row, :, 30 + dy : 35 + dy, 30 + dx : 35 + dx].mean()
        before = good.images[row, :, 30:35, 30:35].mean()
        assert there == pytest.approx(before, rel=0.25)


def test_a_catalogue_has_a_row_for_each_and_flags_what_it_can(tmp_path):
    n = 80
    code, err = photoz_mmae(
        *("simulate", "-n", n, "--seed", 5, "--fraction-bad", 0.5, "--layout", "mef"),
        *("-o", tmp_path / "mock.hdf5", "--cutouts", tmp_path / "mef"),
    )
    assert code == 0, err
    code, err = photoz_mmae(
        "predict", tmp_path / "mef", "-o", tmp_path / "catalog.parquet", "--workers", 1
    )
    assert code == 0, err
    truth = pq.read_table(tmp_path / "mef/truth.parquet").to_pydict()
    assert set(truth["defect"]) == {"", *DEFECTS}
    catalogue = pq.read_table(tmp_path / "catalog.parquet").to_pydict()
    assert sorted(catalogue["object_id"]) == truth["object_id"]
    row_of = {number: row for row, number in enumerate(catalogue["object_id"])}
    for number, defect in zip(truth["object_id"], truth["defect"], strict=True):
        row = row_of[number]
        flags = Flag(catalogue["flags"][row]) & ABOUT_PIXELS
        assert flags == EXPECTED[defect], (number, defect)
        assert catalogue["z_best"][row] is not None
    with h5py.File(tmp_path / "mock.hdf5") as file:
        recorded = [name.decode() for name in file["simulation/defect"][:]]
        finite = np.isfinite(file["image"][:]).all(axis=(1, 2, 3))
    assert recorded == truth["defect"]
    spoilt = {"missing_band", "nan_edge", "trimmed", "masked_strip"}
    assert finite.tolist() == [defect not in spoilt for defect in recorded]
