"""A training under way: steps, epochs, validation, checkpoints; whatever the network is."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from photoz_mmae.errors import StoppedError
from photoz_mmae.model.info import ClassResult
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from photoz_mmae.training.course import Course, Pace
from photoz_mmae.training.events import Events
from photoz_mmae.training.folder import append_metrics, drop_metrics
from photoz_mmae.training.mmae_objective import MMAEObjective
from photoz_mmae.training.objectives import Objective
from photoz_mmae.training.schedule import make_average
from photoz_mmae.training.scores import WHOLE, Scored, Shown, score, score_classes
from photoz_mmae.training.step import Pieces, Stepper
from photoz_mmae.training_sets.training_set import HeldOut, TrainingBatch, TrainingSet

CHECKPOINT_SECONDS = 180.0
"""A kill costs at most so much work, and a step."""

_WATCHED = {"loss_total": "loss", "sigma_nmad": "sigma_NMAD"}

MakeObjective = Callable[[nn.Module, torch.dtype], Objective]
"""Objective of a network, whose matrix products have the given precision."""


@dataclass
class Watcher:
    """Whom the loop tells how it goes; each is called with what its name says.

    Attributes
    ----------
    on_note : callable of str
        A line for the user.
    on_start : callable of (objects of an epoch, epochs, epochs done, steps done of the next)
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


@dataclass(frozen=True)
class Job:
    """What a training writes, and how it is computed.

    Attributes
    ----------
    folder : Path
        There already, and held.
    settings : dict
        What a training that goes on must have in common with its beginning.
    seed : tuple of int
    precision : torch.dtype
        Of matrix products in training; validation is always in full precision.
    accumulate : int
        In how many pieces each batch is computed, at least.
    tensorboard : bool
    most_seconds : float
        After an epoch that ends later than this no other is begun.
    """

    folder: Path
    settings: dict[str, Any]
    seed: tuple[int, ...]
    precision: torch.dtype = torch.float32
    accumulate: int = 1
    tensorboard: bool = False
    most_seconds: float = math.inf


