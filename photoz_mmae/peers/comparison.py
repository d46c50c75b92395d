"""Train every contestant on the same objects, test it on the same others, keep what came out."""

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.inference.device import check_device_usable, resolve_device
from photoz_mmae.lock import run_lock
from photoz_mmae.peers.contestant import Contestant
from photoz_mmae.peers.outcome import OUTCOMES, incomparable, load_outcome, outcome_file
from photoz_mmae.peers.registry import make_contestant
from photoz_mmae.peers.round import Round
from photoz_mmae.runs import CompareModelsRun
from photoz_mmae.training.checkpoint import differing
from photoz_mmae.training.dust import make_dust
from photoz_mmae.training.step import memory_suffices
from photoz_mmae.training.trainer import Watcher
from photoz_mmae.training_sets.file_set import FileSet
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.training_set import Normalisation

SPLIT_SEED = 0
"""The same objects for every model and seed."""

HELD_OUT = 0.15
"""Share of validation and of test where no size is asked for, as published."""

MARGIN = 1.1
"""Blocks of the sky are coarse, and objects next to another part's are dropped: so much more is
set aside than what is asked for."""

UNFINISHED = "unfinished"
"""Folder of the trainings that are not at their end."""


@memory_suffices("free some, or give another --device")
def compare(run: CompareModelsRun, watcher: Watcher) -> None:
    """Make every outcome that `run` asks for and that is not there yet.

    The same call goes on with what was stopped.

    Raises
    ------
    InputError, LockedError, OutputError, StoppedError, UsageError
    """
    _check_folder(run.output)
    device = resolve_device(run.device)
    file = SpectraFile(run.data)
    frame = file.frame
    # An unknown name, or wrong images, are said at once.
    contestants = [make_contestant(name, frame) for name in run.models]
    _check_against(run, {one.name for one in contestants})
    dust = make_dust(run.dust, file.survey)
    if run.dust != "none":
        file.load_ebv()
    checksum = file.sha256() if run.models else ""
    _check_others(run, {one.name: _settings(run, one, checksum) for one in contestants})
    if run.overwrite or _lacks(run, contestants, checksum):
        check_device_usable(device)  # before anything is removed
    if run.overwrite:
        for seed, one in itertools.product(run.seeds, contestants):
            _remove(run, one.name, seed)
    for seed, name in itertools.product(run.seeds, run.models):
        torch.manual_seed(seed)
        contestant = make_contestant(name, frame)
        settings = _settings(run, contestant, checksum)
        if not _is_there(run, contestant.name, seed, settings):
            unlabelled = 0 if contestant.labelled_only else run.unlabelled_size
            data = open_data(run, file, contestant.normalisation, unlabelled, seed)
            watcher.on_note(f"{contestant.name}, seed {seed}")
            work = _make_work_folder(run, contestant.name, seed)
            # Of one model and seed: others may be made at the same time.
            with run_lock(work):
                made = Round(run, contestant, work, seed, settings, data, dust, device, watcher)
                outcome = made.make()
            if outcome.ended:
                shutil.rmtree(work, ignore_errors=True)


def _lacks(run: CompareModelsRun, contestants: Sequence[Contestant], checksum: str) -> bool:
    """Whether an outcome is to be made yet."""
    return not all(
        _is_there(run, one.name, seed, _settings(run, one, checksum))
        for seed, one in itertools.product(run.seeds, contestants)
    )


def _check_folder(folder: Path) -> None:
    """Raise OutputError where the folder holds something, and no comparison."""
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror})") from error
    if names and UNFINISHED not in names and not any(folder.glob(OUTCOMES)):
        raise OutputError(f"{folder}: exists and holds something else; give a new folder")


def _check_against(run: CompareModelsRun, names: set[str]) -> None:
    """Raise InputError where no outcome can be of what ratios are asked of."""
    if run.against is None:
        return
    names = names | {load_outcome(path).model for path in run.output.glob(OUTCOMES)}
    # Other ways than the usual one are known after the test only: `base, seeing given`.
    if run.against.split(", ")[0] not in names:
        raise InputError(f"no outcome of {run.against!r}; there are {'; '.join(sorted(names))}")


