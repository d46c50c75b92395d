"""What each network is trained for: a batch in, the losses out."""

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from photoz_mmae.model.masking import draw_mask
from photoz_mmae.model.mmae import MMAE, Spectra
from photoz_mmae.model.presets import Schedule
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.model.tokens import to_patches
from photoz_mmae.training import losses
from photoz_mmae.training_sets.galaxiesml import Normalisation, TrainingBatch

CRPS_WEIGHT = 20.0
"""Brings the CRPS (about 0.01 in ln(1+z)) to the size of the cross entropy's last improvements."""

EBV_FORGOTTEN = 0.1
"""Share of the objects that a network with a token for E(B-V) is not told theirs of."""


class Objective(Protocol):
    """What the loop asks of a network's training."""

    normalisation: Normalisation

    @property
    def network(self) -> torch.nn.Module:
        """What is trained."""

    def losses(self, batch: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses by name; `total` is what is minimised."""

    def validation_losses(
        self, batch: TrainingBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Give the same without spectra; the least mean `total` decides which epoch is kept."""

    def redshift(self, image: Tensor, ebv: Tensor) -> Tensor:
        """Point redshifts from whole images, and E(B-V): (N, B, S, S), (N,) -> (N,)."""


class PublishedObjective:
    """The published training: everything masked at 75 %, the spectrum dropped for whole batches."""

    normalisation: Normalisation = "paper"

    def __init__(self, network: PublishedMMAE, schedule: Schedule) -> None:
        self.network = network
        self._schedule = schedule

    def losses(self, batch: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        dropped = torch.rand((), generator=generator).item() < self._schedule.spectrum_dropped
        return self._losses(batch, generator, dropped)

    def validation_losses(
        self, batch: TrainingBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return self._losses(batch, generator, dropped=True)

    def redshift(self, image: Tensor, ebv: Tensor) -> Tensor:
        return self.network.redshift_of(image)

    def _losses(
        self, batch: TrainingBatch, generator: torch.Generator, dropped: bool
    ) -> dict[str, Tensor]:
        schedule, settings = self._schedule, self.network.settings
        n, device = len(batch.image), batch.image.device
        image_hidden = draw_mask(n, settings.image_tokens, schedule.image_hidden[0], generator).to(
            device
        )
        spectrum_hidden = draw_mask(
            n, settings.spectrum_tokens, schedule.spectrum_hidden[0], generator
        ).to(device)
        # As published, a dropped spectrum is a spectrum of zeros.
        spectrum = torch.zeros_like(batch.flux) if dropped else batch.flux
        output = self.network(batch.image, spectrum, image_hidden, spectrum_hidden)
        image = losses.masked_mse(
            to_patches(output.image, settings.patch_size),
            to_patches(batch.image, settings.patch_size),
            image_hidden.unsqueeze(-1),
        )
        if dropped:
            spectrum_loss = output.spectrum.new_zeros(())
        else:
            hidden_pixels = spectrum_hidden.repeat_interleave(settings.spectrum_patch_size, dim=1)
            used = hidden_pixels.shape[1]
            spectrum_loss = losses.masked_mse(
                output.spectrum[:, :used], batch.flux[:, :used], hidden_pixels
            )
        redshift = losses.hsc_loss(output.redshift, batch.redshift)
        total = schedule.image_weight * image + schedule.spectrum_weight * spectrum_loss + redshift
        return {"total": total, "image": image, "spectrum": spectrum_loss, "redshift": redshift}


class MMAEObjective:
    """Ours: any share of the image hidden, the spectrum there or not object by object."""

    normalisation: Normalisation = "relative"

    def __init__(self, network: MMAE, schedule: Schedule) -> None:
        self.network = network
        self._schedule = schedule

    def losses(self, batch: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        schedule = self._schedule
        batch = replace(
            batch, image=_symmetries(batch.image), ebv=self._forget_ebv(batch.ebv, generator)
        )
        without = round(schedule.spectrum_dropped * len(batch.image))
        alone = self._image_only(
            batch[:without], _draw(schedule.image_hidden, generator), generator
        )
        both = self._with_spectrum(batch[without:], generator)
        share = without / len(batch.image)
        return {name: share * alone[name] + (1 - share) * both[name] for name in alone}

    def validation_losses(
        self, batch: TrainingBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return self._image_only(batch, 0.0, generator)

    def redshift(self, image: Tensor, ebv: Tensor) -> Tensor:
        """Median of p(z): what the metrics of the progress are taken of."""
        network = self.network
        mass = network.redshift_logits(network.encode(network.embed(image, ebv))).softmax(dim=1)
        cdf = mass.cumsum(dim=1)
        index = (cdf < 0.5).sum(dim=1, keepdim=True).clamp(max=mass.shape[1] - 1)  # (N, 1)
        inside = (0.5 - (cdf - mass).gather(1, index)) / mass.gather(1, index)
        edges = network.redshift_head.edges
        width = edges[1] - edges[0]
        return torch.expm1(edges[index] + inside * width).squeeze(1).float()

    def _image_only(
        self, batch: TrainingBatch, ratio: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        hidden = self._hide_image(batch, ratio, generator)
        embedded = self.network.embed(batch.image, batch.ebv)
        encoded = self.network.encode(embedded, image_hidden=hidden)
        every_pixel = batch.has_spectrum.unsqueeze(1).expand_as(batch.flux)
        return self._score(batch, encoded, hidden, every_pixel)

    def _with_spectrum(self, batch: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        network, schedule = self.network, self._schedule
        hidden = self._hide_image(batch, _draw(schedule.image_hidden, generator), generator)
        ratio = _draw(schedule.spectrum_hidden, generator)
        tokens = network.settings.spectrum_tokens
        runs_hidden = draw_mask(len(batch.image), tokens, ratio, generator).to(batch.image.device)
        valid = (batch.ivar > 0) & batch.has_spectrum.unsqueeze(1)
        embedded = network.embed(batch.image, batch.ebv)
        encoded = network.encode(embedded, Spectra(batch.flux, valid), hidden, runs_hidden)
        hidden_pixels = runs_hidden.repeat_interleave(network.settings.spectrum_patch_size, dim=1)
        return self._score(batch, encoded, hidden, valid & hidden_pixels[:, : batch.flux.shape[1]])

    def _forget_ebv(self, ebv: Tensor, generator: torch.Generator) -> Tensor:
        """Leave E(B-V) out for some objects, so that not to know it is a trained case."""
        if self.network.ebv_token is None:
            return ebv
        forgotten = torch.rand(len(ebv), generator=generator) < EBV_FORGOTTEN
        return ebv.masked_fill(forgotten.to(ebv.device), torch.nan)

    def _hide_image(self, batch: TrainingBatch, ratio: float, generator: torch.Generator) -> Tensor:
        tokens = self.network.settings.image_tokens
        return draw_mask(len(batch.image), tokens, ratio, generator).to(batch.image.device)

    def _score(
        self, batch: TrainingBatch, encoded: Tensor, hidden: Tensor, pixels: Tensor
    ) -> dict[str, Tensor]:
        """Compare what is read from the encoded tokens with the truth.

        `hidden` (N, T) are the image's tokens, `pixels` (N, P) those of the spectrum, to score.
        """
        network, schedule = self.network, self._schedule
        edges = network.redshift_head.edges
        logits = network.redshift_logits(encoded)
        cross_entropy = losses.bin_cross_entropy(logits, batch.redshift, edges)
        crps = losses.crps(logits, batch.redshift, edges)
        spectrum = losses.spectrum_loss(
            network.decode_spectrum(encoded), batch.flux, batch.ivar, pixels
        )
        image = encoded.new_zeros(())
        if hidden.any():
            target = to_patches(network.stretch(batch.image), network.settings.patch_size)
            image = losses.masked_mse(network.decode_patches(encoded), target, hidden.unsqueeze(-1))
        redshift = cross_entropy + CRPS_WEIGHT * crps
        total = redshift + schedule.image_weight * image + schedule.spectrum_weight * spectrum
        return {
            "total": total,
            "image": image,
            "spectrum": spectrum,
            "redshift": redshift,
            "crps": crps,
        }


def _draw(bounds: tuple[float, float], generator: torch.Generator) -> float:
    low, high = bounds
    return low + (high - low) * torch.rand((), generator=generator).item()


def _symmetries(image: Tensor) -> Tensor:
    """Turn and mirror: each eighth of the batch in one of the square's eight ways."""
    turned = []
    for index, part in enumerate(image.tensor_split(8)):
        part = part.rot90(index % 4, dims=(2, 3))
        turned.append(part.flip(3) if index >= 4 else part)
    return torch.cat(turned)
