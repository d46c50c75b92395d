"""`photoz-mmae pack`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from photoz_mmae.cli.options import ANY_PATH, config_option, overwrite_option, run_option
from photoz_mmae.cli.say import say, what_goes_on
from photoz_mmae.errors import StoppedError
from photoz_mmae.limits import tolerated
from photoz_mmae.load_run import load_run
from photoz_mmae.survey_run.stopping import signals_held, stop_on_signals
from photoz_mmae.survey_runs import PackRun
from photoz_mmae.words import count

if TYPE_CHECKING:
    from photoz_mmae.cutouts.discover import Discovery
    from photoz_mmae.survey_run.pack import PackSummary
    from photoz_mmae.survey_run.plan import Part

INTERVAL = 10.0
"""Seconds between two lines of progress."""


@click.command(short_help="Cutouts in, a few large files out that are read fast.")
@click.argument("cutouts", nargs=-1, type=click.Path(readable=False))
@run_option(
    PackRun,
    "-o",
    "--output",
    type=ANY_PATH,
    metavar="FOLDER",
    help="Where the shards go; its folder pack.run/ holds what an interrupted run goes on from.",
)
@run_option(PackRun, "--size", type=int, help="Objects per shard, at most.")
@run_option(PackRun, "--image-size", type=int, help="Side of the stamps, pixels.")
@run_option(PackRun, "--bands", metavar="LETTERS", help="The bands to pack, in this order.")
@run_option(
    PackRun,
    "--pixel-scale",
    type=float,
    metavar="ARCSEC",
    help="For the photometry of cutouts that do not tell their pixel scale.",
)
@run_option(
    PackRun,
    "--max-bad",
    metavar="N|N%",
    help="Exit with 3 when more cutouts than this can have no redshift.",
)
@overwrite_option
@config_option
def pack(config: Path | None, **options: Any) -> int:
    """Pack CUTOUTS (files or folders that `predict` reads) into shards, which it reads faster.

    One row per object, whatever is wrong with it; pixels are those of the source, bit for bit.
    The same command goes on with a run that was stopped, and packs new cutouts into new shards.
    """
    run = load_run(PackRun, config, options)
    report = _Report()
    try:
        with stop_on_signals():
            with signals_held():
                from photoz_mmae.survey_run.pack import pack_survey

            summary = pack_survey(run, report)
    except KeyboardInterrupt as stop:
        again = what_goes_on(run.overwrite and report.has_begun)
        raise StoppedError(f"stopped; what is finished stays, {again} goes on") from stop
    _print_summary(summary)
    return 3 if summary.bad > tolerated(run.max_bad, summary.rows) else 0


class _Report:
    def __init__(self) -> None:
        self.has_begun = False
        self._done = 0
        self._total = 0
        self._start = self._last = time.monotonic()

    def found(self, discovery: "Discovery") -> None:
        objects, ignored = len(discovery.sources), discovery.ignored
        others = f"; {count(ignored, 'other file')} ignored" if ignored else ""
        say(f"found     {count(objects, 'object')}{others}")

    def begins(self, shards: int, todo: "Sequence[Part]") -> None:
        self.has_begun = True
        self._total = sum(part.rows for part in todo)
        say(f"to do     {count(self._total, 'object')} in {len(todo)} of {count(shards, 'shard')}")
        self._start = self._last = time.monotonic()

    def packed(self, rows: int) -> None:
        self._done += rows
        now = time.monotonic()
        if now - self._last > INTERVAL:
            self._last = now
            rate = self._done / (now - self._start)
            say(f"progress  {self._done} of {self._total} objects, {rate:,.0f} per second")


def _print_summary(summary: "PackSummary") -> None:
    counts = ", ".join(f"{name} {n}" for name, n in sorted(summary.flags.items()))
    bad = f" ({counts})" if counts else ""
    say(f"rows      {summary.rows}, {summary.bad} that can have no redshift{bad}")
    for source, reason in summary.examples:
        say(f"          {reason if source in reason else f'{source}: {reason}'}")
    if summary.gone:
        say(f"gone      {count(summary.gone, 'cutout')} (what was packed of them stays)")
    if summary.unasked:
        say(f"others    {count(summary.unasked, 'cutout')} of earlier runs, not given this time")
    if not summary.written:
        say(f"done      {summary.output} is up to date, nothing new")
        return
    rate = summary.written / summary.seconds
    say(f"packed    {count(summary.written, 'object')} in {summary.seconds:.1f} s: {rate:,.0f}/s")
    say(f"written   {count(summary.shards, 'shard')} in {summary.output}, {summary.size:,} bytes")
