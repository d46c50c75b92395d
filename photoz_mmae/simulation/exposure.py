"""From what is on the stamps to what a coadd shows: seeing, zero points, photons, sky."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.simulation.pointing import get_conditions
from photoz_mmae.simulation.render import STAMP, render
from photoz_mmae.simulation.sed import load_curves
from photoz_mmae.simulation.sources import Clumps, Sources
from photoz_mmae.surveys import ZERO_POINT, Survey

# Sky noise per pixel over the standard deviation of the negative pixels. 1 / 0.603 holds for
# white noise alone; here measured on the mock itself, so that the published values come out.
SKY_OVER_NEGATIVE = 1.70
ZERO_POINT_JITTER = 0.015
"""Error of the photometric calibration, mag, per stamp and band."""

_SIDE = 0.16  # weight of a neighbouring pixel in the noise, as warping onto a coadd makes it


def expose(
    rng: np.random.Generator,
    survey: Survey,
    sources: Sources,
    clumps: Clumps,
    patch: NDArray[np.int64],
    device: str,
) -> NDArray[np.float32]:
    """Images (N, B, 64, 64) of stamps in the given patches (N,), with noise."""
    n, n_bands = len(patch), len(survey.bands)
    conditions = get_conditions(survey)
    images = render(sources, clumps, n, conditions.psfs, patch, device)
    calibration = 10 ** (-0.4 * rng.normal(0.0, ZERO_POINT_JITTER, (n, n_bands, 1, 1)))
    images *= torch.from_numpy(calibration.astype("f4")).to(device)
    sky = SKY_OVER_NEGATIVE * np.array(survey.negative_std) * conditions.depth[patch][:, None]
    sky_variance = torch.from_numpy((sky**2).astype("f4")).to(device)[:, :, None, None]
    photons = torch.tensor(electrons_per_flux(survey), device=device)[:, None, None]
    variance = images.clamp(min=0.0).div_(photons).add_(sky_variance)
    images += variance.sqrt_() * _correlated(_white_noise(rng, (n, n_bands), device))
    result: NDArray[np.float32] = images.cpu().numpy()
    return result


def _white_noise(rng: np.random.Generator, shape: tuple[int, int], device: str) -> Tensor:
    """Draw unit Gaussian noise (*shape, 66, 66); on a GPU from a generator of its own."""
    size = (*shape, STAMP + 2, STAMP + 2)
    if device == "cpu":
        return torch.from_numpy(rng.standard_normal(size, dtype=np.float32))
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    return torch.randn(size, device=device, generator=generator)


def _correlated(white: Tensor) -> Tensor:
    """Smooth white noise (..., 66, 66) to unit noise (..., 64, 64), neighbours correlated."""
    rows = (white[..., :-2, :] + white[..., 2:, :]).mul_(_SIDE).add_(white[..., 1:-1, :])
    noise = (rows[..., :-2] + rows[..., 2:]).mul_(_SIDE).add_(rows[..., 1:-1])
    return noise.div_(1.0 + 2 * _SIDE**2)


@lru_cache(maxsize=4)
def electrons_per_flux(survey: Survey) -> tuple[float, ...]:
    """Electrons per unit of flux at zero point 27, per band, in the survey's exposure time."""
    per_area = 3631e-23 / 6.62607e-27 * 10 ** (-0.4 * ZERO_POINT)  # per s, cm2 and d ln(wave)
    return tuple(
        float(per_area * survey.aperture * np.trapezoid(response / wave, wave) * time)
        for time, (wave, response) in zip(survey.exposure, load_curves(survey), strict=True)
    )
