"""Training from a file to a model folder: epochs, validation, checkpoints."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae import __version__
from photoz_mmae.errors import InputError, OutputError, StoppedError
from photoz_mmae.inference.engine import resolve_device
from photoz_mmae.model.dust import Dust
from photoz_mmae.model.info import INFO_FILE, ModelInfo, TrainingRecord
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, Preset, load_preset
from photoz_mmae.model.weights import TrainedModel, build_network, save_model
from photoz_mmae.redshift.metrics import point_metrics
from photoz_mmae.runs import TrainRun
from photoz_mmae.surveys import ZERO_POINT, get_survey
from photoz_mmae.training.card import model_card
from photoz_mmae.training.checkpoint import (
    CHECKPOINT_FILE,
    Progress,
    load_checkpoint,
    save_checkpoint,
)
from photoz_mmae.training.dust import choose_dust, prepared
from photoz_mmae.training.objectives import MMAEObjective, Objective, PublishedObjective
from photoz_mmae.training.schedule import make_optimizer, rate_factor
from photoz_mmae.training_sets.galaxiesml import SpectraFile, TrainingBatch, split_rows

METRICS_FILE = "metrics.jsonl"
STRETCH_OBJECTS = 2048
"""Training objects that the stretch is measured on."""


@dataclasses.dataclass
class Watcher:
    """Whom the loop tells how it goes; each is called with what its name says.

    Attributes
    ----------
    on_start : callable of (objects for training, for validation, epochs, epochs done already)
    on_step : callable of (epoch, objects so far in it, total loss)
    on_epoch : callable of one record of `metrics.jsonl`
    on_note : callable of one sentence that the user should read
    """

    on_start: Callable[[int, int, int, int], None]
    on_step: Callable[[int, int, float], None]
    on_epoch: Callable[[dict[str, Any]], None]
    on_note: Callable[[str], None]


def train(run: TrainRun, watcher: Watcher) -> TrainedModel:
    """Train as `run` says and write the model folder.

    The same call goes on with a training that was stopped, from its last whole epoch.

    Raises
    ------
    InputError, OutputError, StoppedError
    """
    preset = _apply(load_preset(run.preset), run)
    device = resolve_device(run.device)
    data = SpectraFile(run.data)
    _check_images(data, preset)
    dust = choose_dust(run.dust, preset, get_survey(data.survey))
    if dust.treatment != "none":
        data.load_ebv()
    _prepare_folder(run)
    rows = data.rows if run.limit is None else data.rows[: run.limit]
    share = preset.training.validation_share
    training_rows, validation_rows = split_rows(rows, share, run.seed)
    if len(training_rows) < 2:
        raise InputError(f"{run.data}: {len(rows)} usable objects are too few to train on")
    data_sha256 = data.sha256()
    settings = _decisive_settings(run, preset, dust, data_sha256)

    torch.manual_seed(run.seed)
    network = build_network(preset.network, dust.treatment)
    objective: Objective
    if isinstance(network, MMAE):
        objective = MMAEObjective(network, preset.training)
        some = data.read(training_rows[:STRETCH_OBJECTS], objective.normalisation)
        network.fit(prepared(some, dust).image)
    else:
        objective = PublishedObjective(network, preset.training)
    network.to(device)
    optimizer = make_optimizer(network, preset.training)
    progress, best = Progress(), _snapshot(network)
    restored = load_checkpoint(run.output, settings, network, optimizer)
    if restored:
        progress, best = restored
    _truncate_metrics(run.output, progress.epoch)

    epochs = preset.training.epochs
    watcher.on_start(len(training_rows), len(validation_rows), epochs, progress.epoch)
    unknown = int(np.isnan(data.ebv[rows]).sum())
    if dust.treatment != "none" and unknown:
        watcher.on_note(f"{unknown} of {len(rows)} objects have no usable E(B-V)")
    stage = _Stage(data, dust, objective, optimizer, preset, device, run.seed, watcher)
    while progress.epoch < epochs:
        started = time.monotonic()
        epoch = progress.epoch + 1
        training_losses = stage.train_epoch(epoch, training_rows)
        validation = stage.validate(validation_rows)
        if validation["loss_total"] < progress.best_loss:
            progress.best_epoch, progress.best_loss = epoch, validation["loss_total"]
            best = _snapshot(network)
        progress.epoch = epoch
        progress.seconds += time.monotonic() - started
        record = {
            "epoch": epoch,
            "seconds": round(progress.seconds, 1),
            "training": training_losses,
            "validation": validation,
            "best_epoch": progress.best_epoch,
        }
        # First the record, then the checkpoint: a kill between them makes the epoch again, and
        # its record is dropped; the other way round it would be missing.
        _append_metrics(run.output, record)
        save_checkpoint(run.output, settings, progress, network, best, optimizer)
        watcher.on_epoch(record)

    network.load_state_dict(best)
    origin = TrainingRecord(
        data=run.data.name,
        data_sha256=data_sha256,
        data_description=data.description,
        objects_training=len(training_rows),
        objects_validation=len(validation_rows),
        seed=run.seed,
        epochs=epochs,
        best_epoch=progress.best_epoch,
        seconds=round(progress.seconds, 1),
        package_version=__version__,
        torch_version=torch.__version__,
        validation=stage.validate(validation_rows),
    )
    model = TrainedModel(network, _describe(run, preset, dust, data, origin))
    model = save_model(run.output, model, lambda info: model_card(info, preset, run))
    (run.output / CHECKPOINT_FILE).unlink(missing_ok=True)
    return model


class _Stage:
    """One epoch of training, one pass of validation."""

    def __init__(
        self,
        data: SpectraFile,
        dust: Dust,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        preset: Preset,
        device: str,
        seed: int,
        watcher: Watcher,
    ) -> None:
        self._data = data
        self._dust = dust
        self._objective = objective
        self._optimizer = optimizer
        self._schedule = preset.training
        self._device = device
        self._seed = seed
        self._watcher = watcher

    def train_epoch(self, epoch: int, rows: NDArray[np.int64]) -> dict[str, float]:
        """Every training object once, in an order of this epoch's own; returns mean losses."""
        # Everything random in an epoch starts from its number, so that a resumed training makes
        # the same steps as one that was never stopped.
        seeds = np.random.SeedSequence([self._seed, epoch]).generate_state(3).tolist()
        torch.manual_seed(seeds[0])
        generator = torch.Generator().manual_seed(seeds[1])
        order = np.random.default_rng(seeds[2]).permutation(rows)
        size = min(self._schedule.batch_size, len(rows))
        starts = range(0, len(order) - size + 1, size)
        network = self._objective.network.train()
        sums: dict[str, float] = {}
        for step, start in enumerate(starts):
            batch = self._read(order[start : start + size])
            factor = rate_factor(
                (epoch - 1) * len(starts) + step,
                self._schedule.epochs * len(starts),
                self._schedule.warmup,
            )
            losses = self._objective.losses(batch, generator)
            self._step(network, losses["total"], factor)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            self._watcher.on_step(epoch, start + size, losses["total"].item())
        return {f"loss_{name}": value / len(starts) for name, value in sums.items()}

    def _step(self, network: torch.nn.Module, loss: Tensor, factor: float) -> None:
        if not torch.isfinite(loss):
            raise StoppedError(
                "the training loss is not finite; a lower --learning-rate helps, then the same "
                "command goes on from the last whole epoch"
            )
        for group in self._optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = factor * group["initial_lr"]
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), self._schedule.clip_norm)
        self._optimizer.step()

    @torch.no_grad()
    def validate(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """Losses and point metrics on whole images alone."""
        self._objective.network.eval()
        generator = torch.Generator().manual_seed(0)
        sums: dict[str, float] = {}
        points, truth = [], []
        for batch in self._in_batches(rows):
            share = len(batch.image) / len(rows)
            losses = self._objective.validation_losses(batch, generator)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + share * value.item()
            points.append(self._objective.redshift(batch.image, batch.ebv).cpu().numpy())
            truth.append(batch.redshift.cpu().numpy())
        scores = point_metrics(np.concatenate(points), np.concatenate(truth))
        return {
            **{f"loss_{name}": value for name, value in sums.items()},
            **{name: scores[name] for name in ("sigma_nmad", "bias_median", "outlier_015")},
        }

    def _in_batches(self, rows: NDArray[np.int64]) -> Iterator[TrainingBatch]:
        for start in range(0, len(rows), self._schedule.batch_size):
            yield self._read(rows[start : start + self._schedule.batch_size])

    def _read(self, rows: NDArray[np.int64]) -> TrainingBatch:
        batch = self._data.read(rows, self._objective.normalisation).to(self._device)
        return prepared(batch, self._dust)


def _apply(preset: Preset, run: TrainRun) -> Preset:
    """Let the run's own numbers win over the preset's."""
    given = {
        name: getattr(run, name)
        for name in ("epochs", "batch_size", "learning_rate")
        if getattr(run, name) is not None
    }
    return dataclasses.replace(preset, training=dataclasses.replace(preset.training, **given))


def _check_images(data: SpectraFile, preset: Preset) -> None:
    network = preset.network
    wanted = (network.bands, network.image_size, network.image_size)
    if data.image_shape != wanted:
        raise InputError(
            f"{data.path}: images of shape {data.image_shape}; the preset wants {wanted}"
        )


def _prepare_folder(run: TrainRun) -> None:
    folder = run.output
    ours = (CHECKPOINT_FILE, METRICS_FILE, INFO_FILE)
    try:
        is_ours = any((folder / name).exists() for name in ours)
        if folder.is_dir() and any(folder.iterdir()) and not is_ours:
            raise OutputError(f"{folder}: exists and holds something else; give a new folder")
        if run.overwrite:
            for name in ours:
                (folder / name).unlink(missing_ok=True)
        if (folder / INFO_FILE).exists():
            raise OutputError(f"{folder}: holds a trained model already; --overwrite starts anew")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error})") from error


