"""Tables as people have them (CSV, Parquet, FITS, VOTable, ECSV) -> columns as arrays."""

import difflib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from photoz_mmae.errors import InputError
from photoz_mmae.parquet_files import ParquetFiles
from photoz_mmae.table_formats import (
    UNREADABLE,
    About,
    first_line,
    kind_of_table,
    parquet_about,
    read_whole,
)

Array = NDArray[np.float64]

ID_COLUMN = "object_id"
_SHOWN_COLUMNS = 30

_EXACT = {16: 2**11, 32: 2**24, 64: 2**53}
"""From here on floats of so many bits skip whole numbers."""


class TableFile:
    """A table on disk, read column by column.

    Parameters
    ----------
    path : Path
        CSV (comma or tab, with a header line, `.gz` too), ECSV, Parquet, FITS or VOTable (first
        table in it); told apart by content, not by name.
    id_column, id_option : str
        The column of the ids, and the option that names another, for the messages.
    files : sequence of Path, optional
        Parquet files in the folder `path` that hold its rows.

    Attributes
    ----------
    names : list of str
    unread : list of str
        Columns of a FITS, VOTable or ECSV table that are of more than one dimension, or times or
        coordinates.
    metadata : dict of str to str
        Key-value metadata of a Parquet file; empty for the others.

    Raises
    ------
    InputError
        The file is missing, empty, damaged, or none of these formats.
    """

    def __init__(
        self,
        path: Path,
        id_column: str = ID_COLUMN,
        id_option: str = "",
        files: Sequence[Path] = (),
    ) -> None:
        self.path = path
        self._id_column = id_column
        self._id_option = id_option
        self.metadata: dict[str, str] = {}
        self.unread: list[str] = []
        self._parquet: Any = None
        self._table: Any = None
        self._about: dict[str, About] = {}
        kind = "parquet" if files else kind_of_table(path)
        try:
            if kind == "parquet":
                self._parquet = ParquetFiles(files or [path])
                schema = self._parquet.schema
                self.metadata = {
                    key.decode(errors="replace"): value.decode(errors="replace")
                    for key, value in (schema.metadata or {}).items()
                }
                self._about = parquet_about(schema, self.metadata)
            else:
                self._table, self.unread, self._about = read_whole(path, kind, id_column)
                schema = self._table.schema
            names = schema.names if self._parquet is None else self._parquet.names
            self.names: list[str] = list(names)
        except UNREADABLE as error:
            raise InputError(f"{path}: not readable as {kind} ({first_line(error)})") from error
        if len(self) == 0:
            raise InputError(f"{path}: read as {kind}, the table has no rows")

    def __len__(self) -> int:
        return len(self._parquet if self._parquet is not None else self._table)

    def numbers(self, name: str, option: str = "") -> Array:
        """Read a column of numbers as float64, nulls as NaN, (N,).

        `option` is the one that names another column, for the message.

        Raises
        ------
        InputError
            No such column, or it does not hold numbers.
        """
        column = self.column(name, option)
        try:
            return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy())
        except (pa.ArrowException, TypeError) as error:
            raise InputError(
                f"{self.path}: column {name!r} does not hold numbers ({first_line(error)})"
            ) from error

    def about(self, name: str) -> About:
        """Return unit, UCD and description of a column, as far as the file tells them."""
        return self._about.get(name, About())

    def angles(self, name: str, option: str = "") -> Array:
        """Read a column of angles as `numbers` does, in deg where its unit is radian, (N,)."""
        angles = self.numbers(name, option)
        return np.degrees(angles) if self.about(name).unit in ("rad", "radian") else angles

    def texts(self, name: str, option: str = "") -> Any:
        """Read a column of whole numbers or text as text without spaces around it, null as null.

        Returns
        -------
        pyarrow.ChunkedArray of large_string, (N,)

        Raises
        ------
        InputError
            No such column, or it holds neither integers nor text.
        """
        column = self.column(name, option)
        kind = column.type
        try:
            if pa.types.is_floating(kind):  # what pandas makes of integers beside a null
                if pc.any(pc.greater_equal(pc.abs(column), _EXACT[kind.bit_width])).as_py():
                    raise pa.ArrowInvalid(
                        "floats so large have lost digits: store integers or text"
                    )
                column = pc.cast(column, pa.int64())
            elif not (pa.types.is_integer(kind) or _is_text(kind)):
                raise pa.ArrowInvalid(f"type {kind}")
            return pc.utf8_trim_whitespace(pc.cast(column, pa.large_string()))
        except pa.ArrowException as error:
            raise InputError(
                f"{self.path}: {name} is neither integer nor text ({first_line(error)})"
            ) from error

    @cached_property
    def ids(self) -> Any:
        """The column of ids as canonical text: the integer 17 and the text "17" are equal.

        Returns
        -------
        pyarrow.ChunkedArray of large_string, (N,)
            Null where there is no id.

        Raises
        ------
        InputError
            No such column, or it holds neither integers nor text.
        """
        return self.texts(self._id_column, self._id_option)

    def increasing_numbers(self, key: str) -> list[float]:
        """Read a list of increasing numbers from the file's metadata.

        Raises
        ------
        InputError
            It is no such JSON list.
        """
        try:
            numbers = [float(number) for number in json.loads(self.metadata[key])]
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.path}: metadata {key!r} is no list of numbers") from error
        if len(numbers) < 2 or not np.all(np.diff(numbers) > 0):
            raise InputError(f"{self.path}: the numbers in metadata {key!r} do not increase")
        return numbers

    def lists(self, name: str, length: int, rows: int) -> Iterator[tuple[slice, Array]]:
        """Read a Parquet column of lists in batches of (up to `rows`, `length`); nulls as NaN.

        Raises
        ------
        InputError
            A list of another length.
        """
        start = 0
        for batch in self._parquet.batches_of(name, rows):
            lists = batch.column(0)
            values = np.full((len(lists), length), np.nan)
            valid = np.asarray(lists.is_valid())
            flat = lists.flatten().to_numpy(zero_copy_only=False)
            if flat.size != valid.sum() * length:
                raise InputError(f"{self.path}: not every {name!r} has {length} entries")
            values[valid] = flat.reshape(-1, length)
            yield slice(start, start + len(lists)), values
            start += len(lists)

    def column(self, name: str, option: str = "") -> Any:
        """Read a column as it is, dictionaries written out; an arrow ChunkedArray (N,).

        Raises
        ------
        InputError
            No such column, several of that name, or it is damaged.
        """
        if self.names.count(name) != 1:
            other = f"; {option} names another" if option else ""
            if name == self._id_column and not option:
                other = "; the column of ids must have that name"
            raise InputError(f"{self.path}: {self._missing(name)}{other}")
        try:
            if self._parquet is not None:
                column = self._parquet.column(name)
            else:
                column = self._table.column(name)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{self.path}: column {name!r} is damaged ({first_line(error)})"
            ) from error
        return pc.cast(column, column.type.value_type) if _is_dictionary(column) else column

    def _missing(self, name: str) -> str:
        if name in self.names:
            return f"more than one column is named {name!r}"
        near = difflib.get_close_matches(name.lower(), [n.lower() for n in self.names], n=1)
        nearest = [n for n in self.names if n.lower() in near]
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        shown = ", ".join(self.names[:_SHOWN_COLUMNS])
        more = len(self.names) - _SHOWN_COLUMNS
        rest = f" and {more} more" if more > 0 else ""
        if len(self.names) == 1:
            hint = "; are its columns separated by commas or tabs?"
        return f"no column {name!r}{hint} (columns: {shown}{rest})"


def _is_text(kind: Any) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_string_view,
        )
    )


def _is_dictionary(column: Any) -> bool:
    return bool(pa.types.is_dictionary(column.type))
