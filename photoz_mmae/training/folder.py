"""The folder a training writes to: what is in it already, and the record of the epochs."""

import json
import os
from pathlib import Path
from typing import Any

from photoz_mmae.errors import ModelError, OutputError
from photoz_mmae.model.info import INFO_FILE, load_info
from photoz_mmae.runs import TrainRun
from photoz_mmae.training.checkpoint import CHECKPOINT_FILE, differing
from photoz_mmae.training.events import EVENTS_FOLDER

METRICS_FILE = "metrics.jsonl"


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


def prepare_folder(run: TrainRun) -> None:
    """Make the folder, or check that it is one of ours; with `overwrite`, clear it.

    Raises
    ------
    OutputError
        It holds something else, or cannot be written.
    """
    folder = run.output
    ours = (CHECKPOINT_FILE, METRICS_FILE, INFO_FILE)
    try:
        is_ours = any((folder / name).exists() for name in ours)
        if folder.is_dir() and any(folder.iterdir()) and not is_ours:
            raise OutputError(f"{folder}: exists and holds something else; give a new folder")
        if run.overwrite:
            for path in [*(folder / name for name in ours), *(folder / EVENTS_FOLDER).glob("*")]:
                path.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error})") from error


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
