"""What a galaxy is made of: stars, dust and gas of bulge and disk, their sizes and shapes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.simulation.cosmology import arcsec_per_kpc
from photoz_mmae.simulation.sed import (
    AF_STARS,
    INTERMEDIATE,
    N_WARP,
    OLD,
    YOUNG,
    YOUNGEST,
    GalaxySeds,
)

Floats = NDArray[np.float64]

SUN_R = 4.64
"""Absolute AB magnitude of the Sun in r."""

# Set together with the luminosity functions of `field`, so that the colours of a magnitude-limited
# mock, their spread, and how well they tell redshifts are those of zCOSMOS (docs/simulation.md).
_ACTIVITY, _ACTIVITY_WITH_MASS, _ACTIVITY_WITH_Z = 0.355, -0.062, 0.248
_ACTIVITY_SCATTER = 0.172
_YOUNG_FLOOR, _YOUNG_RANGE, _YOUNG_SCATTER = 0.079, 0.431, 0.042  # the last in dex
_MIX = (31.7, 50.5, 6.2)  # of intermediate, A and F, and old stars in disks
_OLD_LESS_IN_ACTIVE = 0.5
_OLD_IN_DISKS, _OLD_IN_BULGES = 0.458, 0.86  # of red galaxies
_OLD_FADING = -0.046  # with redshift
_FROSTING = 0.0027
_DUST, _DUST_SCATTER, _DUST_WITH_MASS = 0.152, 0.381, 0.213
_DUST_SLOPE, _DUST_SLOPE_SCATTER = -0.47, 0.063
_LINES, _LINE_SCATTER = 1.24, 0.15  # factor, dex
_OXYGEN = 8.80  # 12 + log(O/H) at 10^10.3 solar masses
_WARP = 0.0054
_BREAK_NODE, _BREAK_FILLING = 8, 0.03  # ln of a factor around 3740 A on the templates
_LARGEST_KPC = 14.0  # of spheroids


@dataclass
class Galaxies:
    """N galaxies as two components each, bulge and disk, seen at one redshift.

    `mag` is the observed total in band number `band`, before Galactic reddening; `red` those
    without much star formation; `bulge_share` the bulge's part of the dust-free light at rest
    5500 A; radii are half-light semi-major axes in arcsec, `*_ratio` axis ratios, `angle` radians
    from the x axis; `clumpiness` the part of the disk's light that is in clumps.
    """

    z: Floats
    mag: Floats
    band: NDArray[np.int64]
    red: NDArray[np.bool_]
    bulge: GalaxySeds
    disk: GalaxySeds
    bulge_share: Floats
    bulge_radius: Floats
    disk_radius: Floats
    bulge_index: Floats
    bulge_ratio: Floats
    disk_ratio: Floats
    angle: Floats
    clumpiness: Floats

    def __len__(self) -> int:
        return len(self.z)


def build_galaxies(
    rng: np.random.Generator,
    z: Floats,
    mag: Floats,
    band: NDArray[np.int64],
    absolute: Floats,
    red: NDArray[np.bool_],
    starburst: NDArray[np.bool_],
) -> Galaxies:
    """Draw the make-up of N galaxies.

    Parameters
    ----------
    rng : Generator
    z, mag : (N,) arrays
    band : (N,) int array
        Number of the band that `mag` is in.
    absolute : (N,) array
        Absolute magnitude in rest-frame r.
    red, starburst : (N,) bool arrays
        Without much star formation; with hardly anything else.
    """
    n = len(z)
    # M/L in the r band: 2.5 for red galaxies, 1 for blue ones, less at high redshift.
    log_mass = -0.4 * (absolute - SUN_R) + np.where(red, 0.40, 0.0) - 0.25 * z
    log_mass += rng.normal(0.0, 0.1, n)
    share = np.where(red, rng.beta(4.0, 1.8, n), rng.beta(1.1, 4.5, n))
    share = np.clip(share + 0.12 * (log_mass - 10.3) * ~red, 0.0, 1.0)
    share[starburst] *= 0.3
    cos_i = rng.random(n)
    activity = _ACTIVITY + _ACTIVITY_WITH_MASS * (log_mass - 10.0)
    activity += _ACTIVITY_WITH_Z * np.minimum(z, 1.2)
    # 0: hardly any young stars; 1: nothing else
    activity = np.clip(rng.normal(activity, _ACTIVITY_SCATTER), 0.06, 0.95)
    activity[starburst] = rng.uniform(0.55, 0.95, starburst.sum())
    oxygen = _OXYGEN + 0.28 * (log_mass - 10.3) - 0.10 * np.minimum(z, 2.0)
    oxygen = np.clip(oxygen + rng.normal(0.0, 0.1, n), 7.9, 8.92)
    warp = rng.normal(0.0, _WARP, (n, N_WARP))
    warp[:, _BREAK_NODE] += _BREAK_FILLING
    slope = rng.normal(_DUST_SLOPE, _DUST_SLOPE_SCATTER, n)
    boost = _LINES * 10 ** rng.normal(0.0, _LINE_SCATTER, n)
    dust = rng.lognormal(np.log(_DUST), _DUST_SCATTER, n)
    dust *= 10 ** (_DUST_WITH_MASS * np.clip(log_mass - 10.0, -1.5, 1))
    disk_dust = np.where(red, 0.25 * dust, dust * (0.75 + 0.5 * (1.0 - cos_i)))
    bulge_dust = np.where(red, 0.20, 0.5) * dust
    common = {"dust_slope": slope, "metallicity": oxygen, "line_boost": boost, "warp": warp}
    disk_stars = np.where(
        red[:, None], _old_stars(rng, z, _OLD_IN_DISKS), _young_stars(rng, activity)
    )
    bulge_stars = _old_stars(rng, z, _OLD_IN_BULGES)
    # The bulges of active galaxies are younger too.
    part = (0.35 * activity * ~red)[:, None]
    bulge_stars = (1.0 - part) * bulge_stars + part * disk_stars
    scale = arcsec_per_kpc(z)
    late, early = _sizes_in_kpc(rng, log_mass, z)
    clumpiness = np.where(red, 0.0, rng.beta(1.5, 6.0, n) * (0.5 + activity))
    return Galaxies(
        z=z,
        mag=mag,
        band=band,
        red=red,
        bulge=GalaxySeds(bulge_stars, np.minimum(bulge_dust, 0.6), **common),
        disk=GalaxySeds(disk_stars, np.minimum(disk_dust, 0.8), **common),
        bulge_share=share,
        bulge_radius=np.clip(np.where(red, early, 0.3 * late) * scale, 0.03, 6.0),
        disk_radius=np.clip(np.where(red, 1.6 * early, late) * scale, 0.06, 9.0),
        bulge_index=rng.uniform(2.8, 4.2, n),
        bulge_ratio=rng.uniform(0.6, 1.0, n),
        disk_ratio=np.where(red, rng.uniform(0.4, 1.0, n), np.sqrt(cos_i**2 * 0.96 + 0.04)),
        angle=rng.uniform(0.0, np.pi, n),
        clumpiness=np.minimum(clumpiness, 0.6),
    )


def _sizes_in_kpc(rng: np.random.Generator, log_mass: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Half-light radii of late and early types: van der Wel et al. (2014, ApJ 788, 28), fits to
    their table 1 with the redshift trends of their section 3; scatter 0.17 and 0.12 dex. Late
    types are 12 per cent larger, so that images are as full of light as the published ones.
    """
    mass = log_mass - np.log10(5e10)
    late = 10 ** (np.log10(10.0) - 0.75 * np.log10(1 + z) + 0.22 * mass)
    early = 10 ** (np.log10(5.6) - 1.48 * np.log10(1 + z) + 0.75 * np.maximum(mass, -0.9))
    late *= 10 ** rng.normal(0, 0.17, len(z))
    early *= 10 ** rng.normal(0, 0.12, len(z))
    return late, np.minimum(early, _LARGEST_KPC)