class Trainer:
    """A training: restored from its checkpoint, or begun.

    Parameters
    ----------
    job : Job
    data : TrainingSet
    network : nn.Module
        On its device; it ends with the best weights.
    make_objective : callable
    course : Course
    prepare : callable of TrainingBatch
        Brings a batch to what the network is to see.
    watcher : Watcher

    Raises
    ------
    InputError
        The checkpoint is damaged.
    OutputError
        It is one of another training.
    """

    def __init__(
        self,
        job: Job,
        data: TrainingSet,
        network: nn.Module,
        make_objective: MakeObjective,
        course: Course,
        prepare: Callable[[TrainingBatch], TrainingBatch],
        watcher: Watcher,
    ) -> None:
        self._job, self._course, self._data = job, course, data
        self._prepare, self._watcher, self._network = prepare, watcher, network
        self._average = make_average(network, course.ema)
        # What is validated and saved, in full precision as in prediction.
        self._result = network if self._average is None else self._average.module
        self.scoring = make_objective(self._result, torch.float32)
        self._optimizer = course.optimizer(network)
        self.progress, self._best = Progress(), _snapshot(self._result)
        restored = load_checkpoint(job.folder, job.settings, self._modules(), self._optimizer)
        if restored:
            self.progress, self._best = restored
        drop_metrics(job.folder, self.progress.epoch)
        self._pieces = Pieces(job.accumulate, watcher.on_note)
        objective = make_objective(network, job.precision)
        if self._average is not None and isinstance(objective, MMAEObjective):
            assert isinstance(self._average.module, MMAE)
            objective.teacher = self._average.module
        self._stepper = Stepper(
            objective,
            self._optimizer,
            self._average,
            self._pieces,
            course.clip_norm,
        )
        objects = data.composition.training
        self._batch_size = min(course.batch_size, objects)
        self._steps = objects // self._batch_size
        self._epochs = course.epochs_of(self._steps)
        self._since = self._saved = time.monotonic()
        self._events: Events | None = None

    def run(self) -> None:
        """Make the epochs that are left; the network ends with the best weights.

        Raises
        ------
        OutputError
            A checkpoint cannot be written.
        StoppedError
            By a signal, once a checkpoint is written.
        UsageError
            The training loss is not finite.
        """
        progress, epochs = self.progress, self._epochs
        objects = self._steps * self._batch_size
        self._watcher.on_start(objects, epochs, progress.epoch, progress.step)
        if self._job.tensorboard:
            self._events = Events(self._job.folder, progress.epoch * self._steps + progress.step)
        try:
            while not self.ended and progress.seconds < self._job.most_seconds:
                self._make_epoch(progress.epoch + 1)
        finally:
            if self._events:
                self._events.close()
        if self.ended and progress.epoch < epochs:
            self._watcher.on_note(
                f"stopped early: no lower validation {_WATCHED[self._course.watched]} since "
                f"epoch {progress.best_epoch}"
            )
        self._network.load_state_dict(self._best)
        self._result.load_state_dict(self._best)

    @property
    def ended(self) -> bool:
        """Whether all epochs are made, or there is no more progress."""
        progress, patience = self.progress, self._course.patience
        stalled = patience > 0 and progress.epoch - progress.best_epoch >= patience
        return stalled or progress.epoch >= self._epochs

    @property
    def rate_will_fall(self) -> bool:
        """Whether the learning rate is to fall yet, if there is no more progress."""
        done, steps = self.progress.epoch * self._steps, self._steps * self._epochs
        return self._course.will_slow(
            Pace(done, steps, self._steps, tuple(self.progress.validation))
        )

    def score(
        self,
        part: HeldOut,
        look_up: Callable[[], None] = lambda: None,
        shown: Shown = WHOLE,
    ) -> Scored:
        """Score the objects of a part."""
        return score(
            self.scoring,
            self._data,
            part,
            self._course.batch_size,
            self._prepare,
            self._pieces,
            look_up,
            shown,
        )

    def score_classes(self, part: HeldOut) -> list[ClassResult]:
        """Score the classes of a network that tells some apart."""
        assert isinstance(self.scoring, MMAEObjective)
        return score_classes(
            self.scoring, self._data, part, self._course.batch_size, self._prepare, self._pieces
        )

    def _make_epoch(self, epoch: int) -> None:
        """Make the steps that are left of an epoch, validate, record."""
        progress, steps = self.progress, self._epochs * self._steps
        before_epoch, skipped = time.monotonic(), progress.step
        for batch in self._data.epoch(epoch, self._batch_size, progress.step):
            self._look_up()
            before = (epoch - 1) * self._steps + progress.step
            pace = Pace(before, steps, self._steps, tuple(progress.validation))
            factor = self._course.rate(pace)
            seed = (*self._job.seed, epoch, progress.step)
            losses = self._stepper.step(self._prepare(batch), factor, seed)
            progress.step += 1
            for name, value in losses.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            if self._events:
                self._events.add_step(before + 1, losses)
            self._watcher.on_step(epoch, progress.step * self._batch_size, losses["total"])
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self._save()
        made = (progress.step - skipped) * self._batch_size
        speed = made / (time.monotonic() - before_epoch)
        validation = self.score("validation", self._look_up).metrics()
        value = validation[self._course.watched]
        progress.validation.append(value)
        if value < progress.best_loss:
            progress.best_epoch, progress.best_loss = epoch, value
            self._best = _snapshot(self._result)
        training = {f"loss_{name}": value / progress.step for name, value in progress.sums.items()}
        progress.epoch, progress.step, progress.sums = epoch, 0, {}
        self._count_time()
        record = {
            "epoch": epoch,
            "seconds": round(progress.seconds, 1),
            "objects_per_second": round(speed, 1),
            "training": training,
            "validation": validation,
            "best_epoch": progress.best_epoch,
        }
        # First the record, then the checkpoint: a kill between them makes the epoch's end again,
        # and its record is dropped; the other way round it would be missing.
        append_metrics(self._job.folder, record)
        self._save()
        if self._events:
            self._events.add_epoch(epoch * self._steps, record)
        self._watcher.on_epoch(record)

    def _look_up(self) -> None:
        """Leave, with a checkpoint, if that is wanted."""
        if self._watcher.should_stop():
            self._save()
            raise StoppedError("stopped, with a checkpoint")

    def _save(self) -> None:
        self._count_time()
        states = {name: module.state_dict() for name, module in self._modules().items()}
        save_checkpoint(
            self._job.folder,
            self._job.settings,
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


def _snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
