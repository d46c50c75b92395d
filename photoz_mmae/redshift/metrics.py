"""How good redshifts are: one metric, one definition.

dz = (z_phot - z_true) / (1 + z_true) throughout. All functions take arrays of finite numbers, one
entry per object, and return NaN for none at all; so do measures of spread for a single one.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from photoz_mmae.redshift.piecewise import Array, PiecewisePdf

HSC_LOSS_WIDTH = 0.15
"""gamma of the HSC loss."""

OUTLIER = 0.15
"""|dz| beyond which a redshift counts as an outlier."""

PIT_EXTREME = 1e-4
"""PIT values below this, or above one minus this, are extreme."""


def dz(z_phot: ArrayLike, z_true: ArrayLike) -> Array:
    """(z_phot - z_true) / (1 + z_true), (N,) -> (N,)."""
    z_true = np.asarray(z_true, dtype=np.float64)
    return np.asarray((np.asarray(z_phot, dtype=np.float64) - z_true) / (1 + z_true))


def bias_median(dz: Array) -> float:
    """median(dz)."""
    return float(np.median(dz)) if dz.size else np.nan


def bias_mean(dz: Array) -> float:
    """mean(dz); unlike the median it feels every outlier."""
    return float(np.mean(dz)) if dz.size else np.nan


def sigma_nmad(dz: Array) -> float:
    """1.4826 median|dz - median(dz)|: the variant about the median, not about 0.

    Hoaglin, Mosteller & Tukey 1983; equals the standard deviation of a Gaussian.
    """
    if dz.size < 2:
        return np.nan
    return float(1.4826 * np.median(np.abs(dz - np.median(dz))))


def sigma_iqr(dz: Array) -> float:
    """(q75 - q25) / 1.349 of dz, as in RAIL; equals the standard deviation of a Gaussian."""
    if dz.size < 2:
        return np.nan
    low, high = np.percentile(dz, (25, 75))
    return float((high - low) / 1.349)


def outlier_015(dz: Array) -> float:
    """Share of |dz| > 0.15."""
    return float(np.mean(np.abs(dz) > OUTLIER)) if dz.size else np.nan


def outlier_rail(dz: Array) -> float:
    """Share of |dz| > max(0.06, 3 sigma_IQR), the definition of RAIL and the LSST DESC."""
    return float(np.mean(np.abs(dz) > max(0.06, 3 * sigma_iqr(dz)))) if dz.size > 1 else np.nan


def catastrophic(z_phot: Array, z_true: Array) -> float:
    """Share of |z_phot - z_true| > 1."""
    return float(np.mean(np.abs(z_phot - z_true) > 1)) if z_true.size else np.nan


def hsc_loss(dz: Array) -> Array:
    """1 - 1/(1 + (dz/0.15)^2) per object, from 0 to 1: (N,) -> (N,).

    Tanaka et al. 2018 (arXiv:1704.05988), equation 4.
    """
    return np.asarray(1 - 1 / (1 + (dz / HSC_LOSS_WIDTH) ** 2))


def point_metrics(z_phot: ArrayLike, z_true: ArrayLike) -> dict[str, float]:
    """All metrics of point estimates.

    Parameters
    ----------
    z_phot, z_true : (N,) array_like
        Finite.

    Returns
    -------
    dict
        `n`, `sigma_nmad` (about the median), `sigma_iqr`, `bias_median`, `bias_mean`,
        `outlier_015`, `outlier_rail`, `catastrophic` (shares from 0 to 1), `hsc_loss` (mean).
    """
    z_phot = np.asarray(z_phot, dtype=np.float64)
    z_true = np.asarray(z_true, dtype=np.float64)
    error = dz(z_phot, z_true)
    scores: dict[str, Callable[[Array], float]] = {
        "sigma_nmad": sigma_nmad,
        "sigma_iqr": sigma_iqr,
        "bias_median": bias_median,
        "bias_mean": bias_mean,
        "outlier_015": outlier_015,
        "outlier_rail": outlier_rail,
    }
    return {
        "n": len(z_true),
        **{name: score(error) for name, score in scores.items()},
        "catastrophic": catastrophic(z_phot, z_true),
        "hsc_loss": float(np.mean(hsc_loss(error))) if error.size else np.nan,
    }


def cde_loss_terms(pdf: PiecewisePdf, z_true: ArrayLike) -> Array:
    """Integral of p(z)^2 dz - 2 p(z_true) per object, (N,); its mean is the CDE loss.

    The loss of a conditional density estimate up to a constant that the truth alone sets; the true
    density has the least. Izbicki & Lee 2017; Freeman, Izbicki & Lee 2017 (arXiv:1704.08095).
    """
    return np.asarray(pdf.square_integral() - 2 * pdf.pdf(z_true))


def crps_terms(pdf: PiecewisePdf, z_true: ArrayLike) -> Array:
    """Integral of (F(z) - [z >= z_true])^2 dz per object, (N,), exact for the binned p(z).

    Matheson & Winkler 1976; for a point estimate it is |z_phot - z_true|.
    """
    return pdf.crps(z_true)


def pit_values(pdf: PiecewisePdf, z_true: ArrayLike) -> Array:
    """F(z_true), the probability integral transform, (N,): uniform for a calibrated p(z).

    Dawid 1984; D'Isanto & Polsterer 2018.
    """
    return pdf.cdf(z_true)


def pit_statistics(pit: Array) -> dict[str, float]:
    """How far PIT values are from uniform on [0, 1].

    Parameters
    ----------
    pit : (N,) float64

    Returns
    -------
    dict
        `pit_ks`: Kolmogorov-Smirnov, the largest distance of the empirical distribution from the
        diagonal. `pit_cvm`: Cramer-von Mises, and `pit_ad`: Anderson-Darling statistics; unlike
        KS both grow with N for the same miscalibration. `pit_extreme`: share below 1e-4 or above
        0.9999 (2e-4 expected).
    """
    if pit.size < 2:
        return dict.fromkeys(("pit_ks", "pit_cvm", "pit_ad", "pit_extreme"), np.nan)
    # scipy.stats takes half a second to import, and only this function needs it.
    from scipy.stats import cramervonmises, kstest

    return {
        "pit_ks": float(kstest(pit, "uniform").statistic),
        "pit_cvm": float(cramervonmises(pit, "uniform").statistic),
        "pit_ad": _anderson_darling(pit),
        "pit_extreme": float(np.mean((pit < PIT_EXTREME) | (pit > 1 - PIT_EXTREME))),
    }


def _anderson_darling(pit: Array) -> float:
    """A^2 = -N - sum (2i-1)/N [ln x_i + ln(1 - x_{N+1-i})], x sorted (Anderson & Darling 1952).

    scipy has it only for distributions fitted to the data. Values of 0 and 1, which would make it
    infinite, count as 1e-9 from the end.
    """
    x = np.clip(np.sort(pit), 1e-9, 1 - 1e-9)
    n = len(x)
    weights = (2 * np.arange(1, n + 1) - 1) / n
    return float(-n - np.sum(weights * (np.log(x) + np.log1p(-x[::-1]))))


def coverage(low: ArrayLike, high: ArrayLike, z_true: ArrayLike) -> float:
    """Share of objects with low <= z_true <= high."""
    z_true = np.asarray(z_true)
    inside: NDArray[np.bool_] = (np.asarray(low) <= z_true) & (z_true <= np.asarray(high))
    return float(np.mean(inside)) if inside.size else np.nan
