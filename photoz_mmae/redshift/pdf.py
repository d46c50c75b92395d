"""From p(z) to what a catalogue holds: points, intervals and risk.

p(z) comes as the probability `mass` (N, K) in K bins of ln(1+z), flat within a bin. What follows
is exact for that distribution, except `z_best` (a search refined to about 1e-5) and `z_mode`
(a parabola through three bins).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.errors import ModelError
from photoz_mmae.flags import Flag
from photoz_mmae.redshift.piecewise import Array, PiecewisePdf
from photoz_mmae.redshift.risk import best_search, expected_loss, least_risk, parabola

# fmt: off
LEVELS = (
    0.0001, 0.001, 0.01, 0.025, 0.05, 0.1, 0.16, 0.25, 0.33, 0.42, 0.5,
    0.58, 0.67, 0.75, 0.84, 0.9, 0.95, 0.975, 0.99, 0.999, 0.9999,
)
# fmt: on
"""Levels of the catalogue's `z_quantiles`."""

CONFIDENCE_WINDOW = 0.03
"""`z_conf_best` is the probability within this times (1 + z_best) of z_best."""

WIDE = 0.3
"""WIDE_PDF: the 68 per cent interval is wider than this times (1 + z_best)."""

SECOND_PEAK = 0.1
"""MULTI_PEAK: at least this probability lies in other peaks than the highest."""

_ROWS = 1024  # at once: some (rows, K) arrays of float64 stay within 100 MB
_SMOOTHING = 0.015  # half width in ln(1+z) over which p(z) is averaged before peaks are counted


