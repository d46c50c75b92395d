"""Spectral energy distributions: components, dust and lines in; band fluxes and spectra out."""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from photoz_mmae.errors import UsageError
from photoz_mmae.simulation import igm, lines
from photoz_mmae.surveys import ZERO_POINT, Survey

REST_RANGE = (610.0, 11600.0)
OBSERVED_RANGE = (3150.0, 11000.0)
REFERENCE = 5500.0
"""Rest wavelength (Angstrom) at which every component has L_lambda = 1."""

N_PIXELS = 259
PIXEL_WIDTH = 24.0
WAVE: NDArray[np.float64] = (
    3600.0 + 0.8 * 14.5 + PIXEL_WIDTH * np.arange(N_PIXELS, dtype=np.float64)
)
"""(259,) centres of the spectrum pixels, Angstrom: 30 pixels of 0.8 Angstrom each."""

N_WARP = 14
N_COMPONENTS = 5
INTERMEDIATE, YOUNG, AF_STARS, OLD, YOUNGEST = range(N_COMPONENTS)
"""The order of the templates in kcorrect's file (Blanton & Roweis 2007, AJ 133, 734)."""

MAX_REDSHIFT = 4.6
_Z_STEP = 0.05
_SPEED_OF_LIGHT = 2.99792458e18  # Angstrom per second
_LINE_VELOCITY = 200.0  # km/s, Gaussian sigma of nebular lines


@dataclass
class GalaxySeds:
    """What a galaxy component's spectrum is made of; N rows.

    Attributes
    ----------
    share : (N, 5) array
        Of the dust-free light at 5500 A, per template; sums to one.
    ebv : (N,) array
        Reddening of the stars; the lines have ebv / 0.44 (Calzetti et al. 2000).
    dust_slope : (N,) array
        Exponent by which the attenuation curve is tilted (Noll et al. 2009), to first order.
    metallicity : (N,) array
        12 + log(O/H).
    line_boost : (N,) array
        Factor on all lines.
    warp : (N, 14) array
        ln of a smooth factor at 14 nodes.
    """

    share: NDArray[np.float64]
    ebv: NDArray[np.float64]
    dust_slope: NDArray[np.float64]
    metallicity: NDArray[np.float64]
    line_boost: NDArray[np.float64]
    warp: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64]) -> "GalaxySeds":
        """Return some of the rows."""
        return GalaxySeds(**{name: values[rows] for name, values in vars(self).items()})


@dataclass
class QuasarSeds:
    """A quasar's spectrum: `slope` (N,) of f_lambda, `ebv` (N,), `boost` (N, lines), `warp`."""

    slope: NDArray[np.float64]
    ebv: NDArray[np.float64]
    boost: NDArray[np.float64]
    warp: NDArray[np.float64]


