"""What decides the weights that a training ends with."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from photoz_mmae.errors import InputError, UsageError
from photoz_mmae.model.presets import Preset, PublishedNetwork, load_preset
from photoz_mmae.provenance import file_sha256
from photoz_mmae.runs import TrainRun


def preset_of(run: TrainRun) -> Preset:
    """Load the preset; the run's own settings win over it.

    Raises
    ------
    InputError
        The preset's file cannot be read, or is none.
    UsageError
        There is no such preset, or its network cannot take E(B-V) or do without bands.
    """
    preset = load_preset(run.preset)
    dust = run.dust or preset.dust
    if dust == "input" and isinstance(preset.network, PublishedNetwork):
        raise UsageError(
            "--dust input: the published network does not take E(B-V); use none or deredden"
        )
    if run.drop_bands and isinstance(preset.network, PublishedNetwork):
        raise UsageError("--drop-bands: the published network cannot do without a band")
    given = {
        name: getattr(run, name)
        for name in ("epochs", "patience", "batch_size", "learning_rate")
        if getattr(run, name) is not None
    }
    if run.epochs is not None:
        given["most_steps"] = 0  # then there are as many as that
    if run.drop_bands is not None:
        given["bands_dropped"] = run.drop_bands
    training = dataclasses.replace(preset.training, **given)
    return dataclasses.replace(preset, dust=dust, training=training)


def precision_of(run: TrainRun, device: str) -> torch.dtype:
    """Return the precision of matrix products: reduced where a GPU gains by it."""
    if run.precision == "auto":
        return torch.bfloat16 if _computes_bfloat16(device) else torch.float32
    return torch.bfloat16 if run.precision == "bfloat16" else torch.float32


def _computes_bfloat16(device: str) -> bool:
    if not device.startswith("cuda"):
        return False
    # torch.cuda.is_bf16_supported() counts NVIDIA's GPUs that are older and only emulate it.
    return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8


def decisive_settings(
    run: TrainRun,
    preset: Preset,
    precision: torch.dtype,
    data_sha256: str,
    unlabelled_sha256: str | None,
) -> dict[str, Any]:
    """Everything that a resumed training must have in common with its beginning.

    `accumulate` and `device` are not among it: a training may go on where there is less memory.

    Raises
    ------
    InputError
        The table of `--match-to` cannot be read.
    """
    return {
        "data_sha256": data_sha256,
        # Trainings without them go on from before there was such a key.
        **({"unlabelled_sha256": unlabelled_sha256} if unlabelled_sha256 else {}),
        "split": run.split,
        "match_to_sha256": _checksum(run.match_to) if run.match_to else None,
        "limit": run.limit,
        "seed": run.seed,
        "precision": str(precision).removeprefix("torch."),
        "dust": preset.dust,
        "network": dataclasses.asdict(preset.network),
        "training": dataclasses.asdict(preset.training),
    }


def _checksum(table: Path) -> str:
    try:
        return file_sha256(table)
    except OSError as error:
        raise InputError(f"{table}: {error.strerror}") from error
