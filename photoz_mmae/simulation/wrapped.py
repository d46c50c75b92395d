"""Light that periodic boxes bring back onto a stamp from the other side."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.simulation.sources import Sources

Floats = NDArray[np.float64]

_TOLERANCE = 2e-4  # share of a source's light outside its box that is not worth the work
_NODES = 13
_RINGS = 2


def wrapped_light(sources: Sources, box_of: NDArray[np.int64], n: int, stamp: int) -> Tensor:
    """Light (n, B, stamp, stamp) of the sources that a Fourier transform adds falsely.

    What lies beyond a box comes in again on its other side: some per cent of a bulge. Out there a
    profile is smooth and the PSF does nothing, so its copies one and two boxes away are evaluated
    at a few nodes and interpolated; what is farther yet is spread evenly.

    Parameters
    ----------
    sources : Sources
    box_of : (n,) int array
        Side of each stamp's box, pixels.
    n, stamp : int
        Number of stamps, and their side.
    """
    bands = sources.flux.shape[1]
    box = box_of[sources.stamp]
    rows = np.flatnonzero((sources.radius > 0) & (_beyond(sources, box / 2) > _TOLERANCE))
    grid = torch.zeros(n, bands, _NODES, _NODES)
    if len(rows):
        one, box = sources.take(rows), box[rows]
        # Beyond an isophote as large as the square of all copies.
        reach = (2 * _RINGS + 1) / np.sqrt(np.pi * one.ratio)
        far = _beyond(one, reach * box) / box**2
        light = far[:, None, None] + _copies(one, box, stamp)
        part = light[:, None] * one.flux[:, :, None, None]  # (s, B, nodes, nodes)
        grid.index_add_(0, torch.from_numpy(one.stamp), torch.from_numpy(part.astype("f4")))
    between = _spline_matrix(stamp)
    return between @ grid @ between.T


def _copies(one: Sources, box: NDArray[np.int64], stamp: int) -> Floats:
    """Flux per pixel (s, nodes, nodes) of the copies in the rings of boxes around the stamp's."""
    from scipy.special import gamma

    b = _sersic_b(one.index)
    norm = 2.0 * np.pi * one.index * b ** (-2.0 * one.index) * gamma(2.0 * one.index)
    peak = 1.0 / (norm * one.radius**2 * one.ratio)
    nodes = np.linspace(0.0, stamp - 1.0, _NODES)
    cos, sin = np.cos(one.angle)[:, None, None], np.sin(one.angle)[:, None, None]
    light = np.zeros((len(one.x), _NODES, _NODES))
    steps = range(-_RINGS, _RINGS + 1)
    for step_y, step_x in ((y, x) for y in steps for x in steps if (y, x) != (0, 0)):
        dy = nodes[:, None] - (one.y + step_y * box)[:, None, None]
        dx = nodes - (one.x + step_x * box)[:, None, None]
        along = dx * cos + dy * sin
        across = (dy * cos - dx * sin) / one.ratio[:, None, None]
        square = (along**2 + across**2) / (one.radius**2)[:, None, None]
        light += np.exp(-b[:, None, None] * square ** (0.5 / one.index)[:, None, None])
    light *= peak[:, None, None]
    return light


def _beyond(sources: Sources, distance: Floats) -> Floats:
    """Share of each source's light that is farther than `distance` (S,) along its major axis."""
    from scipy.special import gammaincc

    relative = distance / np.maximum(sources.radius, 1e-3)
    share: Floats = gammaincc(
        2.0 * sources.index, _sersic_b(sources.index) * relative ** (1.0 / sources.index)
    )
    return share


def _sersic_b(index: Floats) -> Floats:
    """Make the radius the half-light one (Graham & Driver 2005, PASA 22, 118, equation 4)."""
    from scipy.special import gammaincinv

    b: Floats = gammaincinv(2.0 * index, 0.5)
    return b


@lru_cache(maxsize=1)
def _spline_matrix(stamp: int) -> Tensor:
    """(stamp, nodes) cubic interpolation from the nodes to the pixels."""
    from scipy.interpolate import CubicSpline

    nodes = np.linspace(0.0, stamp - 1.0, _NODES)
    matrix = CubicSpline(nodes, np.eye(_NODES))(np.arange(stamp))
    return torch.from_numpy(matrix.astype("f4"))
