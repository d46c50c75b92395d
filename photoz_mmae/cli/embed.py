"""`photoz-mmae embed`."""

from pathlib import Path
from typing import Any

import click

from photoz_mmae.cli.options import ANY_PATH, config_option, overwrite_option, run_option
from photoz_mmae.cli.survey_options import (
    ending_options,
    max_bad_option,
    network_options,
    object_options,
    worker_options,
)
from photoz_mmae.cli.survey_verb import go_through
from photoz_mmae.load_run import load_run
from photoz_mmae.survey_runs import EmbedRun


@click.command(short_help="Cutouts in, one vector of numbers for each out.")
@click.argument("cutouts", nargs=-1, type=click.Path(readable=False))
@run_option(
    EmbedRun,
    "-o",
    "--output",
    type=ANY_PATH,
    metavar="NAME[.parquet]",
    help="The embeddings: a file NAME.parquet, or a folder NAME of such files; NAME.run/ beside it "
    "holds what an interrupted run goes on from.",
)
@object_options
@network_options
@worker_options
@max_bad_option("embedding")
@ending_options
@overwrite_option
@config_option
def embed(config: Path | None, **options: Any) -> int:
    """Embed CUTOUTS (FITS files or folders; - reads their paths from standard input): a table with
    the vector that the model reads each redshift from.

    One row per object, whatever is wrong with it: the column flags says what. The same command
    goes on with a run that was stopped, and brings a finished table up to date with new, changed
    and vanished cutouts.
    """
    return go_through(load_run(EmbedRun, config, options))
