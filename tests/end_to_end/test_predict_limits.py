"""What an operator sets and reads: limits, `run.json`, catalogues of equal bytes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from photoz_mmae import __version__


def _run(tmp_path):
    return json.loads((tmp_path / "c.run/run.json").read_bytes())


@pytest.fixture
def some(write_cube, tmp_path):
    """A folder of three good cutouts and one that is none."""
    for i in range(3):
        write_cube(tmp_path / f"in/{i}.fits", seed=i)
    (tmp_path / "in/3.fits").write_bytes(b"SIMPLE")
    return tmp_path / "in"


@pytest.mark.parametrize(("limit", "code"), [("0", 3), ("1", 0), ("24%", 3), ("25%", 0)])
def test_max_bad_is_a_number_or_a_share(predict, some, tmp_path, limit, code):
    found, out, _ = predict(some, "--max-bad", limit)
    assert found == code
    assert ("too many  1 without redshift, --max-bad allows 0: exit code 3" in out) == bool(code)
    run = _run(tmp_path)
    assert run["exit"] == code
    assert (run["rows"], run["rows_computed"], run["rows_bad"]) == (4, 4, 1)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--max-bad", "-1", "a whole number, or a share"),
        ("--max-bad", "101%", "a whole number, or a share"),
        ("--max-runtime", "soon", "45s, 90min or 8h"),
        ("--max-runtime", "10", "with its unit"),
        ("--max-runtime", "0h", "45s, 90min or 8h"),
    ],
)
def test_limits_that_are_none(predict, some, option, value, said):
    code, _, err = predict(some, f"{option}={value}")
    assert code == 2
    assert said in err


def test_run_json_tells_how_it_went(predict, some, tmp_path):
    assert predict(some, "--max-bad", "1")[0] == 0
    run = _run(tmp_path)
    assert run["message"] is None
    assert run["flags"]["READ_ERROR"] == 1
    assert run["flags"]["UNCALIBRATED"] == 3
    assert run["versions"]["photoz_mmae"] == __version__
    assert run["objects_per_second"] > 0
    assert run["started"] <= run["ended"]
    # Nothing to do is a run as well; so is one that fails.
    assert predict(some, "--max-bad", "1")[0] == 0
    assert (_run(tmp_path)["rows_computed"], _run(tmp_path)["changed"]) == (0, False)
    code, _, err = predict(tmp_path / "nowhere")
    assert code == 4
    run = _run(tmp_path)
    assert run["exit"] == 4
    assert "nowhere" in run["message"]
    assert run["message"] in err
    # Its damage is said.
    (tmp_path / "c.run/run.json").write_text("{")
    code, _, err = predict(some)
    assert code == 6
    assert "run.json: damaged" in err


def test_a_catalogue_that_somebody_changed_is_left_alone(predict, some, tmp_path):
    assert predict(some, "--max-bad", "1")[0] == 0
    table = pq.read_table(tmp_path / "c.parquet")
    pq.write_table(table.slice(1), tmp_path / "c.parquet")
    changed = (tmp_path / "c.parquet").read_bytes()
    code, _, err = predict(some)
    assert code == 6
    assert "not what this run wrote" in err
    assert (tmp_path / "c.parquet").read_bytes() == changed


def test_same_input_same_bytes(predict, some, tmp_path):
    outputs = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copytree(some, tmp_path / folder / "in")
        output = tmp_path / folder / "c.parquet"
        # Parts of other sizes.
        options = ("--reproducible", "--part-size", "3" if folder == "a" else "2")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path / folder)
            assert predict("in", *options, "--max-bad", "1", output=output)[0] == 0
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1]
    metadata = pq.read_metadata(tmp_path / "a/c.parquet").metadata
    assert b"photoz_mmae.created" not in metadata
    # With time and place again.
    assert predict(tmp_path / "a/in", "--max-bad", "1", output=tmp_path / "a/c.parquet")[0] == 0
    assert b"photoz_mmae.created" in pq.read_metadata(tmp_path / "a/c.parquet").metadata


def test_max_runtime(some, tiny_model, tmp_path):
    program = Path(sys.executable).parent / "photoz-mmae"
    command = [program, "predict", "in", "-o", "c.parquet", "--model", tiny_model]
    command += ["--workers", "1", "--max-bad", "1"]
    # Libraries alone take longer to load.
    done = subprocess.run(
        [*command, "--max-runtime", "0.1s"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 75, done.stdout
    assert done.stderr.startswith("photoz-mmae: stopped after --max-runtime; ")
    assert not (tmp_path / "c.parquet").exists()
    # Whatever it is that libraries write, they write it in the run folder, and not for long.
    (tmp_path / "elsewhere").mkdir()
    elsewhere = {**os.environ, "TMPDIR": str(tmp_path / "elsewhere"), "HOME": str(tmp_path)}
    command += ["--max-runtime", "1h"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, env=elsewhere)
    assert done.returncode == 0
    assert not list((tmp_path / "elsewhere").iterdir())
    assert {file.name for file in tmp_path.iterdir()} == {"in", "elsewhere", "c.parquet", "c.run"}
    assert not (tmp_path / "c.run/scratch").exists()
