"""Who is in the mock survey: classes, redshifts, magnitudes, structure and spectral make-up."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.simulation import lines
from photoz_mmae.simulation.sed import (
    AF_STARS,
    INTERMEDIATE,
    N_WARP,
    OLD,
    YOUNG,
    YOUNGEST,
    GalaxySeds,
    QuasarSeds,
)

Floats = NDArray[np.float64]

CLASSES = ("BGS", "LRG", "ELG", "QSO")
BGS, LRG, ELG, QSO = range(4)

# Histogram of the 20,181 redshifts of the test split of GalaxiesML-Spectra, as published with
# the predictions of himes_2025 (MMAE, arXiv:2510.22527); the lowest bin starts at 0.01 here.
_N_OF_Z = (365, 1718, 2487, 1993, 1402, 1375, 981, 827, 648, 919, 1161, 1055, 822, 467, 288, 208,
           179, 138, 145, 113, 93, 85, 50, 54, 53, 60, 64, 69, 74, 66, 137, 140, 118, 128, 115,
           308, 430, 288, 194, 129, 107, 53, 24, 27, 23)  # fmt: skip
_Z_EDGES = np.concatenate(
    [[0.01], np.arange(0.05, 1.5001, 0.05), np.arange(1.6, 2.01, 0.1), np.arange(2.2, 4.01, 0.2)]
)

# Which class an object of redshift z is of: the published file does not say. Shaped after the
# DESI target classes (arXiv:2306.06308): bright galaxies, then luminous red ones to 1, emission
# lines to 1.6, quasars everywhere and alone beyond.
_CLASS_Z = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 1.65, 4.6)
_CLASS_SHARE = {
    BGS: (0.99, 0.97, 0.86, 0.30, 0.10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    LRG: (0, 0, 0.08, 0.65, 0.83, 0.82, 0.66, 0.45, 0.15, 0.03, 0, 0, 0, 0, 0),
    ELG: (0, 0, 0, 0.01, 0.03, 0.09, 0.16, 0.25, 0.42, 0.45, 0.38, 0.34, 0.15, 0, 0),
    QSO: (0.003, 0.01, 0.02, 0.02, 0.03, 0.06, 0.14, 0.27, 0.43, 0.52, 0.62, 0.66, 0.85, 1, 1),
}

# Per class: band of the magnitude, brightest and faintest, M* at z = 0 in that band, its change
# per unit of redshift, faint-end slope, mean K correction per unit of redshift.
_LUMINOSITY = {
    BGS: (1, 14.0, 20.2, -21.6, -1.0, -0.80, 1.0),
    LRG: (2, 16.5, 21.0, -22.4, -0.9, +0.3, 0.7),
    ELG: (2, 19.5, 23.2, -20.8, -1.2, -1.1, 0.3),
}
# Beyond this magnitude only a part of the bright galaxy sample is observed (BGS Faint).
_BGS_BRIGHT, _BGS_FAINT_SHARE = 19.5, 0.3
_QSO_BAND, _QSO_RANGE = 1, (15.5, 22.6)


@dataclass
class Galaxies:
    """N galaxies as two components each, bulge and disk, seen at one redshift.

    `mag` is the observed total in band `band`; `bulge_share` the bulge's part of the dust-free
    light at rest 5500 A; radii are half-light semi-major axes in arcsec, `*_ratio` axis ratios,
    `angle` radians from the x axis.
    """

    z: Floats
    mag: Floats
    band: NDArray[np.int64]
    bulge: GalaxySeds
    disk: GalaxySeds
    bulge_share: Floats
    bulge_radius: Floats
    disk_radius: Floats
    bulge_index: Floats
    bulge_ratio: Floats
    disk_ratio: Floats
    angle: Floats

    def __len__(self) -> int:
        return len(self.z)


@dataclass
class Targets:
    """N spectroscopic targets: their host galaxies, and quasars for those that are one.

    `kind` indexes `CLASSES`. `quasars` has one row per QSO, in order; `host_share` is the host's
    part of the light at rest 5500 A, one for galaxies.
    """

    kind: NDArray[np.int64]
    galaxies: Galaxies
    quasars: QuasarSeds
    host_share: Floats

    def __len__(self) -> int:
        return len(self.kind)


def draw_targets(rng: np.random.Generator, n: int) -> Targets:
    """Draw `n` targets with the redshift distribution of GalaxiesML-Spectra."""
    z = draw_redshifts(rng, n)
    kind = _draw_kinds(rng, z)
    mag, band = np.empty(n), np.empty(n, dtype=np.int64)
    absolute = np.empty(n)  # roughly M_r, for structure and mass
    for number in (BGS, LRG, ELG):
        mine = kind == number
        mag[mine], absolute[mine] = _draw_schechter(rng, z[mine], number)
        band[mine] = _LUMINOSITY[number][0]
    quasar = kind == QSO
    mag[quasar] = _draw_quasar_magnitudes(rng, z[quasar])
    band[quasar] = _QSO_BAND
    absolute[quasar] = np.clip(rng.normal(-21.8, 0.7, quasar.sum()), -24.0, -19.5)
    red = rng.random(n) < _red_fraction(absolute, z)
    red[kind == LRG] = True
    red[kind == ELG] = False
    galaxies = _build_galaxies(rng, z, mag, band, absolute, red, starburst=kind == ELG)
    host = np.ones(n)
    nearby = 1.0 + 3.0 * np.exp(-((z[quasar] / 0.5) ** 2))
    host[quasar] = rng.uniform(0.02, 0.15, quasar.sum()) * nearby
    return Targets(kind, galaxies, _draw_quasars(rng, int(quasar.sum())), host)


def draw_field(rng: np.random.Generator, n: int) -> Galaxies:
    """Draw `n` galaxies of the field (i = 18 to 25.5), the neighbours of targets."""
    bright, faint, slope = 18.0, 25.5, 0.33  # dex per magnitude, as galaxies are counted
    span = 10 ** (slope * (faint - bright)) - 1.0
    mag = bright + np.log10(1.0 + span * rng.random(n)) / slope
    typical = 0.12 + 0.085 * (mag - 17.0)
    z = np.clip(typical * rng.gamma(3.0, 1.0 / 3.0, n), 0.02, 4.0)
    absolute = mag - distance_modulus(z) - 0.6 * np.minimum(z, 1.5) + 0.2
    red = rng.random(n) < _red_fraction(absolute, z)
    return _build_galaxies(
        rng, z, mag, np.full(n, 2), absolute, red, starburst=np.zeros(n, dtype=bool)
    )


def draw_redshifts(rng: np.random.Generator, n: int) -> Floats:
    """Draw (n,) redshifts from the published histogram."""
    cumulative: Floats = np.cumsum((0.0, *_N_OF_Z))
    level = rng.uniform(0.0, cumulative[-1], n)
    return np.asarray(np.interp(level, cumulative, _Z_EDGES))


@lru_cache(maxsize=1)
def _cosmology() -> tuple[Floats, Floats, Floats]:
    from astropy.cosmology import FlatLambdaCDM

    model = FlatLambdaCDM(H0=70.0, Om0=0.3)
    z = np.geomspace(0.005, 5.0, 400)
    return z, np.asarray(model.distmod(z).value), np.asarray(model.arcsec_per_kpc_proper(z).value)


def distance_modulus(z: Floats) -> Floats:
    """Distance modulus in flat LambdaCDM with H0 = 70 km/s/Mpc, Omega_m = 0.3."""
    grid, modulus, _ = _cosmology()
    return np.interp(np.log(z), np.log(grid), modulus)


def _arcsec_per_kpc(z: Floats) -> Floats:
    grid, _, scale = _cosmology()
    return np.exp(np.interp(np.log(z), np.log(grid), np.log(scale)))


def _draw_kinds(rng: np.random.Generator, z: Floats) -> NDArray[np.int64]:
    shares = np.stack([np.interp(z, _CLASS_Z, _CLASS_SHARE[k]) for k in range(4)], axis=1)
    cumulative = np.cumsum(shares, axis=1) / shares.sum(axis=1, keepdims=True)
    kinds: NDArray[np.int64] = (rng.random(len(z))[:, None] > cumulative).sum(axis=1)
    return np.minimum(kinds, QSO)


def _draw_schechter(rng: np.random.Generator, z: Floats, kind: int) -> tuple[Floats, Floats]:
    """Draw apparent magnitudes (N,) of one class at given redshifts; also the absolute ones."""
    _, bright, faint, m_star, evolution, alpha, k_slope = _LUMINOSITY[kind]
    mag = np.linspace(bright, faint, 300)
    offset = distance_modulus(z) + k_slope * z if len(z) else z
    x = 10 ** (-0.4 * (mag - (m_star + evolution * z + offset)[:, None]))  # (N, 300), L / L*
    weights = x ** (alpha + 1.0) * np.exp(-x) + 1e-30
    if kind == BGS:
        weights[:, mag > _BGS_BRIGHT] *= _BGS_FAINT_SHARE
    drawn = mag[_draw_from_rows(rng, weights)]
    drawn += rng.uniform(-0.5, 0.5, len(z)) * (mag[1] - mag[0])
    return drawn, drawn - offset


def _draw_quasar_magnitudes(rng: np.random.Generator, z: Floats) -> Floats:
    """Draw (n,) from a double power law whose break moves with z (as Richards et al. 2006)."""
    mag = np.linspace(*_QSO_RANGE, 300)
    break_ = -22.3 - 2.5 * (1.1 * z - 0.24 * z**2) + distance_modulus(z)
    x = mag - break_[:, None]  # (n, 300)
    counts = 1.0 / (10 ** (-0.85 * x) + 10 ** (-0.25 * x))
    # Fainter than this the host outshines the nucleus, and the object is no quasar.
    counts[x > 1.3] *= 1e-6
    drawn: Floats = mag[_draw_from_rows(rng, counts)]
    drawn += rng.uniform(-0.5, 0.5, len(z)) * (mag[1] - mag[0])
    return drawn


def _draw_from_rows(rng: np.random.Generator, weights: Floats) -> NDArray[np.int64]:
    cumulative = np.cumsum(weights, axis=1)
    level = rng.random(len(weights)) * cumulative[:, -1]
    return np.asarray((cumulative < level[:, None]).sum(axis=1))


def _red_fraction(absolute: Floats, z: Floats) -> Floats:
    """Share of red galaxies, logistic in M_r, fewer at high redshift (as Bell et al. 2004)."""
    return 0.9 / (1.0 + np.exp((absolute + 20.6 + 0.8 * z) / 0.55)) / (1.0 + 0.35 * z)


def _build_galaxies(
    rng: np.random.Generator,
    z: Floats,
    mag: Floats,
    band: NDArray[np.int64],
    absolute: Floats,
    red: NDArray[np.bool_],
    starburst: NDArray[np.bool_],
) -> Galaxies:
    n = len(z)
    # M/L in the r band: 2.5 for red galaxies, 1 for blue ones, less at high redshift.
    log_mass = -0.4 * (absolute - 4.64) + np.where(red, 0.40, 0.0) - 0.25 * z
    log_mass += rng.normal(0.0, 0.1, n)
    share = np.where(red, rng.beta(4.0, 1.8, n), rng.beta(1.1, 4.5, n))
    share = np.clip(share + 0.12 * (log_mass - 10.3) * ~red, 0.0, 1.0)
    share[starburst] *= 0.3
    cos_i = rng.random(n)
    activity = np.clip(
        rng.normal(0.45 - 0.12 * (log_mass - 10.0) + 0.20 * np.minimum(z, 1.0), 0.14, n), 0.06, 0.95
    )  # 0: hardly any young stars; 1: nothing else
    activity[starburst] = rng.uniform(0.55, 0.95, starburst.sum())
    oxygen = 8.72 + 0.28 * (log_mass - 10.3) - 0.10 * np.minimum(z, 2.0)
    oxygen = np.clip(oxygen + rng.normal(0.0, 0.1, n), 7.9, 8.92)
    warp = rng.normal(0.0, 0.02, (n, N_WARP))
    slope = rng.normal(0.0, 0.2, n)
    boost = 10 ** rng.normal(0.0, 0.15, n)
    dust = rng.lognormal(np.log(0.12), 0.40, n) * 10 ** (0.25 * np.clip(log_mass - 10.0, -1.5, 1))
    disk_dust = np.where(red, 0.25 * dust, dust * (0.75 + 0.5 * (1.0 - cos_i)))
    bulge_dust = np.where(red, 0.20, 0.5) * dust
    common = {"dust_slope": slope, "metallicity": oxygen, "line_boost": boost, "warp": warp}
    disk_stars = np.where(red[:, None], _old_stars(rng, z, 0.75), _young_stars(rng, activity))
    bulge_stars = _old_stars(rng, z, 0.86)
    # The bulges of active galaxies are younger too.
    part = (0.35 * activity * ~red)[:, None]
    bulge_stars = (1.0 - part) * bulge_stars + part * disk_stars
    scale = _arcsec_per_kpc(z)
    late, early = _sizes_in_kpc(rng, log_mass, z)
    return Galaxies(
        z=z,
        mag=mag,
        band=band,
        bulge=GalaxySeds(bulge_stars, np.minimum(bulge_dust, 0.6), **common),
        disk=GalaxySeds(disk_stars, np.minimum(disk_dust, 0.8), **common),
        bulge_share=share,
        bulge_radius=np.clip(np.where(red, early, 0.3 * late) * scale, 0.03, 6.0),
        disk_radius=np.clip(np.where(red, 1.6 * early, late) * scale, 0.06, 9.0),
        bulge_index=rng.uniform(2.8, 4.2, n),
        bulge_ratio=rng.uniform(0.6, 1.0, n),
        disk_ratio=np.where(red, rng.uniform(0.4, 1.0, n), np.sqrt(cos_i**2 * 0.96 + 0.04)),
        angle=rng.uniform(0.0, np.pi, n),
    )


def _sizes_in_kpc(rng: np.random.Generator, log_mass: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Half-light radii of late and early types: van der Wel et al. (2014, ApJ 788, 28), fits to
    their table 1 with the redshift trends of their section 3; scatter 0.17 and 0.12 dex.
    """
    mass = log_mass - np.log10(5e10)
    late = 10 ** (np.log10(8.9) - 0.75 * np.log10(1 + z) + 0.22 * mass)
    early = 10 ** (np.log10(5.6) - 1.48 * np.log10(1 + z) + 0.75 * np.maximum(mass, -0.9))
    return late * 10 ** rng.normal(0, 0.17, len(z)), early * 10 ** rng.normal(0, 0.12, len(z))


