"""`predict` with local workers, killed and stopped in the middle: nothing is lost or left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from waiting import wait_until, wait_until_gone

PARTS = 30
PER_PART = 4


@pytest.fixture
def many(write_cube, tmp_path):
    """Enough cutouts that a run can be caught in the middle."""
    first = write_cube(tmp_path / "in/0.fits").read_bytes()
    for i in range(1, PARTS * PER_PART):
        # Other pixels in each: the last byte of some faint ones.
        content = bytearray(first)
        content[2880 + 4000 + i] ^= 0x3F
        (tmp_path / f"in/{i}.fits").write_bytes(content)
    return tmp_path / "in"


@pytest.fixture
def start(many, tiny_model, tmp_path):
    """Start `predict` as a process of its own, with one local worker."""
    running = []

    def run():
        command = [Path(sys.executable).parent / "photoz-mmae", "predict", many, "-o", "c.parquet"]
        command += ["--model", tiny_model, "--part-size", PER_PART]
        command += ["--workers", 1, "--batch-size", 4]
        log = (tmp_path / "log").open("ab")
        process = subprocess.Popen(
            [str(word) for word in command], cwd=tmp_path, stdout=log, stderr=log
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()


def _journal(tmp_path):
    file = tmp_path / "c.run/journal.jsonl"
    return (
        [json.loads(line) for line in file.open() if line.endswith("\n")] if file.exists() else []
    )


def _wait_for_parts(process, tmp_path, count):
    def done():
        assert process.poll() is None, (tmp_path / "log").read_text()
        return len(_journal(tmp_path)) >= count

    wait_until(done)


def _workers(process):
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def _stamps(folder, records):
    stats = {record["file"]: (folder / record["file"]).stat() for record in records}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in stats.items()}


def test_a_report_that_nobody_reads_stops_nothing(many, tiny_model, tmp_path):
    program = Path(sys.executable).parent / "photoz-mmae"
    for number, stdout in enumerate(("/dev/full", "| head -1")):
        output = tmp_path / f"{number}.parquet"
        command = f"{program} predict {many} -o {output} --model {tiny_model} --workers 1"
        shell = f"set -o pipefail; {command} {'>' if number == 0 else ''} {stdout}"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert output.exists()


def test_killed_bereft_of_its_worker_and_stopped(start, predict, many, tmp_path):
    parts = tmp_path / "c.run/parts"

    process = start()
    _wait_for_parts(process, tmp_path, 3)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.wait()
    wait_until_gone(children)
    assert not (tmp_path / "c.parquet").exists()
    finished = _journal(tmp_path)
    assert 3 <= len(finished) < PARTS
    untouched = _stamps(parts, finished)

    # A worker dies; another takes its place. Then Ctrl-C, which reaches the whole group.
    process = start()
    _wait_for_parts(process, tmp_path, len(finished) + 2)
    for worker in _workers(process):
        worker.kill()
    _wait_for_parts(process, tmp_path, len(_journal(tmp_path)) + 5)
    children = psutil.Process(process.pid).children(recursive=True)
    for each in [*_workers(process), psutil.Process(process.pid)]:
        each.send_signal(signal.SIGINT)
    assert process.wait(60) == 75
    wait_until_gone(children)
    log = (tmp_path / "log").read_text()
    assert "the same command goes on" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert "distributed" not in log
    assert not (tmp_path / "c.parquet").exists()

    code, out, _ = predict(many, "--part-size", PER_PART)
    assert code == 0
    assert f"of {PARTS} parts" in out
    assert _stamps(parts, finished) == untouched
    assert sorted(record["part"] for record in _journal(tmp_path)) == list(range(PARTS))
    # An undisturbed run gives the same rows.
    assert predict(many, "--part-size", PER_PART, output=tmp_path / "calm.parquet")[0] == 0
    rows = pq.read_table(tmp_path / "c.parquet")
    assert rows["object_id"].to_pylist() == list(range(PARTS * PER_PART))
    assert rows.equals(pq.read_table(tmp_path / "calm.parquet"))


def test_sigterm_exits_with_75_and_the_same_command_goes_on(predict, many, when_synced, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    when_synced("journal.jsonl", lambda: os.kill(os.getpid(), signal.SIGTERM))
    code, _, err = predict(many, "--part-size", PER_PART)
    assert code == 75
    assert "the same command goes on" in err
    assert signal.getsignal(signal.SIGTERM) == before
    assert 1 <= len(_journal(tmp_path)) < PARTS
    assert not (tmp_path / "c.parquet").exists()
    # The lock was let go.
    assert predict(many, "--part-size", PER_PART)[0] == 0
    assert pq.read_metadata(tmp_path / "c.parquet").num_rows == PARTS * PER_PART


def test_stopped_while_the_workers_are_starting(start, tmp_path):
    process = start()

    def begun():
        assert process.poll() is None
        return "to do" in (tmp_path / "log").read_text()

    wait_until(begun)
    process.terminate()
    assert process.wait(60) == 75
    assert "the same command goes on" in (tmp_path / "log").read_text().splitlines()[-1]
    assert "Traceback" not in (tmp_path / "log").read_text()

    def left():
        return [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(tmp_path)]

    # A worker that was just being started needs a moment to see that nobody is there.
    wait_until(lambda: not left(), 30)
