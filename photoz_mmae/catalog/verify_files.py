"""Whether the files of a catalogue belong together, and say the same of its columns."""

import re
from collections.abc import Sequence

import pyarrow as pa

from photoz_mmae.catalog.hats import INDEX
from photoz_mmae.catalog.layouts import COMMON_METADATA, PART, ROWS_KEY, part_name, strange_entry
from photoz_mmae.catalog.opened import UNREADABLE, OpenedCatalogue, first_line
from photoz_mmae.catalog.schema import Column
from photoz_mmae.catalog.verify_schema import (
    column_problems,
    described_problems,
    text_lengths,
    votable_problems,
)
from photoz_mmae.catalog.votable import CONTENT_KEY
from photoz_mmae.words import count

_ROWS = re.compile(rb'(?<= nrows=")\d+')


def part_number(name: str) -> int:
    """Return the number in the name of a part's file."""
    found = PART.fullmatch(name)
    assert found is not None  # `layouts.catalogue_files` looks for no others
    return int(found[1])


def folder_problems(catalogue: OpenedCatalogue) -> list[str]:
    """Say what of a folder is strange, missing, or of another catalogue."""
    problems = []
    if (strange := strange_entry(catalogue.path)) is not None:
        problems.append(f"it holds {strange}, which this program did not write")
    paths, rows = catalogue.files.paths, catalogue.said.get(ROWS_KEY)
    own = _own_metadata(catalogue.files.schema)
    for path in paths[1:]:
        others = _own_metadata(catalogue.schema(path))
        differing = sorted(k for k in own.keys() | others.keys() if own.get(k) != others.get(k))
        if differing:
            first = catalogue.name(paths[0])
            problems.append(
                f"{catalogue.name(path)} is of another catalogue than {first}: "
                f"{differing[0].decode()} differs"
            )
    if not catalogue.is_hats:
        numbers = {part_number(catalogue.name(path)) for path in paths}
        missing = sorted(set(range(max(numbers) + 1)) - numbers)
        problems += [f"{part_name(number)} is missing" for number in missing]
    if str(catalogue.rows) != rows:
        problems.append(
            f"its files have {count(catalogue.rows, 'row')} together, their metadata say {rows}"
        )
    return problems


def all_column_problems(
    catalogue: OpenedCatalogue, columns: Sequence[Column], kept: int | None
) -> list[str]:
    """Compare names and types of the columns of all files with those that they should have.

    Parameters
    ----------
    catalogue : OpenedCatalogue
    columns : sequence of Column
        The catalogue's own, as they are called in it.
    kept : int or None
        As for `column_problems`.
    """
    problems = []
    first: pa.Schema | None = None
    for path in catalogue.files.paths:
        schema = catalogue.schema(path)
        own = [INDEX, *columns] if _is_partition(catalogue, catalogue.name(path)) else columns
        found = column_problems(schema, own, kept)
        plain = pa.schema([field for field in schema if field.name != INDEX.name])
        first = first or plain
        if not found and not plain.equals(first):
            found = [f"other kept columns than {catalogue.name(catalogue.files.paths[0])}"]
        problems += _named(catalogue, catalogue.name(path), found)
    return problems


def header_problems(catalogue: OpenedCatalogue, columns: Sequence[Column]) -> list[str]:
    """Compare what all files say of their columns with what they should say.

    HATS' partitions have no VOTable header: that of `_common_metadata` is looked at.
    """
    problems = []
    sound: list[pa.Schema] = []
    heads = [
        (catalogue.name(path), path, rows)
        for path, rows in zip(catalogue.files.paths, catalogue.files.rows, strict=True)
    ]
    if catalogue.is_hats:
        told = catalogue.said.get(ROWS_KEY, "")
        rows = int(told) if told.isdigit() else catalogue.rows
        heads.append((COMMON_METADATA, catalogue.path / COMMON_METADATA, rows))
    for name, path, rows in heads:
        try:
            schema = catalogue.schema(path)
        except UNREADABLE as error:
            problems.append(f"{name}: cannot be read ({first_line(error)})")
            continue
        own = [INDEX, *columns] if name == COMMON_METADATA else columns
        if absent := [column.name for column in own if column.name not in schema.names]:
            problems.append(f"{name}: no column {', '.join(absent)}")
            continue
        found = described_problems(schema, own)
        # A header that differs from a sound one in the number of rows only, and tells the right
        # one, is sound: astropy takes long for each of thousands.
        header = (schema.metadata or {}).get(CONTENT_KEY.encode(), b"")
        plain = schema.with_metadata(
            {**(schema.metadata or {}), CONTENT_KEY: _ROWS.sub(b"", header)}
        )
        tells_rows = f'nrows="{rows}"'.encode() in header
        is_known = tells_rows and any(plain.equals(s, check_metadata=True) for s in sound)
        if not (is_known or _is_partition(catalogue, name)):
            wrong = votable_problems(schema, rows)
            sound += [] if wrong else [plain]
            found += wrong
        problems += _named(catalogue, name, found)
    return problems


def header_lengths(catalogue: OpenedCatalogue) -> dict[str, int]:
    """Return how long the catalogue says that the longest text of each column is."""
    try:
        return text_lengths(catalogue.schema(catalogue.described_in))
    except UNREADABLE:  # which `header_problems` tells
        return {}


def _own_metadata(schema: pa.Schema) -> dict[bytes, bytes]:
    metadata = schema.metadata or {}
    return {key: value for key, value in metadata.items() if key.startswith(b"photoz_mmae.")}


def _is_partition(catalogue: OpenedCatalogue, name: str) -> bool:
    return catalogue.is_hats and name.startswith("dataset/Norder=")


def _named(catalogue: OpenedCatalogue, name: str, problems: list[str]) -> list[str]:
    if not catalogue.is_folder:
        return problems
    return [f"{name}: {problem}" for problem in problems]
