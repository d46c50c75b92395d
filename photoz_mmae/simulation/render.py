"""Images of bulges, disks and points: written down in Fourier space, many stamps at a time."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STAMP = 64
SMALL_BOX, LARGE_BOX = 96, 192
"""Sides (px) of the periodic boxes in which stamps are computed, before the crop."""

LARGE_RADIUS = 24.0
"""Half-light radius (px) from which a target needs the large box."""

_LN_K = (np.log(1e-3), np.log(400.0))
_N_LN_K = 1536
_INDEX_RANGE, _INDEX_STEP = (0.5, 6.5), 0.1
_MOFFAT_BETA = 3.0


@dataclass
class Sources:
    """S light sources on the stamps of a batch.

    Attributes
    ----------
    stamp : (S,) int array
        Row of the stamp that each is on.
    x, y : (S,) arrays
        Centre in pixels; the centre of the first pixel is 0.
    radius : (S,) array
        Half-light semi-major axis in pixels; 0 is a point.
    index : (S,) array
        Sersic index, 0.5 to 6.5.
    ratio, angle : (S,) arrays
        Axis ratio; angle of the major axis from x towards y, radians.
    flux : (S, B) array
        Total flux per band.
    """

    stamp: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius: NDArray[np.float64]
    index: NDArray[np.float64]
    ratio: NDArray[np.float64]
    angle: NDArray[np.float64]
    flux: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64]) -> "Sources":
        return Sources(
            self.stamp[rows],
            self.x[rows],
            self.y[rows],
            self.radius[rows],
            self.index[rows],
            self.ratio[rows],
            self.angle[rows],
            self.flux[rows],
        )


@dataclass
class Psfs:
    """A pool of P Moffat profiles (beta 3) per band: width in pixels and shape, (P, B) each."""

    fwhm: NDArray[np.float64]
    ratio: NDArray[np.float64]
    angle: NDArray[np.float64]
    _known: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def transforms(self, box: int) -> Tensor:
        """PSF times square pixel, (P, B, box, box / 2 + 1), real."""
        if box not in self._known:
            scale = self.fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / _MOFFAT_BETA) - 1.0))
            ln_k = _ln_k(scale.ravel(), self.ratio.ravel(), self.angle.ravel(), box)
            moffat = _look_up(_moffat_row().expand(len(ln_k), -1), ln_k)
            ky, kx = _frequencies(box)
            pixel = torch.sinc(ky / (2 * np.pi))[:, None] * torch.sinc(kx / (2 * np.pi))
            self._known[box] = (moffat * pixel).view(*self.fwhm.shape, box, -1)
        return self._known[box]


def render(
    sources: Sources, n: int, psfs: Psfs, psf_of: NDArray[np.int64], large: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Noise-free images (n, B, 64, 64) of the sources, seen through each stamp's PSF.

    Parameters
    ----------
    sources : Sources
    n : int
        Number of stamps.
    psfs : Psfs
    psf_of : (n,) int array
        Row of the pool that each stamp is seen through.
    large : (n,) bool array
        Stamps to be computed in the large box.
    """
    images = np.zeros((n, sources.flux.shape[1], STAMP, STAMP), dtype=np.float32)
    order = np.argsort(sources.stamp, kind="stable")
    for box, chosen in ((SMALL_BOX, ~large), (LARGE_BOX, large)):
        rows = np.flatnonzero(chosen)
        batch = 32 if box == SMALL_BOX else 8
        for start in range(0, len(rows), batch):
            stamps = rows[start : start + batch]
            local = np.full(n, -1)
            local[stamps] = np.arange(len(stamps))
            mine = order[local[sources.stamp[order]] >= 0]
            spectrum = _add_up(sources.take(mine), local, len(stamps), box)
            spectrum *= psfs.transforms(box)[torch.from_numpy(psf_of[stamps])]
            pixels = torch.fft.irfft2(spectrum, s=(box, box))
            margin = (box - STAMP) // 2
            images[stamps] = pixels[..., margin : margin + STAMP, margin : margin + STAMP].numpy()
    return images


