"""The parts that are to be done, on the workers that the command asks for."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from distributed import Client

from photoz_mmae.cutouts.source import Source
from photoz_mmae.survey_run.cluster import dashboard_of, dask_client, local_workers
from photoz_mmae.survey_run.execute import execute, first_bands
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.part import PartJob, PartSettings
from photoz_mmae.survey_run.run_folder import RunFolder
from photoz_mmae.survey_run.slurm import slurm_client
from photoz_mmae.survey_run.telling import Report
from photoz_mmae.survey_run.worker_check import Needs, workers_that_fit
from photoz_mmae.survey_runs import SurveyRun


class Workers:
    """The workers that a command asks for.

    Parameters
    ----------
    run : SurveyRun
        Says where.
    folder : RunFolder
    gpus : int
        That local workers share out; 0: none is hidden from any.
    report : Report
    """

    def __init__(self, run: SurveyRun, folder: RunFolder, gpus: int, report: Report) -> None:
        self._run = run
        self._folder = folder
        self._gpus = gpus
        self._report = report

    def compute(
        self,
        jobs: Sequence[PartJob],
        settings: PartSettings,
        finished: Callable[[PartRecord], None],
        first: Source,
        model_bands: Sequence[str],
    ) -> None:
        """Compute parts.

        Parameters
        ----------
        jobs : sequence of PartJob
            One at least.
        settings : PartSettings
        finished : callable
            Called with the record of each part as it comes.
        first : Source
            An object: of its bands those are told that the model does not take.
        model_bands : sequence of str

        Raises
        ------
        InputError, UsageError
            There are no such workers, or they do not fit.
        PhotozError
            A part failed.
        StoppedError
            The scheduler went away.
        """
        run, folder, report = self._run, self._folder, self._report
        with ExitStack() as stack:
            client = stack.enter_context(self._client(len(jobs), settings.device))
            if (run.scheduler or run.dashboard) and (page := dashboard_of(client)):
                report.workers(f"dashboard at {page}")
            if run.scheduler or run.cluster:
                needs = Needs(
                    model=settings.model,
                    model_sha256=settings.model_sha256,
                    plan=settings.plan,
                    plan_size=folder.plan.stat().st_size,
                    parts=settings.parts,
                )
                stack.enter_context(workers_that_fit(client, needs, report.workers))
            bands = first_bands(client, first)
            if unused := [band for band in bands if band not in model_bands]:
                report.unused("".join(unused))
            execute(client, jobs, settings, folder.failures, finished)

    def _client(self, parts: int, device: str) -> AbstractContextManager[Client]:
        run, folder = self._run, self._folder
        if run.cluster is not None:
            tell = self._report.workers
            return slurm_client(run.cluster, run.workers, folder.jobs, run.dashboard, tell)
        workers = min(local_workers(run.workers, self._gpus, device), parts)
        return dask_client(run.scheduler, workers, folder.scratch, self._gpus, run.dashboard)
