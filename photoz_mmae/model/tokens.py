"""Modalities to tokens: image patches, aperture fluxes, runs of a spectrum."""

import torch
from torch import Tensor, nn

from photoz_mmae.model.presets import MMAENetwork

APERTURE_RADII = (0.5, 0.85, 1.3, 2.0, 3.0, 4.5)
"""Radii of the flux token's apertures, arcsec."""

LEAST_SEEN = 0.1
"""Share of a ring, at least: of less, its flux is not made out."""

LEAST_SCATTER = 0.02
"""Of ln FWHM: seeing that hardly varies in training says little, and must not be blown up."""

EBV_SCALE = 0.05
"""Mag: E(B-V) of a typical field."""


def to_patches(image: Tensor, patch: int) -> Tensor:
    """Cut into patches: (N, B, S, S) -> (N, T, B * p * p), row by row."""
    n, bands, size, _ = image.shape
    side = size // patch
    cut = image.view(n, bands, side, patch, side, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, side * side, bands * patch * patch)


class ImageTokens(nn.Module):
    """Each patch alone through two layers, so that a hidden patch hides all it should."""

    def __init__(self, settings: MMAENetwork) -> None:
        super().__init__()
        pixels = settings.bands * settings.patch_size**2
        self.patch = settings.patch_size
        self.stem = nn.Sequential(
            nn.Linear(pixels, 2 * settings.width),
            nn.GELU(),
            nn.Linear(2 * settings.width, settings.width),
        )
        self.position = nn.Parameter(0.02 * torch.randn(settings.image_tokens, settings.width))

    def forward(self, stretched: Tensor) -> Tensor:
        """(N, B, S, S) -> (N, T, W)."""
        tokens: Tensor = self.stem(to_patches(stretched, self.patch)) + self.position
        return tokens


