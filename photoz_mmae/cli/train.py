"""`photoz-mmae train`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from photoz_mmae.runs import TrainRun
from photoz_mmae.survey_run.stopping import NotedSignals, signals_held, stop_on_signals

if TYPE_CHECKING:
    from photoz_mmae.model.weights import TrainedModel


@click.command(short_help="A model of your own.")
@click.argument("data", type=ANY_PATH, required=False)
@run_option(
    TrainRun,
    "-o",
    "--output",
    type=ANY_PATH,
    metavar="DIR",
    help="Folder of the new model, such as models/mine.",
)
@run_option(
    TrainRun,
    "--simulate",
    type=int,
    metavar="N",
    help="Instead of DATA: N new mock objects for every epoch.",
)
@run_option(
    TrainRun,
    "--unlabelled",
    type=ANY_PATH,
    metavar="CUTOUTS",
    help="More objects, without redshift and spectrum: cutouts, shards, or a GalaxiesML file.",
)
@run_option(
    TrainRun,
    "--unlabelled-catalog",
    type=ANY_PATH,
    metavar="TABLE",
    help="Their E(B-V) and seeing: a table with object_id, ebv, psf_fwhm_<b>.",
)
@run_option(TrainRun, "--simulate-seed", type=int, help="Of the mock survey.")
@run_option(
    TrainRun,
    "--survey",
    metavar="NAME",
    help="With --simulate: hsc-wide, lsst-y1, lsst-y10 or lsst-dp1.",
)
@run_option(
    TrainRun,
    "--selection",
    metavar="desi|magnitude:LIMIT,...",
    help="With --simulate: the targets of GalaxiesML-Spectra, or field galaxies to LIMIT in i; "
    "several take turns.",
)
@run_option(
    TrainRun,
    "--fraction-stars",
    type=float,
    help="With --simulate: share of stars, which a preset with classes learns to tell apart.",
)
@run_option(
    TrainRun,
    "--preset",
    metavar="NAME",
    help="Network and schedule: base, small, large, paper, or a file of your own, X.toml.",
)
@run_option(
    TrainRun,
    "--split",
    type=click.Choice(["sky", "published"]),
    help="Parts by blocks of the sky, or the rows of the published 70/15/15 split.",
)
@run_option(
    TrainRun,
    "--match-to",
    type=ANY_PATH,
    metavar="CATALOG",
    help="Weigh objects to match this sample's colours and magnitudes.",
)
@run_option(TrainRun, "--limit", type=int, help="Use only the first so many objects of DATA.")
@run_option(TrainRun, "--seed", type=int, help="Of the split, the weights and the masks.")
@run_option(TrainRun, "--epochs", type=int, help="Instead of the preset's.")
@run_option(
    TrainRun,
    "--patience",
    type=int,
    help="Stop after so many epochs without progress; 0: never. Instead of the preset's.",
)
@run_option(TrainRun, "--batch-size", type=int, help="Instead of the preset's.")
@run_option(TrainRun, "--learning-rate", type=float, help="Instead of the preset's.")
@run_option(
    TrainRun,
    "--dust",
    type=click.Choice(["none", "deredden", "input"]),
    help="Galactic dust: correct images by E(B-V), or tell the network; instead of the preset's.",
)
@run_option(
    TrainRun,
    "--drop-bands",
    type=float,
    metavar="SHARE",
    help="Show so many objects without some of their bands, to learn to do without. Instead of the "
    "preset's: base and large 0.2, others 0.",
)
@run_option(
    TrainRun,
    "--accumulate",
    type=int,
    metavar="N",
    help="Compute each batch in N pieces, for less memory.",
)
@run_option(
    TrainRun,
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Of matrix products; auto: bfloat16 on a GPU that computes in it (NVIDIA's from Ampere "
    "on), else float32.",
)
@click.option(
    "--tensorboard/--no-tensorboard",
    default=None,
    help="Write event files to DIR/tensorboard, too.",
)
@device_option
@overwrite_option
@config_option
def train(config: Path | None, **options: Any) -> None:
    """Train a model on DATA, a GalaxiesML-Spectra file or a simulated one, or on --simulate N.

    The model's image size is that of the data; its bands and pixel scale are those of the survey
    that DATA names (hsc-wide, lsst-y1, lsst-y10 or lsst-dp1; hsc-wide where it names none). The
    same command goes on with a training that was stopped. The folder ends with
    weights.safetensors, model.json, CARD.md and metrics.jsonl.
    """
    run = load_run(TrainRun, config, options)
    begun: list[bool] = []
    try:
        with stop_on_signals(), ExitStack() as stack:
            model = _train(run, stack, begun)
    except (KeyboardInterrupt, StoppedError) as stop:
        again = what_goes_on(run.overwrite and bool(begun))
        raise StoppedError(f"stopped; {again} goes on from here") from stop
    _report(run, model)


def _train(run: TrainRun, stack: ExitStack, begun: list[bool]) -> "TrainedModel | None":
    """Train; notes in `begun` when what `--overwrite` removes is removed."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with signals_held():  # a library whose import is cut off cannot be imported again
        from photoz_mmae.training.loop import train
        from photoz_mmae.training.trainer import Watcher
        from photoz_mmae.training_sets.training_set import counted

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task("epoch", total=None, loss=float("nan"))
    noted = NotedSignals()
    epochs = 0

    def on_note(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    def on_start(objects: int, total_epochs: int, done: int, steps: int) -> None:
        nonlocal epochs
        epochs = total_epochs
        begun.append(True)
        bar.update(task, total=objects)
        # From here on a signal stops between two steps, with a checkpoint.
        stack.enter_context(noted)
        if console.is_terminal:
            # Once training starts: an error before that is one line.
            stack.enter_context(bar)
        resumed = f"; going on after epoch {done}, step {steps}" if done or steps else ""
        on_note(f"preset {run.preset}, {counted(epochs, 'epoch')}{resumed}")

    def on_step(epoch: int, objects: int, loss: float) -> None:
        bar.update(task, description=f"epoch {epoch}/{epochs}", completed=objects, loss=loss)

    def on_epoch(record: dict[str, Any]) -> None:
        training, validation = record["training"], record["validation"]
        best = "  lowest validation so far" if record["best_epoch"] == record["epoch"] else ""
        on_note(
            f"epoch {record['epoch']:3d}  loss {training['loss_total']:.4f}  "
            f"validation {validation['loss_total']:.4f}  "
            f"sigma_NMAD {validation['sigma_nmad']:.4f}  "
            f"|dz|>0.15 {validation['outlier_015']:.2%}  {record['seconds']:.0f} s{best}"
        )

    return train(run, Watcher(on_note, on_start, on_step, on_epoch, lambda: noted.arrived))


def _report(run: TrainRun, model: "TrainedModel | None") -> None:
    if model is None:
        click.echo(f"{run.output}: nothing to do: the model was trained with these settings")
        return
    record = model.info.training
    part = "test" if record.objects_test else "validation"
    result = record.results[0].sigma_nmad
    click.echo(
        f"{run.output}: trained; {part} sigma_NMAD = "
        f"{'unknown' if result is None else f'{result:.4f}'}"
    )
    table = "" if model.info.dust == "none" else " --catalog TABLE_WITH_EBV"
    click.echo(f"next: photoz-mmae predict CUTOUTS{table} -o catalog.parquet --model {run.output}/")
