"""A catalogue on disk: one Parquet file, or a folder of them; written, and known again.

::

    catalog.parquet                one file

    catalog/                       a folder of parts
        part-000000.parquet ...    as the parts of the plan

    catalog/                       a HATS catalogue (`hats.py`)
        hats.properties, partition_info.csv, ...
        dataset/_common_metadata, Norder=k/Dir=d/Npix=n.parquet ...
        no_position.parquet        the rows that have no place on the sky

Every Parquet file holds the same metadata of the whole catalogue.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.catalog.atomic_folder import atomic_folder
from photoz_mmae.catalog.header import Header
from photoz_mmae.catalog.writer import atomic_parquet, row_groups
from photoz_mmae.provenance import file_sha256, fingerprint

Write = Callable[[Iterable[pa.Table]], int]
"""Writes all rows, the tables of the parts in order, and returns their number."""

Publishing = Callable[[Path], None]
"""Called with the finished file or folder just before it takes its name."""

Layout = Callable[[Path, Header, Publishing], AbstractContextManager[Write]]
"""Opens an output to be written; it appears under its name when the context is left."""

ROWS_KEY = "photoz_mmae.catalogue_rows"
"""Key of the metadata of the files in a folder: how many rows they have together."""

COMMON_METADATA = "dataset/_common_metadata"
NO_POSITION = "no_position.parquet"
PARTITIONS = "dataset/Norder=*/Dir=*/Npix=*.parquet"

PART = re.compile(r"part-(\d{6,})\.parquet")

_OURS = re.compile(
    PART.pattern + r"|no_position\.parquet|hats\.properties|properties|partition_info\.csv"
    r"|point_map\.fits|skymap(\.\d+)?\.fits|dataset/_metadata|dataset/_common_metadata"
    r"|dataset/Norder=\d+/Dir=\d+/Npix=\d+\.parquet"
)
_FOLDERS = re.compile(r"dataset(/Norder=\d+(/Dir=\d+)?)?")


@contextmanager
def one_file(output: Path, header: Header, publishing: Publishing) -> Iterator[Write]:
    """Write all rows to one Parquet file."""
    with atomic_parquet(output, header.schema(header.rows), publishing) as file:

        def write(tables: Iterable[pa.Table]) -> int:
            for table in row_groups(tables):
                file.write(table)
            return file.rows

        yield write


@contextmanager
def folder_of_parts(output: Path, header: Header, publishing: Publishing) -> Iterator[Write]:
    """Write each part to a Parquet file of its own."""
    with atomic_folder(output, publishing) as folder:
        yield partial(_write_parts, folder, with_rows(header))


def with_rows(header: Header) -> Header:
    """Let each file say how many rows they have together."""
    return replace(header, metadata={**header.metadata, ROWS_KEY: str(header.rows)})


def part_name(number: int) -> str:
    """Return the name of the file of a part, counted from 0."""
    return f"part-{number:06d}.parquet"


def catalogue_files(output: Path) -> list[Path]:
    """Return the Parquet files that hold the catalogue's rows."""
    if not output.is_dir():
        return [output]
    partitions = sorted(output.glob(PARTITIONS))
    unplaced = [file for file in [output / NO_POSITION] if file.exists()]
    parts = [file for file in sorted(output.glob("part-*.parquet")) if PART.fullmatch(file.name)]
    return [*parts, *partitions, *unplaced]


def size(output: Path) -> int:
    """Return the bytes of a catalogue, file or folder."""
    return sum(file.stat().st_size for _, file in _files(output))


def checksum(output: Path) -> str:
    """Return the SHA-256 of a file, or of the names and checksums of all files in a folder."""
    if not output.is_dir():
        return file_sha256(output)
    return fingerprint(text for name, file in _files(output) for text in (name, file_sha256(file)))


def read_metadata(output: Path) -> dict[str, str]:
    """Return the catalogue's `photoz_mmae.*` metadata.

    Empty when there is none, or it is no Parquet file; of a folder, also when its files are not
    of one and the same catalogue, or not all there.
    """
    if not output.is_dir():
        return _metadata_of(output)[0]
    found: dict[str, str] = {}
    rows = 0
    for file in catalogue_files(output):
        metadata, length = _metadata_of(file)
        if not metadata or (found and metadata != found):
            return {}
        found = metadata
        rows += length
    return found if found.get(ROWS_KEY) == str(rows) else {}


def is_parquet(file: Path) -> bool:
    """Whether it can be read as Parquet."""
    return _footer(file) is not None


def strange_entry(folder: Path) -> str | None:
    """Return the name of something in a folder that no catalogue has; None when all is ours.

    An empty folder is nobody's. In one that holds nothing strange, one file at least says that
    this program wrote it.
    """
    names, strange = [], []
    for place, folders, files in os.walk(folder):
        for known, found in ((_FOLDERS, folders), (_OURS, files)):
            paths = [os.path.relpath(os.path.join(place, name), folder) for name in found]  # noqa: PTH118
            names += paths
            strange += [path for path in paths if not known.fullmatch(path)]
    if strange:
        return min(strange)
    if names and not any(_metadata_of(file)[0] for file in catalogue_files(folder)):
        return min(names)
    return None


def _files(output: Path) -> list[tuple[str, Path]]:
    """Return all files of a catalogue, with their names in it, in the names' order."""
    if not output.is_dir():
        return [("", output)]
    files = [file for file in output.rglob("*") if file.is_file()]
    return sorted((str(file.relative_to(output)), file) for file in files)


def _write_parts(folder: Path, header: Header, tables: Iterable[pa.Table]) -> int:
    rows = 0
    for number, table in enumerate(tables):
        path = folder / part_name(number)
        with atomic_parquet(path, header.schema(table.num_rows)) as file:
            file.write(table)
        rows += table.num_rows
    return rows


def _footer(file: Path) -> pq.FileMetaData | None:
    try:
        return pq.read_metadata(file)
    except (OSError, pa.ArrowException):
        return None


def _metadata_of(file: Path) -> tuple[dict[str, str], int]:
    footer = _footer(file)
    if footer is None:
        return {}, 0
    metadata = footer.metadata or {}
    return {
        key.decode(): value.decode()
        for key, value in metadata.items()
        if key.startswith(b"photoz_mmae.")
    }, footer.num_rows
