"""Which objects of a catalogue lie at the place of another one, under another id."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photoz_mmae.cutouts.sky import chord, directions

SEPARATION = 0.5
"""arcsec: two ids nearer than this are taken for one object of the sky."""

BLOCK = 1 << 17
"""Rows that are looked at together."""

_MARGIN = 2 * SEPARATION / 3600
_CHUNK = 1 << 18


def same_sky(
    ra: NDArray[np.float64], dec: NDArray[np.float64], ids: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Find the rows within `SEPARATION` of a row with another id.

    Parameters
    ----------
    ra, dec : ndarray (N,)
        deg; NaN where unknown, which is near nothing.
    ids : ndarray (N,) of int
        Equal numbers for equal ids.

    Returns
    -------
    ndarray (N,) of bool

    Notes
    -----
    Declination by declination, some rows at a time. Rows at the very same position are one point
    of the tree, and of the neighbours of a point only as many are asked for as it takes to meet
    another id: memory grows with what a row is given with and nothing else, however many rows
    share a place.
    """
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    known = known[np.argsort(dec[known], kind="stable")]
    heights = dec[known]
    result = np.zeros(len(ra), bool)
    for start in range(0, len(known), BLOCK):
        some = known[start : start + BLOCK]
        first = np.searchsorted(heights, heights[start] - _MARGIN, side="left")
        last = np.searchsorted(heights, dec[some[-1]] + _MARGIN, side="right")
        around = known[first:last]
        near = _near(ra[around], dec[around], ids[around])
        result[some] = near[start - first :][: len(some)]
    return result


def _near(
    ra: NDArray[np.float64], dec: NDArray[np.float64], ids: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Find the same, all positions being known and all rows in one tree."""
    order = np.lexsort((dec, ra))
    first = np.append(True, (np.diff(ra[order]) != 0) | (np.diff(dec[order]) != 0))
    points = directions(ra[order][first], dec[order][first])
    point_of = np.cumsum(first) - 1
    # Of each point the lowest and the highest id: they differ where it has more than one.
    low = np.full(len(points), np.iinfo(np.int64).max)
    high = np.full(len(points), np.iinfo(np.int64).min)
    np.minimum.at(low, point_of, ids[order])
    np.maximum.at(high, point_of, ids[order])
    near = low < high
    tree = cKDTree(points)
    reach = chord(SEPARATION / 3600)
    left, neighbours = np.arange(len(points)), 2
    while len(left):
        open_ends = []
        step = max(_CHUNK // neighbours, 1)
        for start in range(0, len(left), step):
            some = left[start : start + step]
            _, found = tree.query(points[some], k=neighbours, distance_upper_bound=reach)
            there = found < len(points)
            found = np.where(there, found, 0)
            other = there & ((low[found] != low[some, None]) | (high[found] != high[some, None]))
            near[some] |= other.any(axis=1)
            open_ends.append(some[there.all(axis=1) & ~near[some]])
        left = np.concatenate(open_ends)
        neighbours *= 2
    result = np.empty(len(ra), bool)
    result[order] = near[point_of]
    return result
