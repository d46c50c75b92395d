"""Workers as jobs of SLURM, by dask-jobqueue; the scheduler is in this process."""

import logging
import math
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Security, Status
from distributed.utils import silence_logging_cmgr

from photoz_mmae.batch_jobs import MEMORY_PER_CORE, SlurmJobs
from photoz_mmae.errors import InputError, UsageError
from photoz_mmae.survey_run import slurm_watch
from photoz_mmae.survey_run.cluster import QUIET, OneGPU, dashboard_address, no_ctrl_c
from photoz_mmae.survey_run.slurm_watch import ended, refusal
from photoz_mmae.survey_run.stopping import signals_held

COMMANDS = ("sbatch", "squeue", "scancel")


def check_slurm() -> None:
    """Raise UsageError where jobs cannot be submitted."""
    for package in ("dask_jobqueue", "cryptography"):
        if find_spec(package) is None:
            raise UsageError(f"--cluster needs {package}; pip install 'photoz-mmae[cluster]'")
    for command in COMMANDS:
        if shutil.which(command) is None:
            raise UsageError(
                f"--cluster slurm: there is no {command} here; start this on a host that submits "
                "jobs"
            )


@contextmanager
def slurm_client(
    jobs: SlurmJobs, workers: int | None, folder: Path, dashboard: bool, tell: Callable[[str], None]
) -> Iterator[Client]:
    """Submit jobs of worker processes and wait for the first of them; cancel all at the end.

    A job whose workers have gone (its time is over, its host is broken) is submitted again.

    Parameters
    ----------
    jobs : SlurmJobs
    workers : int or None
        Worker processes in all, instead of the number of jobs.
    folder : Path
        On a file system that the jobs' hosts share: their logs, and for the time of the run
        their certificates, scripts and scratch space.
    tell : callable
        Called with what happens.

    Raises
    ------
    InputError
        SLURM takes no job, or all ended before a worker was there.
    StoppedError
        Later jobs did.
    """
    count = jobs.jobs if workers is None else math.ceil(workers / jobs.processes)
    folder.mkdir(exist_ok=True)
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir(mode=0o700, exist_ok=True)
    config = {**QUIET, "temporary-directory": str(scratch)}
    with silence_logging_cmgr(logging.CRITICAL), dask.config.set(config), ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        with signals_held():
            cluster = stack.enter_context(_cluster(jobs, folder, scratch, dashboard))
            _submit(cluster, count)
            client = stack.enter_context(Client(cluster))
            if jobs.gpus:
                client.register_plugin(OneGPU(jobs.gpus))
        ids = sorted(job.job_id for job in cluster.workers.values())
        tell(f"{count} SLURM job{'s' * (count > 1)} submitted ({', '.join(ids)}), logs in {folder}")
        _await_workers(client, ids, folder)
        with slurm_watch.kept_alive(cluster, client, folder, tell):
            yield client


def _cluster(jobs: SlurmJobs, folder: Path, scratch: Path, dashboard: bool) -> Any:
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob

    class Job(SLURMJob):  # type: ignore[misc]
        def job_script(self) -> str:
            script: str = super().job_script()
            return script.replace(str(folder), shlex.quote(str(folder)))

        @contextmanager
        def job_file(self) -> Iterator[str]:
            path = scratch / f"{self.name}.sh"
            path.write_text(self.job_script())
            yield str(path)

        async def close(self) -> None:
            await super().close()
            # The cluster insists on it where an error still holds on to the job.
            self.status = Status.closed

    directives = [f"--gres=gpu:{jobs.gpus}"] if jobs.gpus else []
    directives += [jobs.directive] if jobs.directive else []
    given = {
        "queue": jobs.partition,
        "account": jobs.account,
        "interface": jobs.interface,
        "job_extra_directives": directives or None,
    }
    address = dashboard_address(dashboard)
    with no_ctrl_c(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        return SLURMCluster(
            job_cls=Job,
            cores=jobs.cores,
            processes=jobs.processes,
            memory=jobs.memory or f"{jobs.cores * dask.utils.parse_bytes(MEMORY_PER_CORE)} B",
            walltime=jobs.walltime,
            job_name="photoz-mmae",
            python=shlex.quote(sys.executable),
            # One thread, whatever the number of cores per process; the last word counts.
            worker_extra_args=["--nthreads", "1", "--no-dashboard"],
            log_directory=str(folder),
            local_directory=str(scratch),
            security=_certificates(scratch),
            scheduler_options={"dashboard": dashboard, "dashboard_address": address},
            silence_logs=logging.CRITICAL,
            **{key: value for key, value in given.items() if value is not None},
        )


def _certificates(folder: Path) -> Security:
    """Make a key and a certificate that only this user's jobs can read.

    Whoever reaches a scheduler can have it run anything; without these nobody does.
    """
    made = Security.temporary().get_tls_config_for_role("worker")
    files = {}
    for name in ("ca_file", "cert", "key"):
        path = folder / f"tls-{name}.pem"
        path.touch(mode=0o600)
        path.write_text(made[name])
        files[name] = str(path)
    roles = {
        f"tls_{role}_{name}": files[name]
        for role in ("client", "scheduler", "worker")
        for name in ("cert", "key")
    }
    return Security(require_encryption=True, tls_ca_file=files["ca_file"], **roles)


def _submit(cluster: Any, count: int) -> None:
    # As cluster.scale(count), which would keep to itself that SLURM refuses.
    for _ in range(count):
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(cluster._correct_state)
    except RuntimeError as error:
        raise InputError(refusal(error)) from error


def _await_workers(client: Client, ids: list[str], folder: Path) -> None:
    while True:
        try:
            client.wait_for_workers(1, timeout=slurm_watch.LOOK_AGAIN)
            return
        except TimeoutError:
            if len(ended(ids)) == len(ids):
                raise InputError(
                    f"the SLURM jobs {', '.join(ids)} ended before a worker was there; their "
                    f"logs in {folder} say why"
                ) from None
