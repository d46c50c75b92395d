"""What light is on the stamps of a batch, before any PSF."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Sources:
    """S light sources on the stamps of a batch.

    Attributes
    ----------
    stamp : (S,) int array
        Row of the stamp that each is on.
    x, y : (S,) arrays
        Centre in pixels; the centre of the first pixel is 0.
    radius : (S,) array
        Half-light semi-major axis in pixels; 0 is a point.
    index : (S,) array
        Sersic index, 0.5 to 6.5.
    ratio, angle : (S,) arrays
        Axis ratio; angle of the major axis from x towards y, radians.
    flux : (S, B) array
        Total flux per band.
    """

    stamp: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius: NDArray[np.float64]
    index: NDArray[np.float64]
    ratio: NDArray[np.float64]
    angle: NDArray[np.float64]
    flux: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64]) -> "Sources":
        return Sources(
            self.stamp[rows],
            self.x[rows],
            self.y[rows],
            self.radius[rows],
            self.index[rows],
            self.ratio[rows],
            self.angle[rows],
            self.flux[rows],
        )


@dataclass
class Clumps:
    """C round Gaussian spots on the stamps of a batch: much cheaper than as many sources.

    `stamp`, `x`, `y` as for `Sources`; `sigma` (C,) in pixels; `flux` (C, B).
    """

    stamp: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    sigma: NDArray[np.float64]
    flux: NDArray[np.float64]


def join(*parts: Sources) -> Sources:
    """Concatenate sources."""
    names = list(vars(parts[0]))
    return Sources(**{name: np.concatenate([vars(p)[name] for p in parts]) for name in names})