class SedModel:
    """Templates, curves and tables on one logarithmic grid.

    Parameters
    ----------
    survey : Survey
    step : float
        Grid step in ln(wavelength).
    device : str
        Where the tables are and spectra are made.
    """

    def __init__(self, survey: Survey, step: float, device: str) -> None:
        self._step = step
        self._device = device
        self._shift0 = round(np.log(OBSERVED_RANGE[0] / REST_RANGE[0]) / step)
        size = round(np.log(OBSERVED_RANGE[1] / OBSERVED_RANGE[0]) / step) + 1
        self.rest = _log_grid(REST_RANGE, step)
        self.observed = self.rest[0] * np.exp(step * (self._shift0 + np.arange(size)))
        wave, templates = read_templates()
        self._infrared = (wave, templates)
        self._templates = self._tensor([np.interp(self.rest, wave, row) for row in templates])
        self._uv = np.array([np.interp(2000.0, wave, row) for row in templates])
        self._uv[[INTERMEDIATE, AF_STARS, OLD]] = 0.0  # hot evolved stars do not ionise
        log_ratio = np.log(self.rest / REFERENCE)
        dust = calzetti(self.rest)
        warp = _hat_functions(np.log(self.rest), N_WARP)
        self._galaxy_exponents = self._tensor([dust, dust * log_ratio, *warp])
        # Bluewards of Lyman alpha the continuum of quasars bends down (Telfer et al. 2002).
        bend = np.log(np.minimum(self.rest, 1216.0) / 1216.0)
        self._quasar_exponents = self._tensor([dust, log_ratio, bend, *warp])
        self._line_dust = calzetti(np.array(list(lines.NEBULAR.values()))) / 0.44
        self._nebular = self._tensor(
            [
                _gaussian(self.rest, wave, wave * _LINE_VELOCITY / 299792.458, step)
                for wave in lines.NEBULAR.values()
            ]
        )
        self._broad = self._tensor(
            [_gaussian(self.rest, line.wave, line.sigma, step) for line in lines.QUASAR_LINES]
        )
        self._igm = self._tensor(
            [igm.transmission(self.observed, z) for z in np.arange(0, MAX_REDSHIFT + 0.06, _Z_STEP)]
        )
        self._bands = self._tensor(_band_matrix(survey, self.observed, step))
        self._pixels = self._tensor(_pixel_matrix(self.observed, step))

    def galaxies(self, seds: GalaxySeds, with_lines: bool = True) -> Tensor:
        """Rest-frame L_lambda (N, R) of galaxy components, dust-free L(5500 A) = 1."""
        exponents = np.column_stack(
            [-0.921 * seds.ebv, -0.921 * seds.ebv * seds.dust_slope, seds.warp]
        )
        stars = self._tensor(seds.share) @ self._templates  # (N, 5) @ (5, R)
        stars *= torch.exp(self._tensor(exponents) @ self._galaxy_exponents)
        if with_lines:
            stars.addmm_(self._tensor(self.line_luminosities(seds)), self._nebular)
        return stars

    def line_luminosities(self, seds: GalaxySeds) -> NDArray[np.float64]:
        """Luminosities (N, L) of the lines of `lines.NEBULAR`: the unit of `galaxies` times A."""
        strength = lines.nebular_luminosities(
            seds.share @ self._uv,
            seds.share[:, OLD] + seds.share[:, INTERMEDIATE],
            seds.metallicity,
        )
        strength *= seds.line_boost[:, None] * np.exp(-0.921 * seds.ebv[:, None] * self._line_dust)
        return strength

    def quasars(self, seds: QuasarSeds) -> Tensor:
        """Rest-frame L_lambda (N, R) of quasars without host, dust-free L(5500 A) = 1."""
        bend = np.full_like(seds.slope, 1.2)
        exponents = np.column_stack([-0.921 * seds.ebv, seds.slope, bend, seds.warp])
        continuum = torch.exp(self._tensor(exponents) @ self._quasar_exponents)
        widths = np.array([line.width for line in lines.QUASAR_LINES])
        relative = 1.0 + self._tensor(seds.boost * widths) @ self._broad
        return continuum * relative

    def stars(self, temperature: NDArray[np.float64]) -> Tensor:
        """L_lambda (N, R) of stars as black bodies, 1 at 5500 A; temperatures in K."""

        def planck(wave: NDArray[np.float64]) -> NDArray[np.float64]:
            density: NDArray[np.float64] = wave**-5.0 / np.expm1(
                1.438777e8 / (wave * temperature[:, None])
            )
            return density

        return self._tensor(planck(self.rest) / planck(np.array([REFERENCE])))

    def observe(self, rest: Tensor, z: NDArray[np.float64]) -> Tensor:
        """Redshift and absorb: (N, R) -> (N, K) on `observed`, by linear interpolation."""
        shift = self._shift0 - np.log1p(z) / self._step
        whole = np.floor(shift).astype(np.int64)
        part = self._tensor(shift - whole)[:, None]
        columns = torch.arange(len(self.observed) + 1, device=self._device)
        index = torch.from_numpy(whole).to(self._device)[:, None] + columns
        window = rest.gather(1, index.clamp_(0, rest.shape[1] - 1))  # (N, K + 1)
        spectra = torch.lerp(window[:, :-1], window[:, 1:], part)
        far = np.flatnonzero(self.observed[0] < 1216.0 * (1.0 + z))
        if len(far):
            row = z[far] / _Z_STEP
            below = torch.from_numpy(row.astype(np.int64)).to(self._device)
            weight = self._tensor(row % 1.0)[:, None]
            spectra[torch.from_numpy(far).to(self._device)] *= torch.lerp(
                self._igm[below], self._igm[below + 1], weight
            )
        return spectra

    def band_fluxes(self, observed: Tensor) -> NDArray[np.float64]:
        """AB fluxes (N, B) at zero point 27 of spectra (N, K) in 1e-17 erg/s/cm2/A."""
        return (observed @ self._bands).cpu().numpy().astype(np.float64)

    def pixels(self, observed: Tensor) -> NDArray[np.float32]:
        """Mean flux density (N, 259) in the pixels of `WAVE`."""
        flux: NDArray[np.float32] = (observed @ self._pixels).cpu().numpy()
        return flux

    def _tensor(self, values: ArrayLike) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self._device)

    def infrared(
        self, seds: GalaxySeds, z: NDArray[np.float64], wave: float
    ) -> NDArray[np.float64]:
        """L_lambda (N,) of galaxy components at observed `wave` (Angstrom, beyond 2 micron)."""
        grid, templates = self._infrared
        rest = wave / (1.0 + z)
        light = np.stack([np.interp(rest, grid, row) for row in templates], axis=1)  # (N, 5)
        stars: NDArray[np.float64] = (seds.share * light).sum(axis=1)
        return stars * np.exp(-0.921 * seds.ebv * calzetti(rest))


