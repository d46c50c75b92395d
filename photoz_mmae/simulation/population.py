"""Who is in the mock survey: classes, redshifts and magnitudes of the targets."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.simulation import lines
from photoz_mmae.simulation.cosmology import distance_modulus
from photoz_mmae.simulation.field import draw_field
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.sed import N_WARP, QuasarSeds
from photoz_mmae.simulation.structure import Galaxies, build_galaxies

Floats = NDArray[np.float64]

CLASSES = ("BGS", "LRG", "ELG", "QSO", "GAL", "STAR")
"""DESI's classes; GAL are the field galaxies of a magnitude-limited selection."""
BGS, LRG, ELG, QSO, GAL, STAR = range(6)

# Histogram of the 20,181 redshifts of the test split of GalaxiesML-Spectra, as published with
# the predictions of himes_2025 (MMAE, arXiv:2510.22527); the lowest bin starts at 0.01 here.
N_OF_Z = (365, 1718, 2487, 1993, 1402, 1375, 981, 827, 648, 919, 1161, 1055, 822, 467, 288, 208,
          179, 138, 145, 113, 93, 85, 50, 54, 53, 60, 64, 69, 74, 66, 137, 140, 118, 128, 115,
          308, 430, 288, 194, 129, 107, 53, 24, 27, 23)  # fmt: skip
Z_EDGES = np.concatenate(
    [[0.01], np.arange(0.05, 1.5001, 0.05), np.arange(1.6, 2.01, 0.1), np.arange(2.2, 4.01, 0.2)]
)

