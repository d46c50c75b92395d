"""`photoz-mmae verify`."""

from pathlib import Path
from typing import Any

import click

from photoz_mmae.cli.options import ANY_PATH, config_option, run_option
from photoz_mmae.errors import CheckError
from photoz_mmae.load_run import load_run
from photoz_mmae.survey_runs import VerifyRun
from photoz_mmae.words import count

_STYLES = {"ok": "green", "FAILED": "bold red", "not checked": "yellow"}


@click.command(short_help="Whether a finished catalogue is sound.")
@click.argument("catalog", type=ANY_PATH, required=False, metavar="CATALOG")
@run_option(
    VerifyRun,
    "--against",
    type=click.Path(readable=False),
    multiple=True,
    metavar="CUTOUTS",
    help="A folder or file of cutouts: each cutout must have one row, and each row that is not "
    "SOURCE_GONE a cutout. Give it once for each folder that the catalogue is of.",
)
@run_option(
    VerifyRun, "--sample", type=int, metavar="N", help="Objects that are predicted again; 0: none."
)
@run_option(
    VerifyRun,
    "--model",
    metavar="NAME",
    help="A shipped model, or a model's folder.  [default: the one that CATALOG names]",
)
@run_option(
    VerifyRun,
    "--device",
    metavar="auto|cpu|cuda[:K]",
    help="Where they are predicted again.  [default: as CATALOG was made, if there is one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@config_option
def verify(config: Path | None, as_json: bool, **options: Any) -> None:
    """Check CATALOG, which `predict` or `embed` has finished: by itself, by its run folder where
    that is there, and by predicting some of its objects again.

    A line per check: ok, FAILED with what and where, or not checked with why. Exit code 0 when
    none failed, 8 when one did. Nothing is written.
    """
    run = load_run(VerifyRun, config, options)

    from photoz_mmae.survey_run.verify import verify

    result = verify(run)
    if as_json:
        import json

        click.echo(json.dumps(result.as_json(), indent=1, allow_nan=False))
    else:
        from rich.console import Console
        from rich.markup import escape

        from photoz_mmae.cutouts.ids import printable

        console = Console(highlight=False, soft_wrap=True)
        for check in result.checks:
            style = _STYLES[check.verdict]
            head = f"[{style}]{check.verdict:<11}[/{style}] {check.name:<9}"
            console.print(f"{head} {escape(printable(check.text))}")
        if not result.failed:
            left = [check for check in result.checks if check.verdict == "not checked"]
            done = count(len(result.checks) - len(left), "check")
            console.print(f"ok, {done}; {len(left)} not done" if left else f"ok, all {done}")
    if result.failed:
        failed = f"{count(len(result.failed), 'check')} failed: {', '.join(result.failed)}"
        raise CheckError(f"{run.catalog}: {failed}; {_what_to_do(set(result.failed))}")


def _what_to_do(failed: set[str]) -> str:
    """Return the remedy that covers all that failed, the strongest first."""
    if "model" in failed:  # what it should hold follows from that
        return "restore the model that it was made with, or name it with --model; then verify again"
    if failed & {"readable", "files", "schema", "checksum", "values", "counts"}:
        return "move it away, and the command that made it makes it again"
    if failed & {"rows", "ids", "parts", "content", "against"}:
        return "the command that made it brings it up to date, and computes damaged parts again"
    return "its cutouts or the program are not as they were: make it again with --overwrite"
