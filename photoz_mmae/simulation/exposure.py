"""From what is on the stamps to what a coadd shows: seeing, zero points, photons, sky."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.simulation.pointing import get_conditions
from photoz_mmae.simulation.render import STAMP, Psfs, render
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
    sky = sky_noise(survey, patch)
    sky_variance = torch.from_numpy((sky**2).astype("f4")).to(device)[:, :, None, None]
    photons = torch.tensor(electrons_per_flux(survey), device=device)[:, None, None]
    variance = images.clamp(min=0.0).div_(photons).add_(sky_variance)
    images += variance.sqrt_() * _correlated(_white_noise(rng, (n, n_bands), device))
    result: NDArray[np.float32] = images.cpu().numpy()
    return result


def sky_noise(survey: Survey, patch: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sky noise per pixel (N, B) of stamps in the given patches (N,), flux at zero point 27."""
    return np.array(_typical_sky_noise(survey)) * get_conditions(survey).depth[patch][:, None]


@lru_cache(maxsize=4)
def _typical_sky_noise(survey: Survey) -> tuple[float, ...]:
    """Sky noise per pixel and band: from that of the negative pixels, or from the depth.

    The error of a PSF-weighted flux is the noise times the root of an effective number of pixels:
    2.266 (FWHM/pixel)^2 for a Gaussian and white noise (smtn-002.lsst.io), here that of the mock's
    own PSF and correlated noise, so that the depth measured on the images is the survey's.
    """
    if survey.negative_std:
        return tuple(SKY_OVER_NEGATIVE * std for std in survey.negative_std)
    fwhm = np.array([survey.seeing]) / survey.pixel_scale
    round_ = Psfs(fwhm, ratio=np.ones_like(fwhm), angle=np.zeros_like(fwhm))
    psf = render(*_one_point(len(survey.bands)), 1, round_, np.zeros(1, dtype=np.int64))[0]
    # The weighted sum of correlated noise is that of white noise with weights smoothed alike.
    pixels = _correlated(psf).square().sum((-2, -1)) / psf.square().sum((-2, -1)) ** 2
    faintest = 10 ** (-0.4 * (np.array(survey.depth) - ZERO_POINT))
    return tuple((faintest / 5.0 / np.sqrt(pixels.numpy())).tolist())


def _one_point(n_bands: int) -> tuple[Sources, Clumps]:
    """Put a point of unit flux in the middle of a stamp."""
    stamp, one = np.zeros(1, dtype=np.int64), np.ones(1)
    centre = (STAMP - 1) / 2.0 * one
    point = Sources(stamp, centre, centre, 0.0 * one, one, one, one, np.ones((1, n_bands)))
    nothing = one[:0]
    return point, Clumps(stamp[:0], nothing, nothing, nothing, np.zeros((0, n_bands)))


def _white_noise(rng: np.random.Generator, shape: tuple[int, int], device: str) -> Tensor:
    """Draw unit Gaussian noise (*shape, 66, 66); on a GPU from a generator of its own."""
    size = (*shape, STAMP + 2, STAMP + 2)
    if device == "cpu":
        return torch.from_numpy(rng.standard_normal(size, dtype=np.float32))
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    return torch.randn(size, device=device, generator=generator)


def _correlated(white: Tensor) -> Tensor:
    """Smooth white noise (..., h, w) to unit noise (..., h - 2, w - 2), neighbours correlated."""
    rows = (white[..., :-2, :] + white[..., 2:, :]).mul_(_SIDE).add_(white[..., 1:-1, :])
    noise = (rows[..., :-2] + rows[..., 2:]).mul_(_SIDE).add_(rows[..., 1:-1])
    return noise.div_(1.0 + 2 * _SIDE**2)


def noise_power(size: int) -> Tensor:
    """Power spectrum of the noise (size, size) in the order of `fft2`, of mean 1."""
    one = 2.0 * np.pi * np.fft.fftfreq(size)
    axis = (1.0 + 2.0 * _SIDE * np.cos(one)) ** 2 / (1.0 + 2.0 * _SIDE**2)
    return torch.from_numpy(np.outer(axis, axis).astype("f4"))


@lru_cache(maxsize=4)
def electrons_per_flux(survey: Survey) -> tuple[float, ...]:
    """Electrons per unit of flux at zero point 27, per band, in the survey's exposure time."""
    per_area = 3631e-23 / 6.62607e-27 * 10 ** (-0.4 * ZERO_POINT)  # per s, cm2 and d ln(wave)
    return tuple(
        float(per_area * survey.aperture * np.trapezoid(response / wave, wave) * time)
        for time, (wave, response) in zip(survey.exposure, load_curves(survey), strict=True)
    )
