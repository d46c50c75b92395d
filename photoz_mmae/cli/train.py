"""`photoz-mmae train`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from photoz_mmae.cli.options import config_option, device_option, overwrite_option, run_option
from photoz_mmae.errors import StoppedError
from photoz_mmae.runs import TrainRun, load_run
from photoz_mmae.survey_run.stopping import signals_held, stop_on_signals


@click.command(short_help="A model of your own.")
@click.argument("data", type=click.Path(path_type=Path), required=False)
@run_option(
    TrainRun,
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the new model, such as models/mine.",
)
@run_option(TrainRun, "--preset", metavar="NAME", help="Network and schedule: small or paper.")
@run_option(TrainRun, "--seed", type=int, help="Of the split, the weights and the masks.")
@run_option(TrainRun, "--epochs", type=int, help="Instead of the preset's.")
@run_option(TrainRun, "--batch-size", type=int, help="Instead of the preset's.")
@run_option(TrainRun, "--learning-rate", type=float, help="Instead of the preset's.")
@run_option(TrainRun, "--limit", type=int, help="Use only the first so many objects of DATA.")
@run_option(
    TrainRun,
    "--dust",
    type=click.Choice(["none", "deredden", "input"]),
    help="Galactic dust: correct images by E(B-V), or tell the network; instead of the preset's.",
)
@device_option
@overwrite_option
@config_option
def train(config: Path | None, **options: Any) -> None:
    """Train a model on DATA, a GalaxiesML-Spectra file or a simulated one.

    The same command goes on with a training that was stopped, from its last whole epoch. The
    folder ends with weights.safetensors, model.json, CARD.md and metrics.jsonl.
    """
    run = load_run(TrainRun, config, options)
    try:
        with stop_on_signals(), ExitStack() as stack:
            _train(run, stack)
    except KeyboardInterrupt as stop:
        raise StoppedError("stopped; the same command goes on from the last whole epoch") from stop


def _train(run: TrainRun, stack: ExitStack) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with signals_held():  # a library whose import is cut off cannot be imported again
        from photoz_mmae.training.loop import Watcher, train

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("epoch", total=None, loss=float("nan"))
    epochs = 0

    def on_start(training: int, validation: int, total_epochs: int, done: int) -> None:
        nonlocal epochs
        epochs = total_epochs
        bar.update(task, total=training)
        if console.is_terminal:
            # Once training starts: an error before that is one line.
            stack.enter_context(bar)
        resumed = f"; going on after epoch {done}" if done else ""
        console.print(
            f"{training} objects for training, {validation} for validation, preset {run.preset}, "
            f"{epochs} epochs{resumed}",
            highlight=False,
            soft_wrap=True,
        )

    def on_step(epoch: int, objects: int, loss: float) -> None:
        bar.update(task, description=f"epoch {epoch}/{epochs}", completed=objects, loss=loss)

    def on_epoch(record: dict[str, Any]) -> None:
        training, validation = record["training"], record["validation"]
        best = "  best so far" if record["best_epoch"] == record["epoch"] else ""
        console.print(
            f"epoch {record['epoch']:3d}  loss {training['loss_total']:.4f}  "
            f"validation {validation['loss_total']:.4f}  "
            f"sigma_NMAD {validation['sigma_nmad']:.4f}  "
            f"|dz|>0.15 {validation['outlier_015']:.2%}  {record['seconds']:.0f} s{best}",
            highlight=False,
            soft_wrap=True,
        )

    def on_note(note: str) -> None:
        console.print(note, highlight=False, soft_wrap=True)

    model = train(run, Watcher(on_start, on_step, on_epoch, on_note))
    result = model.info.training.validation
    click.echo(f"{run.output}: trained; validation sigma_NMAD = {result['sigma_nmad']:.4f}")
    click.echo(f"next: photoz-mmae predict CUTOUTS -o catalog.parquet --model {run.output}/")
