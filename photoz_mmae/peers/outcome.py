"""What became of one contestant with one seed: a JSON file and its redshifts beside it."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.training.checkpoint import differing

OUTCOMES = "*-seed*.json"
"""Files of a folder of outcomes."""

FLAT_EPOCHS = 5
"""A validation loss that has not gone down for so many epochs is flat."""

FLAT = 1e-3
"""Less of the loss than this does not count as going down."""

_OF_ALL = (
    *("split", "training_size", "validation_size", "test_size"),
    *("unlabelled_size", "dust"),
)
_OF_A_MODEL = ("epochs", "network")


@dataclass(frozen=True)
class Outcome:
    """A contestant, trained and tested.

    Attributes
    ----------
    model, source : str
    seed : int
    settings : dict
        What decides the outcome: data, split, sizes, dust, precision, the network's settings.
    parameters : int
    operations : float
        Floating-point operations per object to predict, image only; a product and a sum are two.
    training_speed, prediction_speed : float
        Objects per second; of training the median over the epochs of its last stage.
    seconds : float
        Of training, validation included, and of what is fitted after it.
    ended : bool
        Whether the training came to its own end, not to that of the time it was given.
    converged : bool
        Whether in every stage the validation loss was flat for five epochs, and the learning rate
        was not to fall any more, or the stage came to its own end.
    curve : list of dict
        Per epoch: `stage`, `epoch`, `seconds`, `loss`, and of the validation objects `sigma_nmad`
        and `outlier_015`, None in a stage that gives no redshifts.
    ways : list of str
        Names of the ways it gives redshifts, the usual one first: columns of the table.
    """

    model: str
    source: str
    seed: int
    settings: dict[str, Any]
    parameters: int
    operations: float
    training_speed: float
    prediction_speed: float
    seconds: float
    ended: bool
    converged: bool
    curve: list[dict[str, Any]]
    ways: list[str]


@dataclass(frozen=True)
class Tested:
    """Redshifts of the test objects.

    Attributes
    ----------
    z_true : array, (N,)
    classes : array of str, (N,), or None
    z_phot : dict of str to array, (N,)
        By way.
    """

    z_true: NDArray[np.float64]
    classes: NDArray[np.str_] | None
    z_phot: dict[str, NDArray[np.float64]]


def incomparable(
    before: dict[str, Any], settings: dict[str, Any], is_same_model: bool = False
) -> str:
    """`training_size was 2000, is 8000; ...`, empty where outcomes belong into one table.

    All learn from the same objects, all seeds of a model in the same way. The data may differ: made
    anew on another processor, they have other last digits.
    """
    shared = (*_OF_ALL, *_OF_A_MODEL * is_same_model)
    return differing(*({name: one.get(name) for name in shared} for one in (before, settings)))


def is_flat(losses: list[float]) -> bool:
    """Whether the last five of the validation losses are no lower than the least before them."""
    if len(losses) <= FLAT_EPOCHS:
        return False
    before = min(losses[:-FLAT_EPOCHS])
    return min(losses[-FLAT_EPOCHS:]) >= before - FLAT * abs(before)


def outcome_file(folder: Path, model: str, seed: int) -> Path:
    """Return where an outcome is kept: `NAME-seedK.json`, its table `NAME-seedK.parquet`."""
    return folder / f"{model}-seed{seed}.json"


def save_outcome(folder: Path, outcome: Outcome, tested: Tested) -> None:
    """Write both files, the JSON last: where it is, the table is too; raises OutputError."""
    path = outcome_file(folder, outcome.model, outcome.seed)
    columns: dict[str, Any] = {"redshift": tested.z_true.astype(np.float32)}
    if tested.classes is not None:
        columns["class"] = tested.classes
    columns |= {way: z_phot.astype(np.float32) for way, z_phot in tested.z_phot.items()}
    try:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        pq.write_table(pa.table(columns), temporary, compression="zstd")
        temporary.replace(path.with_suffix(".parquet"))
        temporary.write_text(json.dumps(dataclasses.asdict(outcome), indent=1) + "\n")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def load_outcome(path: Path) -> Outcome:
    """Read one JSON file; raises InputError."""
    try:
        return Outcome(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not an outcome of compare-models ({error})") from error


def load_tested(path: Path) -> Tested:
    """Read the table beside a JSON file; raises InputError."""
    table_path = path.with_suffix(".parquet")
    try:
        table = pq.read_table(table_path)
        z_true = table["redshift"].to_numpy().astype(np.float64)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{table_path}: not redshifts of compare-models ({error})") from error
    ways = [name for name in table.column_names if name not in ("redshift", "class")]
    classes = np.asarray(table["class"].to_pylist()) if "class" in table.column_names else None
    z_phot = {way: table[way].to_numpy().astype(np.float64) for way in ways}
    return Tested(z_true, classes, z_phot)
