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
    measured : array of bool, (n, B)
        Bands that the objects have images in.
    dropped : dict of str to int
        Why, in words, and how many.
    """

    keep: NDArray[np.bool_]
    has_spectrum: NDArray[np.bool_]
    measured: NDArray[np.bool_]
    dropped: dict[str, int]


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
    for name in ("object_id", "targetid"):
        ids = file.column(name)
        if ids is not None:
            if ids.dtype.kind == "f" and (np.abs(ids) >= 2**53).any():
                raise InputError(
                    f"{file.path}: {name!r} holds floats so large that they have lost digits; "
                    "store integers or text"
                )
            rows = np.flatnonzero(keep)
            keep[rows] = first_of_each(ids[rows], worth[rows])
    if not (keep & good).any():
        raise InputError(f"{file.path}: no object with an image has a redshift")
    dropped = {
        "with a constant band" if every_band else "without an image": int((~imaged).sum()),
        "repeated": int(imaged.sum() - keep.sum()),
    }
    return Usable(keep, has_spectrum, measured, dropped)


def first_of_each(ids: NDArray[Any], worth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Choose one of those that share an id, the first of those worth most, (N,) -> (N,).

    Objects without an id (empty, 0, -1 or NaN) are no repeats of each other.
    """
    ids = ids.astype("S") if ids.dtype.kind in "OSU" else ids
    order = np.lexsort((np.arange(len(ids)), -worth))
    chosen = np.isin(ids, _NO_ID[0] if ids.dtype.kind == "S" else _NO_ID[1])
    if ids.dtype.kind == "f":  # what pandas makes of integers where one is missing
        chosen |= ~np.isfinite(ids)
    _, first = np.unique(ids[order], return_index=True)
    chosen[order[first]] = True
    return chosen
