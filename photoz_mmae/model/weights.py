"""Weights in and out of a model folder, always safetensors, never pickle."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from photoz_mmae.errors import ModelError, OutputError
from photoz_mmae.model.info import (
    CARD_FILE,
    INFO_FILE,
    WEIGHTS_FILE,
    ModelInfo,
    load_info,
    read_weights,
)
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import DustTreatment, MissingBands, Network, PublishedNetwork
from photoz_mmae.model.published import PublishedMMAE


@dataclass(frozen=True)
class TrainedModel:
    """A network with its weights, and what the model folder says of it."""

    network: PublishedMMAE | MMAE
    info: ModelInfo


def build_network(
    settings: Network, dust: DustTreatment = "none", missing_bands: MissingBands = "refused"
) -> PublishedMMAE | MMAE:
    """Make a network of these sizes with random weights.

    Ours gets a token for E(B-V) where that is an input, and may learn to do without bands; the
    published one has no place for either.
    """
    if isinstance(settings, PublishedNetwork):
        return PublishedMMAE(settings)
    return MMAE(settings, takes_ebv=dust == "input", takes_bands=missing_bands == "trained")


def load_model(folder: Path) -> TrainedModel:
    """Load a model folder, in evaluation mode, on the CPU.

    Raises
    ------
    ModelError
        A file is missing, damaged, from a newer version, or not the one that belongs here.
    """
    info = load_info(folder)
    content = read_weights(folder, info)
    network = build_network(info.network, info.dust, info.missing_bands)
    try:
        network.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        path = folder / WEIGHTS_FILE
        raise ModelError(f"{path}: does not fit the network of {INFO_FILE} ({error})") from error
    return TrainedModel(network.eval(), info)


def save_model(folder: Path, model: TrainedModel, card: Callable[[ModelInfo], str]) -> TrainedModel:
    """Write a model folder; returns the model with the checksum of its weights filled in.

    `model.json` comes last and atomically: a folder with it is a whole model. `card` makes the text
    of the model card.
    """
    state = {name: value.contiguous().cpu() for name, value in model.network.state_dict().items()}
    content = save(state)
    info = dataclasses.replace(model.info, weights_sha256=hashlib.sha256(content).hexdigest())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in (
            (WEIGHTS_FILE, content),
            (CARD_FILE, card(info).encode()),
            (INFO_FILE, info.to_json().encode()),
        ):
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.write_bytes(data)
            temporary.replace(folder / name)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the model ({error})") from error
    return TrainedModel(model.network, info)


def load_published_weights(path: Path, settings: PublishedNetwork) -> PublishedMMAE:
    """Load a checkpoint under the published state-dict names into the published network.

    Parameters
    ----------
    path : Path
        A safetensors file.
    settings : PublishedNetwork
        Its sizes; the defaults are the published ones.

    Raises
    ------
    ModelError
        The file is no safetensors file, or its names or shapes are others.
    """
    network = PublishedMMAE(settings)
    try:
        weights: dict[str, Tensor] = load_file(path)
        network.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: not a checkpoint of the published network ({error})") from error
    return network.eval()
