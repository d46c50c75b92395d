"""`photoz-mmae simulate`: a mock survey with known truth."""

from pathlib import Path
from typing import Any

import click

from photoz_mmae.cli.describe import describe_file
from photoz_mmae.cli.options import ANY_PATH, config_option, overwrite_option, run_option
from photoz_mmae.errors import StoppedError, UsageError
from photoz_mmae.load_run import load_run
from photoz_mmae.runs import DescribeRun, SimulateRun
from photoz_mmae.survey_run.stopping import signals_held, stop_on_signals


@click.command(short_help="A mock survey with known redshifts.")
@run_option(SimulateRun, "-n", "n", type=int, metavar="N", help="How many objects.")
@run_option(SimulateRun, "--seed", type=int, help="The same seed gives the same survey.")
@run_option(
    SimulateRun,
    "-o",
    "--output",
    type=ANY_PATH,
    metavar="FILE.hdf5",
    help="Write a training file in the layout of GalaxiesML-Spectra.",
)
@run_option(
    SimulateRun,
    "--cutouts",
    type=ANY_PATH,
    metavar="DIR",
    help="Write FITS cutouts and DIR/truth.parquet.",
)
@run_option(
    SimulateRun,
    "--layout",
    type=click.Choice(["cube", "mef", "per-band", "hsc-das", "lsst"]),
    help="Cutouts as one cube, one image extension or one file per band, or as the cutout service "
    "of HSC or Rubin sends them.",
)
@run_option(
    SimulateRun,
    "--survey",
    metavar="NAME",
    help="Bands, pixel scale, depth and seeing: hsc-wide, lsst-y1, lsst-y10 or lsst-dp1.",
)
@run_option(
    SimulateRun,
    "--selection",
    metavar="desi|magnitude:LIMIT,...",
    help="The targets of GalaxiesML-Spectra, or field galaxies to LIMIT in i; several take turns.",
)
@run_option(SimulateRun, "--fraction-stars", type=float, help="Share of stars among the objects.")
@run_option(
    SimulateRun,
    "--fraction-bad",
    type=float,
    help="Share of objects with something wrong: a missing band, a cosmic ray, ...",
)
@run_option(
    SimulateRun,
    "--ebv",
    type=float,
    help="Galactic E(B-V) of every object, instead of 0 to 0.3 as it comes.",
)
@run_option(
    SimulateRun,
    "--spectrum-pixels",
    type=int,
    metavar="259|7783",
    help="Of 24 A, or of 0.8 A as in the real file.",
)
@run_option(SimulateRun, "--workers", type=int, help="Processes to generate with.")
@run_option(SimulateRun, "--device", metavar="cpu|cuda[:K]", help="Where the images are made.")
@run_option(
    DescribeRun,
    "--describe",
    type=ANY_PATH,
    metavar="FILE.hdf5",
    help="Generate nothing: hold this training file against published statistics.",
)
@run_option(
    DescribeRun,
    "--report",
    type=ANY_PATH,
    metavar="FILE.html",
    help="With --describe, a page of plots.",
)
@overwrite_option
@config_option
def simulate(
    config: Path | None, describe: Path | None, report: Path | None, **options: Any
) -> None:
    """Generate mock data: galaxies and quasars of known redshift, as HSC or LSST and DESI see them.

    \b
    photoz-mmae simulate -n 20000 --seed 1 -o mock.hdf5
    photoz-mmae simulate -n 2000 --seed 2 --cutouts cutouts/ --layout cube
    photoz-mmae simulate -n 2000 --survey lsst-y10 --fraction-bad 0.1 --cutouts lsst/ --layout lsst
    photoz-mmae simulate --describe mock.hdf5 --report mock.html
    """
    if describe is not None or report is not None:
        describe_file(config, describe, report, options)
        return
    run = load_run(SimulateRun, config, options)
    if run.output is None and run.cutouts is None:
        raise UsageError("nothing to write: give -o FILE.hdf5, --cutouts DIR, or both")
    _simulate(run)


def _simulate(run: SimulateRun) -> None:
    from contextlib import ExitStack, closing
    from time import monotonic

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from photoz_mmae.cutouts.ids import printable
    from photoz_mmae.inference.device import resolve_device
    from photoz_mmae.simulation.fits_cutouts import TRUTH, CutoutFolder
    from photoz_mmae.simulation.recipe import Recipe
    from photoz_mmae.simulation.request_list import RequestList
    from photoz_mmae.simulation.stream import simulate as stream
    from photoz_mmae.simulation.write import TrainingFile
    from photoz_mmae.surveys import get_survey

    recipe = Recipe(
        survey=get_survey(run.survey),
        seed=run.seed,
        selection=run.selection,
        fraction_stars=run.fraction_stars,
        fraction_bad=run.fraction_bad,
        ebv=run.ebv,
        spectrum_pixels=run.spectrum_pixels,
    )
    device = resolve_device(run.device)
    start = monotonic()
    console = Console(stderr=True)
    columns = ("simulating", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_written = False
    try:
        with stop_on_signals(), ExitStack() as stack:
            sinks: list[TrainingFile | CutoutFolder] = []
            if run.output is not None:
                file = TrainingFile(run.output, run.n, recipe, run.overwrite)
                sinks.append(stack.enter_context(file))
            if run.cutouts is not None:
                folder = CutoutFolder(run.cutouts, run.layout, recipe, run.overwrite)
                sinks.append(stack.enter_context(folder))
            bar = stack.enter_context(
                Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
            )
            task = bar.add_task("", total=run.n)
            chunks = stack.enter_context(closing(stream(recipe, run.n, run.workers, device)))
            for chunk in chunks:
                for sink in sinks:
                    sink.add(chunk)
                bar.advance(task, len(chunk))
            # All files take their names, or none; then it is too late to stop.
            with signals_held():
                stack.close()
                is_written = True
    except KeyboardInterrupt as error:
        if not is_written:
            said = "stopped; nothing was written, the same command starts anew"
            raise StoppedError(said) from error
    seconds = monotonic() - start
    click.echo(
        f"{run.n:,} mock objects (seed {run.seed}) in {seconds:.1f} s, {run.n / seconds:,.0f}/s"
    )
    if run.output is not None:
        follow = f"; next: photoz-mmae train {run.output} -o MODEL"
        click.echo(printable(f"  {run.output}: training file{follow}"))
    if run.cutouts is not None:
        # Files of the HSC service name no object; what was asked of it does.
        asked = f"--list {run.cutouts / RequestList.names[1]} " if run.layout == "hsc-das" else ""
        told = f"{asked}--catalog {run.cutouts / TRUTH} -o catalog.parquet"
        model = "" if run.survey == SimulateRun.survey else " --model MODEL"
        follow = f"; next: photoz-mmae predict {run.cutouts} {told}{model}"
        click.echo(f"  {run.cutouts}: FITS cutouts ({run.layout}) and {TRUTH}{follow}")