class FluxToken(nn.Module):
    """One token of aperture fluxes and their ratios.

    Attention over patches cannot easily rebuild a linear flux ratio from arcsinh pixels, and
    colours are such ratios; so they are given. Apertures are centred on the image.

    Parameters
    ----------
    settings : MMAENetwork
        With `colours`, ratios of adjacent bands and of adjacent apertures are given, too; with
        `seeing`, the PSF's width per band, without which apertures tell no exact colours.
    takes_bands : bool
        Whether bands may be missing, and the token is told which are there.
    """

    weights: Tensor
    rings: Tensor
    mean: Tensor
    std: Tensor
    needs: Tensor

    def __init__(self, settings: MMAENetwork, takes_bands: bool = False) -> None:
        super().__init__()
        self.colours = settings.colours
        size, scale, bands = settings.image_size, settings.pixel_scale, settings.bands
        offset = (torch.arange(size) - (size - 1) / 2) * scale
        radius = torch.hypot(offset.view(-1, 1), offset.view(1, -1))  # (S, S) arcsec
        edges = torch.tensor(APERTURE_RADII).view(-1, 1, 1)
        self.hides, self.patch = settings.hides_fluxes, settings.patch_size
        # A pixel on the rim counts for the part of it that is inside.
        self.register_buffer("weights", ((edges - radius) / scale + 0.5).clamp(0, 1))
        rings = self.weights.diff(dim=0, prepend=torch.zeros_like(self.weights[:1]))
        self.register_buffer("rings", rings, persistent=False)
        needs = _bands_needed(bands, len(APERTURE_RADII), settings.colours)  # (F, B)
        self.register_buffer("needs", needs, persistent=False)
        self.register_buffer("mean", torch.zeros(len(needs)))
        self.register_buffer("std", torch.ones(len(needs)))
        told = bands if takes_bands else 0
        told += len(APERTURE_RADII) if self.hides else 0
        self.seeing = Seeing(bands) if settings.seeing else None
        if self.seeing is not None:
            told += 2 * bands
        self.net = nn.Sequential(
            nn.Linear(len(needs) + told, 4 * settings.width),
            nn.Sequential(nn.GELU(), nn.Dropout(settings.dropout)),
            nn.Linear(4 * settings.width, settings.width),
        )

    def features(self, image: Tensor, noise: Tensor, shown: Tensor | None = None) -> Tensor:
        """Aperture fluxes at arcsinh, as share of all bands, as ratios: (N, B, S, S) -> (N, F).

        Parameters
        ----------
        image : Tensor, (N, B, S, S)
            Flux, not stretched.
        noise : Tensor, (B,)
            The stretch's noise unit per pixel.
        shown : Tensor, (N, S, S), optional
            1 for pixels that count, 0 for hidden ones, in whose place each ring's mean stands.
        """
        # Colours need more digits than reduced precision has.
        with torch.autocast(image.device.type, enabled=False):
            if shown is None:
                flux = torch.einsum("nbij,aij->nba", image, self.weights)
            else:
                seen = self.seen(shown).unsqueeze(1)  # (N, 1, A)
                flux = torch.einsum("nbij,aij->nba", image * shown.unsqueeze(1), self.rings)
                flux = (flux / seen.clamp(min=LEAST_SEEN)).cumsum(dim=2)
        # Noise of neighbouring pixels is correlated in a coadd: their sum is noisier than white.
        sigma = 2 * noise.view(-1, 1) * self.weights.square().sum(dim=(1, 2)).sqrt()  # (B, A)
        total = flux.sum(dim=1, keepdim=True).clamp(min=3 * sigma.square().sum(dim=0).sqrt())
        features = [torch.asinh(flux / sigma), flux / total]  # (N, B, A) each
        if self.colours:
            logarithm = flux.maximum(3 * sigma).log()
            # Colours in each aperture (N, B - 1, A), the growth of each band (N, B, A - 1).
            features += [logarithm.diff(dim=1), logarithm.diff(dim=2)]
        return torch.cat([feature.flatten(1) for feature in features], dim=1)

    def seen(self, shown: Tensor) -> Tensor:
        """Shares of the rings between the apertures that are shown: (N, S, S) -> (N, A)."""
        return torch.einsum("nij,aij->na", shown, self.rings) / self.rings.sum(dim=(1, 2))

    def fit(
        self,
        image: Tensor,
        noise: Tensor,
        psf_fwhm: Tensor | None = None,
        measured: Tensor | None = None,
    ) -> None:
        """Set the standardisation from training objects, as `MMAE.fit`."""
        features = self.features(image, noise)
        if measured is None:
            measured = image.new_ones(image.shape[:2], dtype=torch.bool)
        # Objects that have every band a feature is made of, each of which shares the total.
        known = self._known(measured).to(features.dtype)  # (N, F)
        number = known.sum(dim=0)
        mean = (known * features).sum(dim=0) / number.clamp(min=1)
        variance = (known * (features - mean).square()).sum(dim=0) / (number - 1).clamp(min=1)
        self.mean.copy_(mean)
        # Of two bands that no training object has together nothing is known.
        self.std.copy_(torch.where(number > 1, variance.sqrt().clamp(min=1e-6), 1.0))
        if self.seeing is not None:
            self.seeing.fit(_told(psf_fwhm, image).masked_fill(~measured, torch.nan))

    def forward(
        self,
        image: Tensor,
        noise: Tensor,
        present: Tensor | None = None,
        psf_fwhm: Tensor | None = None,
        hidden: Tensor | None = None,
        unmeasured: Tensor | None = None,
    ) -> Tensor:
        """Make the token of each image.

        Parameters
        ----------
        image : Tensor, (N, B, S, S)
        noise : Tensor, (B,)
        present : Tensor of bool, (N, B), optional
            Where bands may be missing.
        psf_fwhm : Tensor, (N, B), optional
            Arcsec, NaN where unknown; not looked at without `seeing`.
        hidden : Tensor of bool, (N, T), optional
            Patches that must not be looked at, by a network with `hides_fluxes`.
        unmeasured : Tensor of bool, (N, S, S), optional
            Pixels that must not.

        Returns
        -------
        Tensor, (N, 1, W)
        """
        shown = self._pixels_shown(hidden, unmeasured) if self.hides else None
        if shown is not None:
            shown = shown.to(image.dtype)
        # The clamp keeps one absurd pixel from throwing the token out of the trained range.
        features = ((self.features(image, noise, shown) - self.mean) / self.std).clamp(-8, 8)
        if present is not None:
            bands = present.to(features.dtype)
            features = torch.cat([features * self._known(present), bands], dim=1)
        if self.seeing is not None:
            widths = _told(psf_fwhm, image)
            if present is not None:
                widths = widths.masked_fill(~present, torch.nan)
            features = torch.cat([features, self.seeing(widths)], dim=1)
        if self.hides:
            whole = image.new_ones(len(image), len(self.weights))
            seen = whole if shown is None else self.seen(shown)
            features = torch.cat([features, seen.to(features.dtype)], dim=1)
        token: Tensor = self.net(features)
        return token.unsqueeze(1)

    def _known(self, present: Tensor) -> Tensor:
        """Which features have every band that they are made of: (N, B) -> (N, F)."""
        absent = (~present).to(self.mean.dtype)
        return absent @ self.needs.T.to(absent.dtype) == 0

    def _pixels_shown(self, hidden: Tensor | None, unmeasured: Tensor | None) -> Tensor | None:
        """(N, T) patches and (N, S, S) pixels that are not -> (N, S, S); None where all are."""
        if hidden is None or not bool(hidden.any()):
            return None if unmeasured is None else ~unmeasured
        side = len(self.weights[0]) // self.patch
        shown = (~hidden).view(-1, side, side)
        shown = shown.repeat_interleave(self.patch, dim=1).repeat_interleave(self.patch, dim=2)
        return shown if unmeasured is None else shown & ~unmeasured


