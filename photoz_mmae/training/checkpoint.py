"""A training that was stopped goes on from its last checkpoint: one safetensors file, no pickle."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.model.presets import LATER_SETTINGS

_SAID = 4  # differences that are named, where there are many

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass
class Progress:
    """How far a training is.

    Attributes
    ----------
    epoch : int
        Epochs that are done, their validation too.
    step : int
        Steps that are done of the next one.
    sums : dict of str to float
        Of the losses over those steps.
    best_epoch : int
        The one that is kept; counted from 1.
    best_loss : float
        Least of `validation`.
    validation : list of float
        Of each epoch the validation loss, or what else the course watches.
    seconds : float
        Wall-clock time so far.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    best_loss: float = float("inf")
    validation: list[float] = field(default_factory=list)
    seconds: float = 0.0


def save_checkpoint(
    folder: Path,
    settings: dict[str, Any],
    progress: Progress,
    states: Mapping[str, Mapping[str, Tensor]],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write everything needed to go on, atomically.

    Parameters
    ----------
    folder : Path
    settings : dict
        What a training that goes on must have in common with this one.
    progress : Progress
    states : mapping of str to state dict
        `network`, `best`, and others by name.
    optimizer : torch.optim.Optimizer

    Raises
    ------
    OutputError
        It cannot be written; the checkpoint before is still there.
    """
    tensors = {
        f"{group}/{name}": value for group, state in states.items() for name, value in state.items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    # Clones, since safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    metadata = {"settings": json.dumps(settings), "progress": json.dumps(asdict(progress))}
    temporary = folder / f".{CHECKPOINT_FILE}.tmp"
    try:
        with temporary.open("wb") as stream:
            stream.write(save(tensors, metadata))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(folder / CHECKPOINT_FILE)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{folder}: cannot write the checkpoint ({error.strerror}); "
            "make room, then the same command goes on"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_checkpoint(
    folder: Path,
    settings: dict[str, Any],
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Restore modules and optimiser; returns the progress and the best weights, or None.

    Raises
    ------
    InputError
        The checkpoint is damaged.
    OutputError
        It belongs to a training with other settings.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    damaged = f"{path}: damaged checkpoint ({{}}); --overwrite starts anew"
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        before = json.loads(metadata["settings"])
        known = json.loads(metadata["progress"])
        known.pop("pieces", None)  # which older checkpoints tell
        progress = Progress(**known)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(damaged.format(error)) from error
    differences = differing(before, settings)
    if differences:
        raise OutputError(
            f"{folder}: holds an unfinished training with other settings ({differences}); "
            "give the same, another output, or --overwrite"
        )

    def group(name: str) -> dict[str, Tensor]:
        start = f"{name}/"
        return {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}

    try:
        for name, module in modules.items():
            module.load_state_dict(group(name))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in group("optimizer").items():
            index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    except (RuntimeError, ValueError) as error:
        raise InputError(damaged.format(error)) from error
    return progress, group("best")


def differing(before: dict[str, Any], settings: dict[str, Any]) -> str:
    """`epochs was 60, is 7; ...`, empty where settings are the same."""
    later, settings = json.loads(json.dumps([LATER_SETTINGS, settings]))
    was, now = _by_path(before), _by_path(settings)
    words = []
    for path in was | now:
        name = path[-1]
        # What was made before there was a setting goes on.
        old, new = was.get(path, later.get(name)), now.get(path, later.get(name))
        if old != new and name.endswith("_sha256"):
            words.append(f"other {name.removesuffix('_sha256')}")
        elif old != new:
            words.append(f"{name} was {_told(old)}, is {_told(new)}")
    more = [f"and {len(words) - _SAID} more: another preset?"] if len(words) > _SAID + 1 else []
    return "; ".join([*words[:_SAID], *more] if more else words)


def _told(value: Any) -> Any:
    return "not given" if value is None else value


def _by_path(settings: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Dissolve groups of settings: `{"training": {"n": 3}}` -> `{("training", "n"): 3}`."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in settings.items():
        inner = _by_path(value) if isinstance(value, dict) else {(): value}
        found |= {(name, *path): entry for path, entry in inner.items()}
    return found
