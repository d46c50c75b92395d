"""`photoz-mmae compare-models`."""

from contextlib import ExitStack
from math import isnan
from pathlib import Path
from typing import Any

import click

from photoz_mmae.cli.options import (
    ANY_PATH,
    config_option,
    device_option,
    overwrite_option,
    run_option,
)
from photoz_mmae.cli.say import what_goes_on
from photoz_mmae.errors import StoppedError
from photoz_mmae.load_run import load_run
from photoz_mmae.runs import CompareModelsRun
from photoz_mmae.survey_run.stopping import NotedSignals, stop_on_signals


@click.command("compare-models", short_help="Networks trained and tested on the same objects.")
@click.argument("data", type=ANY_PATH, required=False, metavar="DATA")
@run_option(
    CompareModelsRun,
    "-o",
    "--output",
    type=ANY_PATH,
    metavar="DIR",
    help="Folder of the report; what is in it already is kept and shown, too.",
)
@run_option(
    CompareModelsRun,
    "--models",
    metavar="A,B,...",
    help="Presets, preset files (X.toml), peers to train; left out: only show the report.",
)
@run_option(
    CompareModelsRun,
    "--against",
    metavar="NAME",
    help="Add ratios of this model to every other, with their 95 % bounds.",
)
@run_option(CompareModelsRun, "--seeds", metavar="0,1,...", help="Of weights and order.")
@run_option(
    CompareModelsRun,
    "--training-size",
    type=int,
    metavar="N",
    help="Objects to train on; by default all.",
)
@run_option(
    CompareModelsRun,
    "--validation-size",
    type=int,
    metavar="N",
    help="Objects to choose the epoch by; by default 15 %.",
)
@run_option(
    CompareModelsRun,
    "--test-size",
    type=int,
    metavar="N",
    help="Objects to test on; by default 15 %.",
)
@run_option(
    CompareModelsRun,
    "--unlabelled-size",
    type=int,
    metavar="N",
    help="More objects to train on, whose redshifts and spectra are hidden.",
)
@run_option(
    CompareModelsRun,
    "--split",
    type=click.Choice(["sky", "published"]),
    help="Parts by blocks of the sky, or the rows of the published 70/15/15 split.",
)
@run_option(
    CompareModelsRun,
    "--dust",
    type=click.Choice(["none", "deredden"]),
    help="Galactic dust: as it is, or every image corrected by E(B-V).",
)
@run_option(
    CompareModelsRun, "--epochs", type=int, help="Instead of each model's own; for a quick look."
)
@run_option(
    CompareModelsRun,
    "--hours",
    type=float,
    help="Test what a training has come to after so long; more hours go on from there.",
)
@run_option(
    CompareModelsRun,
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    help="Of matrix products in training.",
)
@device_option
@overwrite_option
@config_option
def compare_models(config: Path | None, **options: Any) -> None:
    """Train models on the same objects of DATA, test them on the same others, print tables.

    \b
    photoz-mmae compare-models mock.hdf5 --models small,inception --seeds 0,1 -o report/

    The report grows: one JSON file per model and seed. The same command goes on with what was
    stopped.
    """
    run = load_run(CompareModelsRun, config, options)
    begun: list[bool] = []
    try:
        with stop_on_signals(), ExitStack() as stack:
            _compare(run, stack, begun)
    except (KeyboardInterrupt, StoppedError) as stop:
        again = what_goes_on(run.overwrite and bool(begun))
        raise StoppedError(f"stopped; {again} goes on from here") from stop


def _compare(run: CompareModelsRun, stack: ExitStack, begun: list[bool]) -> None:
    """Compare; notes in `begun` when what `--overwrite` removes is removed."""
    from photoz_mmae.peers.comparison import compare
    from photoz_mmae.peers.report import write_report
    from photoz_mmae.training.trainer import Watcher

    noted = NotedSignals()
    stack.enter_context(noted)

    def on_note(line: str) -> None:
        click.echo(line, err=True)

    def on_epoch(record: dict[str, Any]) -> None:
        validation = record["validation"]
        scatter = ""
        if not isnan(validation["sigma_nmad"]):  # pretraining tells no redshifts
            scatter = (
                f"sigma_NMAD {validation['sigma_nmad']:.4f}  "
                f"|dz|>0.15 {validation['outlier_015']:.2%}  "
            )
        on_note(
            f"epoch {record['epoch']:3d}  validation {validation['loss_total']:.4f}  {scatter}"
            f"{record['objects_per_second']:.0f} objects/s  {record['seconds']:.0f} s"
        )

    compare(
        run,
        Watcher(
            on_note,
            on_start=lambda *_: begun.append(True),
            on_step=lambda *_: None,
            on_epoch=on_epoch,
            should_stop=lambda: noted.arrived,
        ),
    )
    click.echo(write_report(run.output, run.against))
