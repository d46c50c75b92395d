"""One run at a time, also between processes, and no longer than the process lives."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest
from waiting import killed_at_last

from photoz_mmae.errors import LockedError
from photoz_mmae.lock import HOLDER_FILE, LOCK_FILE, run_lock

HOLD = """
import sys, time
from pathlib import Path
from photoz_mmae.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def test_held_by_another_process_until_it_dies(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError) as error, run_lock(tmp_path):
            pass
        assert f"process {holder.pid} on {os.uname().nodename} since 20" in str(error.value)
    finally:
        holder.kill()
        holder.wait()
    # The killed one left its name behind, and no lock.
    assert json.loads((tmp_path / HOLDER_FILE).read_text())["pid"] == holder.pid
    with run_lock(tmp_path):
        assert json.loads((tmp_path / HOLDER_FILE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / HOLDER_FILE).exists()


def test_a_holder_that_says_nothing(tmp_path):
    with run_lock(tmp_path):
        (tmp_path / HOLDER_FILE).write_text("{")
        with pytest.raises(LockedError, match="held by another run; wait"), run_lock(tmp_path):
            pass


def test_let_go_on_failure(tmp_path):
    with pytest.raises(KeyError), run_lock(tmp_path):
        raise KeyError
    with run_lock(tmp_path):
        pass


NO_FLOCK = """
import errno, fcntl

def flock(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")

fcntl.flock = flock
"""


def test_without_flock_the_file_is_the_lock_and_that_of_a_killed_run_is_taken_over(
    tmp_path, monkeypatch
):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    holder = subprocess.Popen(
        [sys.executable, "-c", NO_FLOCK + HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with killed_at_last(holder):
        assert holder.stdout.readline() == "held\n"
        said = f"held by another run .process {holder.pid} on "
        with (
            pytest.warns(UserWarning, match="flock not supported"),
            pytest.raises(LockedError, match=said),
            run_lock(tmp_path),
        ):
            pass
    assert "flock not supported on this filesystem" in holder.stderr.read()
    assert (tmp_path / LOCK_FILE).exists()
    with pytest.warns(UserWarning, match="flock not supported"), run_lock(tmp_path):
        assert json.loads((tmp_path / HOLDER_FILE).read_text())["pid"] == os.getpid()
