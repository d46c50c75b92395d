"""The parts as Dask tasks: a bounded number in flight, each journaled when it is finished."""

import itertools
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from distributed import Client, Future, KilledWorker, as_completed

from photoz_mmae.errors import PhotozError
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.part import PartJob, PartSettings, predict_part

WINDOW = 2
"""Parts in flight per worker: one is computed, one waits."""

MAX_FAILED_PARTS = 3
"""So many parts failing is not the parts' fault: give up."""


def execute(
    client: Client,
    jobs: Sequence[PartJob],
    settings: PartSettings,
    failures: Path,
    finished: Callable[[PartRecord], None],
) -> None:
    """Do the parts, calling `finished` for each as it comes.

    A part whose task fails is tried again once, one that kills its worker three times in all.
    The other parts are done before the failure is raised, unless several fail.

    Parameters
    ----------
    failures : Path
        Folder for the tracebacks, one file per part that failed.

    Raises
    ------
    PhotozError
        A part failed: the message names it, its reason and its log.
    """
    waiting = iter(jobs)
    running = as_completed()
    numbers: dict[str, int] = {}
    failed: list[PhotozError] = []

    def submit(count: int) -> None:
        for job in itertools.islice(waiting, count):
            future = client.submit(predict_part, job, settings, pure=False, retries=1)
            numbers[future.key] = job.number
            running.add(future)

    submit(_window(client))
    for future in running:
        number = numbers.pop(future.key)
        if future.status == "finished":
            finished(future.result())
        else:
            failure = _failure(future, number, failures)
            if type(failure) is not PhotozError:
                # A model, a disk: no part would fare better.
                raise failure
            failed.append(failure)
        if len(failed) < MAX_FAILED_PARTS:
            submit(max(_window(client) - len(numbers), 0))
    if failed:
        raise PhotozError("; ".join(map(str, failed)))


def _window(client: Client) -> int:
    # Workers of a cluster of others come and go.
    return WINDOW * max(len(client.nthreads()), 1)


def _failure(future: Future, number: int, failures: Path) -> PhotozError:
    if future.cancelled():
        return PhotozError(f"part {number} was lost: the Dask scheduler is gone; start again")
    error = future.exception()
    if isinstance(error, PhotozError):
        return type(error)(f"part {number}: {error}")
    if isinstance(error, KilledWorker):
        return PhotozError(
            f"part {number} killed the worker process that computed it, three times over: out of "
            "memory, or a file that crashes a library; try a smaller --batch-size or fewer "
            "--workers; all other parts are safe, the same command goes on"
        )
    failures.mkdir(exist_ok=True)
    log = failures / f"part-{number:06d}.log"
    lines = traceback.format_exception(type(error), error, future.traceback())
    log.write_text("".join(lines))
    return PhotozError(f"part {number} failed: {type(error).__name__}: {error}; see {log}")
