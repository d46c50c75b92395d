"""A file that kills whoever reads it costs its own row, and no other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from photoz_mmae.flags import Flag

CRASH = """
import os, signal
from photoz_mmae.cutouts import files

def read_cutout(source, *rest, read=files.read_cutout):
    if source.files[0].endswith("/2.fits"):
        os.kill(os.getpid(), signal.SIGSEGV)  # as a C library does on damage it does not expect
    read(source, *rest)

files.read_cutout = read_cutout
"""


def test_a_file_that_crashes_the_reader(write_cube, photoz, predict, tiny_model, tmp_path):
    for i in range(3):
        write_cube(tmp_path / f"in/{i}.fits", seed=i)
    (tmp_path / "crash.py").write_text(CRASH)

    crashing = os.environ | {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "crash.py")}

    def run(environment, *more):
        command = [Path(sys.executable).parent / "photoz-mmae", "predict", "in", "-o", "d.parquet"]
        command += ["--model", tiny_model, "--workers", "1", "--batch-size", "4", *more]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    done = run(crashing)
    assert (done.returncode, done.stderr) == (3, "")
    problems = [json.loads(line) for line in (tmp_path / "d.run/problems.jsonl").open()]
    assert [p["object_id"] for p in problems] == [2]
    assert "kills the process that reads it" in problems[0]["reason"]
    rows = pq.read_table(tmp_path / "d.parquet").drop_columns("source")
    assert rows["object_id"].to_pylist() == [0, 1, 2]
    assert rows["flags"][2].as_py() == Flag.READ_ERROR
    code, out, _ = photoz("verify", tmp_path / "d.parquet", "--model", tiny_model)
    assert code == 0, out
    # The others have what they have in peace.
    assert predict(tmp_path / "in")[0] == 0
    calm = pq.read_table(tmp_path / "c.parquet").drop_columns("source")
    others = [0, 1]
    assert rows.take(others).equals(calm.take(others))
    # It is not read again before that is asked for, and then it may be found whole.
    files = [tmp_path / "d.run/journal.jsonl", tmp_path / "d.parquet"]
    before = [file.read_bytes() for file in files]
    done = run(crashing)
    assert (done.returncode, "nothing new" in done.stdout) == (3, True), done.stderr
    assert [file.read_bytes() for file in files] == before
    done = run(os.environ, "--retry-bad")
    assert (done.returncode, "READ_ERROR" in done.stdout) == (0, False), done.stderr
    assert pq.read_table(tmp_path / "d.parquet").drop_columns("source").equals(calm)
