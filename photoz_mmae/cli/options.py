"""Options shared by several verbs, and how a verb turns them into its run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

# What cannot be read is said where it is read: an input, in one line, not a wrong usage.
ANY_PATH = click.Path(readable=False, path_type=Path)

config_option = click.option(
    "--config",
    type=ANY_PATH,
    metavar="FILE.toml",
    help="Read settings from this file; options given here win over it.",
)
device_option = click.option(
    "--device",
    metavar="auto|cpu|cuda[:K]",
    help="Where the network runs; auto takes a GPU when there is one.  [default: auto]",
)
overwrite_option = click.option(
    "--overwrite/--no-overwrite", default=None, help="Start anew, and replace what is there."
)


def run_option(
    kind: type, *names: str, help: str, **attributes: Any
) -> Callable[[Command], Command]:
    """Make a click option whose documented default is that of the run's dataclass field."""
    field_name = max(names, key=len).split("/")[0].lstrip("-").replace("-", "_")
    field = next(field for field in dataclasses.fields(kind) if field.name == field_name)
    default = getattr(field.default, "default", field.default)
    if isinstance(default, tuple) and default:
        default = ",".join(map(str, default))
    if default is not None and isinstance(default, (str, int, float)):
        help = f"{help}  [default: {default}]"
    return click.option(*names, default=None, help=help, **attributes)
