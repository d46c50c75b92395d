"""`predict` into a folder of Parquet files: the same rows, all of them or none, again and again."""

import json
import signal
import subprocess
import sys
import warnings

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from photoz_mmae.catalog import atomic_folder as folders
from photoz_mmae.flags import Flag


@pytest.fixture
def some(write_cube, tmp_path):
    """A folder of six cutouts of one's own; the last is none."""
    for i in range(5):
        write_cube(tmp_path / f"in/{i}.fits", seed=i)
    (tmp_path / "in/5.fits").write_text("no image")
    return tmp_path / "in"


@pytest.fixture
def again(predict, some, tmp_path):
    """Run the same command: parts of two, into the folder `cat`; more options may follow."""
    options = ("--part-size", "2", "--masks", "0", "--max-bad", "1")
    return lambda *more, output=tmp_path / "cat": predict(some, *options, *more, output=output)


def _stamps(folder):
    stats = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (s.st_ino, s.st_mtime_ns, s.st_size) for name, s in stats.items()}


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _rows(tmp_path):
    return repr(ds.dataset(tmp_path / "cat").to_table().to_pylist())


def test_the_same_rows_and_metadata_as_one_file(again, tmp_path):
    assert again()[0] == 0
    assert again(output=tmp_path / "one.parquet")[0] == 0
    parts = [f"part-{n:06d}.parquet" for n in range(3)]
    assert _names(tmp_path / "cat") == parts
    assert (tmp_path / "cat.run/run.json").exists()
    one = pq.read_table(tmp_path / "one.parquet")
    assert ds.dataset(tmp_path / "cat").schema.equals(one.schema, check_metadata=False)
    assert _rows(tmp_path) == repr(one.to_pylist())
    expected = _comparable(one.schema)
    for number, name in enumerate(parts):
        file = pq.ParquetFile(tmp_path / "cat" / name)
        assert file.metadata.num_rows == 2
        said = _comparable(file.schema_arrow)
        assert said.pop("photoz_mmae.catalogue_rows") == "6"
        assert said == expected, number
        assert all(field.metadata for field in file.schema_arrow)


def _comparable(schema):
    said = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    header = said.pop("IVOA.VOTable-Parquet.content")
    said["header"] = header.split("nrows")[0] + header.split("nrows")[1][3:]
    return {key: value for key, value in said.items() if key != "photoz_mmae.created"}


