"""Images of another pixel scale, brought to the model's."""

import math
from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch

MAX_RATIO = 16.0
"""Pixels this much larger or smaller than the model's are another kind of image, or a mistake."""

MIN_COVERED = 0.5
"""Share of a pixel's area that must have been measured."""


def resample(
    data: NDArray[np.floating],
    missing: NDArray[np.bool_],
    x: float,
    y: float,
    ratio: float,
    size: int,
    variance: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Share the flux of each pixel out to the pixels of another scale, by the area they overlap.

    No flux is lost or made, and no pixel gets flux from farther away than its own edges. The two
    grids are parallel, so the weights of both axes are applied one after the other. A pixel
    covered by measured ones to a part gets the flux of that part over the covered share, its
    variance accordingly; the correlation between neighbours that resampling makes is left out.

    Parameters
    ----------
    data, missing : ndarray (H, W)
        Flux per pixel, and whether it was not measured.
    x, y : float
        The target, 0-based; it comes to the middle, (size - 1) / 2.
    ratio : float
        Side of a new pixel in old ones.
    size : int
        S, pixels.
    variance : ndarray (H, W), optional
        Of the flux, squared; 0 where it is not known.

    Returns
    -------
    image : ndarray (S, S)
        0 where missing.
    missing : ndarray (S, S) of bool
    variance : ndarray (S, S)
        0 where it is not known.
    """
    height, width = data.shape
    along_y, along_x = _overlaps(y, ratio, size, height), _overlaps(x, ratio, size, width)
    good = ~missing
    covered = along_y @ good.astype(np.float64) @ along_x.T / ratio**2
    lost = covered < MIN_COVERED
    share = np.where(lost, 1, covered)
    flux = along_y @ np.where(good, data, 0).astype(np.float64) @ along_x.T / share
    image = np.where(lost, 0, flux).astype(np.float32)
    if variance is None:
        return image, lost, np.zeros_like(image)
    known = good & (variance > 0)
    spread = along_y**2 @ np.where(known, variance, 0).astype(np.float64) @ along_x.T**2 / share**2
    unknown = along_y @ (good & ~known).astype(np.float64) @ along_x.T > 0
    return image, lost, np.where(lost | unknown, 0, spread).astype(np.float32)


def _overlaps(position: float, ratio: float, size: int, length: int) -> NDArray[np.float64]:
    """How much of each old pixel (columns) lies in each new one (rows), one axis: (S, length)."""
    edges = position + ratio * (np.arange(size + 1) - size / 2)
    old = np.arange(length)
    upper = np.minimum(edges[1:, None], old + 0.5)
    lower = np.maximum(edges[:-1, None], old - 0.5)
    overlaps: NDArray[np.float64] = np.maximum(upper - lower, 0.0)
    return overlaps


class Canvas(NamedTuple):
    """Where an object is put: its row of a batch, or memory of its own before it is resampled.

    Attributes
    ----------
    images, variance : ndarray (B, S, S) of float32
    missing, saturated : ndarray (B, S, S) of bool
    """

    images: NDArray[np.float32]
    missing: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    variance: NDArray[np.float32]

    @classmethod
    def of(cls, batch: CutoutBatch, row: int) -> Self:
        """Return a row of a batch."""
        return cls(batch.images[row], batch.missing[row], batch.saturated[row], batch.variance[row])

    @classmethod
    def empty(cls, bands: int, size: int) -> Self:
        """Make one that holds nothing yet."""
        shape = (bands, size, size)
        return cls(
            np.zeros(shape, np.float32),
            np.zeros(shape, bool),
            np.zeros(shape, bool),
            np.zeros(shape, np.float32),
        )

    @property
    def size(self) -> int:
        """S, pixels."""
        return int(self.images.shape[-1])

    def resample_into(
        self, target: "Canvas", bands: Iterable[int], x: float, y: float, ratio: float
    ) -> None:
        """Resample some bands into another canvas, (x, y) here to its very middle."""
        for k in bands:
            target.images[k], target.missing[k], target.variance[k] = resample(
                self.images[k], self.missing[k], x, y, ratio, target.size, self.variance[k]
            )
            if self.saturated[k].any():
                along_y = _overlaps(y, ratio, target.size, self.size)
                along_x = _overlaps(x, ratio, target.size, self.size)
                target.saturated[k] = along_y @ self.saturated[k] @ along_x.T > 0


def canvas_size(size: int, ratio: float) -> int:
    """Return how many pixels are needed to make `size` of `ratio` times their side."""
    return math.ceil(size * ratio) + 2


def reaches_beyond(shape: tuple[int, ...], x: float, y: float, ratio: float, size: int) -> bool:
    """Whether new pixels about (x, y) lie outside of an image (H, W), to half or more."""
    height, width = shape
    beyond = size / 2 * ratio - np.array([x, y, width - 1 - x, height - 1 - y]) - 0.5
    return bool((beyond > ratio * (1 - MIN_COVERED)).any())
