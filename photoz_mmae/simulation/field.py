"""Galaxies of the field: what a survey sees down to a magnitude in i, wherever it points."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.simulation.cosmology import distance_modulus, volume_per_redshift
from photoz_mmae.simulation.sed import N_WARP, GalaxySeds, get_model
from photoz_mmae.simulation.structure import Galaxies, build_galaxies
from photoz_mmae.surveys import Survey

Floats = NDArray[np.float64]

BRIGHT_LIMIT = 15.0
"""Magnitude in i of the brightest field galaxies."""

# Schechter functions in rest-frame r for red and blue galaxies: density in 1/Mpc^3, its power of
# (1 + z), M* at z = 0, its brightening per unit of redshift (to z = 1), faint-end slope. Of the
# order of what luminosity functions by colour give (Faber et al. 2007, ApJ 665, 265); then set so
# that redshifts and colours of a magnitude-limited mock follow those of zCOSMOS.
_RED = (1.19e-3, -0.8, -21.38, 1.0, -0.5)
_BLUE = (3.0e-3, -0.4, -20.86, 1.2, -1.25)
_LAST_EVOLUTION = 1.0

# Shares of light at 5500 A of a typical red and blue galaxy, for their K corrections alone.
_TYPICAL = {True: (0.2, 0.005, 0.025, 0.77, 0.0), False: (0.32, 0.26, 0.32, 0.1, 0.0)}

_Z = np.concatenate([np.arange(0.0125, 1.5, 0.025), np.arange(1.55, 4.0, 0.1)])
_COARSE_STEP = 1.6e-3


def draw_field(rng: np.random.Generator, n: int, survey: Survey, limit: float) -> Galaxies:
    """Draw `n` galaxies brighter than `limit` in i, before Galactic reddening."""
    red, z, mag = _draw_seen(rng, n, survey, limit)
    k = np.where(red, _k_correction(survey, True, z), _k_correction(survey, False, z))
    absolute = mag - distance_modulus(z) - k
    band = np.full(n, survey.bands.index("i"))
    return build_galaxies(rng, z, mag, band, absolute, red, starburst=np.zeros(n, dtype=bool))


def _draw_seen(
    rng: np.random.Generator, n: int, survey: Survey, limit: float
) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Draw type, redshift and magnitude (n,) each from their joint distribution."""
    mags, cumulative = _seen(survey, limit)
    cell = np.searchsorted(cumulative, rng.random(n) * cumulative[-1])
    kind, z_index, m_index = np.unravel_index(cell, (2, len(_Z), len(mags)))
    width = np.diff(_Z, append=_Z[-1] + 0.1)[z_index]
    z = _Z[z_index] + rng.uniform(-0.5, 0.5, n) * np.minimum(width, _Z[z_index])
    mag = mags[m_index] + rng.uniform(-0.5, 0.5, n) * (mags[1] - mags[0])
    return kind == 0, np.maximum(z, 0.01), np.minimum(mag, limit)


@lru_cache(maxsize=8)
def _seen(survey: Survey, limit: float) -> tuple[Floats, Floats]:
    """Magnitudes (M,) and the cumulative counts of cells (2 types, Z, M), flat."""
    step = 0.1
    mags = np.arange(BRIGHT_LIMIT + step / 2, limit, step)
    width = np.diff(_Z, append=_Z[-1] + 0.1)
    counts = []
    for red, (density, power, m_star, evolution, alpha) in ((True, _RED), (False, _BLUE)):
        offset = distance_modulus(_Z) + _k_correction(survey, red, _Z)
        x = 10 ** (0.4 * (m_star - evolution * np.minimum(_Z, _LAST_EVOLUTION) + offset)[:, None])
        x = x * 10 ** (-0.4 * mags)  # (Z, M), L / L*
        per_volume = density * (1 + _Z) ** power * volume_per_redshift(_Z) * width
        counts.append(per_volume[:, None] * x ** (alpha + 1.0) * np.exp(-x))
    return mags, np.cumsum(np.stack(counts).ravel())


def _k_correction(survey: Survey, red: bool, z: Floats) -> Floats:
    """K correction (N,) from rest-frame r to observed i, of a typical galaxy of a type."""
    return np.interp(z, _Z, _k_table(survey, red))


@lru_cache(maxsize=8)
def _k_table(survey: Survey, red: bool) -> Floats:
    model = get_model(survey, _COARSE_STEP)
    z = np.concatenate([[1e-4], _Z])
    n = len(z)
    seds = GalaxySeds(
        share=np.tile(_TYPICAL[red], (n, 1)),
        ebv=np.full(n, 0.03 if red else 0.12),
        dust_slope=np.zeros(n),
        metallicity=np.full(n, 8.7),
        line_boost=np.ones(n),
        warp=np.zeros((n, N_WARP)),
    )
    flux = model.band_fluxes(model.observe(model.galaxies(seds), z))
    i = flux[1:, survey.bands.index("i")] / (1.0 + _Z)
    return np.asarray(-2.5 * np.log10(i / flux[0, survey.bands.index("r")]))