# Which class an object of redshift z is of: the published file does not say. Shaped after the
# DESI target classes (arXiv:2306.06307): bright galaxies, then luminous red ones to 1, emission
# lines to 1.6, quasars everywhere and alone beyond.
_CLASS_Z = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 1.65, 4.6)
_CLASS_SHARE = {
    BGS: (0.99, 0.97, 0.86, 0.30, 0.10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    LRG: (0, 0, 0.08, 0.65, 0.83, 0.82, 0.66, 0.45, 0.15, 0.03, 0, 0, 0, 0, 0),
    ELG: (0, 0, 0, 0.01, 0.03, 0.09, 0.16, 0.25, 0.42, 0.45, 0.38, 0.34, 0.15, 0, 0),
    QSO: (0.003, 0.01, 0.02, 0.02, 0.03, 0.06, 0.14, 0.27, 0.43, 0.52, 0.62, 0.66, 0.85, 1, 1),
}


class _Luminosity(NamedTuple):
    """Who is selected of a class, and how bright it is."""

    band: str
    bright: float  # magnitudes
    faint: float
    m_star: float  # at z = 0, in that band
    evolution: float  # of M*, per unit of redshift
    alpha: float
    k_slope: float  # K correction per unit of redshift


_LUMINOSITY = {
    BGS: _Luminosity("r", 15.0, 20.2, -21.85, -1.0, -0.80, 1.0),
    LRG: _Luminosity("i", 16.5, 21.0, -22.55, -0.9, +0.3, 0.7),
    ELG: _Luminosity("i", 19.5, 23.2, -20.8, -1.2, -1.1, 0.3),
}
# Beyond this magnitude only a part of the bright galaxy sample is observed (BGS Faint).
_BGS_BRIGHT, _BGS_FAINT_SHARE = 19.5, 0.2
_QSO_RANGE = (15.5, 22.6)  # r
_STAR_BRIGHT, _STAR_FAINT = 17.0, 22.5  # i, without a limit of the selection's own


@dataclass
class Targets:
    """N spectroscopic targets: galaxies, quasars with their hosts, stars.

    Attributes
    ----------
    kind : (N,) int array
        Index into `CLASSES`.
    z : (N,) array
        Redshift; of stars the velocity over c, of either sign.
    galaxies : Galaxies
        N rows; those of stars have no light.
    host_share : (N,) array
        The galaxy's part of the light at rest 5500 A: 1 for galaxies, 0 for stars.
    quasars : QuasarSeds
        One row per QSO, in order.
    temperature : (S,) array
        One per STAR, in order, K.
    """

    kind: NDArray[np.int64]
    z: Floats
    galaxies: Galaxies
    host_share: Floats
    quasars: QuasarSeds
    temperature: Floats

    def __len__(self) -> int:
        return len(self.kind)


def draw_targets(rng: np.random.Generator, n: int, recipe: Recipe) -> Targets:
    """Draw `n` targets as the recipe's selection has them."""
    star = rng.random(n) < recipe.fraction_stars
    limit = recipe.magnitude_limit
    if limit is None:
        kind, galaxies = _draw_desi(rng, n, recipe.survey.bands)
    else:
        kind, galaxies = np.full(n, GAL), draw_field(rng, n, recipe.survey, limit)
    kind[star] = STAR
    z = galaxies.z.copy()
    z[star] = rng.normal(0.0, 1e-4, star.sum())
    faint = limit or _STAR_FAINT
    galaxies.mag[star] = _draw_star_magnitudes(rng, int(star.sum()), faint)
    galaxies.band[star] = recipe.survey.bands.index("i")
    quasar = kind == QSO
    host = np.where(star, 0.0, 1.0)
    nearby = 1.0 + 3.0 * np.exp(-((z[quasar] / 0.5) ** 2))
    host[quasar] = rng.uniform(0.02, 0.15, quasar.sum()) * nearby
    return Targets(
        kind=kind,
        z=z,
        galaxies=galaxies,
        host_share=host,
        quasars=_draw_quasars(rng, int(quasar.sum())),
        temperature=draw_temperatures(rng, int(star.sum())),
    )


def draw_temperatures(rng: np.random.Generator, n: int) -> Floats:
    """Draw (n,) effective temperatures of stars, K: half of them M dwarfs."""
    dwarf = rng.random(n) < 0.5
    return np.where(dwarf, rng.uniform(2800.0, 3900.0, n), rng.uniform(3900.0, 7500.0, n))


def _draw_desi(
    rng: np.random.Generator, n: int, bands: tuple[str, ...]
) -> tuple[NDArray[np.int64], Galaxies]:
    """Draw class and galaxy of `n` targets with the redshifts of GalaxiesML-Spectra."""
    z = draw_redshifts(rng, n)
    kind = _draw_kinds(rng, z)
    mag, band = np.empty(n), np.empty(n, dtype=np.int64)
    absolute = np.empty(n)  # roughly M_r, for structure and mass
    for number in (BGS, LRG, ELG):
        mine = kind == number
        mag[mine], absolute[mine] = _draw_schechter(rng, z[mine], number)
        band[mine] = bands.index(_LUMINOSITY[number].band)
    quasar = kind == QSO
    mag[quasar] = _draw_quasar_magnitudes(rng, z[quasar])
    band[quasar] = bands.index("r")
    absolute[quasar] = np.clip(rng.normal(-21.8, 0.7, quasar.sum()), -24.0, -19.5)
    red = rng.random(n) < _red_fraction(absolute, z)
    red[kind == LRG] = True
    red[kind == ELG] = False
    return kind, build_galaxies(rng, z, mag, band, absolute, red, starburst=kind == ELG)


def draw_redshifts(rng: np.random.Generator, n: int) -> Floats:
    """Draw (n,) redshifts from the published histogram."""
    cumulative: Floats = np.cumsum((0.0, *N_OF_Z))
    level = rng.uniform(0.0, cumulative[-1], n)
    return np.asarray(np.interp(level, cumulative, Z_EDGES))


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


def _draw_star_magnitudes(rng: np.random.Generator, n: int, faint: float) -> Floats:
    """Draw (n,) magnitudes in i: 0.12 dex more stars per magnitude, as at high latitude."""
    slope = 0.12
    bright = min(_STAR_BRIGHT, faint - 0.5)
    span = 10 ** (slope * (faint - bright)) - 1.0
    return bright + np.log10(1.0 + span * rng.random(n)) / slope


def _draw_from_rows(rng: np.random.Generator, weights: Floats) -> NDArray[np.int64]:
    cumulative = np.cumsum(weights, axis=1)
    level = rng.random(len(weights)) * cumulative[:, -1]
    return np.asarray((cumulative < level[:, None]).sum(axis=1))


def _red_fraction(absolute: Floats, z: Floats) -> Floats:
    """Share of red galaxies, logistic in M_r, fewer at high redshift (as Bell et al. 2004)."""
    return 0.68 / (1.0 + np.exp((absolute + 20.6 + 0.8 * z) / 0.55)) / (1.0 + 0.35 * z)


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
