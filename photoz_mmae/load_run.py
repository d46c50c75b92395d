"""A run from defaults, a TOML file and the command line; each later source wins.

An unknown key is an error that names the nearest known one.
"""

import dataclasses
import difflib
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from photoz_mmae.errors import InputError, UsageError
from photoz_mmae.runs import MISSING

_ARGUMENTS = {"cutouts": "CUTOUTS", "catalog": "CATALOG", "data": "DATA", "files": "FILES"}
"""Fields that stand on the command line without a name."""

Run = TypeVar("Run")


def load_run(kind: type[Run], config: Path | None, options: Mapping[str, Any]) -> Run:
    """Build a run of `kind` from defaults, a TOML file and the options that were given.

    Parameters
    ----------
    kind : type
        One of the dataclasses of `runs` and `survey_runs`.
    config : Path or None
        TOML file with the fields of `kind` as top-level keys; `-` and `_` are the same.
    options : mapping
        From the command line; entries that are None or an empty tuple were not given.

    Raises
    ------
    InputError
        The TOML file cannot be read.
    UsageError
        An unknown key, a missing one, or a value out of its range.
    """
    values = _read_toml(config) if config else {}
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            spelt = [name.replace("_", "-") for name in known]
            near = difflib.get_close_matches(key.replace("_", "-"), spelt, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(spelt)}"
            raise UsageError(f"{config}: unknown key {key.replace('_', '-')!r}; {hint}")
    values |= {key: value for key, value in options.items() if value is not None and value != ()}
    try:
        return kind(**values)
    except ValidationError as error:
        where = f" (options and {config})" if config else ""
        raise UsageError("; ".join(_problems(error)) + where) from error


def _problems(error: ValidationError) -> Iterator[str]:
    """One sentence per field; of a field that may be one of several kinds, all in one."""
    for name, problems in itertools.groupby(error.errors(), lambda problem: problem["loc"][0]):
        option = "-n" if name == "n" else f"--{str(name).replace('_', '-')}"
        said = [_problem(problem["type"], problem["msg"]) for problem in problems]
        yield f"{_ARGUMENTS.get(str(name), option)}: {' or '.join(said)}"


def _problem(kind: str, message: str) -> str:
    if kind == "missing":
        return MISSING
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return message.partition(",")[0].replace("Input should be", "must be")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        return {key.replace("-", "_"): value for key, value in tomllib.loads(text).items()}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error
