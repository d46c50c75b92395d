"""Options that `predict` and `embed` share."""

from collections.abc import Callable

import click

from photoz_mmae.cli.options import ANY_PATH, Command, device_option, run_option
from photoz_mmae.survey_runs import SurveyRun


def object_options(command: Command) -> Command:
    """Which objects, and what is known of them."""
    return _joined(
        command,
        run_option(
            SurveyRun,
            "--catalog",
            type=ANY_PATH,
            metavar="TABLE",
            help="A table of objects (Parquet, CSV, FITS, VOTable, ECSV) with column object_id: "
            "their E(B-V) (ebv), seeing (psf_fwhm_<b>, arcsec), positions (ra, dec), what --keep "
            "names.",
        ),
        run_option(
            SurveyRun,
            "--list",
            type=ANY_PATH,
            metavar="LIST",
            help="What was asked of HSC's cutout service (its text, or a table): ids and positions "
            "of CUTOUTS named N-cutout-...",
        ),
        run_option(
            SurveyRun,
            "--columns",
            metavar="ROLE=NAME,...",
            help="The columns of TABLE, where they have other names: id, ra, dec, ebv, "
            "psf_fwhm_<b>, tract, patch. And file: names of files; then each row of TABLE is an "
            "object.",
        ),
        run_option(
            SurveyRun,
            "--keep",
            metavar="NAME,...",
            help="Columns of TABLE that are passed through to the output.",
        ),
        run_option(
            SurveyRun,
            "--coadds",
            type=ANY_PATH,
            metavar="DIR",
            help="Instead of CUTOUTS: coadded images; the objects are those of TABLE, by their "
            "positions.",
        ),
        click.option(
            "--checksum/--no-checksum",
            default=None,
            help="Tell changed files by their content instead of size and time; all files are "
            "read for it, in every run.",
        ),
    )


def network_options(command: Command) -> Command:
    """Which model, and how it is run."""
    return _joined(
        command,
        run_option(
            SurveyRun,
            "--model",
            metavar="NAME",
            help="A shipped model, or a model's folder (./NAME where both have the name).",
        ),
        device_option,
        run_option(
            SurveyRun,
            "--batch-size",
            metavar="auto|N",
            help="Objects per pass through the network.",
        ),
        run_option(SurveyRun, "--part-size", type=int, help="Objects per part, at most."),
        click.option(
            "--resample/--no-resample",
            default=None,
            help="Bring images of another pixel scale to the model's, instead of only flagging "
            "them.",
        ),
    )


def worker_options(command: Command) -> Command:
    """Who works."""
    return _joined(
        command,
        run_option(
            SurveyRun,
            "--workers",
            type=int,
            help="Worker processes.  [default: four per GPU that is used, not more than cores; "
            "without a GPU one per core]",
        ),
        run_option(
            SurveyRun,
            "--gpus",
            metavar="all|N",
            help="How many of this machine's GPUs the workers use, the first N.  [default: all]",
        ),
        run_option(
            SurveyRun,
            "--scheduler",
            metavar="ADDRESS",
            help="Use the workers of this running Dask scheduler, tcp://HOST:PORT or tls://HOST:PORT.",
        ),
        run_option(
            SurveyRun,
            "--cluster",
            metavar="slurm:KEY=VALUE,...",
            help="Submit jobs of workers: partition, account, cores, memory, walltime, jobs, gpus, "
            "interface, directive.",
        ),
        click.option(
            "--dashboard/--no-dashboard", default=None, help="Start Dask's web page of the run."
        ),
    )


def ending_options(command: Command) -> Command:
    """When to try again or to stop, what the output says of itself, how the run tells of itself."""
    return _joined(
        command,
        click.option(
            "--retry-bad/--no-retry-bad",
            default=None,
            help="Try again cutouts that could not be read (READ_ERROR); their parts are computed "
            "anew.",
        ),
        run_option(
            SurveyRun,
            "--max-runtime",
            metavar="TIME",
            help="Stop after so long (45min, 8h) with exit 75; the same command goes on.",
        ),
        click.option(
            "--reproducible/--no-reproducible",
            default=None,
            help="Leave time and paths out of the output's metadata: same input, same bytes.",
        ),
        click.option(
            "--log-json/--no-log-json",
            default=None,
            help="Tell progress and result as JSON, one object a line, instead of in words.",
        ),
    )


def max_bad_option(thing: str) -> Callable[[Command], Command]:
    """How many rows may be without what is asked for."""
    return run_option(
        SurveyRun,
        "--max-bad",
        metavar="N|N%",
        help=f"Exit with 3 when more cutouts than this have no {thing}.",
    )


def _joined(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):  # as stacked decorators: the first is shown first
        command = option(command)
    return command
