"""SLURM jobs that end are submitted again, but not for ever those that come to nothing."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, Future
from tornado.ioloop import PeriodicCallback

from photoz_mmae.errors import StoppedError

LOOK_AGAIN = 10.0
"""Seconds between two looks at the queue."""

ATTEMPTS = 3
"""So many jobs in the place of one may end before a worker was there."""


def ended(ids: Sequence[str]) -> list[str]:
    """Return the jobs that are over; none of them where SLURM does not answer."""
    asked = ["squeue", "--noheader", "--format=%A", f"--jobs={','.join(ids)}"]
    queue = subprocess.run(asked, capture_output=True, text=True, check=False)
    # It fails for ids that it has forgotten.
    if queue.returncode and "Invalid job id" not in queue.stderr:
        return []
    waiting = queue.stdout.split()
    return [each for each in ids if each not in waiting]


def refusal(error: RuntimeError) -> str:
    """Return what sbatch said."""
    _, _, said = str(error).partition("stderr:\n")
    return f"SLURM takes no job: {said or error}".rstrip()


@contextmanager
def kept_alive(
    cluster: Any, client: Client, folder: Path, tell: Callable[[str], None]
) -> Iterator[None]:
    """Submit jobs again that are over, as long as that brings any workers.

    Parameters
    ----------
    cluster : SLURMCluster
    client : Client
        Its own; what that waits for is cancelled when it is given up.
    folder : Path
        Where the jobs' logs are.
    tell : callable
        Called with what happens.

    Raises
    ------
    StoppedError
        There are no workers any more, and no job gets as far as to have one.
    """
    watch = _Watch(cluster, client, folder, tell)

    async def start() -> PeriodicCallback:
        callback = PeriodicCallback(watch.look, LOOK_AGAIN * 1000)
        callback.start()
        return callback

    callback = cluster.sync(start)
    try:
        yield
    except (StoppedError, CancelledError) as error:
        if watch.given_up is None:
            raise
        raise StoppedError(f"{watch.given_up}; the same command goes on") from error
    finally:
        cluster.loop.add_callback(callback.stop)


class _Watch:
    def __init__(
        self, cluster: Any, client: Client, folder: Path, tell: Callable[[str], None]
    ) -> None:
        self._cluster = cluster
        self._client = client
        self._folder = folder
        self._tell = tell
        self._attempts = ATTEMPTS * len(cluster.worker_spec)
        self._had_workers: set[str] = set()
        self._lost: set[str] = set()
        self._failed: list[str] = []
        self.given_up: str | None = None

    async def look(self) -> None:
        await self._find_failed()
        cluster = self._cluster
        if len(self._failed) >= self._attempts:
            # Those that have workers stay.
            for name in set(cluster.worker_spec) - set(cluster.workers):
                del cluster.worker_spec[name]
            if not cluster.worker_spec and self.given_up is None:
                failed = ", ".join(self._failed)
                self.given_up = (
                    f"the SLURM jobs {failed} ended before a worker was there; their logs in "
                    f"{self._folder} say why"
                )
                waiting = [Future(key, self._client) for key in self._client.futures]
                await self._client.cancel(waiting, asynchronous=True)
        # Dask forgets a job of one process 15 s after its worker went (deploy.lost-worker-timeout).
        elif len(cluster.workers) < len(cluster.worker_spec):
            await self._submit()

    async def _find_failed(self) -> None:
        there = [str(worker.name) for worker in self._cluster.scheduler.workers.values()]
        silent, lost = {}, {}
        for name, job in self._cluster.workers.items():
            # One process of a job has its name, several have that and a number.
            if any(worker == name or worker.startswith(f"{name}-") for worker in there):
                if job.job_id not in self._had_workers:
                    self._failed.clear()
                self._had_workers.add(job.job_id)
            elif job.job_id not in self._had_workers:
                silent[job.job_id] = name
            # Dask knows workers by the names of jobs, so it never forgets a job of several.
            elif "group" in self._cluster.worker_spec[name]:
                lost[job.job_id] = name
        for job_id in self._lost & set(lost):  # already at the last look
            await self._forget(lost[job_id])
        self._lost = set(lost)
        if silent:
            for job_id in await asyncio.to_thread(ended, list(silent)):
                await self._forget(silent[job_id])
                self._failed.append(job_id)

    async def _submit(self) -> None:
        try:
            await self._cluster._correct_state()
        except RuntimeError as error:
            self._tell(refusal(error))
            for name, job in list(self._cluster.workers.items()):
                if job.job_id is None:  # the next look tries again
                    await self._forget(name)

    async def _forget(self, name: str) -> None:
        # Dask may have forgotten it while the queue was asked.
        if (job := self._cluster.workers.pop(name, None)) is not None:
            await job.close()
