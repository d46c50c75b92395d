"""Seeing from end to end: a model that is told the PSF's width takes it from a table, by id."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

IDS = list(range(1000, 1012))
ROLES = [f"psf_fwhm_{band}" for band in "grizy"]


@pytest.fixture(scope="module")
def told(make_info, save_tiny, tmp_path_factory):
    """A tiny model with random weights that is told the seeing."""
    info = make_info(name="told")
    network = dataclasses.replace(info.network, seeing=True)
    folder = tmp_path_factory.mktemp("models") / "told"
    return save_tiny(folder, dataclasses.replace(info, network=network))


@pytest.fixture
def table(tmp_path):
    """Write a table of objects with the width of the PSF in some bands; returns its path."""

    def write(fwhm, roles=ROLES, **more):
        path = tmp_path / "objects.parquet"
        widths = np.broadcast_to(np.asarray(fwhm, np.float64).reshape(-1, 1), (12, len(roles)))
        columns = dict(zip(roles, widths.T, strict=True))
        pq.write_table(pa.table({"object_id": IDS, **columns, **more}), path)
        return path

    return write


def rows(tmp_path, name="c.parquet"):
    return pq.read_table(tmp_path / name)


def z_mean(tmp_path, name="c.parquet"):
    return np.asarray(rows(tmp_path, name)["z_mean"], dtype=float)


def test_what_the_table_tells_changes_redshifts_and_is_written(
    predict, told, cutouts, table, tmp_path
):
    assert predict(cutouts, model=told, output=tmp_path / "0.parquet")[0] == 0
    assert "psf_fwhm_i" not in rows(tmp_path, "0.parquet").column_names
    fwhm = [0.6] * 8 + [np.nan, 0.0, -1.0, 99.0]
    code, out, _ = predict(cutouts, "--catalog", table(fwhm), model=told)
    assert code == 0
    assert "12 objects, 8 with seeing (grizy)" in out
    assert rows(tmp_path)["psf_fwhm_i"].to_pylist() == [pytest.approx(0.6)] * 8 + [None] * 4
    # Those without are predicted as without a table.
    same = z_mean(tmp_path) == z_mean(tmp_path, "0.parquet")
    assert same.tolist() == [False] * 8 + [True] * 4
    # One band is told, under another name; it is not i.
    options = ("--catalog", table(0.6, ["seeing"]), "--columns", "psf_fwhm_r=seeing")
    assert predict(cutouts, *options, model=told, output=tmp_path / "r.parquet")[0] == 0
    assert "psf_fwhm_i" not in rows(tmp_path, "r.parquet").column_names
    for other in ("0.parquet", "c.parquet"):
        assert (z_mean(tmp_path, "r.parquet") != z_mean(tmp_path, other))[:8].all()


def test_a_model_that_is_not_told_keeps_the_column_and_changes_nothing(
    predict, cutouts, table, tmp_path
):
    path = table(np.linspace(0.5, 1.0, 12))
    code, out, _ = predict(cutouts, "--catalog", path)
    assert (code, "12 with seeing (i)" in out) == (0, True)
    assert predict(cutouts, output=tmp_path / "0.parquet")[0] == 0
    np.testing.assert_allclose(rows(tmp_path)["psf_fwhm_i"], np.linspace(0.5, 1.0, 12), rtol=1e-6)
    assert rows(tmp_path).drop_columns("psf_fwhm_i").equals(rows(tmp_path, "0.parquet"))
    assert "nothing new" in predict(cutouts, "--catalog", path)[1]


def test_a_changed_value_redoes_its_part_and_other_columns_are_other_settings(
    predict, told, cutouts, table, tmp_path
):
    options = ("--part-size", "4", "--catalog")
    assert predict(cutouts, *options, table(0.6), model=told)[0] == 0
    first = z_mean(tmp_path)
    assert "nothing new" in predict(cutouts, *options, table(0.6), model=told)[1]
    # A column that is of no use may change.
    path = table(0.6, psf_fwhm_u=np.linspace(1, 2, 12))
    assert "nothing new" in predict(cutouts, *options, path, model=told)[1]
    changed = [0.6] * 5 + [0.9] + [0.6] * 6
    code, out, _ = predict(cutouts, *options, table(changed), model=told)
    assert (code, "4 objects in 1 of 3 parts" in out) == (0, True)
    assert np.flatnonzero(z_mean(tmp_path) != first).tolist() == [5]
    code, _, err = predict(cutouts, *options, table(0.6, ROLES[:2]), model=told)
    assert (code, "had no ebv and psf_fwhm of grizy, has no ebv and psf_fwhm of gr" in err) == (
        6,
        True,
    )


def test_embeddings_are_told_too(photoz, scheduler, told, cutouts, table, tmp_path):
    found = []
    for name, more in (("0", ()), ("1", ("--catalog", table(0.6)))):
        output = tmp_path / f"{name}.parquet"
        options = ("-o", output, "--model", told, "--scheduler", scheduler, *more)
        assert photoz("embed", cutouts, *options)[0] == 0
        found.append(np.stack(pq.read_table(output)["embedding"].to_numpy()))
    assert (found[0] != found[1]).any(axis=1).all()


def test_a_column_that_holds_no_widths(predict, told, cutouts, table):
    path = table(0.6, ROLES[:1], psf_fwhm_r=["wide"] * 12)
    code, _, err = predict(cutouts, "--catalog", path, model=told)
    assert (code, "does not hold numbers" in err, "psf_fwhm_r" in err) == (4, True, True)
