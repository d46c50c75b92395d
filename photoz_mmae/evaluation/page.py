"""A description of a mock survey as one HTML file: table and plots, nothing from the network."""

import importlib.util
import itertools
import os
from pathlib import Path

from photoz_mmae import __version__
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.errors import OutputError, UsageError
from photoz_mmae.evaluation.describe import FEWEST, Description
from photoz_mmae.evaluation.describe_table import (
    COLOUR_NAMES,
    HEADINGS,
    cells,
    colour_cells,
    in_words,
    remarks,
)
from photoz_mmae.evaluation.survey_file import SurveyFile


def check_page(path: Path, overwrite: bool) -> None:
    """Raise before any work what would prevent `write_page`.

    Raises
    ------
    UsageError
        The name does not end in `.html`, or the extra `report` is not installed.
    OutputError
        The file exists, or its folder does not.
    """
    if path.suffix != ".html":
        raise UsageError(f"{path}: the report is HTML; name it {path.stem}.html")
    if any(importlib.util.find_spec(name) is None for name in ("matplotlib", "jinja2")):
        raise UsageError("--report needs matplotlib and jinja2: pip install 'photoz-mmae[report]'")
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file")
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: exists; choose another name or give --overwrite")
        if not path.parent.is_dir():
            raise OutputError(f"{path}: cannot be written (no folder {path.parent})")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def write_page(path: Path, file: SurveyFile, description: Description) -> None:
    """Write the page; it appears only when it is complete.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    html = make_page(file, description)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def make_page(file: SurveyFile, description: Description) -> str:
    """Return the page as HTML, its images embedded."""
    import jinja2

    from photoz_mmae.evaluation.plots import all_plots
    from photoz_mmae.evaluation.style import png, styled

    with styled():
        plots = [
            {"title": plot.title, "caption": plot.caption, "image": png(plot.figure)}
            for plot in all_plots(file, description)
        ]
    name = printable(file.path.name)
    facts = {
        "file": name,
        "objects": f"{file.n:,}",
        "seed": "-" if file.seed is None else file.seed,
        "survey": file.survey,
        "selection": file.selection,
        "bands": "".join(file.bands),
    }
    if file.mock:
        heading = "Mock data"
        notice = "Everything on this page is simulated: mock data, no observation."
    else:
        heading = "Survey file"
        notice = "The file does not say that it is mock data."
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("photoz_mmae", "evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    groups = itertools.groupby(description.rows, lambda row: row.name if row.band else "")
    return environment.get_template("page.html.jinja").render(
        heading=heading,
        name=name,
        notice=notice,
        facts=facts.items(),
        summary=in_words(description),
        headings=HEADINGS,
        groups=[[cells(row) for row in group] for _, group in groups],
        remarks=remarks(file, description),
        fewest=FEWEST,
        colour_names=COLOUR_NAMES,
        colours=colour_cells(description),
        plots=plots,
        version=__version__,
    )
