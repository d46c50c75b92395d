"""Where a run's parts are computed: worker processes here, or a scheduler of the user's."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.utils import silence_logging_cmgr

from photoz_mmae.errors import InputError, StoppedError, UsageError
from photoz_mmae.survey_run.stopping import signals_held

WORKERS_PER_GPU = 4
"""Reading takes longer than the network there, and each process takes memory of the GPU."""

SMALLEST_SHARE = 256
"""Objects that are worth a worker of their own."""

SHARES = 4
"""Parts per local worker, at least: progress shows, and none waits long for the last."""

REPLACE_AFTER = 1.0
"""Seconds between two looks whether local workers are missing."""

_QUIET = {
    # A part that kills its worker is blamed alone, not with those that wait behind it.
    "distributed.scheduler.worker-saturation": 1.0,
    # A death is told at once; `execute` sees what is to be done.
    "distributed.scheduler.allowed-failures": 0,
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
                    stack.enter_context(_replaced(cluster, workers))
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


@contextmanager
def _replaced(cluster: LocalCluster, workers: int) -> Iterator[None]:
    """Start workers for those that are gone for good.

    A nanny starts a worker that died anew, but not one that dies before the nanny knows that it
    has started: it gives up then, and a cluster without workers would wait for ever.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(REPLACE_AFTER):
            if len(cluster.workers) < workers:
                cluster.scale(workers)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


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