def test_other_programs_read_the_folder_and_each_file(again, tmp_path):
    import duckdb
    import pandas as pd
    from astropy.table import Table

    assert again()[0] == 0
    expected = ds.dataset(tmp_path / "cat").to_table()
    rows = duckdb.sql(f"SELECT * FROM '{tmp_path}/cat/*.parquet'").to_arrow_table()
    for name in expected.schema.names:
        assert repr(list(map(_plain, rows[name].to_pylist()))) == repr(
            list(map(_plain, expected[name].to_pylist()))
        )
    frame = pd.read_parquet(tmp_path / "cat")
    assert list(frame["object_id"]) == list(range(6))
    for number, name in enumerate(_names(tmp_path / "cat")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = Table.read(tmp_path / "cat" / name, format="parquet.votable")
        assert list(table["object_id"]) == [2 * number, 2 * number + 1]
        assert table["ra"].unit == "deg"
        assert table["z_best"].meta["ucd"] == "src.redshift.phot"


def _plain(value):
    return list(value) if isinstance(value, list | tuple) else value


def test_nothing_new_touches_nothing_and_what_is_new_comes_in(again, write_cube, some, tmp_path):
    assert again()[0] == 0
    before = _stamps(tmp_path / "cat"), _stamps(tmp_path)["cat"]
    code, out, _ = again()
    assert (code, "nothing new" in out) == (0, True)
    assert (_stamps(tmp_path / "cat"), _stamps(tmp_path)["cat"]) == before
    # A reader that holds the old files goes on with them.
    held = (tmp_path / "cat/part-000000.parquet").open("rb")
    write_cube(some / "6.fits", seed=6)
    (some / "1.fits").unlink()
    assert again()[0] == 0
    assert pq.read_table(held)["object_id"].to_pylist() == [0, 1]
    rows = ds.dataset(tmp_path / "cat").to_table()
    assert rows["object_id"].to_pylist() == [0, 1, 2, 3, 4, 5, 6]
    gone = [bool(flags & Flag.SOURCE_GONE) for flags in rows["flags"].to_pylist()]
    assert gone == [False, True, *[False] * 5]
    assert _names(tmp_path) == ["cat", "cat.run", "in"]


def test_a_folder_that_lost_a_file_is_not_taken_for_whole(again, tmp_path):
    assert again()[0] == 0
    first = _rows(tmp_path)
    (tmp_path / "cat/part-000001.parquet").unlink()
    code, _, err = again()
    assert (code, "not what this run wrote" in err) == (6, True)
    assert again("--overwrite")[0] == 0
    assert _rows(tmp_path) == first
    # All of it lost: the parts are still there.
    for file in (tmp_path / "cat").iterdir():
        file.unlink()
    (tmp_path / "cat").rmdir()
    code, out, _ = again()
    assert (code, "0 objects in 0 of 3 parts" in out) == (0, True)
    assert _rows(tmp_path) == first


def test_overwrite_starts_anew(again, tmp_path):
    assert again()[0] == 0
    assert again("--pdf", "none")[0] == 6
    code, out, _ = again("--pdf", "none", "--overwrite")
    assert (code, "6 objects in 3 of 3 parts" in out) == (0, True)
    assert "z_quantiles" not in ds.dataset(tmp_path / "cat").schema.names
    assert _names(tmp_path) == ["cat", "cat.run", "in"]


@pytest.mark.parametrize("name", ["diary.txt", "part-000000.parquet", "part-000009.parquet", "a/b"])
def test_a_folder_that_is_not_ours_is_left_alone(again, predict, some, name, tmp_path):
    """Neither a foreign one, nor ours with something foreign in it."""
    precious = tmp_path / "cat" / name
    if name.endswith(("9.parquet", "b")):
        assert again()[0] == 0
    precious.parent.mkdir(parents=True, exist_ok=True)
    precious.write_text("precious")
    before = _stamps(tmp_path / "cat")
    damaged = name.endswith("9.parquet")  # to be replaced, if that is wanted
    for more in ((),) if damaged else ((), ("--overwrite",)):
        code, _, err = again(*more)
        assert (code, len(err.splitlines())) == (6, 1)
        assert _stamps(tmp_path / "cat") == before
        assert precious.read_text() == "precious"
    # Nor a file of that name.
    (tmp_path / "file").write_text("precious")
    assert predict(some, "--overwrite", output=tmp_path / "file")[0] == 6


def test_an_empty_folder_and_a_slash(again, tmp_path):
    (tmp_path / "cat").mkdir()
    assert again(output=f"{tmp_path}/cat/")[0] == 0
    assert ds.dataset(tmp_path / "cat").count_rows() == 6


def test_file_and_folder_do_not_share_a_run(again, tmp_path):
    assert again()[0] == 0
    code, _, err = again("--overwrite", output=tmp_path / "cat.parquet")
    assert (code, f"is the run folder of {tmp_path / 'cat'};" in err) == (6, True)
    # Names with dots are names.
    assert again(output=tmp_path / "dr1.2")[0] == 0
    assert (tmp_path / "dr1.2.run").is_dir()
    (tmp_path / ".dr1.2.0123abcd.tmp").mkdir()
    assert again(output=tmp_path / "dr1")[0] == 0
    assert (tmp_path / ".dr1.2.0123abcd.tmp").exists()


KILLED = """
import os, signal, sys
from photoz_mmae.catalog import atomic_folder
real = atomic_folder._exchange
def exchange(new, old):
    if sys.argv[1] == "after":
        real(new, old)
    os.kill(os.getpid(), signal.SIGKILL)
atomic_folder._exchange = exchange
from photoz_mmae.cli.main import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_beside_the_exchange(
    again, write_cube, some, scheduler, tiny_model, moment, tmp_path
):
    """There is a whole catalogue at every moment; the same command completes and clears up."""
    assert again()[0] == 0
    write_cube(some / "6.fits", seed=6)
    options = ["--part-size", "2", "--masks", "0", "--max-bad", "1", "--batch-size", "4"]
    command = ["predict", some, "-o", tmp_path / "cat", "--model", tiny_model, *options]
    command = [sys.executable, "-c", KILLED, moment, *command, "--scheduler", scheduler]
    killed = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert ds.dataset(tmp_path / "cat").count_rows() == {"before": 6, "after": 7}[moment]
    assert len(list(tmp_path.glob(".cat.*.tmp"))) == 1
    assert again()[0] == 0
    assert ds.dataset(tmp_path / "cat").to_table()["object_id"].to_pylist() == list(range(7))
    assert _names(tmp_path) == ["cat", "cat.run", "in"]


def test_a_file_system_without_exchange(again, write_cube, some, tmp_path, monkeypatch):
    assert again()[0] == 0
    before = _stamps(tmp_path)["cat"]
    # EINVAL is what such a file system answers; so does any for a flag that it does not know.
    monkeypatch.setattr(folders, "_RENAME_EXCHANGE", 1 << 20)
    write_cube(some / "6.fits", seed=6)
    assert again()[0] == 0
    assert ds.dataset(tmp_path / "cat").count_rows() == 7
    assert _stamps(tmp_path)["cat"] != before
    assert _names(tmp_path) == ["cat", "cat.run", "in"]


def test_embeddings_come_as_a_folder_too(photoz, some, scheduler, tiny_model, tmp_path):
    options = ("--model", tiny_model, "--scheduler", scheduler, "--max-bad", "1")
    assert photoz("embed", some, "-o", tmp_path / "vectors", *options)[0] == 0
    table = ds.dataset(tmp_path / "vectors").to_table()
    assert table["object_id"].to_pylist() == list(range(6))
    said = pq.read_schema(tmp_path / "vectors/part-000000.parquet").metadata
    assert json.loads(said[b"photoz_mmae.settings"])["content"] == "embeddings"
    assert _names(tmp_path / "vectors") == ["part-000000.parquet"]
