"""Positions on the sky as vectors, between which distances are those of ordinary space."""

import numpy as np
from numpy.typing import NDArray


def directions(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vectors of positions in deg, (N,) -> (N, 3)."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.column_stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)))


def chord(separation: float) -> float:
    """Return the distance of two such vectors that are `separation` deg apart."""
    return float(2 * np.sin(np.radians(separation) / 2))
