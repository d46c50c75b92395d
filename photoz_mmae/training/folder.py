"""The folder a training writes to: what is in it already, and the record of the epochs."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from photoz_mmae.errors import ModelError, OutputError
from photoz_mmae.lock import HOLDER_FILE, LOCK_FILE, run_lock
from photoz_mmae.model.info import INFO_FILE, load_info
from photoz_mmae.runs import TrainRun
from photoz_mmae.training.checkpoint import CHECKPOINT_FILE, differing
from photoz_mmae.training.events import EVENTS_FOLDER

METRICS_FILE = "metrics.jsonl"
_OURS = (CHECKPOINT_FILE, METRICS_FILE, INFO_FILE)


def is_finished(run: TrainRun, settings: dict[str, Any]) -> bool:
    """Whether the folder holds the model that `run` would make.

    Raises
    ------
    OutputError
        It holds another model, and is not to be overwritten.
    """
    if run.overwrite or not (run.output / INFO_FILE).exists():
        return False
    try:
        before = load_info(run.output).training.settings
        differences = differing(before, settings) if before else "unknown ones"
    except ModelError as error:
        differences = str(error)
    if differences:
        raise OutputError(
            f"{run.output}: holds a trained model already, with other settings ({differences}); "
            "--overwrite starts anew"
        )
    return True


def check_usable(run: TrainRun) -> None:
    """Raise OutputError where the folder holds something that is not of a training."""
    folder = run.output
    try:
        is_ours = any((folder / name).exists() for name in (*_OURS, LOCK_FILE))
        if folder.is_dir() and any(folder.iterdir()) and not is_ours:
            raise OutputError(f"{folder}: exists and holds something else; give a new folder")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror})") from error


@contextmanager
def folder_held(run: TrainRun) -> Iterator[None]:
    """Make the folder, or check that it is one of ours, and hold it; with `overwrite`, clear it.

    Raises
    ------
    OutputError
        It holds something else, or cannot be written.
    LockedError
        Another training holds it.
    """
    _make(run)
    with run_lock(run.output):
        if run.overwrite:
            _clear(run.output)
        try:
            yield
        finally:
            for name in (HOLDER_FILE, LOCK_FILE):
                with suppress(OSError):
                    (run.output / name).unlink()


def _make(run: TrainRun) -> None:
    check_usable(run)
    try:
        run.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run.output}: cannot be written ({error})") from error


def _clear(folder: Path) -> None:
    try:
        for path in [*(folder / name for name in _OURS), *(folder / EVENTS_FOLDER).glob("*")]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be cleared ({error})") from error


def drop_metrics(folder: Path, epoch: int) -> None:
    """Drop the records of epochs after `epoch`, which will be made again."""
    path = folder / METRICS_FILE
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        os.truncate(path, sum(len(line) for line in lines[:epoch]))


def append_metrics(folder: Path, record: dict[str, Any]) -> None:
    """Add the record of an epoch; raises OutputError."""
    try:
        with (folder / METRICS_FILE).open("a") as stream:
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write {METRICS_FILE} ({error.strerror}); "
            "make room, then the same command goes on"
        ) from error


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the records of all epochs."""
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
