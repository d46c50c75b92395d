"""Which objects of a training file are worth training on: repeats and dead images are not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.errors import InputError
from photoz_mmae.training_sets.galaxiesml import SpectraFile

_ROWS = 1024  # read at a time: 84 MB of images

MOST_REPEATS = 10
"""No object is in a file more often; a `targetid` that is stands for none, as 999999 does."""


@dataclass
class Usable:
    """What the first `n` objects of a file are good for.

    Attributes
    ----------
    keep, has_spectrum : array of bool, (n,)
    measured : array of bool, (n, B)
        Bands that the objects have images in.
    dropped : dict of str to int
        Why, in words, and how many.
    notes : list of str
    """

    keep: NDArray[np.bool_]
    has_spectrum: NDArray[np.bool_]
    measured: NDArray[np.bool_]
    dropped: dict[str, int]
    notes: list[str]


def find_usable(file: SpectraFile, n: int, every_band: bool) -> Usable:
    """Look at every object of the first `n`.

    Parameters
    ----------
    file : SpectraFile
    n : int
    every_band : bool
        Whether an object that lacks a band is of no use; one that lacks all of them never is.

    Raises
    ------
    InputError
        Nothing usable is left.
    """
    bands = len(file.survey.bands)
    measured, has_spectrum = np.zeros((n, bands), dtype=bool), np.zeros(n, dtype=bool)
    for start in range(0, n, _ROWS):
        stop = min(start + _ROWS, n)
        measured[start:stop], has_spectrum[start:stop] = file.scan(start, stop)
    imaged = measured.sum(axis=1) >= (bands if every_band else 1)
    if not imaged.any():
        where = "in a band" if every_band else "in all bands"
        raise InputError(
            f"{file.path}: every image is constant {where}: there is nothing to learn from"
        )
    # A repeat must not win over another with an image, nor over one with more bands.
    keep = imaged.copy()
    good = np.isfinite(file.redshift[:n])
    worth = (bands + 1) * good + measured.sum(axis=1)
    named, notes = np.zeros(n, dtype=bool), []  # those with an `object_id` of their own
    for name in ("object_id", "targetid"):
        ids = file.column(name)
        if ids is not None:
            ids = ids.astype("S") if ids.dtype.kind in "OSU" else ids
            if ids.dtype.kind == "f" and (ids >= 2**53).any():
                raise InputError(
                    f"{file.path}: {name!r} holds floats so large that they have lost digits; "
                    "store integers or text"
                )
            rows = np.flatnonzero(keep)
            for value in shared_by_many(ids[rows][named[rows]]):
                filled = rows[ids[rows] == value]
                notes.append(
                    f"{name} {_as_text(value)}, of {len(filled):,} objects of different object_id, "
                    "is taken for no id"
                )
                rows = np.setdiff1d(rows, filled)
            keep[rows] = first_of_each(ids[rows], worth[rows])
            named[rows] = keep[rows] & ~without_id(ids[rows])
    if not (keep & good).any():
        raise InputError(f"{file.path}: no object with an image has a redshift")
    dropped = {
        "with a constant band" if every_band else "without an image": int((~imaged).sum()),
        "repeated": int(imaged.sum() - keep.sum()),
    }
    return Usable(keep, has_spectrum, measured, dropped, notes)


def without_id(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which ids are none, (N,): empty, 0, a negative number or NaN."""
    if ids.dtype.kind == "S":
        negative = np.char.startswith(ids, b"-") & np.char.isdigit(np.char.lstrip(ids, b"-"))
        return np.asarray(negative | np.isin(ids, [b"", b"0"]))
    # NaN is what pandas makes of a missing integer.
    return np.asarray(~((ids > 0) & np.isfinite(ids)))


def shared_by_many(ids: NDArray[Any]) -> NDArray[Any]:
    """Return the ids that more than `MOST_REPEATS` objects have."""
    values, counts = np.unique(ids[~without_id(ids)], return_counts=True)
    return np.asarray(values[counts > MOST_REPEATS])


def first_of_each(ids: NDArray[Any], worth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Choose one of those that share an id, the first of those worth most, (N,) -> (N,).

    Objects without an id are no repeats of each other.
    """
    ids = ids.astype("S") if ids.dtype.kind in "OSU" else ids
    order = np.lexsort((np.arange(len(ids)), -worth))
    chosen = without_id(ids)
    _, first = np.unique(ids[order], return_index=True)
    chosen[order[first]] = True
    return chosen


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
