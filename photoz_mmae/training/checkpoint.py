"""A training that was stopped goes on from its last epoch: one safetensors file, no pickle."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from photoz_mmae.errors import InputError, OutputError

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass
class Progress:
    """How far a training is.

    Attributes
    ----------
    epoch : int
        Epochs that are done.
    best_epoch : int
        The one of least validation loss; counted from 1.
    best_loss : float
    seconds : float
        Wall-clock time so far.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    seconds: float = 0.0


def save_checkpoint(
    folder: Path,
    settings: dict[str, Any],
    progress: Progress,
    network: nn.Module,
    best: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write everything needed to go on, atomically; raises OutputError."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    # Clones, since safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    metadata = {"settings": json.dumps(settings), "progress": json.dumps(asdict(progress))}
    temporary = folder / f".{CHECKPOINT_FILE}.{os.getpid()}"
    try:
        save_file(tensors, temporary, metadata)
        temporary.replace(folder / CHECKPOINT_FILE)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{folder}: cannot write the checkpoint ({error})") from error


def load_checkpoint(
    folder: Path,
    settings: dict[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Restore network and optimiser; returns the progress and the best weights, or None.

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
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        before = json.loads(metadata["settings"])
        progress = Progress(**json.loads(metadata["progress"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: damaged checkpoint ({error}); --overwrite starts anew"
        ) from error
    was, now = _flat(before), _flat(json.loads(json.dumps(settings)))
    names = [name for name in was | now if was.get(name) != now.get(name)]
    if names:
        differences = "; ".join(f"{n} was {was.get(n)}, is {now.get(n)}" for n in names)
        raise OutputError(
            f"{folder}: holds an unfinished training with other settings ({differences}); "
            "give the same, another output, or --overwrite"
        )
    _restore(tensors, network, optimizer)
    best = {name[5:]: value for name, value in tensors.items() if name.startswith("best/")}
    return progress, best


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Dissolve the groups of settings: `{"training": {"epochs": 3}}` -> `{"epochs": 3}`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def _restore(
    tensors: dict[str, Tensor], network: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    network.load_state_dict(
        {name[8:]: value for name, value in tensors.items() if name.startswith("network/")}
    )
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
