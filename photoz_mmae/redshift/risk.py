"""The expected HSC loss of a redshift under p(z), and the redshift where it is least.

The loss is 1 - 1/(1 + (dz/0.15)^2) with dz = (z_phot - z)/(1+z): Tanaka et al. 2018
(arXiv:1704.05988), section 4.1.
"""

import numpy as np

from photoz_mmae.redshift.metrics import HSC_LOSS_WIDTH
from photoz_mmae.redshift.piecewise import Array, PiecewisePdf

_SEARCH_STEP = 0.005  # in ln(1+z): the loss is smooth over 0.15, whatever the bins are


def expected_loss(pdf: PiecewisePdf, z: Array) -> Array:
    """Return the expected loss of one redshift per object, exact, (N,) -> (N,)."""
    gain = _gain_integral(pdf.edges - np.log1p(z)[:, None])  # (N, K+1)
    loss = 1 - (pdf.mass * np.diff(gain, axis=1) / pdf.width).sum(axis=1)
    return np.asarray(np.clip(loss, 0, 1))


def best_search(edges: Array) -> tuple[Array, Array]:
    """Candidates for z_best and the loss of each, averaged over each bin.

    Returns
    -------
    candidates : (C,) float64
        In ln(1+z), equally spaced from the first to the last edge.
    loss : (K, C) float64
    """
    n = max(int(np.ceil((edges[-1] - edges[0]) / _SEARCH_STEP)), 2) + 1
    candidates = np.linspace(edges[0], edges[-1], n)
    gain = np.diff(_gain_integral(edges[:, None] - candidates), axis=0)
    return candidates, 1 - gain / np.diff(edges)[:, None]


def _gain_integral(x: Array) -> Array:
    """Integral of the gain 1/(1 + (dz/a)^2) over x = ln(1+z) - ln(1+z_phot).

    dz = (z_phot - z)/(1+z) = exp(-x) - 1, so with t = exp(-x) the integral is that of
    -a^2 / (t (a^2 + (t-1)^2)) dt, by partial fractions.
    """
    a = HSC_LOSS_WIDTH
    t = np.exp(-x)
    logs = -x - 0.5 * np.log((t - 1) ** 2 + a**2)
    return np.asarray(-(a**2) / (1 + a**2) * (logs + np.arctan((t - 1) / a) / a))


def least_risk(pdf: PiecewisePdf, search: tuple[Array, Array]) -> tuple[Array, Array]:
    """Redshift of least expected loss, and that loss: (N,), (N,)."""
    candidates, loss = search
    risk = pdf.mass @ loss  # (N, K) @ (K, C) -> (N, C)
    # Not the outermost candidates: the parabola needs both neighbours, and may reach the ends.
    i = np.argmin(risk[:, 1:-1], axis=1) + 1
    rows = np.arange(len(risk))
    offset, least = parabola(risk[rows, i - 1], risk[rows, i], risk[rows, i + 1])
    best = np.expm1(candidates[i] + offset * (candidates[1] - candidates[0]))
    missing = np.isnan(pdf.mass[:, 0])
    best[missing] = least[missing] = np.nan
    return best, np.clip(least, 0, 1)


def parabola(left: Array, middle: Array, right: Array) -> tuple[Array, Array]:
    """Extremum of the parabola through (-1, left), (0, middle), (1, right), within [-1, 1]."""
    slope = 0.5 * (right - left)
    curvature = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.where(curvature == 0, 0, -slope / curvature)
    offset = np.clip(offset, -1, 1)
    return offset, middle + offset * slope + 0.5 * offset**2 * curvature
