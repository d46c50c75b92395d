"""`photoz-mmae evaluate`."""

from pathlib import Path
from typing import Any

import click

from photoz_mmae.cli.options import ANY_PATH, config_option, run_option
from photoz_mmae.load_run import load_run
from photoz_mmae.runs import EvaluateRun


@click.command(short_help="A catalogue against true redshifts.")
@click.argument("catalog", type=ANY_PATH, required=False, metavar="CATALOG")
@run_option(
    EvaluateRun,
    "--truth",
    type=ANY_PATH,
    metavar="TABLE",
    help="Table of true redshifts; may be CATALOG itself.",
)
@run_option(
    EvaluateRun,
    "--z-phot",
    metavar="COLUMN",
    help="Redshift to judge, in CATALOG; of --naming hsc photoz_best, of lsst zmode.  "
    "[default: z_best]",
)
@run_option(EvaluateRun, "--z-spec", metavar="COLUMN", help="True redshift, in TABLE.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@config_option
def evaluate(config: Path | None, as_json: bool, **options: Any) -> None:
    """Compare CATALOG with true redshifts: scatter, bias, outliers, and p(z) where it has one.

    CATALOG and TABLE are CSV, Parquet, FITS, VOTable or ECSV, or folders that `predict` wrote,
    joined by object_id (objectId of --naming lsst); by row number when both are one. Rows whose
    class or SPECTYPE in TABLE is STAR are left out. Metrics are given over all objects and per bin
    of true redshift (`bins` in a --config file).
    """
    run = load_run(EvaluateRun, config, options)

    import json

    from photoz_mmae.evaluation.compare import evaluate

    evaluation = evaluate(run)
    if as_json:
        click.echo(json.dumps(evaluation.as_json(), indent=1, allow_nan=False))
        return

    from rich.console import Console

    from photoz_mmae.evaluation.terminal import metrics_table, what_was_compared

    for line in what_was_compared(run, evaluation):
        click.echo(line)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 200)  # into a file or a pipe: nothing to wrap for
    console.print(metrics_table(evaluation))
    click.echo(f"sigma_NMAD = {evaluation.all['sigma_nmad']:.4f}")
