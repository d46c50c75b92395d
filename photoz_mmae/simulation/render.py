"""Images of bulges, disks, clumps and points: written down in Fourier space, many at a time."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.simulation.sources import Clumps, Sources
from photoz_mmae.simulation.wrapped import wrapped_light

STAMP = 64
SMALL_BOX, LARGE_BOX = 96, 192
"""Sides (px) of the periodic boxes in which stamps are computed, before the crop."""

LARGE_RADIUS = 24.0
"""Half-light radius (px) from which a target needs the large box; a thin disk needs it sooner."""

_BEYOND_NYQUIST = 1.125
"""How far frequencies are followed: in the best seeing a point errs by 5e-4, without by 1.5e-3."""

_LN_K = (np.log(1e-3), np.log(400.0))
_N_LN_K = 1536
_INDEX_RANGE, _INDEX_STEP = (0.5, 6.5), 0.1
_MOFFAT_BETA = 3.0


@dataclass
class Psfs:
    """A pool of P Moffat profiles (beta 3) per band: width in pixels and shape, (P, B) each."""

    fwhm: NDArray[np.float64]
    ratio: NDArray[np.float64]
    angle: NDArray[np.float64]
    _known: dict[tuple[int, str], Tensor] = field(default_factory=dict, repr=False)

    def transforms(self, box: int, device: str) -> Tensor:
        """PSF times square pixel, (P, B, K, K / 2 + 1) of the wide grid of `box`, real."""
        if (box, device) not in self._known:
            scale = self.fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / _MOFFAT_BETA) - 1.0))
            ln_k = _ln_k(scale.ravel(), self.ratio.ravel(), self.angle.ravel(), box, device)
            moffat = _look_up(_moffat_row(device).expand(len(ln_k), -1), ln_k)
            ky, kx = _frequencies(box, device)
            pixel = torch.sinc(ky / (2 * np.pi))[:, None] * torch.sinc(kx / (2 * np.pi))
            self._known[box, device] = (moffat * pixel).view(*self.fwhm.shape, len(ky), -1)
        return self._known[box, device]


def render(
    sources: Sources,
    clumps: Clumps,
    n: int,
    psfs: Psfs,
    psf_of: NDArray[np.int64],
    device: str = "cpu",
) -> Tensor:
    """Noise-free images (n, B, 64, 64) of all that is on the stamps, seen through their PSFs.

    Parameters
    ----------
    sources : Sources
    clumps : Clumps
    n : int
        Number of stamps.
    psfs : Psfs
    psf_of : (n,) int array
        Row of the pool that each stamp is seen through.
    device : str
        Where the work is done, and where the images are.
    """
    images = torch.zeros(n, sources.flux.shape[1], STAMP, STAMP, device=device)
    large = np.zeros(n, dtype=bool)
    # The wrapped light of a thin disk is a ridge, which the PSF would smooth (see `wrapped_light`).
    limit = LARGE_RADIUS * np.minimum(0.6 + sources.ratio, 1.0)
    large[sources.stamp[sources.radius > limit]] = True
    for box, chosen in ((SMALL_BOX, ~large), (LARGE_BOX, large)):
        rows = np.flatnonzero(chosen)
        # A CPU's caches want small batches, a GPU large ones.
        batch = (32 if box == SMALL_BOX else 8) * (1 if device == "cpu" else 16)
        for start in range(0, len(rows), batch):
            stamps = rows[start : start + batch]
            transform = _add_up(sources, _members(sources.stamp, stamps, device), box, device)
            _add_clumps(transform, clumps, _members(clumps.stamp, stamps, device), box)
            transform *= psfs.transforms(box, device)[_index(psf_of[stamps], device)]
            pixels = torch.fft.irfft2(_fold(transform, box), s=(box, box))
            margin = (box - STAMP) // 2
            cropped = pixels[..., margin : margin + STAMP, margin : margin + STAMP]
            images[_index(stamps, device)] = cropped
    boxes = np.where(large, LARGE_BOX, SMALL_BOX)
    return images.sub_(wrapped_light(sources, boxes, n, STAMP).to(device))


@dataclass
class _Members:
    """The sources on some stamps: their rows, and where they are in a padded array (n, places)."""

    rows: NDArray[np.int64]
    n: int
    places: int
    at: tuple[Tensor, Tensor]  # stamp and place of each


def _members(stamp: NDArray[np.int64], stamps: NDArray[np.int64], device: str) -> _Members:
    """Find the sources of `stamps`; those of one stamp get places 0, 1, 2 ..."""
    local = np.full(max(int(stamp.max(initial=0)), int(stamps.max())) + 1, -1)
    local[stamps] = np.arange(len(stamps))
    rows = np.flatnonzero(local[stamp] >= 0)
    rows = rows[np.argsort(local[stamp[rows]], kind="stable")]
    where = local[stamp[rows]]
    counts = np.bincount(where, minlength=len(stamps))
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = int(counts.max(initial=1))
    return _Members(rows, len(stamps), places, (_index(where, device), _index(place, device)))


def _add_up(sources: Sources, members: _Members, box: int, device: str) -> Tensor:
    """Fourier transforms (n, B, K, K / 2 + 1) of all sources, before the PSF."""
    one, n_bands = sources.take(members.rows), sources.flux.shape[1]
    margin = (box - STAMP) // 2
    ky, kx = _frequencies(box, device)
    waves = _profiles(one, box, device).to(torch.complex64)  # (s, K, K / 2 + 1)
    waves *= torch.exp(-1j * _tensor(one.y + margin, device)[:, None] * ky)[:, :, None]
    waves *= torch.exp(-1j * _tensor(one.x + margin, device)[:, None] * kx)[:, None, :]
    padded = waves.new_zeros(members.n, members.places, len(ky) * len(kx))
    padded[members.at] = waves.flatten(1)
    flux = waves.new_zeros(members.n, members.places, n_bands)
    flux[members.at] = _tensor(one.flux, device).to(torch.complex64)
    return (flux.mT @ padded).view(members.n, n_bands, len(ky), -1)


def _add_clumps(transform: Tensor, clumps: Clumps, members: _Members, box: int) -> None:
    """Add Gaussian spots to transforms (n, B, K, K / 2 + 1).

    A Gaussian's transform is a product of one in y and one in x, so that a sum of them is a
    product of two matrices.
    """
    rows = members.rows
    if not len(rows):
        return
    device = str(transform.device)
    ky, kx = _frequencies(box, device)
    margin = (box - STAMP) // 2
    sigma = _tensor(clumps.sigma[rows], device)[:, None]
    parts = []
    for centre, k in ((clumps.y, ky), (clumps.x, kx)):
        phase = torch.exp(-1j * _tensor(centre[rows] + margin, device)[:, None] * k)
        padded = transform.new_zeros(members.n, members.places, len(k))
        padded[members.at] = phase * torch.exp(-0.5 * (sigma * k) ** 2)
        parts.append(padded)
    flux = transform.new_zeros(members.n, members.places, clumps.flux.shape[1])
    flux[members.at] = _tensor(clumps.flux[rows], device).to(torch.complex64)
    in_y = flux.mT[:, :, None, :] * parts[0].mT[:, None]  # (n, B, K, places)
    transform += in_y @ parts[1][:, None]


def _profiles(sources: Sources, box: int, device: str) -> Tensor:
    """Real transforms (s, K, K / 2 + 1) of unit flux at the origin; one for points."""
    ky, kx = _frequencies(box, device)
    profile = torch.ones(len(sources.x), len(ky), len(kx), device=device)
    extended = np.flatnonzero(sources.radius > 0)
    if len(extended):
        one = sources.take(extended)
        ln_k = _ln_k(one.radius, one.ratio, one.angle, box, device)
        table = sersic_table(device)
        position = (one.index - _INDEX_RANGE[0]) / _INDEX_STEP
        below = np.clip(position.astype(np.int64), 0, len(table) - 2)
        low, part = _index(below, device), _tensor(position - below, device)[:, None]
        profile[_index(extended, device)] = _look_up(
            torch.lerp(table[low], table[low + 1], part), ln_k
        )
    return profile


def _ln_k(
    scale: NDArray[np.float64],
    ratio: NDArray[np.float64],
    angle: NDArray[np.float64],
    box: int,
    device: str,
) -> Tensor:
    """Logarithm of |k'| (s, K, K / 2 + 1) where the ellipse is a unit circle."""
    ky, kx = _frequencies(box, device)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = scale**2, (scale * ratio) ** 2
    xx, yy, xy = a * cos**2 + b * sin**2, a * sin**2 + b * cos**2, (a - b) * sin * cos
    square = (
        _tensor(yy, device)[:, None, None] * (ky * ky)[:, None]
        + _tensor(xx, device)[:, None, None] * (kx * kx)
        + _tensor(2.0 * xy, device)[:, None, None] * (ky[:, None] * kx)
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


@lru_cache(maxsize=2)
def sersic_table(device: str) -> Tensor:
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
    return _tensor(np.stack(rows), device)


@lru_cache(maxsize=2)
def _moffat_row(device: str) -> Tensor:
    """Tabulate (1, T) the transform of a Moffat profile of scale 1 and beta 3: (k^2 / 2) K_2(k)."""
    from scipy.special import kv

    k = np.exp(np.linspace(*_LN_K, _N_LN_K))
    return _tensor(0.5 * k**2 * kv(_MOFFAT_BETA - 1.0, k), device)[None]


@lru_cache(maxsize=4)
def _frequencies(box: int, device: str) -> tuple[Tensor, Tensor]:
    """Radians per pixel, K of them in y and K / 2 + 1 in x: the box's own and some beyond."""
    wide = round(_BEYOND_NYQUIST * box)
    ky = 2.0 * np.pi * torch.fft.fftfreq(wide, box / wide, device=device)
    kx = 2.0 * np.pi * torch.fft.rfftfreq(wide, box / wide, device=device)
    return ky, kx


def _fold(wide: Tensor, box: int) -> Tensor:
    """Add what pixels cannot tell apart: (n, B, K, K / 2 + 1) -> (n, B, box, box / 2 + 1).

    A frequency k beyond Nyquist's looks on pixels like k less one turn per pixel.
    """
    half, more = box // 2, (wide.shape[2] - box) // 2
    rows = torch.cat([wide[:, :, :half], wide[:, :, -half:]], dim=2)
    rows[:, :, half : half + more] += wide[:, :, half : half + more]
    rows[:, :, half - more : half] += wide[:, :, -half - more : -half]
    # Of x only one half is kept: the transform at (ky, -kx) is the conjugate of that at (-ky, kx).
    beyond = rows[..., half:].conj().flip(2).roll(1, 2).flip(3)
    folded = rows[..., : half + 1]
    folded[..., half - more :] += beyond
    return folded


def _tensor(values: NDArray[np.float64], device: str = "cpu") -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)


def _index(values: NDArray[np.int64], device: str) -> Tensor:
    return torch.from_numpy(values).to(device)
