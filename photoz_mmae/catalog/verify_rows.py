"""Rows of a catalogue as the rules about them want them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from photoz_mmae.catalog.schema import Column
from photoz_mmae.flags import Flag

Bools = NDArray[np.bool_]
Rule = tuple[str, Any]
"""What is wrong, and with which rows, (N,)."""

ROUNDING = 1e-5
"""Relative: of float32, with some room."""


def own_columns(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """Return a catalogue's own columns under the names that they have in part files.

    Bits that are null, which they never are, become 0, so that they can be looked through.

    Parameters
    ----------
    table : pyarrow.Table
        With the own columns first, whatever they are called there.
    columns : sequence of Column
        As they are in part files.
    """
    names = [column.name for column in columns]
    table = table.select(list(range(len(names)))).rename_columns(names)
    for name in ("flags", "bands_used"):
        if name in names and table[name].null_count:
            place = names.index(name)
            table = table.set_column(place, table.schema.field(name), pc.fill_null(table[name], 0))
    return table


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return the values of a column, null as NaN, (N,)."""
    return np.asarray(table[name].to_numpy(), np.float64)


def lists(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return the values of a column of lists, (N, K)."""
    column = table[name].combine_chunks()
    values = np.full((len(table), column.type.list_size), np.nan)
    flat = column.flatten().to_numpy(zero_copy_only=False)  # without those of null rows
    values[np.asarray(column.is_valid())] = flat.reshape(-1, column.type.list_size)
    return values


def has(table: pa.Table, name: str) -> Bools:
    """Say where a column is not null, (N,)."""
    return np.asarray(table[name].is_valid())


def flagged(table: pa.Table, flag: Flag) -> Bools:
    """Say which rows have one of some flags, (N,)."""
    return np.asarray((table["flags"].to_numpy() & int(flag)) != 0)
