"""Weights that make a training sample look like a target sample in colour and magnitude.

The ratio of the two samples' densities around each training object, from nearest neighbours:
Lima et al. 2008 (arXiv:0801.3822), section 3.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.catalog.schema import SCHEMA_VERSION_KEY
from photoz_mmae.cutouts.photometry import APERTURE_DIAMETER
from photoz_mmae.errors import InputError
from photoz_mmae.tables import TableFile

NEIGHBOURS = 50
"""Training objects that the density around one is measured with, in a large sample."""

MAX_WEIGHT = 10.0
"""In units of the mean; more would let a few objects rule the gradient."""

TARGET_ROWS = 200_000
"""Of a larger target sample so many are drawn."""

_BRIGHTEST, _FAINTEST = 5.0, 40.0
"""AB; what is outside (99, -999) stands for no magnitude."""

_AB_NJY = 31.4

Array = NDArray[np.float64]


@dataclass
class Matched:
    """The weights, and what can be said of them.

    Attributes
    ----------
    weights : array, (N,)
        0 where no target object is near, or where a magnitude is missing; the others have mean 1.
    effective : float
        (sum w)^2 / sum w^2: how many objects of equal weight would be as good.
    outside : float
        Share of the target sample that the training sample does not reach.
    """

    weights: Array
    effective: float
    outside: float


def target_magnitudes(path: Path, bands: tuple[str, ...]) -> dict[str, Array]:
    """Read AB magnitudes (M,) of the bands that a table has.

    Columns are `mag_<b>`, `<b>_cmodel_mag` or `flux_<b>` in nJy, the first that is there; of all
    of an object's light, as the training file's are.

    Raises
    ------
    InputError
        The table cannot be read, has fewer than two of the bands, or is a catalogue of `predict`.
    """
    table = TableFile(path)
    if SCHEMA_VERSION_KEY in table.metadata:
        raise InputError(
            f"{path}: the fluxes of a catalogue by `predict` are of apertures of "
            f'{APERTURE_DIAMETER:g}"; give --match-to a table of total magnitudes or fluxes'
        )
    found: dict[str, Array] = {}
    for band in bands:
        for name in (f"mag_{band}", f"{band}_cmodel_mag", f"flux_{band}"):
            if name in table.names:
                values = table.numbers(name)
                found[band] = _to_magnitudes(values) if name.startswith("flux") else values
                break
    if len(found) < 2:
        raise InputError(
            f"{path}: columns mag_<b>, <b>_cmodel_mag or flux_<b> (nJy) of at least two of the "
            f"bands {', '.join(bands)} are needed; it has {', '.join(found) or 'none'}"
        )
    return found


def match(source: Array, target: Array) -> Matched:
    """Weigh training objects by the density of the target sample over their own.

    Parameters
    ----------
    source : array, (N, B)
        Magnitudes of the training objects; one outside 5 to 40 is missing.
    target : array, (M, B)
        Magnitudes of the target sample in the same bands, in order of wavelength.

    Raises
    ------
    InputError
        Fewer than two objects of either have all magnitudes, or they have nothing in common.
    """
    from scipy.spatial import KDTree

    usable = _measured(source).all(axis=1)
    target = target[_measured(target).all(axis=1)]
    if usable.sum() < 2 or len(target) < 2:
        raise InputError(
            f"--match-to: {int(usable.sum())} training and {len(target)} target objects have all "
            "magnitudes: too few to compare"
        )
    if len(target) > TARGET_ROWS:
        target = np.random.default_rng(0).choice(target, TARGET_ROWS, replace=False)
    unit = _features(target).std(axis=0)
    unit = np.where(unit > 0, unit, 1)
    wanted, present = _features(target) / unit, _features(source[usable]) / unit
    own, other = KDTree(present), KDTree(wanted)
    neighbours = int(np.clip(len(present) // 20, 1, NEIGHBOURS))
    # The nearest neighbour of an object in its own sample is itself.
    radius = own.query(present, [neighbours + 1])[0][:, 0]
    near = other.query_ball_point(present, radius, return_length=True)  # (N,)
    if not near.any():
        raise InputError("--match-to: no target object has colours and magnitude of a training one")
    weights = np.zeros(len(source))
    weights[np.flatnonzero(usable)[near > 0]] = _capped(near[near > 0].astype(np.float64))
    reach = np.quantile(radius, 0.99)
    outside = own.query(wanted, [neighbours])[0][:, 0] > reach
    effective = weights.sum() ** 2 / np.square(weights).sum()
    return Matched(weights, float(effective), float(outside.mean()))


def _measured(magnitudes: Array) -> NDArray[np.bool_]:
    return (magnitudes >= _BRIGHTEST) & (magnitudes <= _FAINTEST)


def _features(magnitudes: Array) -> Array:
    """Colours of neighbouring bands and the magnitude in the middle one, (N, B) -> (N, B)."""
    middle = magnitudes[:, [magnitudes.shape[1] // 2]]
    return np.hstack([-np.diff(magnitudes, axis=1), middle])


def _capped(weights: Array) -> Array:
    """Mean 1, none above MAX_WEIGHT."""
    for _ in range(100):  # cutting lowers the mean, and so what is to be cut
        weights = np.minimum(weights / weights.mean(), MAX_WEIGHT)
    return np.asarray(weights / weights.mean())


def _to_magnitudes(flux: Array) -> Array:
    positive = np.where(flux > 0, flux, np.nan)
    return np.asarray(_AB_NJY - 2.5 * np.log10(positive))
