"""`photoz-mmae predict`."""

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
from photoz_mmae.survey_runs import PredictRun


@click.command(short_help="Cutouts in, one catalogue of redshifts out.")
@click.argument("cutouts", nargs=-1, type=click.Path(readable=False))
@run_option(
    PredictRun,
    "-o",
    "--output",
    type=ANY_PATH,
    metavar="NAME[.parquet]",
    help="The catalogue: a file NAME.parquet, or a folder NAME of such files; NAME.run/ beside it "
    "holds what an interrupted run goes on from.",
)
@object_options
@network_options
@run_option(
    PredictRun,
    "--masks",
    type=int,
    help="Passes with a quarter of the image hidden, for the spreads: 0 (fastest) to 64.",
)
@run_option(
    PredictRun,
    "--pdf",
    type=click.Choice(["none", "quantiles", "grid"]),
    help="How much of p(z) is stored.",
)
@run_option(
    PredictRun,
    "--naming",
    type=click.Choice(["standard", "hsc", "lsst"]),
    help="Columns of id, position and redshift as HSC or LSST publish them.",
)
@click.option(
    "--hats/--no-hats",
    default=None,
    help="Make the folder a HATS catalogue, as LSDB reads it (extra hats).",
)
@run_option(
    PredictRun,
    "--qp",
    type=ANY_PATH,
    metavar="FILE.hdf5",
    help="Write p(z) to a file for qp, too (extra qp).",
)
@worker_options
@max_bad_option("redshift")
@ending_options
@overwrite_option
@config_option
def predict(config: Path | None, **options: Any) -> int:
    """Predict redshifts of CUTOUTS (FITS files or folders; - reads their paths from standard
    input) into one catalogue.

    One row per object, whatever is wrong with it: the column flags says what. The same command
    goes on with a run that was stopped, and brings a finished catalogue up to date with new,
    changed and vanished cutouts.
    """
    return go_through(load_run(PredictRun, config, options))