@lru_cache(maxsize=4)
def get_model(survey: Survey, step: float, device: str = "cpu") -> SedModel:
    """Return the model of `survey` on a grid of `step`, built once per process."""
    return SedModel(survey, step, device)


@lru_cache(maxsize=1)
def read_templates() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read kcorrect's five templates without lines and dust, as shipped with skypy.

    Returns
    -------
    wave : (10000,) array
        Angstrom.
    templates : (5, 10000) array
        L_lambda, scaled to 1 at 5500 A.

    Raises
    ------
    UsageError
        skypy is not installed.
    """
    from astropy.io import fits

    skypy = importlib.util.find_spec("skypy")
    if skypy is None or not skypy.submodule_search_locations:
        raise UsageError(
            "simulating needs skypy's templates: pip install 'photoz-mmae[simulation]'"
        )
    path = Path(next(iter(skypy.submodule_search_locations)))
    with fits.open(path / "data/kcorrect/k_nmf_derived.default.fits", memmap=False) as hdus:
        wave = hdus[11].data.astype(np.float64)
        templates = np.maximum(hdus[4].data.astype(np.float64) * 1e20, 0.0)
    near = np.abs(wave / REFERENCE - 1.0) < 0.01
    return wave, templates / np.median(templates[:, near], axis=1, keepdims=True)


def calzetti(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """k(lambda) of Calzetti et al. (2000, ApJ 533, 682), equation 4, at (K,) Angstrom.

    Continued in a straight line below 1200 A, never negative.
    """
    x = 1e4 / np.maximum(wave, 1200.0)
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 * x) + 4.05
    straight = 0.010 * np.maximum(1200.0 - wave, 0.0)
    return np.maximum(np.where(wave < 6300.0, blue, red), 0.0) + straight


def load_curves(survey: Survey) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Read the survey's response curves: wavelength (Angstrom) and response, per band.

    Raises
    ------
    UsageError
        speclite is not installed.
    """
    if importlib.util.find_spec("speclite") is None:
        raise UsageError(
            "simulating needs speclite's filter curves: pip install 'photoz-mmae[simulation]'"
        )
    from speclite.filters import load_filter

    curves = [load_filter(name) for name in survey.filters]
    return [(np.asarray(c.wavelength, float), np.asarray(c.response, float)) for c in curves]


def _band_matrix(survey: Survey, wave: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """(K, B) matrix from flux density (1e-17 erg/s/cm2/A) to AB flux at `ZERO_POINT`."""
    ab = 3631e-23 * 10 ** (-0.4 * ZERO_POINT) * _SPEED_OF_LIGHT * 1e17  # times 1/wave^2
    columns = []
    for curve_wave, response in load_curves(survey):
        weight = np.interp(wave, curve_wave, response, left=0.0, right=0.0) * wave**2 * step
        columns.append(weight / (weight * ab / wave**2).sum())
    return np.stack(columns, axis=1)


def _pixel_matrix(wave: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """(K, 259) overlap of the grid's cells with the spectrum's pixels; columns sum to one."""
    low, high = wave * np.exp(-step / 2), wave * np.exp(step / 2)
    left, right = WAVE - PIXEL_WIDTH / 2, WAVE + PIXEL_WIDTH / 2
    overlap: NDArray[np.float64] = np.minimum(high[:, None], right) - np.maximum(low[:, None], left)
    overlap = np.maximum(overlap, 0.0)
    overlap /= overlap.sum(axis=0)
    return overlap


def _gaussian(
    wave: NDArray[np.float64], centre: float, sigma: float, step: float
) -> NDArray[np.float64]:
    """Profile (K,) per Angstrom whose integral is one, on a grid too coarse for narrow lines."""
    sigma = max(sigma, 0.7 * step * centre)
    profile = np.exp(-0.5 * ((wave - centre) / sigma) ** 2)
    profile /= (profile * wave * step).sum()
    return profile


def _hat_functions(x: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count, K) linear interpolation from `count` even nodes to `x`."""
    nodes = np.linspace(x[0], x[-1], count)
    return np.stack([np.interp(x, nodes, row) for row in np.eye(count)])


def _log_grid(limits: tuple[float, float], step: float) -> NDArray[np.float64]:
    steps = np.arange(0.0, np.log(limits[1] / limits[0]), step, dtype=np.float64)
    return np.exp(steps) * limits[0]
