"""Training from a data set to a model folder: steps, epochs, validation, checkpoints."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from photoz_mmae import __version__
from photoz_mmae.errors import StoppedError
from photoz_mmae.inference.engine import resolve_device
from photoz_mmae.model.dust import Dust
from photoz_mmae.model.info import ModelInfo, TrainingRecord
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, Preset
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.model.weights import TrainedModel, build_network, save_model
from photoz_mmae.runs import TrainRun
from photoz_mmae.surveys import ZERO_POINT
from photoz_mmae.training.card import model_card
from photoz_mmae.training.checkpoint import (
    CHECKPOINT_FILE,
    Progress,
    load_checkpoint,
    save_checkpoint,
)
from photoz_mmae.training.dust import make_dust, prepared
from photoz_mmae.training.events import Events, require_tensorboard
from photoz_mmae.training.folder import append_metrics, drop_metrics, folder_held, is_finished
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training.schedule import make_average, make_optimizer, rate_factor
from photoz_mmae.training.scores import Scored, result, result_table, score
from photoz_mmae.training.settings import decisive_settings, precision_of, preset_of
from photoz_mmae.training.source import find_source
from photoz_mmae.training.step import Pieces, Stepper
from photoz_mmae.training_sets.training_set import HeldOut, TrainingBatch, TrainingSet

STRETCH_OBJECTS = 2048
"""Training objects that the stretch is measured on."""

CHECKPOINT_SECONDS = 180.0
"""A kill costs at most so much work, and a step."""


@dataclasses.dataclass
class Watcher:
    """Whom the loop tells how it goes; each is called with what its name says.

    Attributes
    ----------
    on_note : callable of str
        A line for the user.
    on_start : callable of (objects for training, epochs, epochs done, steps done of the next)
    on_step : callable of (epoch, objects so far in it, total loss)
    on_epoch : callable of one record of `metrics.jsonl`
    should_stop : callable
        Asked between steps: whether to write a checkpoint and leave.
    """

    on_note: Callable[[str], None]
    on_start: Callable[[int, int, int, int], None]
    on_step: Callable[[int, int, float], None]
    on_epoch: Callable[[dict[str, Any]], None]
    should_stop: Callable[[], bool] = lambda: False


def train(run: TrainRun, watcher: Watcher) -> TrainedModel | None:
    """Train as `run` says and write the model folder; None where the model is there already.

    The same call goes on with a training that was stopped, from its last checkpoint.

    Raises
    ------
    InputError, OutputError, StoppedError, UsageError
    """
    preset = preset_of(run)
    device = resolve_device(run.device)
    precision = precision_of(run, device)
    if run.tensorboard:
        require_tensorboard()
    source = find_source(run, preset, device)
    settings = decisive_settings(run, preset, precision, source.fingerprint)
    if is_finished(run, settings):
        return None
    torch.manual_seed(run.seed)
    network = build_network(preset.network, preset.dust, preset.missing_bands)
    data = source.open(make_objective(network, preset.training).normalisation)
    for line in data.composition.lines():
        watcher.on_note(line)
    dust = make_dust(preset.dust, data.survey)
    if isinstance(network, MMAE):
        network.fit(prepared(data.sample(STRETCH_OBJECTS), dust).image)
    with folder_held(run):
        network.to(device)
        training = _Training(run, preset, settings, data, dust, network, precision, watcher)
        training.run()
        scored = training.score("validation")
        tested = training.score("test") if data.composition.test else scored
        part: HeldOut = "test" if data.composition.test else "validation"
        results = result_table(tested, data.classes(part))
        if preset.missing_bands == "trained":
            results += [
                result(f"without {band}", training.score(part, without=index))
                for index, band in enumerate(data.survey.bands)
            ]
        composition, progress = data.composition, training.progress
        origin = TrainingRecord(
            data=data.name,
            data_sha256=source.fingerprint,
            data_description=data.description,
            data_seed=data.mock_seed,
            objects_training=composition.training,
            objects_validation=composition.validation,
            objects_test=composition.test,
            split=composition.split,
            dropped=composition.dropped,
            lacking=composition.lacking,
            notes=tuple(composition.notes),
            seed=run.seed,
            epochs=progress.epoch,
            best_epoch=progress.best_epoch,
            seconds=round(progress.seconds, 1),
            package_version=__version__,
            torch_version=torch.__version__,
            validation=scored.metrics(),
            results=tuple(results),
            settings=json.loads(json.dumps(settings)),
        )
        model = TrainedModel(network, _describe(run, preset, dust, data, origin))
        model = save_model(run.output, model, lambda info: model_card(info, preset, run))
        (run.output / CHECKPOINT_FILE).unlink(missing_ok=True)
        return model


class _Training:
    """A training under way: restored from its checkpoint, or begun."""

    def __init__(
        self,
        run: TrainRun,
        preset: Preset,
        settings: dict[str, Any],
        data: TrainingSet,
        dust: Dust,
        network: MMAE | PublishedMMAE,
        precision: torch.dtype,
        watcher: Watcher,
    ) -> None:
        self._run, self._schedule, self._settings = run, preset.training, settings
        self._data, self._dust, self._watcher = data, dust, watcher
        self._device = str(next(network.parameters()).device)
        self._network = network
        self._average = make_average(network, self._schedule.ema)
        # What is validated and saved, in full precision as in prediction.
        averaged = None if self._average is None else self._average.module
        self._result = cast(MMAE | PublishedMMAE, averaged or network)
        self._scoring = make_objective(self._result, self._schedule)
        self._optimizer = make_optimizer(network, self._schedule)
        self.progress, self._best = Progress(), _snapshot(self._result)
        restored = load_checkpoint(run.output, settings, self._modules(), self._optimizer)
        if restored:
            self.progress, self._best = restored
        drop_metrics(run.output, self.progress.epoch)
        self._pieces = Pieces(max(run.accumulate, self.progress.pieces), watcher.on_note)
        self._stepper = Stepper(
            make_objective(network, self._schedule, precision),
            self._optimizer,
            self._average,
            self._pieces,
            self._schedule.clip_norm,
        )
        objects = data.composition.training
        self._batch_size = min(self._schedule.batch_size, objects)
        self._steps = objects // self._batch_size
        self._since = self._saved = time.monotonic()
        self._events: Events | None = None

    def run(self) -> None:
        """Make the epochs that are left; the network ends with the best weights."""
        progress, epochs = self.progress, self._schedule.epochs
        objects = self._data.composition.training
        self._watcher.on_start(objects, epochs, progress.epoch, progress.step)
        if self._run.tensorboard:
            self._events = Events(self._run.output, progress.epoch * self._steps + progress.step)
        try:
            while progress.epoch < epochs and not self._has_stalled():
                self._make_epoch(progress.epoch + 1)
        finally:
            if self._events:
                self._events.close()
        self._network.load_state_dict(self._best)
        self._result.load_state_dict(self._best)

    def score(
        self,
        part: HeldOut,
        look_up: Callable[[], None] = lambda: None,
        without: int | None = None,
    ) -> Scored:
        """Score the objects of a part, perhaps without one of their bands."""
        size = self._schedule.batch_size
        return score(
            self._scoring, self._data, part, size, self._prepare, self._pieces, look_up, without
        )

    def _prepare(self, batch: TrainingBatch) -> TrainingBatch:
        return prepared(batch.to(self._device), self._dust)

    def _has_stalled(self) -> bool:
        patience = self._schedule.patience
        if not patience or self.progress.epoch - self.progress.best_epoch < patience:
            return False
        self._watcher.on_note(
            f"stopped early: no lower validation loss since epoch {self.progress.best_epoch}"
        )
        return True

    def _make_epoch(self, epoch: int) -> None:
        """Make the steps that are left of an epoch, validate, record."""
        progress = self.progress
        for batch in self._data.epoch(epoch, self._batch_size, progress.step):
            self._look_up()
            before = (epoch - 1) * self._steps + progress.step
            factor = rate_factor(before, self._schedule.epochs * self._steps, self._schedule.warmup)
            seed = (self._run.seed, epoch, progress.step)
            losses = self._stepper.step(self._prepare(batch), factor, seed)
            progress.step += 1
            for name, value in losses.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            if self._events:
                self._events.add_step(before + 1, losses)
            self._watcher.on_step(epoch, progress.step * self._batch_size, losses["total"])
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self._save()
        validation = self.score("validation", self._look_up).metrics()
        if validation["loss_total"] < progress.best_loss:
            progress.best_epoch, progress.best_loss = epoch, validation["loss_total"]
            self._best = _snapshot(self._result)
        training = {f"loss_{name}": value / progress.step for name, value in progress.sums.items()}
        progress.epoch, progress.step, progress.sums = epoch, 0, {}
        self._count_time()
        record = {
            "epoch": epoch,
            "seconds": round(progress.seconds, 1),
            "training": training,
            "validation": validation,
            "best_epoch": progress.best_epoch,
        }
        # First the record, then the checkpoint: a kill between them makes the epoch's end again,
        # and its record is dropped; the other way round it would be missing.
        append_metrics(self._run.output, record)
        self._save()
        if self._events:
            self._events.add_epoch(epoch * self._steps, record)
        self._watcher.on_epoch(record)

    def _look_up(self) -> None:
        """Leave, with a checkpoint, if that is wanted."""
        if self._watcher.should_stop():
            self._save()
            raise StoppedError("stopped; the same command goes on from here")

    def _save(self) -> None:
        self._count_time()
        self.progress.pieces = self._pieces.n
        states = {name: module.state_dict() for name, module in self._modules().items()}
        save_checkpoint(
            self._run.output,
            self._settings,
            self.progress,
            {**states, "best": self._best},
            self._optimizer,
        )
        self._saved = time.monotonic()

    def _count_time(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._since
        self._since = now

    def _modules(self) -> dict[str, torch.nn.Module]:
        average = {} if self._average is None else {"average": self._average}
        return {"network": self._network, **average}


def _describe(
    run: TrainRun, preset: Preset, dust: Dust, data: TrainingSet, origin: TrainingRecord
) -> ModelInfo:
    survey, network = data.survey, preset.network
    edges = wave = None
    if isinstance(network, MMAENetwork):
        top = math.log1p(network.redshift_max)
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
        missing_bands=preset.missing_bands,
    )


def _snapshot(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
