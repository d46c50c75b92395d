"""Seeing: the PSF's width per band, where it is known."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_FWHM = 10.0
"""Arcsec: no survey looks through worse air; a larger value is a mistake."""


def usable_fwhm(values: ArrayLike) -> NDArray[np.float32]:
    """Return FWHM as float32, NaN where unknown: not finite, not above 0, above `MAX_FWHM`."""
    fwhm = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        usable = (fwhm > 0) & (fwhm <= MAX_FWHM)
    return np.where(usable, fwhm, np.nan).astype(np.float32)
