"""A p(z) that is flat in ln(1+z) within each of its bins: every integral has a closed form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_MIN_WIDTH = 1e-7  # in ln(1+z): equal neighbouring quantiles (float32) still make a bin
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@dataclass(frozen=True)
class PiecewisePdf:
    """N probability distributions over redshift.

    With u = ln(1+z) the density in bin k is d_k = mass_k / (u_{k+1} - u_k) in u, and
    p(z) = d_k / (1+z) in z. All methods return densities and integrals in z.

    Attributes
    ----------
    edges : (K+1,) or (N, K+1) float64
        Bin edges in ln(1+z), increasing: common to all objects, or one row each.
    mass : (N, K) or (1, K) float64
        Probability in each bin; NaN in a row that has no p(z).
    below : float
        Probability below the first edge; 0 unless the distribution is known only between its
        first and last quantile.
    """

    edges: Array
    mass: Array
    below: float = 0.0

    @classmethod
    def from_mass(cls, mass: ArrayLike, edges: ArrayLike) -> "PiecewisePdf":
        """Normalise bin masses; a row that is no distribution becomes a row of NaN.

        Parameters
        ----------
        mass : (N, K) array_like
        edges : (K+1,) array_like
            In ln(1+z).
        """
        mass = np.asarray(mass, dtype=np.float64)
        total = mass.sum(axis=1, keepdims=True)
        good = np.isfinite(total) & (total > 0) & (mass >= 0).all(axis=1, keepdims=True)
        normalised = np.full_like(mass, np.nan)
        np.divide(mass, total, out=normalised, where=good)
        return cls(np.asarray(edges, dtype=np.float64), normalised)

    @classmethod
    def from_quantiles(cls, z: ArrayLike, levels: Sequence[float]) -> "PiecewisePdf":
        """Rebuild p(z) from its quantiles, flat in ln(1+z) between neighbouring ones.

        The cumulative distribution is exact at the levels. The probability outside the first and
        last quantile has no place in z: the density there is 0, the cumulative 0 or 1.

        Parameters
        ----------
        z : (N, L) array_like
            Redshifts of the quantiles, increasing along a row.
        levels : sequence of L float
            Increasing, between 0 and 1.
        """
        steps = _MIN_WIDTH * np.arange(len(levels))
        z = np.asarray(z, dtype=np.float64)
        edges = np.maximum.accumulate(np.log1p(z) - steps, axis=1) + steps
        mass = np.diff(np.asarray(levels, dtype=np.float64))[None, :]
        return cls(edges, mass, below=float(levels[0]))

    def __len__(self) -> int:
        return max(len(self.mass), len(self.edges) if self.edges.ndim == 2 else 0)

    @property
    def width(self) -> Array:
        """Widths of the bins in ln(1+z), (K,) or (N, K)."""
        return np.diff(self.edges)

    @property
    def density(self) -> Array:
        """Density per unit of ln(1+z) in each bin, (N, K)."""
        return self.mass / self.width

    @property
    def cumulative(self) -> Array:
        """Cumulative probability at the edges, (N, K+1) or (1, K+1)."""
        cumulative = np.empty((len(self.mass), self.mass.shape[1] + 1))
        cumulative[:, 0] = self.below
        np.cumsum(self.mass, axis=1, out=cumulative[:, 1:])
        cumulative[:, 1:] += self.below
        if self.below == 0:
            cumulative[:, -1] = np.where(np.isfinite(cumulative[:, -1]), 1.0, np.nan)
        return cumulative

    def bin_of(self, u: Array) -> NDArray[np.intp]:
        """Bin that holds each of `u` (N,); the nearest bin for what lies outside."""
        if self.edges.ndim == 1:
            index = np.searchsorted(self.edges, u, side="right") - 1
        else:
            index = (self.edges <= u[:, None]).sum(axis=1) - 1
        return np.clip(index, 0, self.mass.shape[1] - 1)

    def cdf(self, z: ArrayLike) -> Array:
        """Probability below `z`, one redshift per object, (N,) -> (N,)."""
        u = np.log1p(np.asarray(z, dtype=np.float64))
        k = self.bin_of(u)
        inside = _at(self.cumulative, k) + _at(self.density, k) * (u - _at(self.edges, k))
        first, last = self.edges[..., 0], self.edges[..., -1]
        # 0 * inside keeps NaN for a row without p(z).
        return np.where(u < first, 0 * inside, np.where(u > last, 1 + 0 * inside, inside))

    def pdf(self, z: ArrayLike) -> Array:
        """p(z), density in z, at one redshift per object, (N,) -> (N,); 0 outside the edges."""
        u = np.log1p(np.asarray(z, dtype=np.float64))
        inside = _at(self.density, self.bin_of(u)) * np.exp(-u)
        outside = (u < self.edges[..., 0]) | (u > self.edges[..., -1])
        return np.where(outside, 0 * inside, inside)

    def quantile(self, levels: ArrayLike) -> Array:
        """Redshifts at which the cumulative distribution reaches `levels`.

        The inversion of the piecewise linear cumulative is exact.

        Parameters
        ----------
        levels : (L,) or (N, L) array_like
            Strictly between 0 and 1.

        Returns
        -------
        (N, L) float64
        """
        cumulative, density = self.cumulative, self.density
        levels = np.broadcast_to(levels, (len(self), np.shape(levels)[-1]))
        u = np.empty(levels.shape)
        for j, level in enumerate(levels.T):
            # The first bin at whose end the level is reached: its mass is never 0.
            k = (cumulative[:, 1:-1] < level[:, None]).sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                into = (level - _at(cumulative, k)) / _at(density, k)
            u[:, j] = _at(self.edges, k) + np.clip(into, 0, _at(self.width, k))
        return np.expm1(u)

    def square_integral(self) -> Array:
        """Integral of p(z)^2 over z, (N,): sum of d_k^2 (exp(-u_k) - exp(-u_{k+1}))."""
        decay = np.exp(-self.edges[..., :-1]) * -np.expm1(-self.width)
        return np.asarray((self.density**2 * decay).sum(axis=1))

    def crps(self, z_true: ArrayLike) -> Array:
        """Continuous ranked probability score, integral of (F(z) - [z >= z_true])^2 over z.

        Exact for the piecewise distribution (Gauss-Legendre of order 8 within each bin, good to
        rounding for bins narrower than 2 in ln(1+z)).

        Parameters
        ----------
        z_true : (N,) array_like

        Returns
        -------
        (N,) float64
            In units of redshift.
        """
        z_true = np.asarray(z_true, dtype=np.float64)
        lower, upper = self.edges[..., 0], self.edges[..., -1]
        split = np.clip(np.log1p(z_true), lower, upper)
        k = self.bin_of(split)
        cumulative = np.broadcast_to(self.cumulative, (len(self), self.mass.shape[1] + 1))
        starts, ends = cumulative[:, :-1], cumulative[:, 1:]
        left = _squared_ramp(self.edges[..., :-1], self.width, starts, ends)
        right = _squared_ramp(self.edges[..., :-1], self.width, 1 - starts, 1 - ends)
        bins = np.arange(self.mass.shape[1])
        score = np.where(bins < k[:, None], left, np.where(bins > k[:, None], right, 0)).sum(axis=1)
        # The bin that holds the truth, in two pieces.
        u0, u1 = _at(self.edges, k), _at(self.edges, k + 1)
        f0, f1 = _at(cumulative, k), _at(cumulative, k + 1)
        middle = f0 + (f1 - f0) * (split - u0) / (u1 - u0)
        score += _squared_ramp(u0, split - u0, f0, middle)
        score += _squared_ramp(split, u1 - split, 1 - middle, 1 - f1)
        # Truth outside the edges: between it and them the integrand is 1.
        outside = np.abs(z_true - np.expm1(split))
        return np.asarray(score + outside)


def _at(values: Array, index: NDArray[np.intp]) -> Array:
    """Pick `values[i, index[i]]`, or `values[index]` where the values are common to all."""
    if values.ndim == 1:
        return np.asarray(values[index])
    if len(values) == 1:
        return np.asarray(values[0][index])
    return np.asarray(np.take_along_axis(values, index[:, None], axis=1)[:, 0])


def _squared_ramp(start: Array, width: Array, first: Array, last: Array) -> Array:
    """Integral over z of (a ramp from `first` to `last`, linear in u)^2, over u in a bin."""
    total: Array = np.zeros(np.broadcast_shapes(start.shape, first.shape))
    for node, weight in zip((_NODES + 1) / 2, _WEIGHTS / 2, strict=True):
        ramp = first + (last - first) * node
        total += weight * width * np.exp(start + node * width) * ramp**2
    return total