def _decisive_settings(
    run: TrainRun, preset: Preset, dust: Dust, data_sha256: str
) -> dict[str, Any]:
    """Everything that a resumed training must have in common with its beginning."""
    return {
        "data_sha256": data_sha256,
        "limit": run.limit,
        "seed": run.seed,
        "dust": dust.treatment,
        "network": dataclasses.asdict(preset.network),
        "training": dataclasses.asdict(preset.training),
    }


def _describe(
    run: TrainRun, preset: Preset, dust: Dust, data: SpectraFile, origin: TrainingRecord
) -> ModelInfo:
    survey = get_survey(data.survey)
    network = preset.network
    edges = wave = None
    if isinstance(network, MMAENetwork):
        top = np.log1p(network.redshift_max)
        edges = tuple(np.linspace(0, top, network.redshift_bins + 1).tolist())
        wave = tuple(data.wave.tolist())
    return ModelInfo(
        name=run.output.name,
        preset=run.preset,
        survey=survey.name,
        bands=survey.bands,
        image_size=network.image_size,
        pixel_scale=survey.pixel_scale,
        zero_point=ZERO_POINT,
        dust=dust.treatment,
        z_edges=edges,
        wave=wave,
        network=network,
        weights_sha256="",
        training=origin,
        extinction=dust.extinction,
    )


def _snapshot(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _truncate_metrics(folder: Path, epoch: int) -> None:
    """Drop the records of epochs that will be made again."""
    path = folder / METRICS_FILE
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:epoch]))


def _append_metrics(folder: Path, record: dict[str, Any]) -> None:
    try:
        with (folder / METRICS_FILE).open("a") as stream:
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        raise OutputError(f"{folder}: cannot write {METRICS_FILE} ({error})") from error
