"""`predict --hats`: a catalogue by place on the sky, as lsdb opens it."""

import sys

import numpy as np
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def some(write_cube, tmp_path):
    """Seven objects; the last two are no images and have no position."""
    for i in range(5):
        write_cube(tmp_path / f"in/{i}.fits", seed=i)
    for i in (5, 6):
        (tmp_path / f"in/{i}.fits").write_text("no image")
    return tmp_path / "in"


@pytest.fixture
def again(predict, some, tmp_path):
    """Run the same command: parts of two, into the HATS catalogue `my cat`."""
    options = ("--part-size", "2", "--masks", "0", "--max-bad", "2")
    return lambda *more, output=tmp_path / "my cat": predict(some, *options, *more, output=output)


def _files(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat() for path in files}


def _opened(folder):
    """All rows that lsdb gives, as plain values by id."""
    import dask
    import lsdb

    # Whatever client another test has left as Dask's default.
    with dask.config.set(scheduler="synchronous"):
        frame = lsdb.open_catalog(folder).compute()
    rows = frame.reset_index(drop=True).to_dict("list")
    return {
        object_id: {name: _plain(values[i]) for name, values in rows.items()}
        for i, object_id in enumerate(rows["object_id"])
    }


def _plain(value):
    if isinstance(value, list | np.ndarray):
        return [float(each) for each in value]
    return None if value is None or value != value or str(value) == "<NA>" else value


def _plain_rows(table):
    return {
        row["object_id"]: {name: _plain(value) for name, value in row.items()}
        for row in table.to_pylist()
    }


def test_lsdb_opens_it_and_gives_the_same_rows(again, write_cube, some, tmp_path):
    code, out, _ = again("--hats")
    assert code == 0
    assert "no place  2 rows without position: in no_position.parquet" in out
    assert f"lsdb.open_catalog('{tmp_path / 'my cat'}')" in out
    assert again(output=tmp_path / "one.parquet")[0] == 0
    expected = _plain_rows(pq.read_table(tmp_path / "one.parquet"))
    found = _opened(tmp_path / "my cat")
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert repr(found) == repr({object_id: expected[object_id] for object_id in found})
    aside = pq.read_table(tmp_path / "my cat/no_position.parquet")
    assert repr(_plain_rows(aside)) == repr({i: expected[i] for i in (5, 6)})

    # What the file of the same rows says of itself, this says too.
    one = pq.read_schema(tmp_path / "one.parquet")
    common = pq.read_schema(tmp_path / "my cat/dataset/_common_metadata")
    differing = {
        b"photoz_mmae.created",
        b"IVOA.VOTable-Parquet.content",
    }
    for key in one.metadata.keys() - differing:
        assert common.metadata[key] == one.metadata[key], key
    assert b'name="_healpix_29"' in common.metadata[b"IVOA.VOTable-Parquet.content"]
    assert common.metadata[b"photoz_mmae.rows_without_position"] == b"2"
    assert [field.metadata for field in common][1:] == [field.metadata for field in one]
    [leaf] = (tmp_path / "my cat").rglob("Npix=*.parquet")
    assert pq.read_schema(leaf).metadata[b"photoz_mmae.model_name"] == b"tiny"

    # Nothing of the import is left; the same command touches nothing.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("in", "my cat", "my cat.run", "one.parquet", "one.run")
    ]
    assert not (tmp_path / "my cat.run/hats").exists()
    before = _files(tmp_path / "my cat")
    code, out, _ = again("--hats")
    assert (code, "nothing new" in out, "2 rows without position" in out) == (0, True, True)
    assert _files(tmp_path / "my cat") == before

    # New, changed and lost cutouts; what a killed import left is cleared away.
    (tmp_path / "my cat.run/hats/placed").mkdir(parents=True)
    (tmp_path / ".my cat.0123abcd.tmp/my_cat/dataset").mkdir(parents=True)
    write_cube(some / "7.fits", seed=7)
    write_cube(some / "5.fits", seed=15)
    (some / "6.fits").unlink()
    assert again("--hats")[0] == 0
    assert sorted(_opened(tmp_path / "my cat")) == [0, 1, 2, 3, 4, 5, 7]
    aside = pq.read_table(tmp_path / "my cat/no_position.parquet")
    assert aside["object_id"].to_pylist() == [6]
    assert not list(tmp_path.glob(".my*"))
    assert not (tmp_path / "my cat.run/hats").exists()

    # A lost file is noticed; the layout may be another, at the price of a merge.
    leaf.unlink()
    assert again("--hats")[0] == 6
    assert again("--hats", "--overwrite")[0] == 0
    code, out, _ = again()
    assert (code, "0 objects in 0 of" in out) == (0, True)
    assert {path.name[:5] for path in (tmp_path / "my cat").iterdir()} == {"part-"}


def test_names_of_lsst_and_ids_of_any_kind(predict, write_cube, tmp_path):
    names = ["007", "Größe", "NGC 1275"]
    for i, name in enumerate(names):
        write_cube(tmp_path / f"in/{name}.fits", seed=i)
    options = ("--hats", "--naming", "lsst", "--masks", "0")
    assert predict(tmp_path / "in", *options, output=tmp_path / "cat")[0] == 0
    import dask
    import lsdb

    # Whatever client another test has left as Dask's default.
    with dask.config.set(scheduler="synchronous"):
        frame = lsdb.open_catalog(tmp_path / "cat").compute()
    assert sorted(frame["objectId"]) == names
    assert set(frame.columns) >= {"coord_ra", "coord_dec", "zmode", "z_p16", "z_quantiles"}
    assert np.isfinite(frame["zmode"].to_numpy(dtype=float)).all()


def test_what_cannot_be(predict, some, tmp_path, monkeypatch):
    code, _, err = predict(some, "--hats")
    assert (code, "a HATS catalogue is a folder; name it c" in err) == (2, True)
    # Nobody has a position.
    output = tmp_path / "cat"
    code, _, err = predict(some / "5.fits", some / "6.fits", "--hats", output=output)
    assert (code, "none of 2 objects has a position" in err) == (4, True)
    assert not output.exists()
    # What is computed is not lost: without --hats, or with one that has, it goes on.
    code, out, _ = predict(some / "5.fits", some / "6.fits", output=output)
    assert (code, "0 objects in 0 of 1 part" in out) == (3, True)
    monkeypatch.setitem(sys.modules, "hats_import", None)
    code, _, err = predict(some, "--hats", output=tmp_path / "other")
    assert code == 2
    assert err.splitlines() == [
        "photoz-mmae: --hats: hats-import is not installed; pip install 'photoz-mmae[hats]'"
    ]
    assert not (tmp_path / "other.run").exists()


def test_a_full_disk_is_no_scheduler_that_went_away(again, some, small_disk):
    for name in "56":
        (some / f"{name}.fits").unlink()
    disk = small_disk(1000)
    code, _, err = again("--hats", output=disk / "cat")
    assert (code, "--hats: the import failed ([Errno 28]" in err) == (6, True), err
    assert not (disk / "cat").exists()
    small_disk(200_000)
    assert again("--hats", output=disk / "cat")[0] == 0