def summarise(
    mass: NDArray[np.floating], edges: NDArray[np.floating], object_id: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Reduce p(z) to the catalogue's redshift columns.

    Parameters
    ----------
    mass : (N, K) float
        Probability in each bin; rows are normalised here. A row that is no distribution (NaN,
        negative, all zero) gives NaN in every column.
    edges : (K+1,) float
        Bin edges in ln(1+z), increasing.
    object_id : sequence of N str
        Seeds the draw `z_mc`, so that it depends on nothing but the id and p(z).

    Returns
    -------
    dict of str to (N,) float32, `z_quantiles` (N, len(LEVELS)) float32
        `z_best`: least expected HSC loss; `z_risk_best`: that loss; `z_conf_best`: probability
        within 0.03 (1 + z_best) of it. `z_mean`, `z_median`, `z_mode` (of the density in z),
        `z_mc` (one draw). `z_std` about the mean, `z_std_best` about z_best.
        `z_err68_min/max`, `z_err95_min/max`: the 16/84 and 2.5/97.5 percentiles.

    Raises
    ------
    ModelError
        The shapes do not fit together, or the edges do not increase.

    References
    ----------
    Tanaka et al. 2018 (arXiv:1704.05988), sections 4.1 and 4.2: loss, risk, confidence.
    """
    mass, edges = _checked(mass, edges)
    if len(object_id) != len(mass):
        raise ModelError(f"p(z) of {len(mass)} objects, but {len(object_id)} object ids")
    search = best_search(edges)
    columns: dict[str, NDArray[np.float32]] = {}
    for rows in _chunks(len(mass)):
        pdf = PiecewisePdf.from_mass(mass[rows], edges)
        for name, values in _summarise_chunk(pdf, search, object_id[rows]).items():
            if name not in columns:
                columns[name] = np.empty((len(mass), *values.shape[1:]), dtype=np.float32)
            columns[name][rows] = values
    return columns


def judge(
    mass: NDArray[np.floating], edges: NDArray[np.floating], z: NDArray[np.floating]
) -> dict[str, NDArray[np.float32]]:
    """Say how far any redshift is to be trusted, as `summarise` does of z_best.

    Parameters
    ----------
    mass, edges
        As for `summarise`.
    z : (N,) float
        One redshift per object.

    Returns
    -------
    dict of str to (N,) float32
        `risk`: expected HSC loss; `conf`: probability within 0.03 (1 + z) of z; `std`: root mean
        square deviation from z. NaN in rows without p(z).

    References
    ----------
    Tanaka et al. 2018 (arXiv:1704.05988), sections 4.1 and 4.2.
    """
    mass, edges = _checked(mass, edges)
    judged = {name: np.empty(len(mass), np.float32) for name in ("risk", "conf", "std")}
    for rows in _chunks(len(mass)):
        pdf = PiecewisePdf.from_mass(mass[rows], edges)
        point = z[rows].astype(np.float64)
        judged["risk"][rows] = expected_loss(pdf, point)
        judged["conf"][rows] = _confidence(pdf, point)
        judged["std"][rows] = _deviation(*_moments(pdf), point)
    return judged


def pdf_flags(
    mass: NDArray[np.floating],
    edges: NDArray[np.floating],
    columns: Mapping[str, NDArray[np.floating]],
) -> NDArray[np.int32]:
    """Flag what is odd about p(z): Z_AT_EDGE, WIDE_PDF, MULTI_PEAK.

    Z_AT_EDGE: z_best lies in the first or last bin. WIDE_PDF: the 68 per cent interval is wider
    than `WIDE` (1 + z_best). MULTI_PEAK: at least `SECOND_PEAK` of the probability lies where the
    density is over twice that of the lowest point between there and the highest peak (density in
    z, averaged over +-0.015 in ln(1+z)).

    Parameters
    ----------
    mass, edges
        As for `summarise`.
    columns : mapping
        What `summarise` returned.

    Returns
    -------
    (N,) int32
        0 for rows without p(z).
    """
    mass, edges = _checked(mass, edges)
    u_best = np.log1p(columns["z_best"].astype(np.float64))
    interval = columns["z_err68_max"] - columns["z_err68_min"]
    flags = np.zeros(len(mass), dtype=np.int32)
    flags[(u_best <= edges[1]) | (u_best >= edges[-2])] |= Flag.Z_AT_EDGE
    flags[interval > WIDE * (1 + columns["z_best"])] |= Flag.WIDE_PDF
    smoothing = _smoothing_matrix(edges)
    for rows in _chunks(len(mass)):
        pdf = PiecewisePdf.from_mass(mass[rows], edges)
        multiple = _mass_of_other_peaks(pdf, smoothing) >= SECOND_PEAK
        flags[rows][multiple] |= Flag.MULTI_PEAK
    return flags


def uniform_from_id(object_id: str) -> float:
    """Make a number strictly between 0 and 1 from the id alone, the same on every machine."""
    digest = hashlib.blake2b(object_id.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52


def _checked(
    mass: NDArray[np.floating], edges: NDArray[np.floating]
) -> tuple[NDArray[np.floating], Array]:
    u_edges: Array = np.asarray(edges, dtype=np.float64)
    mass = np.asarray(mass)
    if mass.ndim != 2 or u_edges.shape != (mass.shape[1] + 1,) or mass.shape[1] < 3:
        raise ModelError(
            f"p(z) of shape {mass.shape} needs at least 3 bins and one edge more than bins, "
            f"not edges of shape {u_edges.shape}"
        )
    if not (np.diff(u_edges) > 0).all():
        raise ModelError("the edges of the p(z) bins do not increase")
    return mass, u_edges


def _chunks(n: int) -> Iterator[slice]:
    # One empty chunk for n = 0, so that its columns exist.
    return (slice(start, start + _ROWS) for start in range(0, max(n, 1), _ROWS))


def _summarise_chunk(
    pdf: PiecewisePdf, search: tuple[Array, Array], object_id: Sequence[str]
) -> dict[str, Array]:
    mean, variance = _moments(pdf)
    best, risk = least_risk(pdf, search)
    quantiles = pdf.quantile(LEVELS)
    draws = np.array([uniform_from_id(name) for name in object_id], dtype=np.float64)
    return {
        "z_best": best,
        "z_mean": mean,
        "z_median": quantiles[:, LEVELS.index(0.5)],
        "z_mode": _mode(pdf),
        "z_mc": pdf.quantile(draws[:, None])[:, 0],
        "z_std": np.sqrt(variance),
        "z_std_best": _deviation(mean, variance, best),
        "z_err68_min": quantiles[:, LEVELS.index(0.16)],
        "z_err68_max": quantiles[:, LEVELS.index(0.84)],
        "z_err95_min": quantiles[:, LEVELS.index(0.025)],
        "z_err95_max": quantiles[:, LEVELS.index(0.975)],
        "z_risk_best": risk,
        "z_conf_best": _confidence(pdf, best),
        "z_quantiles": quantiles,
    }


def _moments(pdf: PiecewisePdf) -> tuple[Array, Array]:
    """Mean and variance of z, (N,) each."""
    shift = pdf.width
    # Moments of 1+z = exp(u) over a bin: (exp(n u_1) - exp(n u_0)) / (n width).
    one_plus_z = np.exp(pdf.edges[:-1]) * np.expm1(shift) / shift
    squared = np.exp(2 * pdf.edges[:-1]) * np.expm1(2 * shift) / (2 * shift)
    mean = pdf.mass @ one_plus_z - 1
    return mean, np.maximum(pdf.mass @ squared - (mean + 1) ** 2, 0)


def _deviation(mean: Array, variance: Array, z: Array) -> Array:
    """Root mean square of the redshift's distance from `z`, (N,)."""
    return np.asarray(np.sqrt(variance + (mean - z) ** 2))


def _confidence(pdf: PiecewisePdf, z: Array) -> Array:
    """Probability within 0.03 (1 + z) of `z`, (N,)."""
    window = CONFIDENCE_WINDOW * (1 + z)
    return pdf.cdf(z + window) - pdf.cdf(z - window)


def _mode(pdf: PiecewisePdf) -> Array:
    """Redshift of the highest density in z, refined within its bin.

    The refinement is a parabola in the logarithm of the density through the bin and its two
    neighbours (exact for a Gaussian in equal bins), kept inside the bin.
    """
    centre = 0.5 * (pdf.edges[:-1] + pdf.edges[1:])
    density = pdf.density * np.exp(-centre)
    k = np.argmax(density, axis=1)
    rows = np.arange(len(density))
    peak = density[rows, k]
    # Beyond the ends the density goes on as in the outermost bin; empty bins count as 1/1000.
    padded = np.pad(density, ((0, 0), (1, 1)), mode="edge")
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (np.log(np.maximum(padded[rows, k + s] / peak, 1e-3)) for s in (0, 2))
    offset, _ = parabola(-left, np.zeros_like(peak), -right)
    u = centre[k] + np.clip(offset, -0.5, 0.5) * pdf.width[k]
    return np.where(np.isnan(peak), np.nan, np.expm1(u))


def _smoothing_matrix(edges: Array) -> Array:
    """(K, K) matrix that turns bin masses into a smoothed density in z at the bin centres."""
    centre = 0.5 * (edges[:-1] + edges[1:])
    low = np.maximum(centre - _SMOOTHING, edges[0])
    high = np.minimum(centre + _SMOOTHING, edges[-1])
    overlap = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
    share = np.maximum(overlap, 0) / np.diff(edges)[:, None]
    return np.asarray(share / (np.exp(high) - np.exp(low)))


def _mass_of_other_peaks(pdf: PiecewisePdf, smoothing: Array) -> Array:
    """Probability in bins that rise over twice the valley before the highest peak, (N,)."""
    density = pdf.mass @ smoothing
    peak = np.argmax(density, axis=1)[:, None]
    bins = np.arange(density.shape[1])
    # The lowest density between the peak and each bin, walking away from the peak.
    right = np.minimum.accumulate(np.where(bins < peak, np.inf, density), axis=1)
    left = np.minimum.accumulate(np.where(bins > peak, np.inf, density)[:, ::-1], axis=1)[:, ::-1]
    valley = np.where(bins < peak, left, right)
    return np.asarray(np.where(density > 2 * valley, pdf.mass, 0).sum(axis=1))