def _old_stars(rng: np.random.Generator, z: Floats, mean_old: float) -> Floats:
    """Template shares (N, 5) of passive components: younger at high redshift, a little frosting."""
    n = len(z)
    stars = np.zeros((n, 5))
    spread = 25.0
    mean = mean_old * (1.0 - _OLD_FADING * np.minimum(z, 2.0))
    stars[:, OLD] = rng.beta(spread * mean, spread * (1.0 - mean))
    rest = 1.0 - stars[:, OLD]
    af_part = rng.beta(1.2, 5.0, n)
    stars[:, AF_STARS] = rest * af_part
    stars[:, INTERMEDIATE] = rest * (1.0 - af_part)
    frosting = np.minimum(rng.lognormal(np.log(_FROSTING), 0.6, n), 0.04)
    stars *= (1.0 - frosting)[:, None]
    stars[:, YOUNG] = frosting
    return stars


def _young_stars(rng: np.random.Generator, activity: Floats) -> Floats:
    """Template shares (N, 5) of star-forming components, given their activity (0 to 1)."""
    n = len(activity)
    stars = np.zeros((n, 5))
    young = _YOUNG_FLOOR + _YOUNG_RANGE * activity**1.5
    young = np.minimum(young * 10 ** rng.normal(0.0, _YOUNG_SCATTER, n), 0.9)
    stars[:, YOUNGEST] = young * 0.08 * rng.random(n)
    stars[:, YOUNG] = young - stars[:, YOUNGEST]
    split = rng.dirichlet(_MIX, n) * (1.0 - young)[:, None]
    old_to_young = (1.0 - _OLD_LESS_IN_ACTIVE * activity)[:, None]
    stars[:, [INTERMEDIATE, AF_STARS, OLD]] = split * np.hstack(
        [np.ones((n, 1)), np.ones((n, 1)), old_to_young]
    )
    stars /= stars.sum(axis=1, keepdims=True)
    return stars
