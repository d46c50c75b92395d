"""Our multi-modal masked autoencoder: one encoder over whatever tokens are there."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from photoz_mmae.model.blocks import SelfBlock
from photoz_mmae.model.heads import ClassHead, RedshiftHead, TokenDecoder
from photoz_mmae.model.masking import visible_tokens
from photoz_mmae.model.presets import MMAENetwork
from photoz_mmae.model.stretch import Stretch
from photoz_mmae.model.tokens import EbvToken, FluxToken, ImageTokens, SpectrumTokens


@dataclass
class Spectra:
    """Spectra as the network takes them.

    Attributes
    ----------
    flux : Tensor, (N, P)
        Flux over its inverse-variance weighted mean.
    valid : Tensor of bool, (N, P)
    """

    flux: Tensor
    valid: Tensor


@dataclass
class Embedded:
    """Images as the encoder takes them up, before anything is hidden.

    Attributes
    ----------
    image : Tensor, (N, B, S, S)
        Flux, 0 in bands that are not there.
    present : Tensor of bool, (N, B), or None
        Bands that are there, of a network that can do without some.
    psf_fwhm : Tensor, (N, B), or None
        Arcsec, NaN where unknown.
    ebv : Tensor, (N, 1, W), or None
        The token of E(B-V), of a network that takes it.
    patches : Tensor, (N, T, W)
        Each patch's token.
    """

    image: Tensor
    present: Tensor | None
    psf_fwhm: Tensor | None
    ebv: Tensor | None
    patches: Tensor


class MMAE(nn.Module):
    """Image, aperture fluxes and spectrum in one sequence; hidden tokens are left out of it.

    Differs from the published network (arXiv:2510.22527) where that has a weakness: fluxes are
    stretched, hidden tokens cost nothing, any share of the image may be hidden, decoders work
    from tokens, and the redshift is a probability density.

    Parameters
    ----------
    settings : MMAENetwork
    takes_ebv : bool
        Whether E(B-V) has a token of its own.
    takes_bands : bool
        Whether bands may be missing: what is absent is said in every patch and in the flux token.
    """

    def __init__(
        self, settings: MMAENetwork, takes_ebv: bool = False, takes_bands: bool = False
    ) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.stretch = Stretch(settings.bands)
        self.image_tokens = ImageTokens(settings)
        self.flux_token = FluxToken(settings, takes_bands)
        self.absent = (
            nn.Parameter(0.02 * torch.randn(settings.bands, width)) if takes_bands else None
        )
        self.ebv_token = EbvToken(settings) if takes_ebv else None
        self.spectrum_tokens = SpectrumTokens(settings)
        self.summary = nn.Parameter(0.02 * torch.randn(1, width))
        self.encoder = nn.ModuleList(
            SelfBlock(width, settings.heads) for _ in range(settings.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.redshift_head = RedshiftHead(settings)
        self.class_head = ClassHead(settings) if settings.classes else None
        self.image_decoder = TokenDecoder(
            settings, settings.image_tokens, settings.bands * settings.patch_size**2
        )
        self.spectrum_decoder = TokenDecoder(
            settings, settings.spectrum_tokens, settings.spectrum_patch_size
        )

    @torch.no_grad()
    def fit(
        self, image: Tensor, psf_fwhm: Tensor | None = None, measured: Tensor | None = None
    ) -> None:
        """Set the stretch, and what features are standardised by, from training objects.

        Parameters
        ----------
        image : Tensor, (N, B, S, S)
            Flux.
        psf_fwhm : Tensor, (N, B), optional
            Arcsec, NaN where unknown.
        measured : Tensor of bool, (N, B), optional
            Bands that are there, by default all; each in one object at least.
        """
        self.stretch.fit(image, measured)
        self.flux_token.fit(image, self.stretch.noise, psf_fwhm, measured)

    @property
    def heading(self) -> int:
        """Number of tokens H before the patches, never hidden: summary, flux, perhaps E(B-V)."""
        return 2 if self.ebv_token is None else 3

    def embed(
        self,
        image: Tensor,
        ebv: Tensor | None = None,
        present: Tensor | None = None,
        psf_fwhm: Tensor | None = None,
    ) -> Embedded:
        """Turn what does not depend on what is hidden into tokens, each patch on its own.

        Passes that hide different patches of the same images share this.

        Parameters
        ----------
        image : Tensor, (N, B, S, S)
        ebv : Tensor, (N,), optional
            Mag, NaN where unknown; not looked at by a network that does not take it.
        present : Tensor of bool, (N, B), optional
            Bands that are there, by default all; not looked at by a network that needs them all.
        psf_fwhm : Tensor, (N, B), optional
            Arcsec, NaN where unknown; not looked at by a network without `seeing`.
        """
        if self.absent is None:
            present = None
        elif present is None:
            present = image.new_ones(image.shape[:2], dtype=torch.bool)
        if present is not None:
            image = image * present[:, :, None, None]
        ebv_token = None
        if self.ebv_token is not None:
            unknown = image.new_full((len(image),), torch.nan)
            ebv_token = self.ebv_token(unknown if ebv is None else ebv)
        stretched = self.stretch(image)
        if present is None or self.absent is None:
            patches = self.image_tokens(stretched)
        else:
            patches = self.image_tokens(stretched * present[:, :, None, None])
            # (N, B) @ (B, W) -> (N, 1, W)
            patches = patches + ((~present).to(patches.dtype) @ self.absent).unsqueeze(1)
        return Embedded(image, present, psf_fwhm, ebv_token, patches)

    def encode(
        self,
        embedded: Embedded,
        spectra: Spectra | None = None,
        image_hidden: Tensor | None = None,
        spectrum_hidden: Tensor | None = None,
        there: Tensor | None = None,
        apertures_whole: bool = False,
        unmeasured: Tensor | None = None,
    ) -> Tensor:
        """Encode what is there.

        Parameters
        ----------
        embedded : Embedded
            N images from `embed`.
        spectra : Spectra, optional
        image_hidden, spectrum_hidden : Tensor of bool, (N, T), optional
            True where a token is left out; the same number for every object. Apertures are
            measured on what is left of the image by a network that `hides_fluxes`.
        there : Tensor of bool, (N, H + visible), optional
            From `tokens_there`, of objects without spectra: False where a token that is not left
            out holds no measurement, so that nobody may look at it.
        apertures_whole : bool
            True: apertures are measured on hidden patches all the same.
        unmeasured : Tensor of bool, (N, S, S), optional
            Pixels that apertures leave out, of a network that `hides_fluxes`.

        Returns
        -------
        Tensor, (N, H + visible, W)
            First the summary token, then the flux token, then that of E(B-V) where the network
            takes it, then the visible patches and runs of the spectrum.
        """
        image, present, psf_fwhm = embedded.image, embedded.present, embedded.psf_fwhm
        unseen = None if apertures_whole else image_hidden
        sequence = [
            self.summary.expand(len(image), -1, -1),
            self.flux_token(image, self.stretch.noise, present, psf_fwhm, unseen, unmeasured),
        ]
        if embedded.ebv is not None:
            sequence.append(embedded.ebv)
        sequence.append(visible_tokens(embedded.patches, image_hidden))
        if spectra is not None:
            runs = self.spectrum_tokens(spectra.flux, spectra.valid)
            sequence.append(visible_tokens(runs, spectrum_hidden))
        tokens = torch.cat(sequence, dim=1)
        for block in self.encoder:
            tokens = block(tokens, there)
        encoded: Tensor = self.norm(tokens)
        return encoded

    def tokens_there(self, missing: Tensor, image_hidden: Tensor | None = None) -> Tensor:
        """Which of the tokens that `encode` gives hold a measurement: (N, H + visible).

        Objects may lack as many patches as they like, and each another number: their tokens stay
        in the sequence, where nobody looks at them, so that an object's values do not depend on
        what others lack.

        Parameters
        ----------
        missing, image_hidden : Tensor of bool, (N, T)
            Patches that were not measured, and those that are left out.
        """
        there = visible_tokens(~missing.unsqueeze(2), image_hidden).squeeze(2)
        return torch.cat([there.new_ones(len(there), self.heading), there], dim=1)

    def redshift_logits(self, encoded: Tensor) -> Tensor:
        """Logits of the bins of p(z): (N, T, W) -> (N, K)."""
        logits: Tensor = self.redshift_head(self.representation(encoded))
        return logits

    def class_logits(self, encoded: Tensor) -> Tensor | None:
        """Logits of the classes: (N, T, W) -> (N, classes); None where it tells none apart."""
        if self.class_head is None:
            return None
        logits: Tensor = self.class_head(self.representation(encoded))
        return logits

    def representation(self, encoded: Tensor) -> Tensor:
        """Give what the redshift head reads, summary and flux token: (N, T, W) -> (N, 2 W)."""
        return encoded[:, :2].flatten(1)

    def decode_spectrum(self, encoded: Tensor, there: Tensor | None = None) -> Tensor:
        """Reconstructed spectrum over its mean: (N, T, W) -> (N, P); `there` as in `encode`."""
        runs: Tensor = self.spectrum_decoder(encoded, there)
        return runs.flatten(1)[:, : self.settings.spectrum_pixels]

    def decode_patches(self, encoded: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Reconstructed patches of the stretched image: (N, T, W) -> (N, patches, B * p * p).

        `wanted` (N, patches) bool, as many of each object, leaves the other patches out.
        """
        patches: Tensor = self.image_decoder(encoded, wanted=wanted)
        return patches
