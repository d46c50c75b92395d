"""A fibre spectrum of each target, as DESI would take it: light through the fibre, and noise."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.simulation import lines
from photoz_mmae.simulation.population import BGS, ELG, GAL, LRG, QSO, STAR
from photoz_mmae.simulation.sed import PIXEL_WIDTH, WAVE, SedModel

Floats = NDArray[np.float64]
Spectra = NDArray[np.float32]

FINE_PIXELS, FINE_WIDTH = 7783, 0.8
FINE_WAVE: Floats = 3600.0 + FINE_WIDTH * np.arange(FINE_PIXELS, dtype=np.float64)
"""(7783,) wavelengths of DESI's spectra, Angstrom."""

# Noise (1e-17 erg/s/cm2/A, rms per 24 A) between sky lines at 7000 A, per class: bright time for
# BGS, longer exposures for the rest; set for median S/N of 9 (BGS), 3.5, 1.4 and 3.9.
_NOISE = {BGS: 0.08, LRG: 0.042, ELG: 0.05, QSO: 0.10, GAL: 0.05, STAR: 0.08}
_RADIUS, _SEEING = 0.75, 0.55  # arcsec; half-light radius of the seeing
_LINE_VELOCITY = 90.0  # km/s, Gaussian sigma of gas
# DESI's resolving power rises from about 2000 at 3600 A to 5500 at 9800 A (arXiv:2205.10939).
_RESOLUTION = ((3600.0, 2000.0), (9800.0, 5500.0))


@dataclass
class Light:
    """Observed light of N objects in one component.

    Attributes
    ----------
    total : Tensor, (N, K)
        On `SedModel.observed`, lines included.
    continuum : Tensor, (N, K), or None
        The same without lines; None where nobody paints them.
    line_flux : (N, L) array or None
        Integrated, in the unit of `continuum` times Angstrom, in the order of `lines.NEBULAR`.
    """

    total: Tensor
    continuum: Tensor | None = None
    line_flux: Floats | None = None


def caught(radius: Floats) -> Floats:
    """Share of the light (...) that the fibre takes of a source of half-light `radius`, arcsec."""
    return _RADIUS**2 / (_RADIUS**2 + _SEEING**2 + radius**2)


def pixels(model: SedModel, light: Light, z: Floats, n_pixels: int) -> Spectra:
    """Mean flux density (N, P) in the spectrum's pixels."""
    if n_pixels != FINE_PIXELS:
        return model.pixels(light.total)
    if light.continuum is None or light.line_flux is None:
        return _resample(model, light.total)
    # The continuum is smooth over the 2.4 A of the grid; lines are not, and are painted.
    flux = _resample(model, light.continuum)
    _paint_lines(flux, light.line_flux, z)
    return flux


def add_noise(
    rng: np.random.Generator, spectrum: Spectra, kind: NDArray[np.int64]
) -> tuple[Spectra, Spectra]:
    """Add sky noise to spectra (N, P); returns them and their inverse variance."""
    level = np.array([_NOISE[k] for k in range(len(_NOISE))])[kind]
    level = level * np.exp(rng.normal(0.0, 0.15, len(kind)))
    sigma = (level[:, None] * _sky_shape(spectrum.shape[1])).astype(np.float32)
    noise = rng.standard_normal(spectrum.shape, dtype=np.float32)
    return spectrum + sigma * noise, sigma**-2


def wave_of(n_pixels: int) -> Floats:
    """Wavelengths (P,) of the pixels, Angstrom."""
    return FINE_WAVE if n_pixels == FINE_PIXELS else WAVE


def _resample(model: SedModel, continuum: Tensor) -> Spectra:
    """(N, K) -> (N, 7783) by linear interpolation."""
    grid = model.observed
    position = np.interp(FINE_WAVE, grid, np.arange(len(grid)))
    below = torch.from_numpy(position.astype(np.int64)).to(continuum.device)
    part = torch.from_numpy((position % 1.0).astype(np.float32)).to(continuum.device)
    flux: Spectra = torch.lerp(continuum[:, below], continuum[:, below + 1], part).cpu().numpy()
    return flux


def _paint_lines(flux: Spectra, line_flux: Floats, z: Floats) -> None:
    """Add Gaussian lines to spectra (N, 7783), integrated over each pixel."""
    from scipy.special import erf

    reach = 24  # pixels to either side: more than five sigma everywhere
    for column, rest in enumerate(lines.NEBULAR.values()):
        centre = rest * (1.0 + z)
        pixel = np.rint((centre - FINE_WAVE[0]) / FINE_WIDTH).astype(np.int64)
        rows = np.flatnonzero((pixel > reach) & (pixel < FINE_PIXELS - reach))
        if not len(rows):
            continue
        resolution = np.interp(centre[rows], *np.transpose(_RESOLUTION))
        sigma = centre[rows] * np.hypot(_LINE_VELOCITY / 299792.458, 1.0 / 2.355 / resolution)
        columns = pixel[rows, None] + np.arange(-reach, reach + 1)
        edges = FINE_WAVE[0] + FINE_WIDTH * (np.arange(-reach, reach + 2) - 0.5)
        edges = edges + FINE_WIDTH * pixel[rows, None] - centre[rows, None]
        step = np.diff(0.5 * erf(edges / (np.sqrt(2.0) * sigma[:, None])), axis=1)
        profile = step * (line_flux[rows, column] / FINE_WIDTH)[:, None]
        flux[rows[:, None], columns] += profile.astype(np.float32)


@lru_cache(maxsize=2)
def _sky_shape(n_pixels: int) -> Floats:
    """Noise (P,) relative to 24 A at 7000 A: less throughput in the blue, OH bands in the red."""
    wave = wave_of(n_pixels)
    shape: Floats = 1.0 + 2.5 * np.exp(-(wave - 3600.0) / 300.0) + 0.25 * (wave < 5800.0)
    for line in (5577.0, 5893.0, 6300.0):
        shape += 1.2 * np.exp(-0.5 * ((wave - line) / 12.0) ** 2)
    bands = ((6860, 80, 0.5), (7280, 130, 0.7), (7750, 150, 0.9), (8380, 170, 1.3),
             (8870, 180, 1.5), (9380, 200, 1.6))  # fmt: skip
    ripple = 0.55 + 0.45 * np.sin(wave / 9.0) * np.sin(wave / 23.0)
    for centre, width, height in bands:
        shape += height * ripple * np.exp(-0.5 * ((wave - centre) / width) ** 2)
    if n_pixels == FINE_PIXELS:
        shape *= np.sqrt(PIXEL_WIDTH / FINE_WIDTH)
    return shape
