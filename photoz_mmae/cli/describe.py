"""`photoz-mmae simulate --describe`: a training file beside real data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from photoz_mmae.errors import UsageError
from photoz_mmae.load_run import load_run
from photoz_mmae.runs import DescribeRun


def describe_file(
    config: Path | None, describe: Path | None, report: Path | None, options: Mapping[str, Any]
) -> None:
    """Print the statistics of a file and, on request, write its page of plots."""
    if describe is None:
        raise UsageError("--report is the page of --describe FILE.hdf5; give both")
    overwrite = options["overwrite"]
    if any(value is not None for name, value in options.items() if name != "overwrite"):
        raise UsageError("--describe takes no option but --report and --overwrite")
    chosen = {"describe": describe, "report": report, "overwrite": overwrite}
    run = load_run(DescribeRun, config, chosen)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from photoz_mmae.cutouts.ids import printable
    from photoz_mmae.evaluation.describe import describe as compute
    from photoz_mmae.evaluation.describe_table import in_words, print_description
    from photoz_mmae.evaluation.survey_file import SurveyFile

    if run.report is not None:
        from photoz_mmae.evaluation.page import check_page, write_page

        check_page(run.report, run.overwrite)
    progress = Console(stderr=True)
    columns = ("reading", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with SurveyFile(run.describe) as file:
        with Progress(
            *columns, console=progress, disable=not progress.is_terminal, transient=True
        ) as bar:
            task = bar.add_task("", total=file.n)
            description = compute(file, lambda n: bar.advance(task, n))
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = max(console.width, 120)  # into a file or a pipe: nothing to wrap for
        print_description(console, file, description)
        if run.report is not None:
            write_page(run.report, file, description)
    if run.report is not None:
        click.echo(f"  {printable(str(run.report))}: page of plots")
    click.echo(in_words(description))
