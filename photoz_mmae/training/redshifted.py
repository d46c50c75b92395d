"""Objects as they would look a little nearer or farther: what their spectra tell of their images.

A few thousand objects sample the redshifts of each kind of galaxy thinly. An object's spectrum
says how its colours change when its light is redshifted a little more or less; so one object with
a spectrum serves as many, along the redshift.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from photoz_mmae.spectra.grid import pooled_wave
from photoz_mmae.surveys import PASSBANDS
from photoz_mmae.training_sets.training_set import TrainingBatch

FARTHEST = 0.05
"""In ln(1+z), up or down: an object much farther away would look different in other ways, too."""

SMOOTHING = 5.0
"""Pixels of 24 Angstrom: noise at the edges of a band would be taken for a change of colour."""

SLOPE_PIXELS = 40
"""At either end of the spectrum: their slope goes on beyond it, where bands reach farther."""

STEEPEST = 3.0
FAINTEST = 0.05
"""Of the mean: a spectrum is not continued from less."""


class Redshifter:
    """Moves objects in redshift: images, spectra and redshifts together.

    Each band's flux follows the spectrum under the band as it moves; one band in the middle keeps
    its flux, so that an object stays as bright and as large as it is: another one, of the same
    spectrum, at that redshift.

    Parameters
    ----------
    bands : sequence of str
        Of the images; letters of ugrizy.
    """

    def __init__(self, bands: tuple[str, ...]) -> None:
        self._edges = torch.tensor([PASSBANDS[band] for band in bands])  # (B, 2) Angstrom
        self._kept = len(bands) // 2
        wave = pooled_wave()
        step = wave[1] - wave[0]
        margin = float(np.exp(FARTHEST))
        left = int(np.ceil(max(0.0, wave[0] - float(self._edges.min()) / margin) / step)) + 1
        right = int(np.ceil(max(0.0, float(self._edges.max()) * margin - wave[-1]) / step)) + 1
        more = wave[0] + step * np.arange(-left, len(wave) + right)
        self._left, self._right, self._step = left, right, float(step)
        self._wave = torch.from_numpy(wave).float()
        self._longer = torch.from_numpy(more).float()
        reach = int(3 * SMOOTHING)
        offset = torch.arange(-reach, reach + 1) / SMOOTHING
        self._kernel = torch.exp(-offset.square() / 2).view(1, 1, -1)

    def move(self, batch: TrainingBatch, shift: Tensor) -> TrainingBatch:
        """Move each object by `shift` (N,) in ln(1+z); those without spectrum or redshift stay."""
        known = batch.has_spectrum & batch.has_redshift
        # Nothing is nearer than redshift 0.
        shift = shift.to(batch.redshift).clamp(-FARTHEST, FARTHEST)
        shift = torch.where(known, shift.maximum(-torch.log1p(batch.redshift)), 0.0)
        ratio = self.band_ratios(batch.flux, batch.ivar, shift)
        flux, ivar = self._move_spectra(batch, shift)
        is_moved = shift != 0
        redshift = torch.expm1(torch.log1p(batch.redshift) + shift)
        moved = is_moved.unsqueeze(1)
        return replace(
            batch,
            image=batch.image * torch.where(moved, ratio, 1.0)[:, :, None, None],
            flux=torch.where(moved, flux, batch.flux),
            ivar=torch.where(moved, ivar, batch.ivar),
            redshift=torch.where(is_moved, redshift, batch.redshift),
        )

    def band_ratios(self, flux: Tensor, ivar: Tensor, shift: Tensor) -> Tensor:
        """By how much the flux in each band changes, relative to that in the middle one.

        Parameters
        ----------
        flux, ivar : Tensor, (N, P)
            Spectra on the pooled grid, in any unit of flux density per wavelength.
        shift : Tensor, (N,)
            In ln(1+z).

        Returns
        -------
        Tensor, (N, B)
        """
        longer = self._continued(self._smoothed(flux, ivar))
        photons = (longer * self._longer.to(longer)).cumsum(dim=1)  # (N, Q) up to a pixel's end
        edges = self._edges.to(longer).flatten()  # (2 B,)
        # A band over the moved spectrum is the moved-back band over the spectrum as it is.
        moved = self._between(photons, edges * torch.exp(-shift).unsqueeze(1))
        still = self._between(photons, edges.expand(len(flux), -1))
        ratio = moved.clamp(min=1e-6) / still.clamp(min=1e-6)
        kept = ratio[:, self._kept : self._kept + 1]
        # A spectrum that is all noise says nothing: no colour changes by a factor of two.
        return (ratio / kept).clamp(0.5, 2.0)

    def _between(self, photons: Tensor, edges: Tensor) -> Tensor:
        """Photons between pairs of wavelengths: (N, Q) cumulative, (N, 2 B) -> (N, B)."""
        place = (edges - self._longer[0].to(edges)) / self._step - 0.5
        lower = place.floor().long().clamp(0, photons.shape[1] - 2)
        low, high = photons.gather(1, lower), photons.gather(1, lower + 1)
        at = low + (place - lower) * (high - low)
        return at[:, 1::2] - at[:, ::2]

    def _smoothed(self, flux: Tensor, ivar: Tensor) -> Tensor:
        """Weighted by inverse variance: (N, P) twice -> (N, P)."""
        reach = self._kernel.shape[2] // 2

        def blurred(values: Tensor) -> Tensor:
            kernel = self._kernel.to(values)
            return torch.nn.functional.conv1d(values.unsqueeze(1), kernel, padding=reach).squeeze(1)

        weight = blurred(ivar)
        smooth = blurred(flux * ivar) / weight.clamp(min=1e-12)
        # Far from any valid pixel there is nothing but the mean, which is 1.
        return torch.where(weight > 1e-12, smooth, 1.0)

    def _continued(self, flux: Tensor) -> Tensor:
        """Power laws beyond either end: (N, P) -> (N, Q)."""
        floor = FAINTEST * flux.mean(dim=1, keepdim=True).clamp(min=1e-6)

        def end(pixels: slice, beyond: Tensor) -> Tensor:
            values = flux[:, pixels].maximum(floor).log()
            x = self._wave[pixels].to(flux).log()
            slope = ((x - x.mean()) * values).sum(dim=1) / (x - x.mean()).square().sum()
            slope = slope.clamp(-STEEPEST, STEEPEST).unsqueeze(1)
            return (values.mean(dim=1, keepdim=True) + slope * (beyond.log() - x.mean())).exp()

        longer = self._longer.to(flux)
        left = end(slice(SLOPE_PIXELS), longer[: self._left])
        right = end(slice(-SLOPE_PIXELS, None), longer[len(longer) - self._right :])
        return torch.cat([left, flux, right], dim=1)

    def _move_spectra(self, batch: TrainingBatch, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra on the same grid, moved; what comes from beyond the ends is invalid."""
        wave = self._wave.to(batch.flux)
        place = (wave * torch.exp(-shift).unsqueeze(1) - wave[0]) / self._step  # (N, P)
        pixels = len(wave)
        lower = place.floor().long().clamp(0, pixels - 2)
        upper_share = place - lower
        inside = (place >= 0) & (place <= pixels - 1)

        def at(values: Tensor) -> tuple[Tensor, Tensor]:
            return values.gather(1, lower), values.gather(1, lower + 1)

        low, high = at(batch.flux)
        low_ivar, high_ivar = at(batch.ivar)
        valid = inside & (low_ivar > 0) & (high_ivar > 0)
        flux = torch.where(valid, low + upper_share * (high - low), 0.0)
        # Of two neighbours the noisier counts: noise is not to seem less than it is.
        ivar = torch.where(valid, low_ivar.minimum(high_ivar), 0.0)
        # Over its own mean again, as all spectra are.
        mean = (flux * ivar).sum(dim=1) / ivar.sum(dim=1).clamp(min=1e-12)
        mean = torch.where((mean > 0.5) & (mean < 2.0), mean, 1.0).unsqueeze(1)
        return flux / mean, ivar * mean.square()


def draw_shifts(n: int, width: float, share: float, generator: torch.Generator) -> Tensor:
    """Draw shifts in ln(1+z), normal of standard deviation `width` for a share of N objects."""
    shift = width * torch.randn(n, generator=generator)
    return shift * (torch.rand(n, generator=generator) < share)