def _check_others(run: CompareModelsRun, settings: dict[str, dict[str, Any]]) -> None:
    """Raise OutputError where an outcome that is there, and stays, fits none of those to be made.

    Parameters
    ----------
    run : CompareModelsRun
    settings : dict of str to dict
        Of the models to be made, by name.
    """
    made = {outcome_file(run.output, name, seed) for name in settings for seed in run.seeds}
    for path in set(run.output.glob(OUTCOMES)) - made:
        there = load_outcome(path)
        for name, own in settings.items():
            if differences := incomparable(there.settings, own, name == there.model):
                raise OutputError(
                    f"{path}: made with other settings ({differences}); give another output"
                )


def open_data(
    run: CompareModelsRun,
    file: SpectraFile,
    normalisation: Normalisation,
    unlabelled: int,
    seed: int,
) -> FileSet:
    """Open the data in the same parts for everyone, in the order of a seed.

    Raises
    ------
    InputError
        The file is too small for the sizes asked for.
    """
    held_out = (run.validation_size, run.test_size)
    data = FileSet(
        file,
        normalisation,
        run.split,
        (_share(held_out[0], len(file)), _share(held_out[1], len(file))),
        SPLIT_SEED,
        sizes=(run.training_size, *held_out),
        unlabelled=unlabelled,
        order_seed=seed,
    )
    found = data.composition
    if not found.test:
        raise InputError(
            f"{file.path}: no object for the test ({found.split}); --split published divides the "
            "rows at random"
        )
    for name, asked, given in (
        ("training", run.training_size, found.training - found.unlabelled),
        ("unlabelled", unlabelled, found.unlabelled),
        ("validation", run.validation_size, found.validation),
        ("test", run.test_size, found.test),
    ):
        if asked is not None and given < asked:
            raise InputError(
                f"{file.path}: {given:,} objects for {name}, --{name}-size asks for {asked:,}; "
                "give a larger file, or ask for less"
            )
    return data


def _share(size: int | None, objects: int) -> float:
    return HELD_OUT if size is None else min(MARGIN * size / objects, 1.0)


def _settings(run: CompareModelsRun, contestant: Contestant, checksum: str) -> dict[str, Any]:
    return {
        "data_sha256": checksum,
        "split": run.split,
        "training_size": run.training_size,
        "validation_size": run.validation_size,
        "test_size": run.test_size,
        "unlabelled_size": run.unlabelled_size,
        "dust": run.dust,
        "epochs": run.epochs,
        "precision": run.precision,
        "network": contestant.settings,
    }


def _is_there(run: CompareModelsRun, name: str, seed: int, settings: dict[str, Any]) -> bool:
    path = outcome_file(run.output, name, seed)
    if not path.exists():
        return False
    outcome = load_outcome(path)
    differences = differing(outcome.settings, settings)
    if differences:
        raise OutputError(
            f"{path}: made with other settings ({differences}); give another output, or --overwrite"
        )
    return outcome.ended or outcome.seconds >= run.most_seconds


def _remove(run: CompareModelsRun, name: str, seed: int) -> None:
    """Remove what there is of a model and seed, so that what is stopped now can be gone on with."""
    path = outcome_file(run.output, name, seed)
    try:
        path.unlink(missing_ok=True)
        path.with_suffix(".parquet").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror})") from error
    shutil.rmtree(_work_folder(run, name, seed), ignore_errors=True)


def _work_folder(run: CompareModelsRun, name: str, seed: int) -> Path:
    return run.output / UNFINISHED / f"{name}-seed{seed}"


def _make_work_folder(run: CompareModelsRun, name: str, seed: int) -> Path:
    folder = _work_folder(run, name, seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
    return folder
