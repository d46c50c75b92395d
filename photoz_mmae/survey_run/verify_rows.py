"""How far the rows of two tables with the same columns are from each other."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from photoz_mmae.flags import Flag

SET_BY_MERGE = Flag.DUPLICATE_ID | Flag.DUPLICATE_SKY | Flag.SOURCE_GONE
"""Flags that say how rows stand to each other and to the disk: part files do not have them."""


def distances(table: pa.Table, other: pa.Table, name: str) -> NDArray[np.float64]:
    """Return how far the values of a column are from those of another table, (N,).

    Parameters
    ----------
    table, other : pyarrow.Table
        Of N rows; ids of `other` are texts, and its flags without those of `SET_BY_MERGE`.
    name : str

    Returns
    -------
    array, (N,)
        Of numbers |a - b| / max(1, |b|), of lists the largest; 0 where both are null or NaN, and
        infinite where one is. Of all others 0 where they are equal, else infinite.
    """
    left, right = table[name].combine_chunks(), other[name].combine_chunks()
    if name == "object_id":
        left = pc.cast(left, pa.string())
    if name == "flags":
        left = pa.array(left.to_numpy() & ~int(SET_BY_MERGE), right.type)
    if left.type != right.type:
        return np.full(len(left), np.inf)
    if pa.types.is_fixed_size_list(left.type):
        size = left.type.list_size
        far = _far(_flat(left), _flat(right)).reshape(-1, size)
        return np.asarray(far.max(axis=1, initial=0))
    if pa.types.is_floating(left.type):
        return _far(left.to_numpy(zero_copy_only=False), right.to_numpy(zero_copy_only=False))
    same = pc.fill_null(pc.equal(left, right), False).to_numpy(zero_copy_only=False)
    return np.where(same, 0.0, np.inf)


def shown(table: pa.Table, other: pa.Table, name: str, row: int) -> tuple[str, str]:
    """Return a value of two tables for a message, of lists the first that is another.

    Numbers have as many digits as tell them apart, 6 at least.
    """
    here, there = table[name][row].as_py(), other[name][row].as_py()
    if isinstance(here, list) and isinstance(there, list):
        pairs = enumerate(zip(here, there, strict=True))
        place = next((k for k, (a, b) in pairs if a != b and not (a != a and b != b)), 0)
        before = f"({place}) "
        here, there = here[place], there[place]
    else:
        before = ""
    for digits in range(6, 18):
        texts = [f"{v:.{digits}g}" if isinstance(v, float) else str(v) for v in (here, there)]
        if texts[0] != texts[1]:
            break
    return before + texts[0], before + texts[1]


def _flat(lists: pa.Array) -> NDArray[np.float32]:
    values: NDArray[np.float32] = (
        lists.fill_null(pa.scalar([np.nan] * lists.type.list_size, lists.type))
        .flatten()
        .to_numpy(zero_copy_only=False)
    )
    return values


def _far(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    a, b = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(invalid="ignore"):
        far = np.abs(a - b) / np.maximum(1, np.abs(b))
    far[a == b] = 0  # infinite ones, too
    neither = np.isnan(a) & np.isnan(b)
    return np.where(neither, 0, np.where(np.isnan(far), np.inf, far))
