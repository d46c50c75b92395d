"""A description of a mock survey as text: lines and tables for the terminal, cells for the page."""

import math

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from photoz_mmae.cutouts.ids import printable
from photoz_mmae.evaluation import published
from photoz_mmae.evaluation.describe import FEWEST, Description, Row
from photoz_mmae.evaluation.survey_file import SurveyFile

HEADINGS = ("statistic", "band", "file", "published", "ratio", "passes", "")
COLOUR_NAMES = ("g-r", "r-i", "i-z")
_STYLES = {"pass": "green", "miss": "bold red", "": "dim"}


def what_it_is(file: SurveyFile) -> str:
    """Say in one line what the file holds."""
    objects = f"{file.n:,} object{'s' if file.n > 1 else ''}"
    about = f"{objects}, survey {file.survey}, selection {file.selection}"
    if not file.mock:
        return f"{about}; the file does not say that it is mock data"
    return f"mock data, {about}" + ("" if file.seed is None else f", seed {file.seed}")


def in_words(description: Description) -> str:
    """Count what passes and what misses."""
    verdicts = [row.verdict for row in description.rows]
    passed, missed, other = (verdicts.count(verdict) for verdict in ("pass", "miss", ""))
    line = f"{passed} of {passed + missed} rows pass, {missed} miss"
    return f"{line}; {other} not judged" if other else line


def cells(row: Row) -> tuple[str, ...]:
    """Lay out a row under `HEADINGS`."""
    ratio = "" if row.target is None else _number(row.value / row.target, "{:.3f}")
    return (
        row.name,
        row.band,
        _number(row.value, "{:.4f}"),
        "" if row.target is None else _number(row.target, "{:.4f}"),
        ratio,
        f"{row.low:.3g} - {row.high:.3g}",
        row.verdict or "-",
    )


def colour_cells(description: Description) -> list[tuple[str, str, list[tuple[str, bool]]]]:
    """Per bin of redshift: the bin, its objects, and six cells with whether each misses.

    The cells are the differences of the medians, then the ratios of the widths, each of g-r, r-i
    and i-z.
    """
    colours = description.colours
    if colours is None:
        return []
    edges = published.COLOUR_EDGES
    lines = []
    for number, count in enumerate(colours.count):
        texts = [_number(value, "{:+.3f}") for value in colours.difference[number]]
        texts += [_number(value, "{:.2f}") for value in colours.width_ratio[number]]
        missed = np.concatenate([missed[number] for missed in colours.missed])
        name = f"{edges[number]:.2f} - {edges[number + 1]:.2f}"
        lines.append((name, f"{count:,}", list(zip(texts, missed.tolist(), strict=True))))
    return lines


def remarks(file: SurveyFile, description: Description) -> list[str]:
    """Say what a reader of the table must know."""
    lines = [f"not shown: {note}" for note in description.notes]
    unjudged = [f"not judged: {row.name} ({row.note})" for row in description.rows if row.note]
    lines += dict.fromkeys(unjudged)  # once for all bands
    if file.n < published.OBJECTS:
        lines.append(
            f"the targets are for {published.OBJECTS:,} objects; with {file.n:,} some rows miss "
            "by chance"
        )
    return lines


def print_description(console: Console, file: SurveyFile, description: Description) -> None:
    """Print all of it but the last line (see `in_words`)."""
    name = printable(str(file.path))
    console.print(f"{name}: {what_it_is(file)}", markup=False, soft_wrap=True)
    if description.rows:
        table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
        for heading in HEADINGS:
            numeric = heading in ("file", "published", "ratio", "passes")
            table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
        for before, row in zip([None, *description.rows], description.rows, strict=False):
            if before is not None and before.name != row.name and (before.band or row.band):
                table.add_section()
            *texts, verdict = cells(row)
            table.add_row(*texts, Text(verdict, _STYLES[row.verdict]))
        console.print(table)
    if description.colours is not None:
        console.print(_colour_table(description))
    for line in remarks(file, description):
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _colour_table(description: Description) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        title="Colours without Galactic reddening against zCOSMOS-bright; * misses",
        title_justify="left",
        title_style="",
        caption=f"bins of fewer than {FEWEST} objects are not judged",
        caption_justify="left",
    )
    table.add_column("z", no_wrap=True)
    table.add_column("objects", justify="right", no_wrap=True)
    for kind in ("median", "width /"):
        for name in COLOUR_NAMES:
            table.add_column(f"{kind}\n{name}", justify="right", no_wrap=True)
    for name, count, values in colour_cells(description):
        # The mark stands for those who see no colour; a space keeps the numbers in line.
        marked = [
            Text(f"{text}*", _STYLES["miss"]) if missed else Text(f"{text} ")
            for text, missed in values
        ]
        table.add_row(name, count, *marked)
    return table


def _number(value: float, style: str) -> str:
    if not math.isfinite(value):
        return "-"
    return style.format(value) if abs(value) < 1e4 else f"{value:.3g}"
