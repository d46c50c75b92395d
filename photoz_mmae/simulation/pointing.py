"""Where on the sky, through which air: positions, patches, seeing, depth, the Galaxy's dust."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.simulation.render import Psfs
from photoz_mmae.surveys import Survey

Floats = NDArray[np.float64]

PATCH = 0.2
"""Side of a patch in degrees: what a coadd has one PSF per band for."""

_RA_RANGE, _DEC_RANGE = (130.0, 225.0), (-2.0, 5.0)
_POOL = 100  # different conditions, shared out among the patches
_DEPTH_SCATTER = 0.08  # ln, all bands together
_MEDIAN_EBV, _EBV_SCATTER, _MAX_EBV = 0.035, 0.7, 0.3


@dataclass
class Pointings:
    """Where N stamps are: `ra`, `dec` (deg), and `patch`, the row of the pool of conditions."""

    ra: Floats
    dec: Floats
    patch: NDArray[np.int64]


@dataclass
class Conditions:
    """A pool of P patches' conditions: PSFs, and `depth` (P,), a factor on the sky's noise."""

    psfs: Psfs
    depth: Floats


def draw_pointings(rng: np.random.Generator, n: int) -> Pointings:
    """Draw positions even on the sky, in an equatorial strip as the HSC wide survey has them."""
    ra = rng.uniform(*_RA_RANGE, n)
    south, north = np.sin(np.radians(_DEC_RANGE))
    dec = np.degrees(np.arcsin(rng.uniform(south, north, n)))
    column = np.floor(ra / PATCH).astype(np.int64)
    row = np.floor((dec + 90.0) / PATCH).astype(np.int64)
    return Pointings(ra, dec, (column * 7919 + row * 104729) % _POOL)


def draw_ebv(rng: np.random.Generator, n: int) -> Floats:
    """Draw Galactic E(B-V) (n,): log-normal, 0 to 0.3."""
    ebv = rng.lognormal(np.log(_MEDIAN_EBV), _EBV_SCATTER, n)
    return np.where(ebv > _MAX_EBV, rng.uniform(0.0, _MAX_EBV, n), ebv)


@lru_cache(maxsize=4)
def get_conditions(survey: Survey) -> Conditions:
    """Return the pool of a survey, the same in every process."""
    rng = np.random.default_rng(1805)
    shape = (_POOL, len(survey.bands))
    common = rng.normal(0.0, 0.06, (_POOL, 1))
    fwhm = np.array(survey.seeing) * np.exp(common + rng.normal(0.0, 0.08, shape))
    psfs = Psfs(
        fwhm=fwhm / survey.pixel_scale,
        ratio=1.0 - np.abs(rng.normal(0.0, 0.04, shape)),
        angle=rng.uniform(0.0, np.pi, shape),
    )
    return Conditions(psfs, np.exp(rng.normal(0.0, _DEPTH_SCATTER, _POOL)))
