"""One run at a time per output: a lock on the run folder, with its holder written beside it."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from photoz_mmae.errors import LockedError, OutputError
from photoz_mmae.provenance import now

LOCK_FILE = "lock"
HOLDER_FILE = "holder.json"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run folder; the operating system lets go of it when the process ends, however.

    Raises
    ------
    LockedError
        Another run holds it; the message names that run's process, host and start.
    OutputError
        The folder cannot be written to.
    """
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LockedError(
            f"{folder} is held by another run{_holder(folder)}; wait for it or stop it"
        ) from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be locked ({error})") from error
    holder = folder / HOLDER_FILE
    me = {"pid": os.getpid(), "host": socket.gethostname(), "started": now()}
    try:
        try:
            holder.write_text(json.dumps(me))
        except OSError as error:
            raise OutputError(f"{holder}: cannot be written ({error})") from error
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER_FILE).read_text())
        return f" (process {holder['pid']} on {holder['host']} since {holder['started']})"
    except (OSError, ValueError, KeyError, TypeError):
        # Just starting, or just gone.
        return ""
