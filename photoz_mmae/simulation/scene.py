"""What is on each stamp: a target in the middle, field galaxies and a few stars around it."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.simulation.cosmology import arcsec_per_kpc
from photoz_mmae.simulation.field import draw_field
from photoz_mmae.simulation.population import draw_temperatures
from photoz_mmae.simulation.render import STAMP
from photoz_mmae.simulation.sed import YOUNG, YOUNGEST, SedModel, get_model
from photoz_mmae.simulation.sources import Clumps, Sources, join
from photoz_mmae.simulation.structure import Galaxies
from photoz_mmae.surveys import ZERO_POINT, Survey

Floats = NDArray[np.float64]

COARSE_STEP = 1.6e-3
"""ln(wavelength) of spectra of which only the bands are needed."""

_NEIGHBOURS = 3.8  # per stamp of 64 pixels of HSC, a little beyond its edges included
_FAINTEST = 26.0
_STAR_SHARE = 0.06
_EDGE = 6.0  # pixels beyond the stamp where neighbours are too
_CLUMPS = 6.0  # mean number in a galaxy that has them
_CLUMP_KPC = (0.1, 0.5)


def place(
    rng: np.random.Generator,
    survey: Survey,
    galaxies: Galaxies,
    parts: list[Floats],
    offset: Floats,
    reddening: Floats,
) -> tuple[Sources, Clumps, Sources]:
    """Put targets and their neighbours on stamps: a target's parts, its clumps, what is around.

    Parameters
    ----------
    rng : Generator
    survey : Survey
    galaxies : Galaxies
        N targets.
    parts : list of (N, B) arrays
        Flux of bulge, disk and point, as seen.
    offset : (N, 2) array
        Of the target from the stamp's centre, pixels.
    reddening : (N, B) array
        Factor by which the Galaxy's dust dims each stamp.
    """
    n = len(galaxies)
    centre = (STAMP - 1) / 2.0 + offset
    scale = survey.pixel_scale
    ones = np.ones(n)
    bulge, disk, point = parts
    clumps, in_clumps = _draw_clumps(rng, survey, galaxies, disk, centre)

    def component(radius: Floats, index: Floats, ratio: Floats, flux: Floats) -> Sources:
        rows = np.flatnonzero(flux.sum(axis=1) > 0)
        everyone = np.arange(n)
        return Sources(
            everyone, centre[:, 0], centre[:, 1], radius / scale, index, ratio, galaxies.angle, flux
        ).take(rows)

    bulges = component(galaxies.bulge_radius, galaxies.bulge_index, galaxies.bulge_ratio, bulge)
    disks = component(galaxies.disk_radius, ones, galaxies.disk_ratio, disk - in_clumps)
    points = component(0.0 * ones, ones, ones, point)
    return join(bulges, disks, points), clumps, _neighbours(rng, survey, n, reddening)


def _draw_clumps(
    rng: np.random.Generator, survey: Survey, galaxies: Galaxies, disk: Floats, centre: Floats
) -> tuple[Clumps, Floats]:
    """Gather a part of each disk's young light in clumps; also how much (N, B) that is."""
    n = len(galaxies)
    number = np.where(galaxies.clumpiness > 0, 1 + rng.poisson(_CLUMPS - 1, n), 0)
    owner = np.repeat(np.arange(n), number)
    in_clumps = np.zeros_like(disk)
    some = np.flatnonzero(number > 0)
    in_clumps[some] = (
        galaxies.clumpiness[some, None] * _young_share(survey, galaxies, some) * disk[some]
    )
    weight = rng.exponential(1.0, len(owner))
    weight /= np.bincount(owner, weight, minlength=n)[owner]
    # In the plane of an exponential disk, whose half-light radius is 1.678 scale lengths.
    radius = rng.gamma(2.0, 1.0, len(owner)) * galaxies.disk_radius[owner] / 1.678
    turn = rng.uniform(0.0, 2.0 * np.pi, len(owner))
    along = np.minimum(radius, 3.0 * galaxies.disk_radius[owner]) * np.cos(turn)
    across = np.minimum(radius, 3.0 * galaxies.disk_radius[owner]) * np.sin(turn)
    across *= galaxies.disk_ratio[owner]
    cos, sin = np.cos(galaxies.angle[owner]), np.sin(galaxies.angle[owner])
    kpc = rng.uniform(*_CLUMP_KPC, len(owner)) * arcsec_per_kpc(galaxies.z[owner])
    clumps = Clumps(
        stamp=owner,
        x=centre[owner, 0] + (along * cos - across * sin) / survey.pixel_scale,
        y=centre[owner, 1] + (along * sin + across * cos) / survey.pixel_scale,
        sigma=kpc / survey.pixel_scale,
        flux=weight[:, None] * in_clumps[owner],
    )
    return clumps, in_clumps


def _young_share(survey: Survey, galaxies: Galaxies, rows: NDArray[np.int64]) -> Floats:
    """Share (n, B) of young stars and their lines in the light of some disks."""
    if not len(rows):
        return np.zeros((0, len(survey.bands)))
    model = get_model(survey, COARSE_STEP)
    disk = galaxies.disk.take(rows)
    young = np.zeros_like(disk.share)
    young[:, [YOUNG, YOUNGEST]] = disk.share[:, [YOUNG, YOUNGEST]]
    z = galaxies.z[rows]
    some, all_ = (
        model.band_fluxes(model.observe(model.galaxies(seds), z))
        for seds in (replace(disk, share=young), disk)
    )
    return np.clip(some / all_, 0.0, 1.0)


def _neighbours(rng: np.random.Generator, survey: Survey, n: int, reddening: Floats) -> Sources:
    """Field galaxies, and a few stars, anywhere on the stamps but on the target itself."""
    area = (survey.pixel_scale / 0.168) ** 2
    stamp = np.repeat(np.arange(n), rng.poisson(_NEIGHBOURS * area, n))
    count = len(stamp)
    field = draw_field(rng, count, survey, _FAINTEST)
    model = get_model(survey, COARSE_STEP)
    share = field.bulge_share
    flux = _mixed_fluxes(model, field)
    star = rng.random(count) < _STAR_SHARE
    flux[star] = model.band_fluxes(
        model.observe(model.stars(draw_temperatures(rng, int(star.sum()))), np.zeros(star.sum()))
    )
    flux *= (10 ** (-0.4 * (field.mag - ZERO_POINT)) / flux[:, survey.bands.index("i")])[:, None]
    xy = rng.uniform(-_EDGE, STAMP + _EDGE, (count, 2))
    near = np.hypot(*(xy - (STAMP - 1) / 2.0).T) < 5.0
    radius = share * field.bulge_radius + (1 - share) * field.disk_radius
    sources = Sources(
        stamp=stamp,
        x=xy[:, 0],
        y=xy[:, 1],
        radius=np.where(star, 0.0, radius) / survey.pixel_scale,
        index=1.0 + 2.5 * share,
        ratio=field.disk_ratio,
        angle=field.angle,
        flux=flux * reddening[stamp],
    )
    return sources.take(np.flatnonzero(~near))


def _mixed_fluxes(model: SedModel, galaxies: Galaxies) -> Floats:
    """Relative fluxes (N, B) of bulge and disk together."""
    light = model.galaxies(galaxies.bulge).mul_(_column(galaxies.bulge_share))
    light += model.galaxies(galaxies.disk).mul_(_column(1.0 - galaxies.bulge_share))
    return model.band_fluxes(model.observe(light, galaxies.z))


def _column(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None]
