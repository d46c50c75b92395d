"""Which objects of a table lie on which coadds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photoz_mmae.cutouts.coadds import Coadds, Patch
from photoz_mmae.cutouts.sky import directions
from photoz_mmae.cutouts.source import Source


@dataclass(frozen=True)
class TractPatch:
    """Tract and patch of N objects by a table: number `code[n]` of the pairs.

    A half of a pair is None where the table has no such column.
    """

    pairs: list[tuple[str | None, str | None]]
    code: NDArray[np.integer]

    def on(self, patch: Patch) -> list[int]:
        """Return the numbers of the pairs that may be this patch."""
        return [
            number
            for number, (tract, name) in enumerate(self.pairs)
            if any(tract in (None, t) and name in (None, p) for t, p in patch.names)
        ]


class CoaddObjects(Sequence[Source]):
    """The objects of a table as sources: patch by patch, upwards in each, those on none last.

    Made one by one when they are asked for, as there may be millions.

    Parameters
    ----------
    coadds : Coadds
    ids : pyarrow string array, (N,)
    ra, dec : ndarray (N,)
        deg; NaN where unknown.
    named : TractPatch, optional
        An object that lies on several patches is taken from the one that is named. Others are
        taken from where they are farthest from the edge.

    Attributes
    ----------
    uncovered : int
        Number of objects that lie on no patch.
    """

    def __init__(
        self,
        coadds: Coadds,
        ids: pa.Array,
        ra: NDArray[np.float64],
        dec: NDArray[np.float64],
        named: TractPatch | None = None,
    ) -> None:
        self._coadds = coadds
        patch, height = assign(coadds.patches, ra, dec, named)
        place = np.where(patch < 0, len(coadds.patches), patch)
        order = np.lexsort((height, place))
        self._patch = patch[order].astype(np.int32)
        self._ra, self._dec = ra[order], dec[order]
        self._ids = ids.take(pa.array(order))
        self.uncovered = int(np.count_nonzero(patch < 0))

    def __len__(self) -> int:
        return len(self._patch)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        about = {
            "kind": "coadd",
            "object_id": self._ids[int(index)].as_py(),
            "ra": float(self._ra[index]),
            "dec": float(self._dec[index]),
        }
        number = self._patch[index]
        if number < 0:
            return Source((self._coadds.folder,), 0, 0, **about)
        patch = self._coadds.patches[number]
        return Source(patch.files, patch.size, patch.mtime_ns, bands=patch.bands, **about)


def assign(
    patches: Sequence[Patch],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    named: TractPatch | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Say on which patch each object lies.

    Parameters
    ----------
    patches : sequence of Patch
    ra, dec : ndarray (N,)
        deg; NaN where unknown.
    named : TractPatch, optional
        As the table says; decides where an object lies on several.

    Returns
    -------
    patch : ndarray (N,) of int
        -1 for an object that lies on none.
    height : ndarray (N,)
        Its y pixel there; 0 on none.
    """
    from scipy.spatial import cKDTree

    best = np.full(len(ra), -1)
    margin, height = np.full(len(ra), -1.0), np.zeros(len(ra))
    is_named = np.zeros(len(ra), bool)
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known):
        return best, height
    tree = cKDTree(directions(ra[known], dec[known]))
    for number, patch in enumerate(patches):
        centre, chord = _circle(patch)
        near = known[tree.query_ball_point(centre, chord)]
        x, y = patch.wcs.to_pixels(ra[near], dec[near])
        rows, columns = patch.shape
        edge = np.minimum(
            np.minimum(x + 0.5, columns - 0.5 - x), np.minimum(y + 0.5, rows - 0.5 - y)
        )
        this = np.zeros(len(near), bool)
        if named is not None:
            this = np.isin(named.code[near], named.on(patch))
        better = (this & ~is_named[near]) | ((this == is_named[near]) & (edge > margin[near]))
        better &= edge >= 0
        chosen = near[better]
        best[chosen], margin[chosen], height[chosen] = number, edge[better], y[better]
        is_named[chosen] = this[better]
    return best, height


def _circle(patch: Patch) -> tuple[NDArray[np.float64], float]:
    """Return a patch's centre as a unit vector, and a chord that reaches beyond its corners."""
    height, width = patch.shape
    corners = [(x, y) for x in (-1.0, float(width)) for y in (-1.0, float(height))]
    sky = [patch.wcs.to_sky((width - 1) / 2, (height - 1) / 2)]
    sky += [patch.wcs.to_sky(*corner) for corner in corners]
    centre, *others = directions(*np.array(sky).T)
    return centre, 1.01 * max(math.dist(centre, other) for other in others)
