"""Statistics of a survey of cutouts: of its pixels, redshifts, types, colours and sizes."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from photoz_mmae.cutouts.placing import MAX_FLUX
from photoz_mmae.redshift.metrics import dz, sigma_nmad
from photoz_mmae.simulation.population import N_OF_Z, Z_EDGES

Floats = NDArray[np.float64]


def pixel_statistics(
    images: Iterable[NDArray[np.floating]], noise: ArrayLike, advance: Callable[[int], None]
) -> Floats:
    """Five statistics of all measured pixels per band, over blocks of images.

    Those that are not finite, or absurdly large, do not count.

    Parameters
    ----------
    images : iterable of (n, B, S, S) arrays
    noise : (B,) array_like
        Unit of the arcsinh.
    advance : callable
        Called with n after each block.

    Returns
    -------
    (5, B) array
        Mean, standard deviation, standard deviation of the negative pixels, mean and standard
        deviation of arcsinh(x / noise); NaN of no pixels.
    """
    unit = np.asarray(noise, dtype=np.float64)
    sums = np.zeros((3, 3, len(unit)))  # all, negative, stretched; count, sum, sum of squares
    for block in images:
        for band in range(len(unit)):
            pixels = block[:, band].astype(np.float64).ravel()
            measured = np.abs(pixels) <= MAX_FLUX
            if not measured.all():
                pixels = pixels[measured]
            for number, values in enumerate(
                (pixels, pixels[pixels < 0], np.arcsinh(pixels / unit[band]))
            ):
                sums[number, :, band] += len(values), values.sum(), values @ values
        advance(len(block))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums[:, 1] / sums[:, 0]
        # A constant image leaves a rounding error, of either sign.
        std = np.sqrt(np.maximum(sums[:, 2] / sums[:, 0] - mean**2, 0.0))
    return np.stack([mean[0], std[0], std[1], mean[2], std[2]])


def redshift_distance(z: Floats) -> float:
    """Kolmogorov-Smirnov distance of redshifts (N,) from the published distribution.

    That is the histogram of the published test split, even inside each of its bins; NaN for no
    redshift.
    """
    if not len(z):
        return np.nan
    ordered = np.sort(z)
    cumulative = np.cumsum((0.0, *N_OF_Z)) / sum(N_OF_Z)
    expected = np.interp(ordered, Z_EDGES, cumulative)
    steps = np.arange(len(z) + 1) / len(z)
    return float(max((expected - steps[:-1]).max(), (steps[1:] - expected).max()))


def psf_share(morphtype: NDArray[np.bytes_]) -> float:
    """Share of objects (N,) of type PSF; NaN of none."""
    return (
        float(np.mean(np.char.strip(morphtype.astype("S8")) == b"PSF"))
        if len(morphtype)
        else np.nan
    )


def colour_percentiles(mag: Floats, z: Floats, edges: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Count objects and take the percentiles of their colours in bins of redshift.

    Parameters
    ----------
    mag : (N, C + 1) array
        Blue to red; objects without one of them do not count.
    z : (N,) array
    edges : (K + 1,) array
        Each bin holds its lower edge.

    Returns
    -------
    count : (K,) int array
    percentiles : (K, C, 3) array
        16, 50 and 84 of each colour, mag; NaN for empty bins.
    """
    colour = -np.diff(mag, axis=1)  # (N, C + 1) -> (N, C)
    known = np.isfinite(colour).all(axis=1)
    count = np.zeros(len(edges) - 1, dtype=np.int64)
    percentiles = np.full((len(count), colour.shape[1], 3), np.nan)
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        mine = known & (z >= low) & (z < high)
        count[number] = mine.sum()
        if mine.any():
            percentiles[number] = np.percentile(colour[mine], (16, 50, 84), axis=0).T
    return count, percentiles


def colour_difficulty(mag: Floats, z: Floats) -> float:
    """sigma_NMAD that extra trees reach on i and three colours: 80 % to learn from, 20 % to test.

    Parameters
    ----------
    mag : (N, 4) array
        griz, as measured.
    z : (N,) array
    """
    from sklearn.ensemble import ExtraTreesRegressor

    order = np.random.default_rng(0).permutation(len(z))
    features = np.column_stack([mag[:, 2], -np.diff(mag, axis=1)])[order]
    train = round(0.8 * len(z))
    trees = ExtraTreesRegressor(100, min_samples_leaf=3, random_state=0)
    trees.fit(features[:train], z[order[:train]])
    return sigma_nmad(dz(trees.predict(features[train:]), z[order[train:]]))


def half_light_radius(images: NDArray[np.floating], flux: Floats, pixel_scale: float) -> Floats:
    """Radius of the circle around the centre of the stamp that holds half of a known flux.

    The light of neighbours counts only inside that circle; the PSF is not taken off.

    Parameters
    ----------
    images : (N, S, S) array
        One band.
    flux : (N,) array
        Total flux of the target in the unit of the images.
    pixel_scale : float
        arcsec.

    Returns
    -------
    (N,) array in arcsec; NaN where no circle inside the stamp holds half of the flux.
    """
    size = images.shape[-1]
    pixel = np.arange(size) - 0.5 * (size - 1)
    distance = np.hypot(pixel[:, None], pixel).ravel()
    inside = np.argsort(distance, kind="stable")
    inside = inside[distance[inside] < 0.5 * size]
    growth = np.cumsum(images.reshape(len(images), -1)[:, inside], axis=1, dtype=np.float64)
    half = 0.5 * flux
    reached = growth >= half[:, None]
    first = reached.argmax(axis=1)  # the pixel with which half of the flux is reached
    row = np.arange(len(images))
    last = np.where(first > 0, growth[row, first - 1], 0.0)
    known = reached.any(axis=1) & (flux > 0)
    share = np.divide(half - last, growth[row, first] - last, np.zeros_like(half), where=known)
    # The nearest k pixels fill a circle of their area.
    return np.where(known, np.sqrt((first + share) / np.pi) * pixel_scale, np.nan)
