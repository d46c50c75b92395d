"""Whether a catalogue's file says of its columns what this version documents."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from photoz_mmae.catalog.schema import Column
from photoz_mmae.catalog.votable import CONTENT_KEY, LENGTH_KEY, votable_type
from photoz_mmae.words import count


def column_problems(schema: pa.Schema, columns: Sequence[Column], kept: int | None) -> list[str]:
    """Compare names and types of a file's columns with those that it should have.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the file.
    columns : sequence of Column
        The catalogue's own, in order.
    kept : int or None
        Number of columns behind them (`--keep`); None where it is not known.

    Returns
    -------
    list of str
        What is wrong; empty when nothing is.
    """
    own = [column.name for column in columns]
    names = list(schema.names)
    if names[: len(own)] != own:
        absent = [name for name in own if name not in names]
        if absent:
            return [f"no column {', '.join(absent)}"]
        place = next(k for k, name in enumerate(own) if names[k] != name)
        return [f"column {place + 1} is {names[place]}, not {own[place]}"]
    behind = names[len(own) :]
    if kept is not None and len(behind) != kept:
        return [f"{count(len(behind), 'column')} behind its own ({', '.join(behind)}), not {kept}"]
    return [
        f"{column.name} is {schema.field(column.name).type}, not {column.type}"
        for column in columns
        if schema.field(column.name).type != column.type
    ]


def described_problems(schema: pa.Schema, columns: Sequence[Column]) -> list[str]:
    """Compare units, UCDs and descriptions of a file's columns with those they should have."""
    problems = []
    for column in columns:
        said, right = _said(schema.field(column.name)), _said(column.field)
        problems += [
            f"{column.name}: {key} {said.get(key)!r}, not {right.get(key)!r}"
            for key in ("unit", "ucd", "description")
            if said.get(key) != right.get(key)
        ]
    return problems


def votable_problems(schema: pa.Schema, rows: int) -> list[str]:
    """Compare the VOTable header of a file, as astropy reads it, with the file's columns.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the file, with its metadata.
    rows : int
        Of the file.
    """
    metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
    try:
        table = _parsed(metadata[CONTENT_KEY])
        lengths = {
            key.removeprefix(LENGTH_KEY): int(length)
            for key, length in metadata.items()
            if key.startswith(LENGTH_KEY)
        }
        wanted = [_wanted(field, lengths) for field in schema]
    except Exception as error:  # of astropy, of its XML parser, or a key that is missing
        return [f"the VOTable header is not readable ({type(error).__name__}: {error})"]
    problems = []
    if table.nrows != rows:
        problems.append(f"the VOTable header tells of {count(table.nrows, 'row')}, not {rows}")
    names = [field.name for field in table.fields]
    if names != list(schema.names):
        return [*problems, "the VOTable header has other columns than the file"]
    for field, right in zip(table.fields, wanted, strict=True):
        problems += [
            f"{field.name}: {key} {found!r} in the VOTable header, not {right[key]!r}"
            for key, found in _found(field).items()
            if found != right[key] and not (key == "unit" and _is_unit(field.unit, right[key]))
        ]
    return problems


def text_lengths(schema: pa.Schema) -> dict[str, int]:
    """Return the length that the file says the longest text of each column of text has."""
    metadata = schema.metadata or {}
    lengths = {}
    for field in schema:
        length = metadata.get(f"{LENGTH_KEY}{field.name}".encode(), b"")
        if pa.types.is_string(field.type) and length.isdigit():
            lengths[field.name] = int(length)
    return lengths


def _said(field: pa.Field) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}


def _parsed(text: str) -> Any:
    from astropy.io.votable import parse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units of columns passed through are as they are
        return parse(io.BytesIO(text.encode()), verify="ignore").get_first_table()


def _wanted(field: pa.Field, lengths: Mapping[str, int]) -> dict[str, str | None]:
    said = _said(field)
    said["description"] = " ".join(said.get("description", "").split())
    column = Column(field.name, field.type, None, "", "")
    return {"arraysize": None, "unit": None, "ucd": None, **said, **votable_type(column, lengths)}


def _found(field: Any) -> dict[str, str | None]:
    return {
        "datatype": field.datatype,
        "arraysize": field.arraysize,
        "unit": None if field.unit is None else str(field.unit),
        "ucd": field.ucd,
        "description": " ".join((field.description or "").split()),
    }


def _is_unit(unit: Any, text: str | None) -> bool:
    """Whether a unit of astropy, which spells some in its own way, is what a text says."""
    from astropy.units import Unit

    return unit is not None and text is not None and Unit(text, parse_strict="silent") == unit
