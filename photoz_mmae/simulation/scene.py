"""What is on each stamp: a target in the middle, field galaxies and a few stars around it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.simulation import population
from photoz_mmae.simulation.population import Galaxies
from photoz_mmae.simulation.render import STAMP, Sources
from photoz_mmae.simulation.sed import get_model, load_curves
from photoz_mmae.surveys import ZERO_POINT, Survey

_COARSE_STEP = 1.6e-3  # ln(wavelength) of neighbours' spectra, of which only bands are needed
_NEIGHBOURS = 2.1  # per stamp, a little beyond its edges included
_STAR_SHARE = 0.06


def place(
    rng: np.random.Generator,
    survey: Survey,
    galaxies: Galaxies,
    parts: list[NDArray[np.float64]],
    offset: NDArray[np.float64],
    reddening: NDArray[np.float64],
) -> Sources:
    """Put targets and their neighbours on stamps."""
    n = len(galaxies)
    centre = (STAMP - 1) / 2.0 + offset
    scale = survey.pixel_scale
    ones, everyone = np.ones(n), np.arange(n)
    quasar = np.flatnonzero(parts[2].sum(axis=1) > 0)

    def component(
        radius: NDArray[np.float64],
        index: NDArray[np.float64],
        ratio: NDArray[np.float64],
        flux: NDArray[np.float64],
    ) -> Sources:
        return Sources(
            everyone, centre[:, 0], centre[:, 1], radius / scale, index, ratio, galaxies.angle, flux
        )

    bulges = component(galaxies.bulge_radius, galaxies.bulge_index, galaxies.bulge_ratio, parts[0])
    disks = component(galaxies.disk_radius, ones, galaxies.disk_ratio, parts[1])
    points = component(0.0 * ones, ones, ones, parts[2]).take(quasar)
    return _join(bulges, disks, points, _neighbours(rng, survey, n, reddening))


def _neighbours(
    rng: np.random.Generator, survey: Survey, n: int, reddening: NDArray[np.float64]
) -> Sources:
    """Field galaxies, and a few stars, anywhere on the stamps but on the target itself."""
    stamp = np.repeat(np.arange(n), rng.poisson(_NEIGHBOURS, n))
    count = len(stamp)
    field = population.draw_field(rng, count)
    model = get_model(survey, _COARSE_STEP)
    share = field.bulge_share
    light = model.galaxies(field.bulge).mul_(_column(share))
    light += model.galaxies(field.disk).mul_(_column(1.0 - share))
    flux = model.band_fluxes(model.observe(light, field.z))
    star = rng.random(count) < _STAR_SHARE
    flux[star] = _star_fluxes(survey, rng.uniform(3300.0, 6800.0, star.sum()))
    flux *= (10 ** (-0.4 * (field.mag - ZERO_POINT)) / flux[:, survey.bands.index("i")])[:, None]
    edge = 6.0
    xy = rng.uniform(-edge, STAMP + edge, (count, 2))
    near = np.hypot(*(xy - (STAMP - 1) / 2.0).T) < 5.0
    keep = np.flatnonzero(~near)
    sources = Sources(
        stamp=stamp,
        x=xy[:, 0],
        y=xy[:, 1],
        radius=np.where(
            star, 0.0, (share * field.bulge_radius + (1 - share) * field.disk_radius)
        ) / survey.pixel_scale,
        index=1.0 + 2.5 * share,
        ratio=field.disk_ratio,
        angle=field.angle,
        flux=flux * reddening[stamp],
    )  # fmt: skip
    return sources.take(keep)


def _star_fluxes(survey: Survey, temperature: NDArray[np.float64]) -> NDArray[np.float64]:
    """Black bodies (N, B) at the bands' peaks, relative f_nu."""
    wave = np.array([curve[0][curve[1].argmax()] for curve in load_curves(survey)])
    return wave**-3.0 / np.expm1(1.438777e8 / (wave * temperature[:, None]))


def _join(*parts: Sources) -> Sources:
    """Concatenate sources."""
    names = list(vars(parts[0]))
    return Sources(**{name: np.concatenate([vars(p)[name] for p in parts]) for name in names})


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None]
