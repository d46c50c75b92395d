"""`predict --qp`: the p(z) of the catalogue as an ensemble of qp."""

import json
import shutil
import sys

import h5py
import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from photoz_mmae.catalog import qp as writer
from photoz_mmae.redshift.piecewise import PiecewisePdf


@pytest.fixture
def some(write_cube, tmp_path):
    """Seven objects with ids beyond 2^53; the third has no redshift."""
    for i in range(7):
        write_cube(tmp_path / f"in/{2**60 + i}.fits", seed=i)
    (tmp_path / f"in/{2**60 + 2}.fits").write_text("no image")
    return tmp_path / "in"


@pytest.fixture
def again(predict, some, tmp_path):
    """Run the same command with --qp; more options may follow."""
    options = ("--masks", "0", "--max-bad", "1", "--part-size", "3", "--qp", tmp_path / "pz.hdf5")
    return lambda *more, **names: predict(some, *options, *more, **names)


def _read(path):
    import qp

    return qp.read(str(path))


def test_the_ensemble_is_the_catalogue_s_p_of_z(again, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "CHUNK", 4)  # in pieces
    code, out, _ = again("--pdf", "grid")
    assert code == 0
    assert f"p(z)      {tmp_path / 'pz.hdf5'}: 6 distributions; 1 row without\n" in out
    ensemble = _read(tmp_path / "pz.hdf5")
    assert ensemble.npdf == 6
    ids = [2**60 + i for i in range(7) if i != 2]
    assert ensemble.ancil["object_id"].dtype == np.int64
    assert ensemble.ancil["object_id"].tolist() == ids

    table = pq.read_table(tmp_path / "c.parquet").filter(ds.field("z_best").is_valid())
    said = table.schema.metadata
    levels = json.loads(said[b"photoz_mmae.z_quantile_levels"])
    quantiles = np.stack(table["z_quantiles"].to_numpy()).astype(float)
    assert (np.diff(ensemble.objdata["locs"], axis=1) > 0).all()
    np.testing.assert_allclose(ensemble.objdata["locs"][:, 1:-1], quantiles, atol=1e-6)
    np.testing.assert_allclose(ensemble.metadata["quants"].ravel()[1:-1], levels)
    np.testing.assert_allclose(ensemble.median().ravel(), table["z_median"], atol=1e-3)
    # It evaluates, and follows the whole p(z) as well as 21 quantiles tell.
    grid = np.linspace(0.01, 5.9, 3000)
    density = ensemble.pdf(grid)
    assert np.isfinite(density).all()
    np.testing.assert_allclose(np.trapezoid(density, grid, axis=1), 1, atol=0.02)
    edges = np.array(json.loads(said[b"photoz_mmae.z_pdf_edges"]))
    mass = np.stack(table["z_pdf"].to_numpy())
    whole = PiecewisePdf.from_mass(mass, edges)
    for z in (0.2, 0.8, 2.0, 4.0):
        expected = whole.cdf(np.full(6, z))
        np.testing.assert_allclose(ensemble.cdf([z]).ravel(), expected, atol=0.02)


def test_it_goes_with_the_catalogue(again, predict, write_cube, some, tmp_path):
    # Asked for later, it is made of what is there.
    assert predict(some, "--masks", "0", "--max-bad", "1", "--part-size", "3")[0] == 0
    catalogue = (tmp_path / "c.parquet").stat()
    code, out, _ = again()
    assert (code, "0 objects in 0 of 3 parts" in out, "written" in out) == (0, True, True)
    assert (tmp_path / "c.parquet").stat() == catalogue
    before = (tmp_path / "pz.hdf5").stat()
    code, out, _ = again()
    assert (code, "nothing new" in out, "6 distributions" in out) == (0, True, True)
    assert (tmp_path / "pz.hdf5").stat() == before
    write_cube(some / "x.fits", seed=9)
    assert again()[0] == 0
    names = [str(2**60 + i) for i in range(7) if i != 2]
    assert _read(tmp_path / "pz.hdf5").ancil["object_id"].tolist() == [*names, "x"]
    with h5py.File(tmp_path / "pz.hdf5") as file:
        said = pq.read_schema(tmp_path / "c.parquet").metadata
        assert file.attrs["photoz_mmae.created"].encode() == said[b"photoz_mmae.created"]
    # A lost file is made again, one like it, and what a killed command left of one goes.
    whole = (tmp_path / "pz.hdf5").read_bytes()
    (tmp_path / "pz.hdf5").rename(tmp_path / ".pz.hdf5.0123.tmp")
    assert again()[0] == 0
    assert len((tmp_path / "pz.hdf5").read_bytes()) == len(whole)
    assert again("--overwrite", "--pdf", "grid")[0] == 0
    assert _read(tmp_path / "pz.hdf5").npdf == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "c.parquet",
        "c.run",
        "in",
        "pz.hdf5",
    ]