def _add_up(sources: Sources, local: NDArray[np.int64], n: int, box: int) -> Tensor:
    """Fourier transforms (n, B, box, box / 2 + 1) of all sources, before the PSF."""
    n_bands = sources.flux.shape[1]
    total = torch.zeros(n, n_bands, box, box // 2 + 1, dtype=torch.complex64)
    margin = (box - STAMP) // 2
    ky, kx = _frequencies(box)
    for stamp in range(n):
        rows = np.flatnonzero(local[sources.stamp] == stamp)
        if not len(rows):
            continue
        one = sources.take(rows)
        profile = _profiles(one, box)  # (s, box, box/2+1)
        phase_y = torch.exp(-1j * _tensor(one.y + margin)[:, None] * ky)
        phase_x = torch.exp(-1j * _tensor(one.x + margin)[:, None] * kx)
        waves = profile * phase_y[:, :, None] * phase_x[:, None, :]
        flux = _tensor(one.flux.T).to(torch.complex64)  # (B, s)
        total[stamp] = (flux @ waves.flatten(1)).view(n_bands, box, -1)
    return total


def _profiles(sources: Sources, box: int) -> Tensor:
    """Real transforms (s, box, box / 2 + 1) of unit flux at the origin; one for points."""
    profile = torch.ones(len(sources.x), box, box // 2 + 1)
    extended = np.flatnonzero(sources.radius > 0)
    if len(extended):
        one = sources.take(extended)
        ln_k = _ln_k(one.radius, one.ratio, one.angle, box)
        position = (one.index - _INDEX_RANGE[0]) / _INDEX_STEP
        below = np.clip(position.astype(np.int64), 0, len(sersic_table()) - 2)
        table = sersic_table()
        rows = torch.lerp(table[below], table[below + 1], _tensor(position - below)[:, None])
        profile[torch.from_numpy(extended)] = _look_up(rows, ln_k)
    return profile


def _ln_k(
    scale: NDArray[np.float64], ratio: NDArray[np.float64], angle: NDArray[np.float64], box: int
) -> Tensor:
    """Logarithm of |k'| (s, box, box / 2 + 1) where the ellipse is a unit circle."""
    ky, kx = _frequencies(box)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = scale**2, (scale * ratio) ** 2
    xx, yy, xy = a * cos**2 + b * sin**2, a * sin**2 + b * cos**2, (a - b) * sin * cos
    square = (
        _tensor(yy)[:, None, None] * (ky * ky)[:, None]
        + _tensor(xx)[:, None, None] * (kx * kx)
        + _tensor(2.0 * xy)[:, None, None] * (ky[:, None] * kx)
    )
    return square.clamp_(min=1e-12).log_().mul_(0.5)


def _look_up(rows: Tensor, ln_k: Tensor) -> Tensor:
    """Interpolate (s, T) tables, one per source, at (s, h, w) ln k."""
    shape = ln_k.shape
    step = (_LN_K[1] - _LN_K[0]) / (_N_LN_K - 1)
    position = ln_k.flatten(1).sub(_LN_K[0]).div_(step).clamp_(0.0, _N_LN_K - 1.001)
    below = position.long()
    part = position.sub_(below)
    left = rows.gather(1, below)
    return torch.lerp(left, rows.gather(1, below.add_(1)), part).view(shape)


@lru_cache(maxsize=1)
def sersic_table() -> Tensor:
    """Tabulate (61, T) transforms of Sersic profiles of unit flux and radius, by FFTLog.

    Rows are Sersic indices 0.5 to 6.5 in steps of 0.1, columns even steps in ln k.
    """
    from scipy.fft import fht
    from scipy.special import gamma, gammaincinv

    size = 8192
    step = np.log(1e14) / size
    radius = np.exp((np.arange(size) - (size - 1) / 2) * step)  # 1e-7 to 1e7
    wanted = np.linspace(*_LN_K, _N_LN_K)
    rows = []
    for index in np.arange(_INDEX_RANGE[0], _INDEX_RANGE[1] + 0.01, _INDEX_STEP):
        b = gammaincinv(2.0 * index, 0.5)
        flux = 2.0 * np.pi * index * b ** (-2.0 * index) * gamma(2.0 * index)
        light = np.exp(-b * radius ** (1.0 / index)) / flux
        # fht is the integral of a(r) J0(k r) k dr; the grids of k and r are the same numbers.
        transform = 2.0 * np.pi * fht(radius * light, step, mu=0.0) / radius
        rows.append(np.interp(wanted, np.log(radius), transform))
    return _tensor(np.stack(rows))


@lru_cache(maxsize=1)
def _moffat_row() -> Tensor:
    """Tabulate (1, T) the transform of a Moffat profile of scale 1 and beta 3: (k^2 / 2) K_2(k)."""
    from scipy.special import kv

    k = np.exp(np.linspace(*_LN_K, _N_LN_K))
    return _tensor(0.5 * k**2 * kv(_MOFFAT_BETA - 1.0, k))[None]


@lru_cache(maxsize=4)
def _frequencies(box: int) -> tuple[Tensor, Tensor]:
    ky = 2.0 * np.pi * torch.fft.fftfreq(box)
    kx = 2.0 * np.pi * torch.fft.rfftfreq(box)
    return ky, kx


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
