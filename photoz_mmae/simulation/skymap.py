"""Tracts: the pieces of sky that HSC and Rubin coadd on, each with one tangent plane."""

import math
from dataclasses import dataclass
from functools import lru_cache

from photoz_mmae.cutouts.wcs import TangentPlane

_RINGS = 120  # of tracts between the poles, in both surveys
_WIDTH = math.pi / (_RINGS + 1)


@dataclass(frozen=True)
class Tract:
    """One tract: its number, and its centre in deg."""

    number: int
    ra: float
    dec: float

    def place(self, ra: float, dec: float, pixel_scale: float) -> tuple[float, float]:
        """Pixels from the centre to a position in the tract's plane, x to the west, y north."""
        scale = pixel_scale / 3600.0
        plane = TangentPlane(self.ra, self.dec, (1.0, 1.0), (-scale, 0.0, 0.0, scale))
        return plane.to_pixel(ra, dec)


def tract_of(ra: float, dec: float) -> Tract:
    """Return the tract that a position (deg) lies in.

    Rings of equal height, cut evenly so that a tract is as wide as high: the ring sky maps of both
    surveys, whose numbers come out (COSMOS is HSC's 9813, the deepest field of DP1 Rubin's 5063).
    Positions within a degree of a pole are given to the outermost ring.
    """
    tracts, first = _rings()
    ring = min(max(int((math.radians(dec) + math.pi / 2) / _WIDTH - 0.5), 0), _RINGS - 1)
    step = 360.0 / tracts[ring]
    column = int(ra / step + 0.5) % tracts[ring]
    centre = math.degrees(_WIDTH * (ring + 1) - math.pi / 2)
    return Tract(first[ring] + column, column * step, centre)


@lru_cache(maxsize=1)
def _rings() -> tuple[list[int], list[int]]:
    """Tracts per ring, and the number of the first in each; 0 is the south pole's."""
    tracts, first = [], [1]
    for ring in range(_RINGS):
        low = _WIDTH * (ring + 0.5) - math.pi / 2
        nearest = min(abs(low), abs(low + _WIDTH))
        tracts.append(int(2 * math.pi * math.cos(nearest) / _WIDTH) + 1)
        first.append(first[-1] + tracts[-1])
    return tracts, first