def test_it_goes_with_a_catalogue_that_was_renamed(again, write_cube, some, tmp_path):
    assert again(output=tmp_path / "new.parquet")[0] == 0
    for suffix in ("parquet", "run"):
        (tmp_path / f"new.{suffix}").rename(tmp_path / f"c.{suffix}")
    code, out, err = again()
    assert (code, "nothing new" in out) == (0, True), err
    write_cube(some / "x.fits", seed=9)
    code, out, err = again()
    assert (code, "7 distributions" in out) == (0, True), err
    # A copy of a catalogue that is still there is another one.
    shutil.copy2(tmp_path / "c.parquet", tmp_path / "copy.parquet")
    shutil.copytree(tmp_path / "c.run", tmp_path / "copy.run")
    code, _, err = again(output=tmp_path / "copy.parquet")
    assert (code, "holds the p(z) of c.parquet" in err) == (6, True)
    # That of another catalogue is refused as before.
    code, _, err = again(output=tmp_path / "d.parquet")
    assert (code, "holds the p(z) of c.parquet" in err) == (6, True)


def test_beside_a_folder_with_other_names(again, tmp_path):
    assert again("--naming", "lsst", output=tmp_path / "cat")[0] == 0
    ensemble = _read(tmp_path / "pz.hdf5")
    ids = [2**60 + i for i in range(7) if i != 2]
    assert ensemble.ancil["objectId"].tolist() == ids
    zmode = ds.dataset(tmp_path / "cat").to_table(columns=["zmode"])["zmode"].drop_null()
    assert len(zmode) == ensemble.npdf


def test_ties_of_quantiles_are_taken_apart(tmp_path):
    import pyarrow as pa

    levels = [0.1, 0.3, 0.5, 0.7, 0.9]
    rows = [[0.5] * 5, [0.1, 0.1, 0.2, 0.2, 0.3], [np.nan] * 5, [0.0, 0.0, 0.0, 0.0, 4.0]]
    kind = pa.list_(pa.float32(), 5)
    table = pa.table({"object_id": ["a", "b", "c", "d"], "z_quantiles": pa.array(rows, kind)})
    pq.write_table(table, tmp_path / "c.parquet")
    said = {"photoz_mmae.z_quantile_levels": json.dumps(levels)}
    done = writer.write_ensemble(
        tmp_path / "p.hdf5", [tmp_path / "c.parquet"], "c", "object_id", said
    )
    assert (done.written, done.left_out) == (3, 1)
    ensemble = _read(tmp_path / "p.hdf5")
    assert ensemble.ancil["object_id"].tolist() == ["a", "b", "d"]
    assert (np.diff(ensemble.objdata["locs"], axis=1) > 0).all()
    assert np.isfinite(ensemble.pdf(np.linspace(0, 4, 50))).all()
    assert np.isfinite(ensemble.cdf(np.linspace(0, 4, 50))).all()


def test_nobody_has_a_redshift(predict, some, tmp_path):
    options = ("--qp", tmp_path / "pz.hdf5", "--max-bad", "1")
    code, out, _ = predict(some / f"{2**60 + 2}.fits", *options)
    assert (code, "0 distributions; 1 row without" in out) == (0, True)
    assert not (tmp_path / "pz.hdf5").exists()


def test_what_cannot_be(again, predict, some, tiny_point_model, tmp_path, monkeypatch):
    for options, code, message in (
        (("--pdf", "none"), 2, "--pdf none stores none"),
        (("--qp", tmp_path / "pz.fits"), 2, "name it pz.hdf5"),
        (("--qp", tmp_path / "c.run/pz.hdf5"), 2, "no place for it"),
        (("--qp", tmp_path / "nowhere/pz.hdf5"), 6, "no such folder"),
    ):
        found, _, err = again(*options)
        assert (found, message in err, len(err.splitlines())) == (code, True, 1), err
    code, _, err = again(model=tiny_point_model)
    assert (code, "no p(z)" in err) == (2, True)
    # Somebody else's file, even with --overwrite; or one of another catalogue.
    for content in (b"precious", None):
        path = tmp_path / "pz.hdf5"
        if content is None:
            path.unlink()
            with h5py.File(path, "w") as file:
                file["precious"] = 1
        else:
            path.write_bytes(content)
        before = path.read_bytes()
        for more in ((), ("--overwrite",)):
            code, _, err = again(*more)
            assert (code, "is no file of --qp" in err) == (6, True)
            assert path.read_bytes() == before
    path.unlink()
    assert again()[0] == 0
    before = path.read_bytes()
    code, _, err = again(output=tmp_path / "other.parquet")
    assert (code, "holds the p(z) of c.parquet" in err) == (6, True)
    assert path.read_bytes() == before
    assert not (tmp_path / "other.run").exists()
    monkeypatch.setitem(sys.modules, "qp", None)
    code, _, err = again()
    assert code == 2
    assert "pip install 'photoz-mmae[qp]'" in err
