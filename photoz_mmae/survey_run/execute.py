"""The parts as Dask tasks: a bounded number in flight, each journaled when it is finished."""

import dataclasses
import itertools
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from distributed import Client, Future, KilledWorker, as_completed

from photoz_mmae.cutouts.read import read_bands
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import PhotozError, StoppedError
from photoz_mmae.survey_run.hunt import Hunt
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.part import PartJob, PartSettings, predict_part, try_rows

WINDOW = 2
"""Parts in flight per worker: one is computed, one waits."""

DEATHS = 2
"""So many workers may die of a part before that is looked into."""

MAX_FAILED_PARTS = 3
"""So many parts failing is not the parts' fault: give up."""


def execute(
    client: Client,
    jobs: Iterable[PartJob],
    settings: PartSettings,
    failures: Path,
    finished: Callable[[PartRecord], None],
) -> None:
    """Do the parts, calling `finished` for each as it comes.

    A part whose task fails is tried again once. One that kills its workers is halved until the
    objects that do it are alone, and then done without reading those. The other parts are done
    before a failure is raised, unless several fail.

    Parameters
    ----------
    failures : Path
        Folder for the tracebacks, one file per part that failed.

    Raises
    ------
    PhotozError
        A part failed: the message names it, its reason and its log.
    StoppedError
        The scheduler went away.
    """
    _Execution(client, settings, failures, finished).go(iter(jobs))


def first_bands(client: Client, source: Source) -> str:
    """Return the bands of an object; '' where they cannot be told.

    A worker looks, for whom it may be death.
    """
    files = tuple(os.path.abspath(file) for file in source.files)  # noqa: PTH100 (any bytes)
    try:
        looked: str = client.submit(read_bands, dataclasses.replace(source, files=files)).result()
    except KilledWorker:
        return ""
    return looked


class _Execution:
    def __init__(
        self,
        client: Client,
        settings: PartSettings,
        failures: Path,
        finished: Callable[[PartRecord], None],
    ) -> None:
        self._client = client
        self._settings = settings
        self._failures = failures
        self._finished = finished
        self._running = as_completed()
        self._parts: dict[str, PartJob] = {}
        self._hunts: dict[str, Hunt] = {}
        self._deaths: Counter[int] = Counter()
        self._failed: dict[int, PhotozError] = {}

    def go(self, waiting: Iterator[PartJob]) -> None:
        for job in itertools.islice(waiting, self._room()):
            self._submit(job)
        for future in self._running:
            if future.cancelled():
                raise StoppedError("the Dask scheduler is gone; the same command goes on")
            if future.key in self._parts:
                self._part_ended(self._parts.pop(future.key), future)
            else:
                self._trial_ended(self._hunts.pop(future.key), future)
            if len(self._failed) < MAX_FAILED_PARTS:
                for job in itertools.islice(waiting, self._room()):
                    self._submit(job)
        if self._failed:
            raise PhotozError("; ".join(map(str, self._failed.values())))

    def _room(self) -> int:
        # Workers of a cluster of others come and go.
        window = WINDOW * max(len(self._client.nthreads()), 1)
        return max(window - len(self._parts) - len(self._hunts), 0)

    def _submit(self, job: PartJob) -> None:
        future = self._client.submit(predict_part, job, self._settings, pure=False, retries=1)
        self._parts[future.key] = job
        self._running.add(future)

    def _part_ended(self, job: PartJob, future: Future) -> None:
        # Not by its status: of a worker that died since, the result comes once more.
        error = future.exception()
        if error is None:
            self._finished(future.result())
            return
        if not isinstance(error, KilledWorker):
            self._fail(job.number, self._failure(job.number, future))
            return
        self._deaths[job.number] += 1
        if self._deaths[job.number] < DEATHS:
            self._submit(job)
        elif self._deaths[job.number] == DEATHS:
            self._try(Hunt(job))
        else:
            self._fail(
                job.number,
                PhotozError(
                    f"part {job.number} kills its workers, and no object of it does so alone: out "
                    "of memory? Try a smaller --batch-size or fewer --workers; all other parts "
                    "are safe, the same command goes on"
                ),
            )

    def _try(self, hunt: Hunt) -> None:
        if hunt.trial is None:
            self._submit(
                dataclasses.replace(
                    hunt.job, deadly=tuple(sorted({*hunt.job.deadly, *hunt.deadly}))
                )
            )
            return
        future = self._client.submit(try_rows, hunt.job, self._settings, *hunt.trial, pure=False)
        self._hunts[future.key] = hunt
        self._running.add(future)

    def _trial_ended(self, hunt: Hunt, future: Future) -> None:
        number = hunt.job.number
        error = future.exception()
        if error is None:
            hunt.survived()
        elif isinstance(error, KilledWorker):
            hunt.killed()
        else:
            self._fail(number, self._failure(number, future))
            return
        if hunt.hopeless is not None:
            self._fail(number, PhotozError(f"part {number}: {hunt.hopeless}"))
        else:
            self._try(hunt)

    def _fail(self, number: int, failure: PhotozError) -> None:
        if type(failure) is not PhotozError:
            # A model, a disk: no part would fare better.
            raise failure
        self._failed[number] = failure

    def _failure(self, number: int, future: Future) -> PhotozError:
        error = future.exception()
        if isinstance(error, PhotozError):
            return type(error)(f"part {number}: {error}")
        self._failures.mkdir(exist_ok=True)
        log = self._failures / f"part-{number:06d}.log"
        lines = traceback.format_exception(type(error), error, future.traceback())
        log.write_text("".join(lines))
        return PhotozError(f"part {number} failed: {type(error).__name__}: {error}; see {log}")
