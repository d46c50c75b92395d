"""What `predict` and `embed` do: go through a survey, say how it goes, and how it ended."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from photoz_mmae.cli.json_report import JsonReport
from photoz_mmae.cli.say import what_goes_on
from photoz_mmae.cli.survey_report import SurveyReport, print_summary
from photoz_mmae.errors import PhotozError, StoppedError
from photoz_mmae.survey_run.stopping import TimeLimit, signals_held, stop_on_signals
from photoz_mmae.survey_runs import SurveyRun

if TYPE_CHECKING:
    from photoz_mmae.survey_run.telling import Report, Summary


def go_through(run: SurveyRun) -> int:
    """Do a run, say how it goes, and return the exit code.

    Raises
    ------
    PhotozError
    """
    if not run.log_json:
        with ExitStack() as stack:
            summary = _summary(run, SurveyReport(stack, run.catalog))
        print_summary(summary, run.catalog)
        return summary.exit_code
    report = JsonReport()
    try:
        summary = _summary(run, report)
    except PhotozError as error:
        report.failed(error.exit_code, str(error))
        raise
    except Exception as error:
        report.failed(PhotozError.exit_code, f"{type(error).__name__}: {error}")
        raise
    report.done(summary)
    return summary.exit_code


def _summary(run: SurveyRun, report: "Report") -> "Summary":
    limit = TimeLimit(run.max_runtime)
    try:
        with stop_on_signals(), limit:
            # Seconds, and a library whose import is cut off cannot be imported again.
            with signals_held():
                from photoz_mmae.survey_run.survey import run_survey

            return run_survey(run, report)
    except KeyboardInterrupt as stop:
        again = what_goes_on(run.overwrite and report.has_begun)
        why = " after --max-runtime" if limit.over else ""
        raise StoppedError(f"stopped{why}; what is finished stays, {again} goes on") from stop
