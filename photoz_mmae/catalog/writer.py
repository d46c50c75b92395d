"""Files that are either whole or not there."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.errors import OutputError
from photoz_mmae.temporaries import temporary_path

ROW_GROUP = 32768
"""Rows in a row group of the catalogue."""


class AtomicParquet:
    """A Parquet file being written under a temporary name; see `atomic_parquet`."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Append a table as one row group."""
        # A row group of several chunks gives other bytes than the same rows in one.
        self._writer.write_table(table.combine_chunks(), row_group_size=max(table.num_rows, 1))
        self.rows += table.num_rows


@contextmanager
def atomic_parquet(
    path: Path, schema: pa.Schema, publishing: Callable[[Path], None] | None = None
) -> Iterator[AtomicParquet]:
    """Write `path` so that nobody ever sees a part of it.

    The rows go to a temporary file of a unique name in the same folder; at the end it is synced,
    its footer read again and its rows counted, and only then does it take its name. Whatever
    happens before leaves an older file of that name untouched.

    Parameters
    ----------
    path : Path
        The file; an existing one is replaced.
    schema : pyarrow.Schema
        Columns and the file's metadata.
    publishing : callable, optional
        Called with the finished file just before it takes its name.

    Raises
    ------
    OutputError
        It cannot be written: disk, permission.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("xb") as sink:
            with pq.ParquetWriter(sink, schema, **_encoding(schema)) as writer:
                file = AtomicParquet(writer)
                yield file
            sink.flush()
            os.fsync(sink.fileno())
        found = pq.read_metadata(temporary).num_rows
        if found != file.rows:
            raise OutputError(f"{path}: {file.rows} rows were written, {found} arrived; disk?")
        if publishing is not None:
            publishing(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Write a text file that is either whole or not there."""
    temporary = temporary_path(path)
    try:
        with temporary.open("x") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def row_groups(tables: Iterable[pa.Table], rows: int = ROW_GROUP) -> Iterator[pa.Table]:
    """Cut a stream of tables anew, into tables of `rows` rows; the last one may be shorter."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        while count >= rows:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, rows)
            waiting = [joined.slice(rows)]
            count -= rows
    if count:
        yield pa.concat_tables(waiting)


def _encoding(schema: pa.Schema) -> dict[str, object]:
    """Floats split by byte, which zstd likes; dictionaries only where few values repeat."""
    split = []
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            split.append(f"{field.name}.list.element")
        elif pa.types.is_floating(field.type):
            split.append(field.name)
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [name for name in ("flags", "bands_used") if name in schema.names],
        "use_byte_stream_split": split,
    }
