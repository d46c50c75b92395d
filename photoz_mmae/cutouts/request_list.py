"""What was asked of HSC's cutout service: which object a file is of, and where its target is.

Files of the service hold no id and no target position. They are named `N-cutout-HSC-I-8279-...`
where N is the line of the request list that they answer. The list is the text that the service
takes, with `#? rerun filter ra dec ...` in its first line and the columns in any order; or a
table (FITS, CSV, Parquet), whose row n (from 0) is line n + 2.
"""

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import band_of
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.errors import InputError
from photoz_mmae.tables import TableFile

FIRST_LINE = 2
"""Of the list: the line above has the names of its columns."""

COLUMNS = {
    "id": ("object_id", "# object_id"),
    "ra": ("ira", "ra", "RA"),
    "dec": ("idec", "dec", "DEC"),
}
"""Usual names in a table."""

_NAME = re.compile(r"(\d{1,18})-cutout-(.+?)-\d+-")


@dataclass(frozen=True)
class RequestList:
    """Lines of a request list.

    Attributes
    ----------
    path : Path
    line : array of int, (N,)
        Number in the file, increasing.
    ra, dec : array of float, (N,)
        deg.
    band : list of str, (N,)
        One letter; '' where the line does not say it, `?` for a filter that is none of ugrizy.
    object_id : list of str or None
        None where the list has no ids.
    """

    path: Path
    line: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    band: list[str]
    object_id: list[str] | None


def answers(name: str) -> tuple[int, str] | None:
    """Return the line and the filter that a file of the service says in its name, or None."""
    match = _NAME.match(name)
    return (int(match[1]), match[2]) if match else None


def read_request_list(path: Path, columns: Mapping[str, str]) -> RequestList:
    """Read a request list.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str
        Names of the columns `id`, `ra`, `dec` of a table, where they are not the usual ones.

    Raises
    ------
    InputError
        It is missing, damaged, without positions, or a line of it makes no sense.
    """
    try:
        with path.open("rb") as file:
            is_text = file.read(2) == b"#?"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check --list") from error
    found = _read_text(path) if is_text else _read_table(path, columns)
    wrong = ~((found.ra >= 0) & (found.ra <= 360) & (np.abs(found.dec) <= 90))
    if wrong.any():
        n = int(np.argmax(wrong))
        raise InputError(
            f"{path}: line {found.line[n]}: RA {found.ra[n]}, Dec {found.dec[n]} is no position "
            "in degrees"
        )
    return found


def _read_text(path: Path) -> RequestList:
    lines, ras, decs = array("q"), array("d"), array("d")
    bands: list[str] = []
    with path.open(encoding="utf-8", errors="backslashreplace") as file:
        names = next(file)[2:].split()
        places = {}
        for name in ("ra", "dec", "filter"):
            if names.count(name) != 1:
                raise InputError(
                    f"{path}: line 1 names no column {name!r}; it is to be like "
                    "'#? rerun filter ra dec sw sh image mask variance type'"
                )
            places[name] = names.index(name)
        for number, text in enumerate(file, start=FIRST_LINE):
            words = text.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != len(names):
                raise InputError(
                    f"{path}: line {number} has {len(words)} entries, its first line names "
                    f"{len(names)} columns"
                )
            lines.append(number)
            ras.append(_degrees(words[places["ra"]], "ra", path, number))
            decs.append(_degrees(words[places["dec"]], "dec", path, number))
            bands.append(band_letter(words[places["filter"]]))
    if not lines:
        raise InputError(f"{path}: the list asks for nothing")
    return RequestList(path, np.array(lines), np.array(ras), np.array(decs), bands, None)


def band_letter(text: str) -> str:
    """Return the band of a filter; '' for `all`, `?` for a filter that is none of ugrizy."""
    return "" if text.lower() == "all" else band_of(text) or "?"


def _degrees(text: str, name: str, path: Path, number: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"{path}: line {number}: {name} {printable(text)!r} is no number; give degrees"
        ) from None


def _read_table(path: Path, columns: Mapping[str, str]) -> RequestList:
    table = TableFile(path)
    names = {role: _column(table.names, role, columns) for role in COLUMNS}
    ids = None
    if names["id"] in table.names:
        table = TableFile(path, names["id"])
        ids = [_id(text, n) for n, text in enumerate(table.ids.to_pylist())]
    ra, dec = (table.numbers(names[role], f"--columns {role}=NAME") for role in ("ra", "dec"))
    lines = np.arange(len(table)) + FIRST_LINE
    return RequestList(path, lines, ra, dec, [""] * len(lines), ids)


def _column(names: Sequence[str], role: str, columns: Mapping[str, str]) -> str:
    """Return the column of a role: as `columns` names it where the table has that, else as usual.

    Where there is none, the first of these names, for the message.
    """
    choice = [columns[role]] if role in columns else []
    choice += COLUMNS[role]
    return next((name for name in choice if name in names), choice[0])


def _id(text: str | None, row: int) -> str:
    return printable(text) if text else f"line-{row + FIRST_LINE}"
