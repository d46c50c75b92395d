"""One contestant with one seed: trained, tested, its outcome kept."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from photoz_mmae.errors import UsageError
from photoz_mmae.model.dust import Dust
from photoz_mmae.peers.contestant import Batches, Contestant
from photoz_mmae.peers.outcome import Outcome, Tested, is_flat, save_outcome
from photoz_mmae.runs import CompareModelsRun
from photoz_mmae.training.dust import prepared
from photoz_mmae.training.folder import read_metrics
from photoz_mmae.training.loop import STRETCH_OBJECTS
from photoz_mmae.training.trainer import Job, Trainer, Watcher
from photoz_mmae.training_sets.training_set import HeldOut, TrainingBatch, TrainingSet

BATCH = 256


class Round:
    """One contestant with one seed.

    Parameters
    ----------
    run : CompareModelsRun
    contestant : Contestant
    work : Path
        Of its stages: logs and checkpoints, from which a stopped round goes on.
    seed : int
        Of the order of the objects and of what is drawn in training.
    settings : dict of str to object
        What its outcome was made with.
    data : TrainingSet
    dust : Dust
    device : str
    watcher : Watcher
    """

    def __init__(
        self,
        run: CompareModelsRun,
        contestant: Contestant,
        work: Path,
        seed: int,
        settings: dict[str, Any],
        data: TrainingSet,
        dust: Dust,
        device: str,
        watcher: Watcher,
    ) -> None:
        self._run, self._contestant, self._seed = run, contestant, seed
        self._settings, self._data, self._dust = settings, data, dust
        self._device, self._watcher = device, watcher
        self._work = work

    def make(self) -> Outcome:
        """Train, test, write the outcome.

        Raises
        ------
        InputError, OutputError, StoppedError
        UsageError
            There is no time for a stage.
        """
        contestant = self._contestant
        # The network comes to the device only after this.
        sample = prepared(self._data.sample(STRETCH_OBJECTS), self._dust)
        contestant.fit(sample, self._data.composition.training)
        contestant.network.to(self._device)
        curve: list[dict[str, Any]] = []
        speeds: list[float] = []
        converged, ended, seconds = True, True, 0.0
        for number, stage in enumerate(contestant.stages()):
            folder = self._work / stage.name
            folder.mkdir(parents=True, exist_ok=True)
            course = stage.course
            if self._run.epochs is not None:
                course = dataclasses.replace(course, epochs=self._run.epochs, most_steps=0)
            trainer = Trainer(
                Job(
                    folder,
                    self._settings,
                    (self._seed, number),
                    self._precision,
                    most_seconds=self._run.most_seconds - seconds,
                ),
                self._data,
                stage.network,
                stage.make_objective,
                course,
                self._prepare,
                self._watcher,
            )
            trainer.run()
            if not trainer.progress.epoch:
                raise UsageError(
                    f"--hours {self._run.hours:g}: over before the stage {stage.name!r} of "
                    f"{contestant.name}; the same command with more hours goes on from there"
                )
            records = read_metrics(folder)
            curve += [_point(stage.name, seconds, record) for record in records]
            speeds = [record["objects_per_second"] for record in records]
            seconds += trainer.progress.seconds
            over = trainer.ended or not trainer.rate_will_fall
            converged = converged and over and is_flat(trainer.progress.validation)
            ended = ended and trainer.ended
        contestant.network.eval()
        started = time.monotonic()
        contestant.finish(self._batches("training"), self._batches("validation"))
        seconds += time.monotonic() - started
        tested, speed = self._test()
        outcome = Outcome(
            model=contestant.name,
            source=contestant.source,
            seed=self._seed,
            settings=self._settings,
            parameters=sum(p.numel() for p in contestant.network.parameters()),
            operations=self._count_operations(),
            training_speed=float(np.median(speeds)),
            prediction_speed=speed,
            seconds=round(seconds, 1),
            ended=ended,
            converged=converged,
            curve=curve,
            ways=list(tested.z_phot),
        )
        save_outcome(self._run.output, outcome, tested)
        return outcome

    @property
    def _precision(self) -> torch.dtype:
        return torch.bfloat16 if self._run.precision == "bfloat16" else torch.float32

    def _prepare(self, batch: TrainingBatch) -> TrainingBatch:
        return prepared(batch.to(self._device), self._dust)

    def _batches(self, part: str) -> Batches:
        def give() -> Iterator[TrainingBatch]:
            if part == "training":
                batches = self._data.epoch(0, BATCH, 0)
            else:
                batches = self._data.held_out("validation", BATCH)
            return map(self._prepare, batches)

        return give

    @torch.no_grad()
    def _test(self) -> tuple[Tested, float]:
        """Redshifts of the test objects, and objects per second of the usual way to get them."""
        part: HeldOut = "test"
        found: dict[str, list[np.ndarray[Any, Any]]] = {}
        truth, objects, seconds = [], 0, 0.0
        for batch in self._data.held_out(part, BATCH):
            shown = self._prepare(batch)
            ways = self._contestant.redshifts(shown)
            for way, redshift in ways.items():
                found.setdefault(way, []).append(redshift.double().cpu().numpy())
            truth.append(batch.redshift.double().numpy())
            if objects < 8 * BATCH:
                started = time.monotonic()
                self._contestant.redshift(shown).cpu()
                seconds += time.monotonic() - started
                objects += len(batch)
        z_phot = {way: np.concatenate(values) for way, values in found.items()}
        tested = Tested(np.concatenate(truth), self._data.classes(part), z_phot)
        return tested, round(objects / seconds, 1)

    def _count_operations(self) -> float:
        """Count the operations of one object, in matrix products and convolutions."""
        objects = 8
        batch = self._prepare(next(self._data.held_out("validation", objects)))
        # Without fused kernels, whose operations torch does not count.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self._contestant.redshift(batch)
        return float(counter.get_total_flops() / len(batch))


def _point(stage: str, seconds: float, record: dict[str, Any]) -> dict[str, Any]:
    validation = record["validation"]
    return {
        "stage": stage,
        "epoch": record["epoch"],
        "seconds": round(seconds + record["seconds"], 1),
        "loss": validation["loss_total"],
        **{name: _or_none(validation[name]) for name in ("sigma_nmad", "outlier_015")},
    }


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
