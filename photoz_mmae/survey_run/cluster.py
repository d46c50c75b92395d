"""Where a run's parts are computed: worker processes here, or a scheduler of the user's."""

import json
import logging
import os
import shutil
import signal
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.utils import silence_logging_cmgr

from photoz_mmae.errors import InputError, StoppedError, UsageError
from photoz_mmae.survey_run.stopping import signals_held

SMALLEST_SHARE = 256
"""Objects that are worth a worker of their own."""

SHARES = 4
"""Parts per local worker, at least: progress shows, and none waits long for the last."""

WORKERS_PER_GPU = 4
"""Reading and measuring take longer than the network there (benchmarks/RESULTS.md)."""

START_ATTEMPTS = 3

REPLACE_AFTER = 1.0
"""Seconds between two looks whether local workers are missing."""

QUIET = {
    # A part that kills its worker is blamed alone, not with those that wait behind it.
    "distributed.scheduler.worker-saturation": 1.0,
    # A death is told at once; `execute` sees what is to be done.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.logging": {"distributed": "critical"},
    "distributed.worker.profile.enabled": False,
    # Every 20 ms, in each of five event loops, is 5 % of a core (benchmarks/RESULTS.md).
    "distributed.admin.tick.interval": "1s",
    # Their folder is one run's alone, and not every network file system has locks.
    "distributed.worker.use-file-locking": False,
}
"""Dask's configuration for schedulers and workers that are started here."""

DASHBOARD = ":0"
"""Any free port: the usual one may be another user's."""


def gpus_to_share(wanted: int | str | None, device: str, there: int) -> int:
    """Return how many of the GPUs that are there local workers share out; 0: none is to be hidden.

    Parameters
    ----------
    wanted : int, "all" or None
        None: all of them, but where `device` names what is to be used.
    device : str
        As it was given.

    Raises
    ------
    UsageError
        There are not as many.
    """
    if wanted is None:
        return there if device == "auto" else 0
    if there == 0 or (wanted != "all" and int(wanted) > there):
        raise UsageError(f"--gpus {wanted}: torch sees {there} GPU(s) here")
    return there if wanted == "all" else int(wanted)


def local_workers(wanted: int | None, gpus: int, device: str) -> int:
    """Return how many local worker processes there are: as wanted, else one a core, or 4 a GPU.

    Parameters
    ----------
    wanted : int or None
    gpus : int
        That they share out.
    device : str
        Where that is none, all of them use this one.
    """
    cores = int(CPU_COUNT)
    used = gpus or int(device.startswith("cuda"))
    return wanted or (min(cores, WORKERS_PER_GPU * used) if used else cores)


def part_size(wanted: int, objects: int, workers: int | None) -> int:
    """Return the size of new parts: as wanted, or smaller so that each local worker has several.

    Below `SMALLEST_SHARE` objects a worker takes longer to start than to do them. `workers` is
    None where they are not local: they come and go.
    """
    if workers is None:
        return wanted
    share = -(-objects // (SHARES * workers))
    return min(wanted, max(share, SMALLEST_SHARE))


@contextmanager
def dask_client(
    scheduler: str | None, workers: int, scratch: Path, gpus: int = 0, dashboard: bool = False
) -> Iterator[Client]:
    """Connect to a scheduler, or start a cluster of worker processes here; leaves none behind.

    Parameters
    ----------
    scheduler : str or None
        Its address. For `tls://` the certificates are those of Dask's own configuration.
    workers, gpus : int
        Local worker processes, and the GPUs that they take in turn, one each; 0: no GPU is
        hidden from any.
    scratch : Path
        Folder for what Dask has local workers write, for as long as they are there.
    dashboard : bool
        Start the local cluster's web page, too.

    Raises
    ------
    UsageError
        That is no address, or there is no dashboard to be had.
    InputError
        No scheduler answers there.
    StoppedError
        It went away.
    """
    with silence_logging_cmgr(logging.CRITICAL):
        if scheduler is None:
            config = {**QUIET, "temporary-directory": str(scratch)}
            with dask.config.set(config), ExitStack() as stack:
                shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
                stack.callback(shutil.rmtree, scratch, ignore_errors=True)
                with signals_held():
                    cluster = stack.enter_context(_local_cluster(workers, dashboard))
                    stack.enter_context(_replaced(cluster, workers))
                    client = stack.enter_context(Client(cluster))
                    if gpus:
                        client.register_plugin(OneGPU(gpus))
                yield client
            return
        try:
            client = Client(scheduler)
        except OSError as error:
            raise InputError(f"no Dask scheduler at {scheduler} ({error})") from error
        except TypeError as error:
            raise InputError(
                f"{scheduler}: Dask's configuration names no certificates; set "
                "distributed.comm.tls.ca-file, .client.cert and .client.key (docs/running.md)"
            ) from error
        except ValueError as error:
            raise UsageError(f"{scheduler}: no address of a scheduler ({error})") from error
        try:
            with client:
                yield client
        except (OSError, CancelledError) as error:
            raise StoppedError(
                f"the Dask scheduler at {scheduler} is gone ({error}); the same command goes on"
            ) from error


class OneGPU(WorkerPlugin):  # type: ignore[misc]
    """Show each worker process one of its machine's first `gpus` GPUs; they take them in turn.

    A worker's number among its siblings is the end of its name. It is told before it has
    anything to do, so that CUDA never sees the others.
    """

    name = "photoz-mmae-one-gpu"

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus

    def setup(self, worker: Worker) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
        mine = visible.split(",")[: self.gpus]
        number = int(str(worker.name).rsplit("-", 1)[-1])
        os.environ["CUDA_VISIBLE_DEVICES"] = mine[number % len(mine)]


def dashboard_of(client: Client) -> str | None:
    """Return the address of the scheduler's web page; None where it does not answer."""
    # Every scheduler has an address for it, whether it is there or not; this says what is there.
    link: str = client.dashboard_link
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        page = link.replace("/status", "/individual-plots.json")
        with opener.open(page, timeout=10) as answer:
            return link if json.load(answer) else None
    except (OSError, ValueError):
        return None


def dashboard_address(wanted: bool) -> str | None:
    """Return where a scheduler that is started here has its web page.

    Raises
    ------
    UsageError
        bokeh, which draws it, is not installed.
    """
    if wanted and find_spec("bokeh") is None:
        raise UsageError("--dashboard needs bokeh; pip install 'photoz-mmae[cluster]'")
    return DASHBOARD if wanted else None


@contextmanager
def no_ctrl_c() -> Iterator[None]:
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


def _local_cluster(workers: int, dashboard: bool) -> LocalCluster:
    address = dashboard_address(dashboard)
    with no_ctrl_c(), warnings.catch_warnings():
        # Even without a dashboard it looks for a port, and says so when its first choice is taken.
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        for attempt in range(START_ATTEMPTS):
            try:
                return LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=address,
                    # Memory is bounded by the size of a chunk; Dask has nothing to spill.
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )
            except RuntimeError as error:
                # A worker died before it was there.
                if attempt == START_ATTEMPTS - 1:
                    raise StoppedError(
                        f"the worker processes do not start ({error}): killed, or too little "
                        "memory? The same command tries again"
                    ) from error
    raise AssertionError
