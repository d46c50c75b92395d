"""`photoz-mmae predict`."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from photoz_mmae.cli.options import config_option, device_option, overwrite_option, run_option
from photoz_mmae.cli.say import count as _count
from photoz_mmae.cli.say import say as _say
from photoz_mmae.errors import StoppedError
from photoz_mmae.flags import CAUTION, Flag
from photoz_mmae.runs import PredictRun, load_run
from photoz_mmae.survey_run.stopping import signals_held, stop_on_signals

if TYPE_CHECKING:
    from photoz_mmae.model.info import ModelInfo
    from photoz_mmae.survey_run.object_table import CatalogRows
    from photoz_mmae.survey_run.objects import Objects
    from photoz_mmae.survey_run.plan import Part
    from photoz_mmae.survey_run.survey import Summary

PLAIN_INTERVAL = 10.0
"""Seconds between two lines of progress where there is no terminal."""


@click.command(short_help="Cutouts in, one catalogue of redshifts out.")
@click.argument("cutouts", nargs=-1, type=click.Path())
@run_option(
    PredictRun,
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.parquet",
    help="The catalogue; FILE.run/ beside it holds what an interrupted run goes on from.",
)
@run_option(
    PredictRun,
    "--catalog",
    type=click.Path(path_type=Path),
    metavar="TABLE",
    help="A table of objects (Parquet, CSV, FITS, VOTable) with column object_id: their E(B-V) "
    "(ebv), positions (ra, dec), what --keep names.",
)
@run_option(
    PredictRun,
    "--list",
    type=click.Path(path_type=Path),
    metavar="LIST",
    help="What was asked of HSC's cutout service (its text, or a table): ids and positions of "
    "CUTOUTS named N-cutout-...",
)
@run_option(
    PredictRun,
    "--columns",
    metavar="ROLE=NAME,...",
    help="The columns of TABLE, where they have other names: id, ra, dec, ebv; file, which makes "
    "the table's rows the objects; tract, patch.",
)
@run_option(
    PredictRun,
    "--keep",
    metavar="NAME,...",
    help="Columns of TABLE that are passed through to the catalogue.",
)
@run_option(
    PredictRun,
    "--coadds",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Instead of CUTOUTS: coadded images; the objects are those of TABLE, by their positions.",
)
@run_option(PredictRun, "--model", metavar="NAME", help="A shipped model, or a model's folder.")
@device_option
@run_option(
    PredictRun, "--batch-size", metavar="auto|N", help="Objects per pass through the network."
)
@run_option(PredictRun, "--part-size", type=int, help="Objects per part, at most.")
@run_option(
    PredictRun,
    "--masks",
    type=int,
    help="Passes with a quarter of the image hidden, for the spreads: 0 (fastest) to 64.",
)
@click.option(
    "--resample/--no-resample",
    default=None,
    help="Bring images of another pixel scale to the model's, instead of only flagging them.",
)
@run_option(
    PredictRun,
    "--pdf",
    type=click.Choice(["none", "quantiles", "grid"]),
    help="How much of p(z) is stored.",
)
@run_option(PredictRun, "--scheduler", metavar="ADDRESS", help="A Dask scheduler to work for us.")
@run_option(
    PredictRun, "--workers", type=int, help="Local processes.  [default: one per core; 4 per GPU]"
)
@run_option(
    PredictRun,
    "--max-bad",
    type=int,
    help="Exit with 3 when more cutouts than this have no redshift.",
)
@overwrite_option
@config_option
def predict(config: Path | None, **options: Any) -> int:
    """Predict redshifts of CUTOUTS (FITS files or folders; - reads their paths from standard
    input) into one catalogue.

    One row per object, whatever is wrong with it: the column flags says what. The same command
    goes on with a run that was stopped, and brings a finished catalogue up to date with new,
    changed and vanished cutouts.
    """
    run = load_run(PredictRun, config, options)
    try:
        with stop_on_signals(), ExitStack() as stack:
            # Seconds, and a library whose import is cut off cannot be imported again.
            with signals_held():
                from photoz_mmae.survey_run.survey import predict_survey

            summary = predict_survey(run, _Report(stack, run.catalog))
    except KeyboardInterrupt as stop:
        again = "the same command without --overwrite" if run.overwrite else "the same command"
        raise StoppedError(f"stopped; what is finished stays, {again} goes on") from stop
    _print_summary(summary, run.catalog)
    return 3 if summary.problems.bad - summary.problems.gone > run.max_bad else 0


class _Report:
    """Tells how the run goes: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, stack: ExitStack, catalog: Path | None) -> None:
        from rich.console import Console

        self._catalog = catalog
        self._stack = stack
        self._console = Console(stderr=True)
        self._done = 0
        self._total = 0
        self._start = self._last = time.monotonic()

    def catalog(self, path: Path, rows: "CatalogRows") -> None:
        from numpy import isfinite

        table = rows.objects
        said = [_count(len(table.ids), "object")]
        if table.ebv is not None:
            said.append(f"{int(isfinite(table.ebv).sum())} with E(B-V)")
        if table.ra is not None and table.dec is not None:
            said.append(f"{int((isfinite(table.ra) & isfinite(table.dec)).sum())} with a position")
        passed = [
            f"{_count(number, 'row')} {what} passed over"
            for number, what in (
                (rows.repeated, "with the id of an earlier one"),
                (rows.without_id, "without id"),
            )
            if number
        ]
        _say(f"catalog   {path}: {'; '.join([', '.join(said), *passed])}")

    def found(self, objects: "Objects") -> None:
        said = [_count(len(objects.sources), "object")]
        if objects.coadds is not None:
            said[0] += f" for {_count(len(objects.coadds.patches), 'patch', 'patches')} of coadds"
            if objects.absent:
                said.append(f"{objects.absent} on none of them")
        elif objects.absent:
            said.append(f"{objects.absent} whose files are not there")
        if objects.ignored:
            said.append(f"{_count(objects.ignored, 'other file')} ignored")
        _say(f"found     {'; '.join(said)}")
        for problem in objects.coadds.damaged if objects.coadds else ():
            _say(f"          passed over: {problem}")
        if (joined := objects.joined) is not None:
            said = [f"{_count(joined.answers, 'cutout')} answer it"]
            if joined.unanswered:
                absent = f" ({_count(joined.absent, 'object')} without any)" * bool(joined.absent)
                said.append(f"{_count(joined.unanswered, 'line')} have no file{absent}")
            if joined.unlisted:
                said.append(f"{_count(joined.unlisted, 'cutout')} not in it")
            if joined.other:
                said.append(f"{_count(joined.other, 'file')} of other filters ignored")
            _say(f"list      {'; '.join(said)}")

    def unused(self, bands: str) -> None:
        _say(f"bands     the model does not take {', '.join(bands)}, which the cutouts have")

    def begins(self, model: "ModelInfo", device: str, parts: int, todo: "Sequence[Part]") -> None:
        self._total = sum(part.rows for part in todo)
        _say(f"model     {model.name} ({model.sha256[:12]}), device {device}")
        if model.dust != "none" and self._catalog is None:
            _say(
                "no ebv    the model wants E(B-V): give --catalog TABLE (columns object_id, ebv); "
                "without it every row is flagged NO_EBV"
            )
        _say(f"to do     {_count(self._total, 'object')} in {len(todo)} of {_count(parts, 'part')}")
        self._start = self._last = time.monotonic()
        if todo and self._console.is_terminal:
            self._start_bar()

    def part_done(self, rows: int) -> None:
        self._done += rows
        seconds = time.monotonic() - self._start
        rate = self._done / seconds
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._done, rate=f"{rate:,.0f} objects/s")
        elif self._done < self._total and time.monotonic() - self._last > PLAIN_INTERVAL:
            self._last = time.monotonic()
            left = (self._total - self._done) / rate
            _say(
                f"progress  {self._done} of {self._total} objects, {rate:,.0f} per second, "
                f"{left:,.0f} s left"
            )

    def _start_bar(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("objects"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("objects", total=self._total, rate="")
        self._stack.enter_context(self._bar)


def _print_summary(summary: "Summary", catalog: Path | None) -> None:
    problems = summary.problems
    counts = ", ".join(f"{name} {n}" for name, n in sorted(problems.flags.items()))
    bad = f" ({counts})" if counts else ""
    _say(f"rows      {summary.rows}, {problems.bad} without redshift{bad}")
    for source, reason in problems.examples:
        # A file that could not be read is named in the reason already, whichever of several it is.
        _say(f"          {reason if source in reason else f'{source}: {reason}'}")
    if problems.bad - problems.gone > len(problems.examples):
        _say(f"          ... all of them: {summary.problems_file}")
    if summary.gone:
        without = f", {problems.gone} of them without redshift" if problems.gone else ""
        _say(f"gone      {_count(summary.gone, 'cutout')} (their rows stay, SOURCE_GONE){without}")
    if summary.unasked:
        _say(f"others    {_count(summary.unasked, 'cutout')} of earlier runs, not given this time")
    if summary.repeated:
        _say(f"repeated  {_count(summary.repeated, 'row')} share their id (DUPLICATE_ID)")
    if summary.same_sky:
        _say(
            f'same sky  {_count(summary.same_sky, "row")} within 0.5" of another id (DUPLICATE_SKY)'
        )
    if summary.without_ebv and catalog is not None:
        _say(f"no ebv    {_count(summary.without_ebv, 'row')} (NO_EBV): no E(B-V) in {catalog}")
    cautions = [
        f"{flag.name} {summary.flags[str(flag.name)]}"
        for flag in CAUTION & ~(Flag.UNCALIBRATED | Flag.NO_EBV)
        if summary.flags.get(str(flag.name))
    ]
    if cautions:
        _say(f"flags     {', '.join(cautions)}")
    if summary.ids_became_text:
        _say("ids       object_id is text now: not every id is a whole number any more")
    if not summary.changed:
        _say(f"done      {summary.output} is up to date, nothing new")
        return
    if summary.computed:
        rate = summary.computed / summary.seconds
        took = f"{summary.seconds:.1f} s, start of the workers included"
        _say(f"computed  {_count(summary.computed, 'object')} in {took}: {rate:,.0f} objects/s")
    _say(f"written   {summary.output}")
    _say(f"open it   Table.read({str(summary.output)!r}, format='parquet.votable') of astropy")
