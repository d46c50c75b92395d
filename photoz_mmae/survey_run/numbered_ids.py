"""Ids of all rows as numbers: those that they are, or places in a list of texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray


def numbered_ids(files: Sequence[Path], rows: int) -> tuple[NDArray[np.integer], pa.Array | None]:
    """Read the ids of part files.

    Parameters
    ----------
    files : sequence of Path
        In order.
    rows : int
        N, their rows together.

    Returns
    -------
    numbers : ndarray (N,) of int
        Equal ones for equal ids: the ids themselves, where all are whole numbers, or places in
    texts : pyarrow.Array of string, or None
        every id once.
    """
    numbers = np.empty(rows, np.int64)
    start = 0
    for file in files:
        ids = integer_ids(_ids_of(file))
        if ids is None:
            break
        numbers[start : start + len(ids)] = ids.to_numpy()
        start += len(ids)
    else:
        return numbers, None
    texts = pa.chunked_array([chunk for file in files for chunk in _ids_of(file).chunks])
    encoded = texts.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary


def integer_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Turn ids into int64 when every one is the usual spelling of an int64, else None."""
    if not pc.all(pc.match_substring_regex(ids, r"^(0|-?[1-9][0-9]*)$"), min_count=0).as_py():
        return None
    try:
        return pc.cast(ids, pa.int64())
    except pa.ArrowInvalid:  # too large
        return None


def repeated(numbers: NDArray[np.integer]) -> tuple[NDArray[np.integer], int]:
    """Return the numbers that occur more than once, and how many entries have one of them."""
    ordered = np.sort(numbers)
    again = np.append(ordered[1:] == ordered[:-1], np.zeros(min(1, len(ordered)), bool))
    return np.unique(ordered[again]), int(np.count_nonzero(again | np.roll(again, 1)))


def _ids_of(file: Path) -> pa.ChunkedArray:
    return pq.read_table(file, columns=["object_id"])["object_id"]
