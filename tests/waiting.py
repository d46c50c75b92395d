"""Waiting for other processes and threads, never without an end."""

import time
from contextlib import contextmanager

import psutil


def wait_until(condition, seconds=120):
    """Wait until a condition holds; fails when it does not in good time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


@contextmanager
def killed_at_last(process):
    """Give a subprocess.Popen, and kill it in the end, whatever happens, if it still runs."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def has_ended(process):
    """Whether a psutil.Process has; a zombie has, which nobody may ever ask for its exit code."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(processes):
    """Wait until psutil.Process after psutil.Process has ended."""
    wait_until(lambda: all(map(has_ended, processes)), 30)
