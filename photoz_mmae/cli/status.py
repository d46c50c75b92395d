"""`photoz-mmae status`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from photoz_mmae.cli.options import ANY_PATH
from photoz_mmae.words import count

if TYPE_CHECKING:
    from photoz_mmae.survey_run.status_facts import Progress, Status


@click.command(short_help="How a run of predict or embed stands.")
@click.argument("run", type=ANY_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def status(run: Path, as_json: bool) -> None:
    """Say how the RUN of `predict` or `embed` stands: at work, ended or died, how far it is, how
    fast, and how its catalogue is.

    RUN is the catalogue, file or folder, there yet or not, or its run folder. Nothing is locked or
    written.
    """
    from photoz_mmae.survey_run.status import run_status

    found = run_status(run)
    if as_json:
        import json

        click.echo(json.dumps(found.as_json(), indent=1, allow_nan=False))
        return
    from rich.console import Console
    from rich.markup import escape

    from photoz_mmae.cutouts.ids import printable

    console = Console(highlight=False, soft_wrap=True)
    for name, text in _lines(found):
        style = _STYLES.get(found.state, "bold") if name == "state" else None
        console.print(f"[cyan]{name:<9}[/cyan] {escape(printable(text))}", style=style)


_STYLES = {"running": "bold green", "died": "bold red", "unknown": "bold yellow"}


def _lines(found: "Status") -> list[tuple[str, str]]:
    """Name and text of each line."""
    lines = [("run", found.run), ("state", _state(found))]
    lines += [("progress", text) for text in _progress(found.progress)]
    if found.rate is not None:
        now = f", {found.rate_now:,.0f} over the last parts" if found.rate_now else ""
        lines.append(("rate", f"{found.rate:,.0f} objects/s since it began{now}"))
    if found.seconds_left is not None:
        lines.append(("left", _duration(found.seconds_left)))
    flags = ", ".join(f"{name} {number}" for name, number in sorted(found.flags.items()))
    lines.append(("without", f"{count(found.rows_bad, 'row')} without {found.thing}"))
    lines.append(("flags", flags or "none"))
    for slow in found.slowest:
        which = f": {slow.first} to {slow.last}" if slow.first is not None else ""
        text = f"part {slow.part}, {count(slow.rows, 'row')} in {slow.seconds:.1f} s{which}"
        lines.append(("slowest", text))
    catalogue = found.catalogue
    rows = f", {count(catalogue.rows, 'row')}" if catalogue.rows is not None else ""
    created = f", made {catalogue.created}" if catalogue.created else ""
    lines.append(("catalogue", f"{catalogue.path}: {catalogue.says}{rows}{created}"))
    # What is repeated is said once.
    return [
        ("" if number and lines[number - 1][0] == name else name, text)
        for number, (name, text) in enumerate(lines)
    ]


def _state(found: "Status") -> str:
    who = f"process {found.process} on {found.host}"
    age = ""
    if found.last_part_age is not None:
        age = f"; the last part was finished {_duration(found.last_part_age)} ago"
    if found.state == "running":
        return f"running: {who} since {found.since}{age}"
    if found.state == "died":
        return f"died: {who}, begun {found.since}, is gone without a word{age}"
    if found.state == "unknown":
        return f"not known: {who}, begun {found.since}, cannot be seen from this host{age}"
    message = f": {found.message}" if found.message else ""
    return f"ended {found.ended} with exit code {found.exit}{message}"


def _progress(progress: "Progress") -> list[str]:
    if progress.rows is None:
        done = f"{count(progress.rows_done, 'row')} in {count(progress.parts_done, 'part')}"
        return [f"{done} are there; what there is to do was not known yet"]
    share = 100 * progress.rows_done / max(progress.rows, 1)
    lines = [
        f"{progress.rows_done} of {count(progress.rows, 'row')} ({share:.1f} %), "
        f"{progress.parts_done} of {count(progress.parts or 0, 'part')}"
    ]
    if progress.rows_to_do:
        lines.append(
            f"{progress.rows_done_now} of {count(progress.rows_to_do, 'row')}, "
            f"{progress.parts_done_now} of {count(progress.parts_to_do or 0, 'part')} "
            "that this command had to do"
        )
    return lines


def _duration(seconds: float) -> str:
    """Return "75 s", "12 min" or "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
