"""The formats of tables: told apart by content, and what a file says about its columns.

A Parquet file is read column by column by whoever wants it; every other format is read whole.
"""

import gzip
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.csv

from photoz_mmae.errors import InputError

UNREADABLE = (
    pa.ArrowException,
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    TypeError,
    IndexError,
    SyntaxError,  # astropy's errors on VOTable files are of this kind
)
"""What the libraries raise for a damaged file."""

VOTABLE_KEY = "IVOA.VOTable-Parquet.content"
"""Key of a Parquet file's metadata that holds a VOTable document without data (VOParquet)."""


@dataclass(frozen=True)
class About:
    """What a file says about a column."""

    unit: str | None = None
    ucd: str = ""
    description: str = ""


def kind_of_table(path: Path) -> str:
    """Return `parquet`, `FITS`, `VOTable`, `ECSV` or `CSV`, from the first bytes.

    Raises
    ------
    InputError
        The file is missing, empty, or none of these.
    """
    try:
        with _open(path) as file:
            head = file.read(4096)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give a file with a table") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from error
    if not head.strip():
        raise InputError(f"{path}: the file is empty")
    begins = [
        (b"PAR1", "parquet"),
        (b"SIMPLE  =", "FITS"),
        (b"<?xml", "VOTable"),
        (b"<VOTABLE", "VOTable"),
        (b"# %ECSV", "ECSV"),
    ]
    for beginning, kind in begins:
        if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(beginning):
            return kind
    if b"\0" in head:
        raise InputError(
            f"{path}: neither CSV, Parquet, FITS nor VOTable; convert it to one of them"
        )
    return "CSV"


def read_whole(
    path: Path, kind: str, id_column: str
) -> tuple[pa.Table, list[str], dict[str, About]]:
    """Read a table that is not Parquet.

    Parameters
    ----------
    path : Path
    kind : str
        As `kind_of_table` says.
    id_column : str
        Kept as text where the format has no types.

    Returns
    -------
    table : pyarrow.Table
    unread : list of str
        Columns of more than one dimension, times and coordinates: no redshifts and no ids.
    about : dict of str to About

    Raises
    ------
    Exception
        One of `UNREADABLE`.
    """
    if kind == "CSV":
        return _read_csv(path, id_column), [], {}
    from astropy.table import Column

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several tables in the file, odd units: not our matter
        table = _READ[kind](path)
        flat = [
            name
            for name in table.colnames
            if isinstance(table[name], Column) and table[name].ndim == 1
        ]
        columns = pa.table({name: _from_astropy(table[name]) for name in flat})
        about = {
            name: _about(table, number, name)
            for number, name in enumerate(table.colnames, 1)
            if name in flat
        }
    return columns, [name for name in table.colnames if name not in flat], about


def parquet_about(schema: pa.Schema, metadata: Mapping[str, str]) -> dict[str, About]:
    """Return what a Parquet file says of its columns: VOParquet's document, else its fields."""
    about = {}
    for field in schema:
        said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        about[field.name] = About(
            said.get("unit") or None, said.get("ucd", ""), said.get("description", "")
        )
    try:
        document = ElementTree.fromstring(metadata.get(VOTABLE_KEY, "<VOTABLE/>"))
    except ElementTree.ParseError:
        return about
    for field in document.iterfind(".//{*}FIELD"):
        description = (field.findtext("{*}DESCRIPTION") or "").strip()
        about[field.get("name", "")] = About(
            field.get("unit") or None, field.get("ucd", ""), description
        )
    return about


def first_line(error: BaseException) -> str:
    """Return what an error says first, in one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _open(path: Path) -> IO[bytes]:
    """Open for reading, through gzip where the first bytes say so."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def _read_csv(path: Path, id_column: str) -> Any:
    with _open(path) as file:
        lines = iter(lambda: file.readline(65536), b"")
        header = next((line for line in lines if line.strip(b"\r\n")), b"")
    delimiter = "\t" if b"\t" in header and b"," not in header else ","
    line = header.decode("utf-8-sig", "replace").strip("\r\n").partition("\r")[0]
    names = [name.strip('"') for name in line.split(delimiter)]
    # Ids stay text, so that 0017 is not 17 and no digit is lost. The name itself is for headers of
    # several lines.
    ids = [id_column, *(name for name in names if _bare(name) == id_column)]
    with _open(path) as file:
        table = pyarrow.csv.read_csv(
            file,
            # Its threads, alive when the program ends with an error, would abort it.
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(ids, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    return table.rename_columns([_bare(name) for name in table.column_names])


def _bare(name: str) -> str:
    """Return the name of a column; some archives write "# name", some people ", name"."""
    return name.lstrip("# ").strip()


def _read_fits(path: Path) -> Any:
    from astropy.io.fits.verify import VerifyError
    from astropy.table import Table

    try:
        return Table.read(path, format="fits", memmap=False)
    except VerifyError as error:
        raise ValueError(first_line(error)) from error


def _read_votable(path: Path) -> Any:
    from xml.parsers.expat import ExpatError

    from astropy.io.votable import parse

    try:
        with _open(path) as file:
            return parse(file, verify="ignore").get_first_table().to_table(use_names_over_ids=True)
    except ExpatError as error:
        raise ValueError(first_line(error)) from error


def _read_ecsv(path: Path) -> Any:
    from astropy.table import Table

    with _open(path) as file:
        return Table.read(file.read().decode(), format="ascii.ecsv")


_READ = {"FITS": _read_fits, "VOTable": _read_votable, "ECSV": _read_ecsv}


def _from_astropy(column: Any) -> Any:
    values = np.ma.asarray(column)
    data, mask = np.asarray(values.data), np.ma.getmaskarray(values)
    if data.dtype.kind == "S":
        data = np.char.decode(data, "utf-8", "replace")
    elif data.dtype.kind == "O":  # text of any length
        return pa.array(
            [None if no else str(text) for text, no in zip(data, mask, strict=True)], pa.string()
        )
    elif data.dtype.kind != "U":
        data = data.astype(data.dtype.newbyteorder("="))
    return pa.array(data, mask=mask)


def _about(table: Any, number: int, name: str) -> About:
    """Return what astropy, or FITS keywords that it passes on, say of column `number` (from 1)."""
    column = table[name]
    return About(
        str(column.unit) if column.unit else None,
        str(column.meta.get("ucd") or table.meta.get(f"TUCD{number}") or ""),
        str(column.description or table.meta.get(f"TCOMM{number}") or ""),
    )
