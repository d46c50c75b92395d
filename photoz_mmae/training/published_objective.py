"""The published training of the MMAE: a batch in, the losses out (arXiv:2510.22527)."""

import torch
from torch import Tensor

from photoz_mmae.model.presets import Schedule
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.model.tokens import to_patches
from photoz_mmae.training import losses
from photoz_mmae.training.objective_parts import autocast, hide, nothing_hidden, sum_losses
from photoz_mmae.training.views import View, make_view, shares_of
from photoz_mmae.training_sets.training_set import Normalisation, TrainingBatch


class PublishedObjective:
    """The published training: everything masked at 75 %, the spectrum dropped for whole batches."""

    normalisation: Normalisation = "paper"

    def __init__(self, network: PublishedMMAE, schedule: Schedule, precision: torch.dtype) -> None:
        self.network = network
        self._schedule = schedule
        self._precision = precision

    def views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        dropped = torch.rand((), generator=generator).item() < self._schedule.spectrum_dropped
        return [self._view(batch, generator, dropped)]

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return [self._view(batch, generator, dropped=True)]

    def losses(self, view: View) -> dict[str, Tensor]:
        schedule, settings, batch = self._schedule, self.network.settings, view.batch
        # As published, a dropped spectrum is a spectrum of zeros.
        spectrum = batch.flux if view.spectrum_shown else torch.zeros_like(batch.flux)
        with autocast(batch.image, self._precision):
            output = self.network(batch.image, spectrum, view.image_hidden, view.spectrum_hidden)
        image = losses.masked_mse(
            to_patches(output.image.float(), settings.patch_size),
            to_patches(batch.image, settings.patch_size),
            view.image_hidden.unsqueeze(-1),
        )
        spectrum_loss = torch.zeros_like(image)
        if view.spectrum_shown:
            hidden = view.spectrum_hidden.repeat_interleave(settings.spectrum_patch_size, dim=1)
            used = hidden.shape[1]
            spectrum_loss = losses.masked_mse(
                output.spectrum.float()[:, :used], batch.flux[:, :used], hidden
            )
        redshift = losses.hsc_loss(output.redshift.float(), batch.redshift)
        return sum_losses(schedule, view.shares, image, spectrum_loss, redshift)

    def whole(self, batch: TrainingBatch) -> View:
        return make_view(batch, nothing_hidden(batch, self.network.settings.image_tokens))

    def redshift(self, view: View) -> Tensor:
        return self.network.redshift_of(view.batch.image, view.image_hidden)

    def _view(self, batch: TrainingBatch, generator: torch.Generator, dropped: bool) -> View:
        schedule, settings = self._schedule, self.network.settings
        return View(
            batch,
            shares_of(batch),
            hide(batch, settings.image_tokens, schedule.image_hidden[0], generator),
            hide(batch, settings.spectrum_tokens, schedule.spectrum_hidden[0], generator),
            batch.measured,
            spectrum_shown=not dropped,
        )
