"""`predict` on what goes wrong: a flagged row, or one clear line and the documented exit code."""

import json
import shutil

import fitsio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from photoz_mmae.flags import NO_REDSHIFT, Flag


@pytest.fixture
def zoo(write_cube, tmp_path):
    """One good cutout, and one of each kind of bad one."""
    folder = tmp_path / "zoo"
    write_cube(folder / "good.fits")
    (folder / "text.fits").write_text("this is no FITS file\n")
    (folder / "empty.fits").touch()
    content = write_cube(folder / "whole.fits").read_bytes()
    (folder / "truncated.fits").write_bytes(content[: len(content) // 2])
    (folder / "whole.fits").unlink()
    write_cube(folder / "three_bands.fits", bands=3)
    fitsio.write(folder / "line.fits", np.ones(100, np.float32))
    fitsio.write(folder / "nan.fits", np.full((5, 64, 64), np.nan, np.float32))
    (folder / "directory.fits").mkdir()
    write_cube(folder / "directory.fits" / "inside.fits")
    (folder / "notes.txt").write_text("not an object\n")
    fitsio.write(folder / "table.fits", np.zeros(3, [("id", "i8")]))
    return folder


def test_bad_cutouts_are_flagged_rows(predict, zoo, tmp_path):
    code, out, _ = predict(zoo)
    assert code == 3
    assert "found     8 objects; 2 other files ignored" in out
    rows = {row["object_id"]: row for row in pq.read_table(tmp_path / "c.parquet").to_pylist()}
    expected = {
        "text": Flag.READ_ERROR,
        "empty": Flag.READ_ERROR,
        "truncated": Flag.READ_ERROR,
        "three_bands": Flag.MISSING_BAND,
        "line": Flag.WRONG_SIZE,
        "nan": Flag.NO_FINITE_PIXELS,
    }
    for name, flag in expected.items():
        assert rows[name]["flags"] & int(NO_REDSHIFT) == flag, name
        assert not rows[name]["flags"] & Flag.UNCALIBRATED
        numbers = {key: value for key, value in rows[name].items() if key.startswith("z_")}
        assert np.isnan(numbers.pop("z_quantiles")).all()
        assert set(numbers.values()) == {None}, name
    for name in ("good", "inside"):
        assert rows[name]["z_best"] > 0
        assert not rows[name]["flags"] & int(NO_REDSHIFT)
    assert len(rows) == 8
    # Said on the screen, and all of it in a file.
    assert "rows      8, 6 without redshift" in out
    assert "READ_ERROR 3" in out
    problems = [json.loads(line) for line in (tmp_path / "c.run/problems.jsonl").open()]
    assert {problem["object_id"] for problem in problems} == set(expected)
    assert all(problem["reason"] for problem in problems)
    assert next(p for p in problems if p["object_id"] == "line")["flags"] == ["WRONG_SIZE"]


def test_max_bad_and_all_bad(predict, zoo, tmp_path):
    assert predict(zoo, "--max-bad", "6")[0] == 0
    assert predict(zoo / "nan.fits", output=tmp_path / "all_bad.parquet")[0] == 3
    table = pq.read_table(tmp_path / "all_bad.parquet")
    assert table.num_rows == 1
    assert table["z_best"].null_count == 1


def test_no_input(predict, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = predict(tmp_path / "empty")
    assert code == 4
    assert "no FITS cutouts" in err
    code, _, err = predict(tmp_path / "missing")
    assert code == 4
    assert str(tmp_path / "missing") in err
    # Nothing was begun, so nothing is left.
    assert not (tmp_path / "c.run").exists()


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("missing/c.parquet", 6),
        ("/proc/c.parquet", 6),
        ("folder.parquet", 6),
        ("c.FITS", 2),
    ],
)
def test_output_that_cannot_be(predict, cutouts, tmp_path, output, code):
    (tmp_path / "folder.parquet").mkdir()
    found, _, err = predict(cutouts, output=tmp_path / output)
    assert found == code
    assert len(err.splitlines()) == 1


def test_a_device_of_no_such_name_costs_no_catalogue(predict, cutouts, tmp_path):
    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert predict(cutouts)[0] == 0
    before = files()
    code, _, err = predict(cutouts, "--overwrite", "--device", "cuda0")
    assert (code, "unknown device 'cuda0'" in err, err.count("\n")) == (2, True, 1)
    assert files() == before


def test_an_output_that_is_not_ours_is_left_alone(predict, cutouts, tmp_path):
    output = tmp_path / "c.parquet"
    output.write_text("precious")
    for more in ((), ("--overwrite",)):
        code, _, err = predict(cutouts, *more)
        assert (code, "is no catalogue of this program" in err, err.count("\n")) == (6, True, 1)
        assert output.read_text() == "precious"
    assert not (tmp_path / "c.run").exists()
    # Nor is a folder of somebody else's.
    output.unlink()
    (tmp_path / "c.run").mkdir()
    (tmp_path / "c.run" / "diary.txt").write_text("precious")
    assert predict(cutouts)[0] == 6
    assert predict(cutouts, "--overwrite")[0] == 6
    assert [file.name for file in (tmp_path / "c.run").iterdir()] == ["diary.txt"]


def test_tables_that_are_read_are_never_written_to(predict, cutouts, tmp_path):
    table = tmp_path / "objects.parquet"
    pq.write_table(pa.table({"object_id": ["a"], "ebv": [0.1]}), table)
    before = table.read_bytes()
    for more in ((), ("--overwrite",)):
        code, _, err = predict(cutouts, "--catalog", table, *more, output=table)
        assert (code, "--catalog and --output are the same file" in err) == (2, True)
        code, _, err = predict(cutouts, *more, output=table)
        assert (code, "is no catalogue of this program" in err) == (6, True)
    # Nor one that has taken the place of a catalogue.
    table.unlink()
    assert predict(cutouts, output=table)[0] == 0
    table.write_bytes(before)
    for more in ((), ("--overwrite",)):
        code, _, err = predict(cutouts, *more, output=table)
        assert (code, "is no catalogue of this program" in err) == (6, True)
    assert table.read_bytes() == before
    # A catalogue that was made by it is no table of its own either.
    table.unlink()
    assert predict(cutouts, output=table)[0] == 0
    assert predict(cutouts, "--catalog", table, output=table)[0] == 2


def test_cutouts_are_never_written_to(predict, write_cube, tmp_path):
    cube = write_cube(tmp_path / "in/cube.fits")
    assert predict(tmp_path / "in", "--overwrite", output=cube)[0] == 2
    # Not even through a link by another name.
    link = tmp_path / "link.parquet"
    link.symlink_to(cube)
    assert predict(tmp_path / "in", output=link)[0] == 6
    assert predict(tmp_path / "in", "--overwrite", output=link)[0] == 6
    assert fitsio.read(cube).shape == (5, 64, 64)


def test_models_that_cannot_be_used(predict, cutouts, tiny_model, tmp_path):
    code, _, err = predict(cutouts, model="no-such-model")
    assert code == 5
    assert "no-such-model" in err
    for name, spoil in (
        ("weights.safetensors", lambda data: data[:-4] + b"\x00\x01\x02\x03"),
        ("model.json", lambda data: data[:100]),
        ("model.json", lambda data: data.replace(b'"schema_version": 1', b'"schema_version": 99')),
    ):
        copy = tmp_path / "model"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tiny_model, copy)
        file = copy / name
        file.write_bytes(spoil(file.read_bytes()))
        code, _, err = predict(cutouts, model=copy, output=tmp_path / f"{name}.parquet")
        assert code == 5, name
        assert len(err.splitlines()) == 1
        # Found before there is anything to do for a worker.
        assert not (tmp_path / f"{name}.parquet.run" / "parts").exists()


def test_only_parquet_comes_out(photoz, cutouts, tiny_model, tmp_path):
    for name in ("c.csv", "c.fits", "c.PARQUET", "c.run"):
        code, _, err = photoz("predict", cutouts, "-o", tmp_path / name, "--model", tiny_model)
        assert (code, "name it c.parquet" in err) == (2, True)
        assert not any(tmp_path.iterdir())


def test_usage(photoz, predict, cutouts, tiny_model, tmp_path):
    assert photoz("predict", cutouts)[0] == 2
    assert predict("-x")[0] == 2
    code, _, err = predict(cutouts, "--batch-size", "0")
    assert (code, "--batch-size" in err) == (2, True)
    options = ("-o", tmp_path / "c.parquet", "--model", tiny_model, "--device", "tpu")
    code, _, err = photoz("predict", cutouts, *options)
    assert (code, "tpu" in err) == (2, True)
    (tmp_path / "run.toml").write_text("part_sise = 7\n")
    code, _, err = predict(cutouts, "--config", tmp_path / "run.toml")
    assert (code, "did you mean 'part-size'?" in err) == (2, True)
