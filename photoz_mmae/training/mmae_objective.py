"""What our network is trained for: a batch in, the losses out."""

from dataclasses import replace

import torch
from torch import Tensor

from photoz_mmae.model.masking import visible_tokens
from photoz_mmae.model.mmae import MMAE, Spectra
from photoz_mmae.model.presets import Schedule
from photoz_mmae.model.tokens import to_patches
from photoz_mmae.training import losses
from photoz_mmae.training.conditions import vary
from photoz_mmae.training.objective_parts import (
    autocast,
    draw,
    hide,
    nothing_hidden,
    sum_losses,
    symmetries,
)
from photoz_mmae.training.redshifted import Redshifter, draw_shifts
from photoz_mmae.training.views import Shares, View, make_view, shares_of
from photoz_mmae.training_sets.training_set import KINDS, Normalisation, TrainingBatch

CRPS_WEIGHT = 20.0
"""Brings the CRPS (about 0.01 in ln(1+z)) to the size of the cross entropy's last improvements."""

JITTERED = 0.5
"""Share of the objects that are moved in redshift, where a schedule wants it."""

APERTURES_HIDDEN = 0.1
"""Share of the views whose hidden patches are hidden from the apertures, too, by a network that
`hides_fluxes`. In the others patches are left out as by dropout: less to compute, and all of an
image's fluxes to learn from."""

EBV_FORGOTTEN = 0.1
"""Share of the objects that a network with a token for E(B-V) is not told theirs of."""

SEEING_FORGOTTEN = 0.5
"""Share of the objects that a network with `seeing` is told it of in no band. Images come without
as often as with it, and what is shown of one case teaches little about the other."""

SEEING_PARTLY_FORGOTTEN = 0.1
"""Share of the objects that it is told it of in one band of two."""