class Seeing(nn.Module):
    """Widths of the PSF as a network takes them: two numbers per band.

    Parameters
    ----------
    bands : int
    """

    mean: Tensor
    std: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("std", torch.ones(bands))

    def fit(self, psf_fwhm: Tensor) -> None:
        """Set the standardisation from training objects, (N, B) arcsec, NaN where unknown."""
        logarithm = psf_fwhm.log()
        mean = logarithm.nanmean(dim=0)
        std = (logarithm - mean).square().nanmean(dim=0).sqrt().clamp(min=LEAST_SCATTER)
        # Of a band whose seeing no training object tells, prediction must not tell it either.
        self.mean.copy_(mean.nan_to_num(nan=0.0))
        self.std.copy_(std.nan_to_num(nan=0.0))

    def forward(self, psf_fwhm: Tensor) -> Tensor:
        """(N, B) -> (N, 2 B): standardised logarithm or 0, and 1 where it is known."""
        logarithm = psf_fwhm.log()
        known = logarithm.isfinite() & (self.std > 0)
        feature = ((logarithm - self.mean) / self.std).clamp(-8, 8)
        return torch.cat([torch.where(known, feature, 0.0), known.to(feature.dtype)], dim=1)


def _told(psf_fwhm: Tensor | None, image: Tensor) -> Tensor:
    """Widths of the PSF (N, B), unknown where nothing is told."""
    return image.new_full(image.shape[:2], torch.nan) if psf_fwhm is None else psf_fwhm


def _bands_needed(bands: int, apertures: int, colours: bool) -> Tensor:
    """Which bands each of the flux token's features is made of: (F, B) bool."""
    each = torch.eye(bands, dtype=torch.bool)
    kinds = [(each, apertures), (each, apertures)]
    if colours:
        kinds += [(each[1:] | each[:-1], apertures), (each, apertures - 1)]
    return torch.cat([rows.repeat_interleave(number, dim=0) for rows, number in kinds])


class EbvToken(nn.Module):
    """Galactic reddening as one token; a learned one where it is not known."""

    def __init__(self, settings: MMAENetwork) -> None:
        super().__init__()
        width = settings.width
        self.net = nn.Sequential(nn.Linear(1, width), nn.GELU(), nn.Linear(width, width))
        self.unknown = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, ebv: Tensor) -> Tensor:
        """(N,) mag, NaN where unknown -> (N, 1, W)."""
        # Most of the sky lies below 0.1 mag; the logarithm keeps the few at 1 within reach.
        feature = torch.log1p(ebv.nan_to_num(nan=0.0) / EBV_SCALE).unsqueeze(1)
        known = ebv.isfinite().unsqueeze(1)
        return torch.where(known, self.net(feature), self.unknown).unsqueeze(1)


class SpectrumTokens(nn.Module):
    """Runs of pixels of a spectrum relative to its mean, with the knowledge which are valid."""

    def __init__(self, settings: MMAENetwork) -> None:
        super().__init__()
        self.pixels = settings.spectrum_patch_size
        self.tokens = settings.spectrum_tokens
        self.stem = nn.Linear(2 * self.pixels, settings.width)
        self.position = nn.Parameter(0.02 * torch.randn(self.tokens, settings.width))

    def to_patches(self, spectrum: Tensor) -> Tensor:
        """(N, P) -> (N, T, p), the last run filled with zeros."""
        padding = self.tokens * self.pixels - spectrum.shape[1]
        return nn.functional.pad(spectrum, (0, padding)).view(-1, self.tokens, self.pixels)

    def forward(self, flux: Tensor, valid: Tensor) -> Tensor:
        """(N, P) flux over its mean, (N, P) bool -> (N, T, W)."""
        ratio = torch.asinh(torch.where(valid, flux, 0.0))
        both = torch.cat([self.to_patches(ratio), self.to_patches(valid.float())], dim=2)
        tokens: Tensor = self.stem(both) + self.position
        return tokens
