"""Pixels that were not measured, taken from the other side of the target."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fill_from_opposite(images: NDArray[Any], lost: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give each lost pixel the value opposite to it about the stamp's centre.

    A galaxy looks much the same turned by 180 degrees; zeros would be read as measurements of dark
    sky.

    Parameters
    ----------
    images : ndarray (N, B, S, S)
        Filled in place; contiguous.
    lost : ndarray (N, B, S, S) of bool

    Returns
    -------
    ndarray (N, B, S, S) of bool
        Pixels that were measured on neither side; they are as they were.
    """
    pixels = lost.shape[2] * lost.shape[3]
    flat = lost.reshape(*lost.shape[:2], pixels)
    neither = flat & flat[:, :, ::-1]  # turned by 180 degrees, the last pixel is the first
    values = images.reshape(-1)
    at = np.flatnonzero(flat ^ neither)
    values[at] = values[at + (pixels - 1) - 2 * (at % pixels)]
    return neither.reshape(lost.shape)
