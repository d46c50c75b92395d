"""What a network is given in place of pixels that were not measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.opposite import fill_from_opposite

HIDDEN_FROM = 0.5
"""Share of a patch's pixels that were not measured from which on the patch is hidden."""


@dataclass(frozen=True)
class Completed:
    """N objects as a network can take them.

    Attributes
    ----------
    images : ndarray (N, B, S, S) of float32
    hidden : ndarray (N, T) of bool
        Patches that say too little.
    unmeasured : ndarray (N, S, S) of bool
        Pixels that were measured on neither side in a band that is there: no aperture may sum them.
    present : ndarray (N, B) of bool
        Bands of which anything was measured.
    """

    images: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    unmeasured: NDArray[np.bool_]
    present: NDArray[np.bool_]


def complete(
    images: NDArray[np.float32], missing: NDArray[np.bool_] | None, patch: int
) -> Completed:
    """Fill pixels that were not measured from the other side of the object, and hide the rest.

    Patches that were missing to a half, or hold a pixel that was measured on neither side, are
    hidden, and apertures leave such pixels out. `benchmarks/missing_pixels.py` compares this with
    other ways.

    Parameters
    ----------
    images : ndarray (N, B, S, S)
        0 where missing; left as they are.
    missing : ndarray (N, B, S, S) of bool, or None
        None: everything was measured.
    patch : int
        Pixels on a side of a patch.
    """
    n, bands, size, _ = images.shape
    side = size // patch
    hidden = np.zeros((n, side * side), bool)
    unmeasured = np.zeros((n, size, size), bool)
    present = np.ones((n, bands), bool)
    rows = [] if missing is None else [row for row in range(n) if missing[row].any()]
    if missing is None or not rows:
        return Completed(images, hidden, unmeasured, present)
    lost = missing[rows]
    present[rows] = ~lost.all(axis=(2, 3))
    # A band that is not there at all takes no patch away from the others.
    lost &= present[rows][:, :, None, None]
    filled = np.ascontiguousarray(images[rows])
    neither = fill_from_opposite(filled, lost)
    unmeasured[rows] = neither.any(axis=1)
    images = images.copy()
    images[rows] = filled

    def in_patches(pixels: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Count over all bands: (R, B, S, S) -> (R, T)."""
        together = pixels.sum(axis=1, dtype=np.uint8).reshape(-1, side, patch, side, patch)
        count: NDArray[np.int32] = together.sum(axis=(2, 4), dtype=np.int32)
        return count.reshape(len(rows), -1)

    enough = HIDDEN_FROM * patch**2 * np.maximum(present[rows].sum(axis=1, keepdims=True), 1)
    hidden[rows] = (in_patches(lost) >= enough) | (in_patches(neither) > 0)
    return Completed(images, hidden, unmeasured, present)
