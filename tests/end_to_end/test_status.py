"""`status`: how a run stands, while it goes on, after it was killed, and when it has ended."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from photoz_mmae.lock import run_lock

PARTS = 12
PER_PART = 2


@pytest.fixture
def many(write_cube, tmp_path):
    for i in range(PARTS * PER_PART):
        write_cube(tmp_path / f"in/{i:02d}.fits", seed=i)
    (tmp_path / "in/00.fits").write_text("this is no FITS file\n")
    return tmp_path / "in"


@pytest.fixture
def start(many, tiny_model, tmp_path):
    """Start `predict` as a process of its own; stopped, not ended, when it has done three parts."""
    running = []

    def run():
        command = [Path(sys.executable).parent / "photoz-mmae", "predict", many, "-o", "c.parquet"]
        command += ["--model", tiny_model, "--part-size", PER_PART]
        command += ["--workers", 1, "--batch-size", 4]
        log = (tmp_path / "log").open("ab")
        journal = tmp_path / "c.run/journal.jsonl"
        lines = journal.read_bytes().count(b"\n") if journal.exists() else 0
        process = subprocess.Popen(
            [str(word) for word in command], cwd=tmp_path, stdout=log, stderr=log
        )
        running.append(process)

        def three_parts_are_done():
            assert process.poll() is None, (tmp_path / "log").read_text()
            return journal.exists() and journal.read_bytes().count(b"\n") >= lines + 3

        wait_until(three_parts_are_done)
        workers = psutil.Process(process.pid).children(recursive=True)
        running.extend(workers)
        for each in [process, *workers]:
            each.send_signal(signal.SIGSTOP)
        # What the kernel was doing for them it does to its end.
        wait_until(lambda: all(map(_is_stopped, [process, *workers])))
        return process

    yield run
    for each in running:
        with suppress(psutil.NoSuchProcess):
            each.kill()
            each.wait()


def _is_stopped(process):
    threads = [stat.read_text() for stat in Path(f"/proc/{process.pid}/task").glob("*/stat")]
    return all(text.rpartition(")")[2].split()[0] in "TZ" for text in threads)


@pytest.fixture
def status(photoz):
    """Run `status --json`, which must leave everything as it is; returns what it says."""

    def run(path):
        folder = path.with_suffix(".run")
        before = {file: file.stat().st_mtime_ns for file in sorted(folder.rglob("*"))}
        code, out, err = photoz("status", path, "--json")
        assert (code, err) == (0, "")
        assert {file: file.stat().st_mtime_ns for file in sorted(folder.rglob("*"))} == before
        return json.loads(out)

    return run


def test_running_killed_and_done(start, status, photoz, predict, many, tmp_path):
    process = start()
    output, folder = tmp_path / "c.parquet", tmp_path / "c.run"
    found = status(output)
    assert (found["state"], found["process"], found["exit"]) == ("running", process.pid, None)
    progress = found["progress"]
    assert (progress["rows"], progress["parts"]) == (PARTS * PER_PART, PARTS)
    assert (progress["rows_to_do"], progress["parts_to_do"]) == (PARTS * PER_PART, PARTS)
    done = progress["parts_done"]
    assert 3 <= done == progress["parts_done_now"] < PARTS
    assert progress["rows_done"] == progress["rows_done_now"] == done * PER_PART
    assert found["rate"] > 0
    assert found["seconds_left"] > 0
    assert found["rows_bad"] == found["flags"]["READ_ERROR"] == 1
    slowest = found["slowest"]
    assert len(slowest) == min(done, 5)
    assert [part["seconds"] for part in slowest] == sorted(
        (part["seconds"] for part in slowest), reverse=True
    )
    for part in slowest:
        first = part["part"] * PER_PART
        assert part["first"] == str(many / f"{first:02d}.fits")
        assert part["last"] == str(many / f"{first + 1:02d}.fits")
    assert found["catalogue"]["says"] == "not there yet"
    _, out, _ = photoz("status", folder)
    assert f"state     running: process {process.pid} on " in out
    assert f"progress  {done * PER_PART} of 24 rows" in out

    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for worker in workers:
        worker.kill()
    # Nobody has asked for its exit code yet: it is dead all the same.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert status(output)["state"] == "died"
    process.wait()
    psutil.wait_procs(workers, timeout=30)
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"part":7,"sources":"c0ff')  # torn
    with (folder / "plan.jsonl").open("a") as plan:
        plan.write('{"part":12,"base":"/tm')
    found = status(output)
    assert found["state"] == "died"
    assert found["seconds_left"] is None
    assert found["progress"]["parts_done"] == done
    assert found["last_part_age"] >= 0
    _, out, _ = photoz("status", output)
    assert "is gone without a word; the last part was finished " in out

    # The same, seen from another host.
    holder = json.loads((folder / "holder.json").read_text())
    (folder / "holder.json").write_text(json.dumps({**holder, "host": "elsewhere"}))
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "host": "elsewhere"}))
    assert status(output)["state"] == "unknown"
    assert "on elsewhere, begun " in photoz("status", output)[1]

    assert predict(many, "--part-size", PER_PART)[0] == 3
    found = status(folder)
    assert (found["state"], found["exit"]) == ("ended", 3)
    progress = found["progress"]
    assert (progress["parts_done"], progress["parts_to_do"]) == (PARTS, PARTS - done)
    assert found["catalogue"]["up_to_date"]
    assert found["catalogue"]["rows"] == PARTS * PER_PART
    _, out, _ = photoz("status", output)
    assert "with exit code 3" in out
    assert "up to date, 24 rows, made " in out
    assert "without   1 row without redshift" in out

    # All are others now, the bad one good: what was counted of it before is no more.
    shutil.copy(many / "01.fits", many / "00.fits")
    for file in many.iterdir():
        os.utime(file)
    process = start()
    found = status(output)
    done = found["progress"]["parts_done"]
    assert found["progress"]["rows_done"] == PER_PART * done < PARTS * PER_PART
    assert (found["rows_bad"], "READ_ERROR" in found["flags"]) == (0, False)
    assert found["flags"]["UNCALIBRATED"] == PER_PART * done
    assert len(found["slowest"]) == min(done, 5)


def test_stopped_by_an_error_and_beginning(status, photoz, predict, cutouts, tmp_path):
    output, folder = tmp_path / "c.parquet", tmp_path / "c.run"
    assert predict(cutouts)[0] == 0
    assert predict(tmp_path / "nowhere")[0] == 4
    found = status(output)
    assert (found["state"], found["exit"]) == ("ended", 4)
    assert "nowhere" in found["message"]
    assert found["catalogue"]["says"] == "of an earlier command"
    out = photoz("status", output)[1]
    assert "12 rows in 1 part are there; what there is to do was not known" in out
    # A command that has not spoken of itself yet; the one before was long ago.
    record = json.loads((folder / "run.json").read_text())
    record["started"] = record["started"].replace("20", "19", 1)
    (folder / "run.json").write_text(json.dumps(record))
    with run_lock(folder):
        found = status(output)
        assert (found["state"], found["process"]) == ("running", os.getpid())
        assert found["exit"] is None
        assert found["progress"]["rows"] is None
    # A holder that died long ago, and another process of its number.
    holder = {"pid": os.getpid(), "host": socket.gethostname()}
    holder["started"] = "2001-01-01T00:00:00+00:00"
    (folder / "holder.json").write_text(json.dumps(holder))
    assert status(output)["state"] == "died"
    output.write_bytes(b"PAR1")
    assert status(output)["catalogue"]["says"].startswith("not readable as Parquet")


def test_nothing_new_and_embeddings(status, photoz, scheduler, tiny_model, cutouts, tmp_path):
    words = ("-o", tmp_path / "e.parquet", "--model", tiny_model, "--scheduler", scheduler)
    for _ in range(2):
        assert photoz("embed", cutouts, *words)[0] == 0
    found = status(tmp_path / "e.parquet")
    assert found["thing"] == "embedding"
    assert found["progress"]["rows_to_do"] == 0
    assert found["progress"]["rows_done"] == found["progress"]["rows"] == 12
    assert found["catalogue"]["up_to_date"]


@pytest.mark.parametrize("suffix", [".parquet", ""])
def test_renamed(status, photoz, scheduler, tiny_model, cutouts, tmp_path, suffix):
    words = ("-o", tmp_path / f"new.2{suffix}", "--model", tiny_model, "--scheduler", scheduler)
    assert photoz("predict", cutouts, *words, "--masks", 0)[0] == 0
    (tmp_path / f"new.2{suffix}").rename(tmp_path / f"c{suffix}")
    (tmp_path / "new.2.run").rename(tmp_path / "c.run")
    for name in (f"c{suffix}", "c.run"):
        catalogue = status(tmp_path / name)["catalogue"]
        assert (catalogue["path"], catalogue["up_to_date"]) == (str(tmp_path / f"c{suffix}"), True)


def test_no_run(photoz, tmp_path):
    (tmp_path / "empty.run").mkdir()
    for name in ("c.parquet", "c.run", "empty.run"):
        code, out, err = photoz("status", tmp_path / name)
        assert (code, out) == (4, "")
        assert err.count("\n") == 1
    (tmp_path / "empty.run/run.json").write_text("{")
    code, _, err = photoz("status", tmp_path / "empty.parquet")
    assert code == 4
    assert "run.json: damaged" in err
