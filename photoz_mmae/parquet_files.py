"""Parquet files whose rows, one file after the other, are those of one table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_BATCH = 65_536
"""Rows in memory at once, at most: a file of HATS has a million in one row group."""


class ParquetFiles:
    """Files that are opened one at a time: there may be more than a process may hold open.

    A single one stays open, so that it is the same to the end whoever replaces it.

    Parameters
    ----------
    paths : sequence of Path

    Attributes
    ----------
    paths : list of Path
    rows : list of int
        Of each file.
    starts : array, (files + 1,)
        Number of the first row of each, and of all rows.
    schema : pyarrow.Schema
        Of the first file.
    names : list of str
        Columns that all of them have, in the first one's order.

    Raises
    ------
    OSError, pyarrow.ArrowException
        One cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.rows: list[int] = []
        self._only: Any = None
        for number, path in enumerate(self.paths):
            # An open file, not its name: pyarrow refuses names that are not UTF-8.
            file = pq.ParquetFile(path.open("rb"))
            schema = file.schema_arrow
            if number == 0:
                self.schema = schema
                self.names = list(schema.names)
            else:
                there = set(schema.names)
                self.names = [name for name in self.names if name in there]
            self.rows.append(int(file.metadata.num_rows))
            if len(self.paths) == 1:
                self._only = file
            else:
                file.close(force=True)
        self.starts: NDArray[np.int64] = np.cumsum([0, *self.rows])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batches(
        self, number: int, columns: Sequence[str] | None = None, rows: int = _BATCH
    ) -> Iterator[pa.RecordBatch]:
        """Read file `number` in batches of up to so many rows."""
        file = self._only or pq.ParquetFile(self.paths[number].open("rb"))
        try:
            yield from file.iter_batches(rows, columns=columns)
        finally:
            if file is not self._only:
                file.close(force=True)

    def batches_of(self, name: str, rows: int = _BATCH) -> Iterator[pa.RecordBatch]:
        """Read a column of all files in batches of up to so many rows."""
        for number in range(len(self.paths)):
            yield from self.batches(number, [name], rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """Read a column of all files, as it is."""
        if self._only is not None:
            return self._only.read(columns=[name]).column(0)
        return pa.Table.from_batches(self.batches_of(name)).column(0)

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """Read single rows, in the order given, with the columns that all files have."""
        order = np.argsort(rows, kind="stable")
        wanted, found = rows[order], []
        for number in np.unique(np.searchsorted(self.starts, wanted, side="right") - 1).tolist():
            start = int(self.starts[number])
            for batch in self.batches(number, self.names):
                here = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
                if len(here):
                    found.append(pa.Table.from_batches([batch]).take(pa.array(here)))
                start += len(batch)
        return pa.concat_tables(found).take(pa.array(np.argsort(order, kind="stable")))
