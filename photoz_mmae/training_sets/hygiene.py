"""Which objects of a training file are worth training on: repeats and dead images are not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.errors import InputError
from photoz_mmae.training_sets.galaxiesml import SpectraFile

_ROWS = 1024  # read at a time: 84 MB of images

_NO_ID: tuple[list[bytes], list[int]] = ([b"", b"0", b"-1"], [0, -1])  # as text, as number


@dataclass
class Usable:
    """What the first `n` objects of a file are good for.

    Attributes
    ----------
    keep, has_spectrum : array of bool, (n,)
    dropped : dict of str to int
        Why, in words, and how many.
    """

    keep: NDArray[np.bool_]
    has_spectrum: NDArray[np.bool_]
    dropped: dict[str, int]


def find_usable(file: SpectraFile, n: int) -> Usable:
    """Look at every object of the first `n`.

    Raises
    ------
    InputError
        Nothing usable is left.
    """
    varies, has_spectrum = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for start in range(0, n, _ROWS):
        stop = min(start + _ROWS, n)
        varies[start:stop], has_spectrum[start:stop] = file.scan(start, stop)
    if not varies.any():
        raise InputError(
            f"{file.path}: every image is constant in a band: there is nothing to learn from"
        )
    # A repeat must not win over another with an image.
    keep = varies.copy()
    good = np.isfinite(file.redshift[:n])
    for name in ("object_id", "targetid"):
        ids = file.column(name)
        if ids is not None:
            rows = np.flatnonzero(keep)
            keep[rows] = first_of_each(ids[rows], good[rows])
    if not (keep & good).any():
        raise InputError(f"{file.path}: no object with an image has a redshift")
    dropped = {
        "with a constant band": int((~varies).sum()),
        "repeated": int(varies.sum() - keep.sum()),
    }
    return Usable(keep, has_spectrum, dropped)


def first_of_each(ids: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Choose one of those that share an id, the first good one or else the first, (N,) -> (N,).

    Objects without an id (empty, 0 or -1) are no repeats of each other.
    """
    ids = ids.astype("S") if ids.dtype.kind in "OSU" else ids
    order = np.lexsort((np.arange(len(ids)), ~good))
    chosen = np.isin(ids, _NO_ID[0] if ids.dtype.kind == "S" else _NO_ID[1])
    _, first = np.unique(ids[order], return_index=True)
    chosen[order[first]] = True
    return chosen
