"""A spectrum in two numbers: the slope of its continuum and its break at 4000 Angstrom."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

D4000_BLUE = (3750.0, 3950.0)
D4000_RED = (4050.0, 4250.0)
"""Rest-frame windows of the broad 4000 A break, Bruzual 1983."""

_CLIP = 3.0  # sigma, of the one rejection of lines before the slope is fitted again
_ROWS = 1024  # at once: a few arrays of (rows, P) float64 stay small
_MIN_SHARE = 0.5  # of the pixels must be positive for a slope to mean anything


def summarise_spectrum(
    flux: NDArray[np.floating], wave: NDArray[np.floating], z: NDArray[np.floating]
) -> dict[str, NDArray[np.float32]]:
    """Summarise spectra for the catalogue.

    Parameters
    ----------
    flux : (N, P) float
        F_lambda in any unit, not mean-subtracted.
    wave : (P,) float
        Pixel centres, observed Angstrom, increasing.
    z : (N,) float
        Redshift that takes `wave` to the rest frame.

    Returns
    -------
    dict of str to (N,) float32
        `spec_slope` (see `continuum_slope`) and `spec_d4000` (see `break_4000`).
    """
    wave64 = np.asarray(wave, dtype=np.float64)
    slope, d4000 = (np.empty(len(flux), dtype=np.float32) for _ in range(2))
    for start in range(0, len(flux), _ROWS):
        rows = slice(start, start + _ROWS)
        chunk = np.asarray(flux[rows], dtype=np.float64)
        slope[rows] = continuum_slope(chunk, wave64)
        d4000[rows] = break_4000(chunk, wave64, np.asarray(z[rows], dtype=np.float64))
    return {"spec_slope": slope, "spec_d4000": d4000}


def continuum_slope(flux: Array, wave: Array) -> Array:
    """Index beta of the power law F_lambda ~ lambda^beta, (N, P) -> (N,).

    Least squares of ln F against ln lambda over the positive pixels of the whole observed
    spectrum, done twice: pixels beyond 3 robust sigma of the first fit (lines) are left out of the
    second. The slope is the same in the observed and the rest frame. NaN where fewer than half
    of the pixels are positive.
    """
    x = np.log(wave / np.sqrt(wave[0] * wave[-1]))
    used = np.isfinite(flux) & (flux > 0)
    y = np.log(np.where(used, flux, 1))
    enough = used.sum(axis=1) >= _MIN_SHARE * len(wave)
    slope, level = _line_fit(x, y, used)
    residual = np.abs(y - level[:, None] - slope[:, None] * x)
    ordered = np.sort(np.where(used, residual, np.inf), axis=1)
    middle = np.maximum(used.sum(axis=1) - 1, 0) // 2
    sigma = 1.4826 * np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0]
    slope, _ = _line_fit(x, y, used & (residual <= _CLIP * sigma[:, None]))
    return np.where(enough, slope, np.nan)


def break_4000(flux: Array, wave: Array, z: Array) -> Array:
    """Mean F_nu in rest 4050-4250 A over that in 3750-3950 A, (N, P) -> (N,).

    The broad break of Bruzual 1983 (ApJ 273, 105), integrated over wavelength with pixels cut
    exactly at the ends of the windows. The windows were defined in air; they are used in vacuum,
    where they would lie 1.1 A further red, half a per cent of their width. NaN where a window is
    not wholly inside the spectrum, holds a pixel that is not finite, or the denominator is not
    positive.
    """
    edges = np.concatenate(
        [
            [1.5 * wave[0] - 0.5 * wave[1]],
            0.5 * (wave[:-1] + wave[1:]),
            [1.5 * wave[-1] - 0.5 * wave[-2]],
        ]
    )
    good = np.isfinite(flux)
    f_nu = np.where(good, flux, 0) * wave**2
    bad = np.where(good, 0.0, 1.0)
    red, blue = (
        # 1e-6 A of bad pixels: not the rounding of the sum.
        np.where(_integral(bad, edges, window, z) > 1e-6, np.nan, _integral(f_nu, edges, window, z))
        for window in (D4000_RED, D4000_BLUE)
    )
    # The windows are equally wide, so the ratio of integrals is that of means.
    ratio = np.full(len(z), np.nan)
    np.divide(red, blue, out=ratio, where=blue > 0)
    return ratio


def _integral(values: Array, edges: Array, window: tuple[float, float], z: Array) -> Array:
    """Integral over wavelength of pixel values (N, P) in a rest-frame window, (N,).

    NaN where the window reaches beyond the outermost pixels.
    """
    cumulative = np.zeros((len(values), len(edges)))
    np.cumsum(values * np.diff(edges), axis=1, out=cumulative[:, 1:])
    rows = np.arange(len(values))
    ends = []
    for rest in window:
        observed = rest * (1 + z)
        k = np.clip(np.searchsorted(edges, observed, side="right") - 1, 0, len(edges) - 2)
        share = (observed - edges[k]) / (edges[k + 1] - edges[k])
        value = cumulative[rows, k] * (1 - share) + cumulative[rows, k + 1] * share
        ends.append(np.where((observed >= edges[0]) & (observed <= edges[-1]), value, np.nan))
    return np.asarray(ends[1] - ends[0])


def _line_fit(x: Array, y: Array, used: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Least squares y = level + slope x over the used pixels of each row: (N,), (N,)."""
    n = np.maximum(used.sum(axis=1), 1)
    x_mean = (used * x).sum(axis=1) / n
    y_mean = (used * y).sum(axis=1) / n
    dx = used * (x - x_mean[:, None])
    spread = (dx**2).sum(axis=1)
    slope = np.full(len(y), np.nan)
    np.divide((dx * y).sum(axis=1), spread, out=slope, where=spread > 0)
    return slope, y_mean - slope * x_mean
