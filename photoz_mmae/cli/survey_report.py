"""What `predict` and `embed` say while they go through a survey, and at the end."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from photoz_mmae.cli.say import say
from photoz_mmae.flags import CAUTION, Flag
from photoz_mmae.words import count

if TYPE_CHECKING:
    from photoz_mmae.model.info import ModelInfo
    from photoz_mmae.survey_run.object_table import CatalogRows
    from photoz_mmae.survey_run.objects import Objects
    from photoz_mmae.survey_run.plan import Part
    from photoz_mmae.survey_run.telling import Summary

_SAID_ABOVE = Flag.NO_EBV | Flag.DUPLICATE_ID | Flag.DUPLICATE_SKY | Flag.SOURCE_GONE

PLAIN_INTERVAL = 10.0
"""Seconds between two lines of progress where there is no terminal."""


class SurveyReport:
    """Tells how the run goes: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, stack: ExitStack, catalog: Path | None) -> None:
        from rich.console import Console

        self.has_begun = False
        self._catalog = catalog
        self._has_ebv = False
        self._stack = stack
        self._console = Console(stderr=True)
        self._done = 0
        self._total = 0
        self._start = self._last = time.monotonic()

    def catalog(self, path: Path, rows: "CatalogRows") -> None:
        from numpy import any as any_
        from numpy import isfinite

        table = rows.objects
        said = [count(len(table.ids), "object")]
        if table.ebv is not None:
            self._has_ebv = True
            said.append(f"{int(isfinite(table.ebv).sum())} with E(B-V)")
        if table.psf_fwhm:
            known = any_([isfinite(values) for values in table.psf_fwhm.values()], axis=0)
            said.append(f"{int(known.sum())} with seeing ({''.join(table.psf_fwhm)})")
        if table.ra is not None and table.dec is not None:
            said.append(f"{int((isfinite(table.ra) & isfinite(table.dec)).sum())} with a position")
        passed = [
            f"{count(number, 'row')} {what} passed over"
            for number, what in (
                (rows.repeated, "with the id of an earlier one"),
                (rows.without_id, "without id"),
            )
            if number
        ]
        say(f"catalog   {path}: {'; '.join([', '.join(said), *passed])}")

    def found(self, objects: "Objects") -> None:
        said = [count(len(objects.sources), "object")]
        if objects.coadds is not None:
            said[0] += f" for {count(len(objects.coadds.patches), 'patch', 'patches')} of coadds"
            if objects.absent:
                said.append(f"{objects.absent} on none of them")
        elif objects.absent:
            said.append(f"{objects.absent} whose files are not there")
        if objects.ignored:
            said.append(f"{count(objects.ignored, 'other file')} ignored")
        say(f"found     {'; '.join(said)}")
        for problem in objects.coadds.damaged if objects.coadds else ():
            say(f"          passed over: {problem}")
        if (joined := objects.joined) is not None:
            said = [f"{count(joined.answers, 'cutout')} answer it"]
            if joined.unanswered:
                absent = f" ({count(joined.absent, 'object')} without any)" * bool(joined.absent)
                said.append(f"{count(joined.unanswered, 'line')} have no file{absent}")
            if joined.unlisted:
                said.append(f"{count(joined.unlisted, 'cutout')} not in it")
            if joined.other:
                said.append(f"{count(joined.other, 'file')} of other filters ignored")
            say(f"list      {'; '.join(said)}")

    def unused(self, bands: str) -> None:
        say(f"bands     the model does not take {', '.join(bands)}, which the cutouts have")

    def begins(self, model: "ModelInfo", device: str, parts: int, todo: "Sequence[Part]") -> None:
        self.has_begun = True
        self._total = sum(part.rows for part in todo)
        say(f"model     {model.name} ({model.sha256[:12]}), device {device}")
        if model.dust != "none" and not self._has_ebv:
            how = "give --catalog TABLE (columns object_id, ebv)"
            if self._catalog is not None:
                how = f"{self._catalog} has no column ebv; --columns ebv=NAME names another"
            say(f"no ebv    the model wants E(B-V): {how}; without it every row is flagged NO_EBV")
        say(f"to do     {count(self._total, 'object')} in {len(todo)} of {count(parts, 'part')}")
        self._start = self._last = time.monotonic()
        if todo and self._console.is_terminal:
            self._start_bar()

    def workers(self, said: str) -> None:
        say(f"workers   {said}")

    def part_done(self, rows: int) -> None:
        self._done += rows
        seconds = time.monotonic() - self._start
        rate = self._done / seconds
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._done, rate=f"{rate:,.0f} objects/s")
        elif self._done < self._total and time.monotonic() - self._last > PLAIN_INTERVAL:
            self._last = time.monotonic()
            left = (self._total - self._done) / rate
            say(
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


def print_summary(summary: "Summary", catalog: Path | None) -> None:
    problems = summary.problems
    counts = ", ".join(f"{name} {n}" for name, n in sorted(problems.flags.items()))
    bad = f" ({counts})" if counts else ""
    say(f"rows      {summary.rows}, {problems.bad} without {summary.thing}{bad}")
    for source, reason in problems.examples:
        # A file that could not be read is named in the reason already, whichever of several it is.
        say(f"          {reason if source in reason else f'{source}: {reason}'}")
    if problems.bad - problems.gone > len(problems.examples):
        say(f"          ... all of them: {summary.problems_file}")
    if problems.bad > problems.gone and problems.flags.get(str(Flag.READ_ERROR.name)):
        say("          (files that were only out of reach: the same command with --retry-bad)")
    if summary.gone:
        without = f", {problems.gone} of them without {summary.thing}" if problems.gone else ""
        say(f"gone      {count(summary.gone, 'cutout')} (their rows stay, SOURCE_GONE){without}")
    if summary.unasked:
        say(f"others    {count(summary.unasked, 'cutout')} of earlier runs, not given this time")
    if summary.repeated:
        say(f"repeated  {count(summary.repeated, 'row')} share their id (DUPLICATE_ID)")
    if summary.same_sky:
        say(f'same sky  {count(summary.same_sky, "row")} within 0.5" of another id (DUPLICATE_SKY)')
    if summary.without_ebv and catalog is not None:
        say(f"no ebv    {count(summary.without_ebv, 'row')} (NO_EBV): no E(B-V) in {catalog}")
    cautions = [
        f"{flag.name} {summary.flags[str(flag.name)]}"
        for flag in CAUTION & ~(Flag.UNCALIBRATED | _SAID_ABOVE)
        if summary.flags.get(str(flag.name))
    ]
    if cautions:
        say(f"flags     {', '.join(cautions)}")
    if summary.ids_became_text:
        say("ids       object_id is text now: not every id is a whole number any more")
    if summary.unplaced:
        say(f"no place  {count(summary.unplaced, 'row')} without position: in no_position.parquet")
    if (ensemble := summary.ensemble) is not None:
        without = f"; {count(ensemble.left_out, 'row')} without" if ensemble.left_out else ""
        say(f"p(z)      {ensemble.path}: {count(ensemble.written, 'distribution')}{without}")
    if summary.exit_code:
        too_many = f"{problems.bad - problems.gone} without {summary.thing}"
        say(f"too many  {too_many}, --max-bad allows {summary.tolerated}: exit code 3")
    if summary.computed:
        rate = summary.computed / summary.seconds
        took = f"{summary.seconds:.1f} s, start of the workers included"
        say(f"computed  {count(summary.computed, 'object')} in {took}: {rate:,.0f} objects/s")
    if not summary.changed:
        came_out = "every row came out as it was" if summary.computed else "nothing new"
        say(f"done      {summary.output} is up to date, {came_out}")
        return
    say(f"written   {summary.output}")
    say(f"open it   {_how_to_open(summary)}")


def _how_to_open(summary: "Summary") -> str:
    output = str(summary.output)
    if summary.hats:
        return f"lsdb.open_catalog({output!r})"
    if summary.output.suffix == ".parquet":
        return f"Table.read({output!r}, format='parquet.votable') of astropy"
    return f"select * from '{output}/*.parquet' in duckdb, pandas.read_parquet({output!r})"