def _old_stars(rng: np.random.Generator, z: Floats, mean_old: float) -> Floats:
    """Template shares (N, 5) of passive components: younger at high redshift, a little frosting."""
    n = len(z)
    stars = np.zeros((n, 5))
    spread = 25.0
    mean = mean_old * (1.0 - 0.18 * np.minimum(z, 2.0))
    stars[:, OLD] = rng.beta(spread * mean, spread * (1.0 - mean))
    rest = 1.0 - stars[:, OLD]
    af_part = rng.beta(1.2, 5.0, n)
    stars[:, AF_STARS] = rest * af_part
    stars[:, INTERMEDIATE] = rest * (1.0 - af_part)
    frosting = np.minimum(rng.lognormal(np.log(0.005), 0.6, n), 0.04)
    stars *= (1.0 - frosting)[:, None]
    stars[:, YOUNG] = frosting
    return stars


def _young_stars(rng: np.random.Generator, activity: Floats) -> Floats:
    """Template shares (N, 5) of star-forming components, given their activity (0 to 1)."""
    n = len(activity)
    stars = np.zeros((n, 5))
    young = 0.04 + 0.62 * activity**1.5
    young *= 10 ** rng.normal(0.0, 0.08, n)
    stars[:, YOUNGEST] = young * 0.08 * rng.random(n)
    stars[:, YOUNG] = young - stars[:, YOUNGEST]
    split = rng.dirichlet((12.0, 12.0, 9.0), n) * (1.0 - young)[:, None]
    old_to_young = (1.0 - 0.5 * activity)[:, None]
    stars[:, [INTERMEDIATE, AF_STARS, OLD]] = split * np.hstack(
        [np.ones((n, 1)), np.ones((n, 1)), old_to_young]
    )
    stars /= stars.sum(axis=1, keepdims=True)
    return stars


def _draw_quasars(rng: np.random.Generator, n: int) -> QuasarSeds:
    """Power laws of alpha_nu = -0.44 (Vanden Berk et al. 2001) with lines of varying strength."""
    common = rng.normal(0.0, 0.12, (n, 1))
    boost = 10 ** (common + rng.normal(0.0, 0.10, (n, len(lines.QUASAR_LINES))))
    return QuasarSeds(
        slope=rng.normal(-1.56, 0.18, n),
        ebv=np.minimum(rng.exponential(0.025, n), 0.25),
        boost=boost,
        warp=rng.normal(0.0, 0.02, (n, N_WARP)),
    )
