"""The parts as Dask tasks: a bounded number in flight, each journaled when it is finished."""

import itertools
import logging
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

import dask
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from distributed.utils import silence_logging_cmgr

from photoz_mmae.errors import InputError, PhotozError, StoppedError, UsageError
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.part import PartJob, PartSettings, predict_part
from photoz_mmae.survey_run.stopping import signals_held

WORKERS_PER_GPU = 4
"""Reading takes longer than the network there, and each process takes memory of the GPU."""

WINDOW = 2
"""Parts in flight per worker: one is computed, one waits."""

SMALLEST_SHARE = 256
"""Objects that are worth a worker of their own."""

SHARES = 4
"""Parts per local worker, at least: progress shows, and none waits long for the last."""

MAX_FAILED_PARTS = 3
"""So many parts failing is not the parts' fault: give up."""

_QUIET = {
    # A part that kills its worker is blamed alone, not with those that wait behind it.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 2,
    "distributed.logging": {"distributed": "critical"},
    "distributed.worker.profile.enabled": False,
}


def local_workers(wanted: int | None, gpus: int, parts: int) -> int:
    """Return the number of local worker processes: as many as cores, but not more than parts."""
    cores = int(CPU_COUNT)
    sensible = min(cores, WORKERS_PER_GPU * gpus) if gpus else cores
    return max(min(wanted or sensible, parts), 1)


def part_size(wanted: int, objects: int, scheduler: str | None, workers: int | None) -> int:
    """Return the size of new parts: as wanted, or smaller so that each local worker has several.

    Below `SMALLEST_SHARE` objects a worker takes longer to start than to do them.
    """
    if scheduler is not None:
        return wanted
    share = -(-objects // (SHARES * (workers or int(CPU_COUNT))))
    return min(wanted, max(share, SMALLEST_SHARE))


@contextmanager
def dask_client(scheduler: str | None, workers: int) -> Iterator[Client]:
    """Connect to a scheduler, or start a cluster of worker processes here; leaves none behind.

    Raises
    ------
    UsageError
        That is no address.
    InputError
        No scheduler answers there.
    StoppedError
        It went away.
    """
    with silence_logging_cmgr(logging.CRITICAL):
        if scheduler is None:
            with dask.config.set(_QUIET), ExitStack() as stack:
                with signals_held():
                    cluster = stack.enter_context(_local_cluster(workers))
                    client = stack.enter_context(Client(cluster))
                yield client
            return
        try:
            client = Client(scheduler)
        except OSError as error:
            raise InputError(f"no Dask scheduler at {scheduler} ({error})") from error
        except ValueError as error:
            raise UsageError(f"{scheduler}: no address of a scheduler ({error})") from error
        try:
            with client:
                yield client
        except OSError as error:
            raise StoppedError(
                f"the Dask scheduler at {scheduler} is gone ({error}); the same command goes on"
            ) from error


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Block SIGINT in this thread and in the threads and processes that are started meanwhile.

    Ctrl-C reaches every process of the terminal; the workers are to be stopped by this one alone.
    """
    # Started by the first process that is spawned, it would unblock the signal again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _local_cluster(workers: int) -> LocalCluster:
    with _no_ctrl_c(), warnings.catch_warnings():
        # Even without a dashboard it looks for a port, and says so when its first choice is taken.
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            # Memory is bounded by the size of a chunk; Dask has nothing to spill.
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )


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