class MMAEObjective:
    """Ours: any share of the image hidden, the spectrum there or not object by object.

    Attributes
    ----------
    network : MMAE
    teacher : MMAE, optional
        Whose p(z) of the whole image those with neither redshift nor class are to have of the part
        they are shown: the average of the network's weights (Tarvainen & Valpola 2017,
        arXiv:1703.01780).
    """

    normalisation: Normalisation = "relative"

    def __init__(
        self, network: MMAE, schedule: Schedule, bands: tuple[str, ...], precision: torch.dtype
    ) -> None:
        self.network = network
        self.teacher: MMAE | None = None
        self._schedule = schedule
        self._redshifter = Redshifter(bands) if schedule.redshift_jitter else None
        self._precision = precision

    def views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        schedule = self._schedule
        if self._redshifter is not None:
            width = schedule.redshift_jitter
            shift = draw_shifts(len(batch), width, JITTERED, generator)
            batch = self._redshifter.move(batch, shift)
        shares = shares_of(batch)
        batch = replace(batch, image=symmetries(batch.image))
        taught = self._ask_teacher(batch, shares.unknown > 0)
        if schedule.conditions_varied:
            scale, noise = self.network.settings.pixel_scale, self.network.stretch.noise
            batch = vary(batch, schedule.conditions_varied, scale, noise, generator)
        ebv = self._forget_ebv(batch.ebv, generator)
        psf_fwhm = self._forget_seeing(batch.psf_fwhm, generator)
        batch = replace(batch, ebv=ebv, psf_fwhm=psf_fwhm)
        present = self._drop_bands(batch, generator)
        # Those without a spectrum come first: to the view that shows none. Of the others as many as
        # ever are there, however few they are, or what has labels would always show its spectrum.
        order = batch.has_spectrum.int().argsort(stable=True)
        batch, shares, present = batch[order], shares[order], present[order]
        taught = None if taught is None else taught[order]
        with_spectrum = int(batch.has_spectrum.sum())
        first = len(batch) - with_spectrum + round(schedule.spectrum_dropped * with_spectrum)
        last = len(batch) - round(schedule.image_dropped * with_spectrum)
        views = []
        for rows, image_shown, shown in (
            (slice(first), True, False),
            (slice(first, last), True, True),
            (slice(last, None), False, True),
        ):
            image_ratio = draw(schedule.image_hidden, generator) if image_shown else 1.0
            spectrum_ratio = draw(schedule.spectrum_hidden, generator)
            view = self._view(batch[rows], shares[rows], image_ratio, spectrum_ratio, generator)
            bands = present[rows] & image_shown
            whole = image_shown and draw((0.0, 1.0), generator) >= APERTURES_HIDDEN
            view = replace(view, spectrum_shown=shown, present=bands, apertures_whole=whole)
            views.append(view if taught is None else replace(view, taught=taught[rows]))
        return [view for view in views if len(view)]

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return [self._view(batch, shares_of(batch), 0.0, 1.0, generator)]

    def losses(self, view: View) -> dict[str, Tensor]:
        network, batch = self.network, view.batch
        pixels = (batch.ivar > 0) & batch.has_spectrum.unsqueeze(1)  # (N, P), those to score
        spectra = Spectra(batch.flux, pixels)
        with autocast(batch.image, self._precision):
            embedded = network.embed(batch.image, batch.ebv, view.present, batch.psf_fwhm)
            if view.spectrum_shown:
                encoded = network.encode(
                    embedded,
                    spectra,
                    view.image_hidden,
                    view.spectrum_hidden,
                    apertures_whole=view.apertures_whole,
                )
                run = network.settings.spectrum_patch_size
                hidden = view.spectrum_hidden.repeat_interleave(run, dim=1)
                pixels = pixels & hidden[:, : pixels.shape[1]]
            else:
                encoded = network.encode(
                    embedded, image_hidden=view.image_hidden, apertures_whole=view.apertures_whole
                )
            spectrum = network.decode_spectrum(encoded)
            hides = bool(view.image_hidden.any())
            patches = network.decode_patches(encoded, view.image_hidden) if hides else None
        spectrum_loss = losses.spectrum_loss(spectrum.float(), batch.flux, batch.ivar, pixels)
        image_loss = torch.zeros_like(spectrum_loss)
        if patches is not None:
            target = _hidden_patches(network, batch.image, view.image_hidden)
            pixels_per_band = network.settings.patch_size**2
            known = batch.measured.repeat_interleave(pixels_per_band, dim=1).unsqueeze(1)
            image_loss = losses.masked_mse(patches.float(), target, known)
        edges = network.redshift_head.edges
        logits = network.redshift_logits(encoded.float())
        crps = losses.crps(logits, batch.redshift, edges)
        redshift = losses.bin_cross_entropy(logits, batch.redshift, edges) + CRPS_WEIGHT * crps
        found = sum_losses(self._schedule, view.shares, image_loss, spectrum_loss, redshift)
        found["crps"] = (view.shares.redshift * crps).sum()
        if view.taught is not None:
            cost = -(view.taught * logits.log_softmax(dim=1)).sum(dim=1)
            found["taught"] = (view.shares.unknown * cost).sum()
            found["total"] = found["total"] + found["taught"]
        class_logits = network.class_logits(encoded.float())
        if class_logits is not None:
            # Its likelihood stands beside that of the redshift, given the class: no weight.
            cost = losses.class_cross_entropy(class_logits, self._places(batch.kind))
            found["class"] = (view.shares.kind * cost).sum()
            found["total"] = found["total"] + found["class"]
        return found

    def whole(self, batch: TrainingBatch) -> View:
        settings = self.network.settings
        return make_view(
            batch,
            nothing_hidden(batch, settings.image_tokens),
            nothing_hidden(batch, settings.spectrum_tokens),
        )

    def redshift(self, view: View) -> Tensor:
        """Median of p(z): what the metrics of the progress are taken of."""
        logits = self.network.redshift_logits(self._encode(view))
        return median_redshift(logits, self.network.redshift_head.edges)

    def likeliest(self, view: View) -> Tensor:
        """Places in KINDS of the likeliest classes, (N,), of a network that tells some apart."""
        logits = self.network.class_logits(self._encode(view))
        assert logits is not None
        kinds = torch.tensor([KINDS.index(name) for name in self.network.settings.classes])
        return kinds.to(logits.device)[logits.argmax(dim=1)]

    def _encode(self, view: View) -> Tensor:
        """Encode what is shown."""
        network, batch = self.network, view.batch
        spectra = None
        if view.spectrum_shown:
            spectra = Spectra(batch.flux, (batch.ivar > 0) & batch.has_spectrum.unsqueeze(1))
        embedded = network.embed(batch.image, batch.ebv, view.present, batch.psf_fwhm)
        return network.encode(embedded, spectra, view.image_hidden, view.spectrum_hidden)

    @torch.no_grad()
    def _ask_teacher(self, batch: TrainingBatch, wanted: Tensor) -> Tensor | None:
        """p(z) per bin (N, K) of the objects `wanted`, by the teacher, from whole images."""
        if self.teacher is None or not wanted.any():
            return None
        teacher, asked = self.teacher.eval(), batch[wanted.nonzero().squeeze(1)]
        embedded = teacher.embed(asked.image, asked.ebv, asked.measured, asked.psf_fwhm)
        logits = teacher.redshift_logits(teacher.encode(embedded))
        taught = logits.new_zeros((len(batch), logits.shape[1]))
        taught[wanted] = logits.softmax(dim=1)
        return taught

    def _places(self, kind: Tensor) -> Tensor:
        """Places in KINDS to those of the network's logits; -1 for a class it does not know."""
        classes = self.network.settings.classes
        place = torch.full((len(KINDS) + 1,), -1, device=kind.device)  # the last: UNKNOWN_KIND
        for index, name in enumerate(classes):
            place[KINDS.index(name)] = index
        return place[kind]

    def _forget_ebv(self, ebv: Tensor, generator: torch.Generator) -> Tensor:
        """Leave E(B-V) out for some objects, so that not to know it is a trained case."""
        if self.network.ebv_token is None:
            return ebv
        forgotten = torch.rand(len(ebv), generator=generator) < EBV_FORGOTTEN
        return ebv.masked_fill(forgotten.to(ebv.device), torch.nan)

    def _forget_seeing(self, psf_fwhm: Tensor, generator: torch.Generator) -> Tensor:
        """Leave the PSF out for some objects, in all bands or in some, as E(B-V)."""
        if not self.network.settings.seeing:
            return psf_fwhm
        drawn = torch.rand(len(psf_fwhm), 1, generator=generator)
        some = torch.rand(psf_fwhm.shape, generator=generator) < 0.5
        partly = drawn < SEEING_FORGOTTEN + SEEING_PARTLY_FORGOTTEN
        forgotten = (drawn < SEEING_FORGOTTEN) | (partly & some)
        return psf_fwhm.masked_fill(forgotten.to(psf_fwhm.device), torch.nan)

    def _drop_bands(self, batch: TrainingBatch, generator: torch.Generator) -> Tensor:
        """Leave bands of some objects out, where the network is to learn it: (N, B) bool.

        One band of half of them, two of a quarter, and so on, never the last one that they have.
        Hidden patches are to be rebuilt in all of those.
        """
        measured = batch.measured
        if self.network.absent is None:
            return measured
        n, bands = measured.shape
        chance = 0.5 ** torch.arange(1, bands, dtype=torch.float32)
        number = 1 + torch.multinomial(chance, n, replacement=True, generator=generator)
        number[torch.rand(n, generator=generator) >= self._schedule.bands_dropped] = 0
        order = torch.rand(n, bands, generator=generator).argsort(dim=1)
        there = measured.cpu()
        # Those that an object lacks are the first to go.
        place = (order + bands * there).argsort(dim=1).argsort(dim=1)
        lacking = bands - there.sum(dim=1)
        left_out = lacking + number.minimum(bands - 1 - lacking)
        return (place >= left_out.unsqueeze(1)).to(measured.device)

    def _view(
        self,
        batch: TrainingBatch,
        shares: Shares,
        image_ratio: float,
        spectrum_ratio: float,
        generator: torch.Generator,
    ) -> View:
        settings = self.network.settings
        return View(
            batch,
            shares,
            hide(batch, settings.image_tokens, image_ratio, generator),
            hide(batch, settings.spectrum_tokens, spectrum_ratio, generator),
            batch.measured,
            spectrum_shown=False,
        )


def median_redshift(logits: Tensor, edges: Tensor) -> Tensor:
    """Medians of binned p(z), linear in ln(1+z) inside a bin: (N, K), (K + 1,) -> (N,)."""
    mass = logits.softmax(dim=1)
    cdf = mass.cumsum(dim=1)
    index = (cdf < 0.5).sum(dim=1, keepdim=True).clamp(max=mass.shape[1] - 1)  # (N, 1)
    inside = (0.5 - (cdf - mass).gather(1, index)) / mass.gather(1, index)
    width = edges[1] - edges[0]
    return torch.expm1(edges[index] + inside * width).squeeze(1).float()


def _hidden_patches(network: MMAE, image: Tensor, hidden: Tensor) -> Tensor:
    """Stretched pixels of the hidden patches: (N, B, S, S), (N, T) -> (N, H, B * p * p)."""
    bands, patch = network.settings.bands, network.settings.patch_size
    patches = visible_tokens(to_patches(image, patch), ~hidden)
    target: Tensor = network.stretch(patches.view(*patches.shape[:2], bands, patch, patch))
    return target.flatten(2)
