"""Encoder of spectra, pretrained by filling gaps, as AstroCLIP's (Parker et al., arXiv:2310.03024).

Followed: spectra of mean 0 and rms 1 in runs of pixels, with a token that tells what was taken
out; six stretches of 400 Angstrom are set to 0, and the loss is the mean squared error there.

Chosen here: runs of 8 pixels of 24 Angstrom, which do not overlap (published are 20 of 0.8 that
overlap by half); pixels without a measurement are 0 and do not count; the optimiser and its
schedule are those of `masked_images`. For the mean flux, which our spectra do not hold, the token
tells the signal to noise.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from photoz_mmae.model.blocks import SelfBlock
from photoz_mmae.model.masking import draw_mask
from photoz_mmae.peers.masked_images import Unlabelled
from photoz_mmae.spectra.grid import pooled_wave
from photoz_mmae.training.losses import masked_mse
from photoz_mmae.training.objective_parts import autocast
from photoz_mmae.training.views import View, make_view
from photoz_mmae.training_sets.training_set import TrainingBatch

RUN = 8
"""Pixels."""

HIDDEN = 0.38
"""Share of the runs, in pairs, which are 384 Angstrom long."""


class SpectrumEncoder(nn.Module):
    """Transformer over runs of pixels.

    Parameters
    ----------
    width, depth, heads : int
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width, self.pixels = width, len(pooled_wave())
        self.runs = -(-self.pixels // RUN)
        self.stem = nn.Linear(RUN, width)
        self.taken_out = nn.Linear(2, width)
        self.position = nn.Parameter(0.02 * torch.randn(1 + self.runs, width))
        self.blocks = nn.ModuleList(SelfBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def standardise(self, flux: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
        """(N, P) relative flux -> runs (N, R, p) of mean 0 and rms 1, and what tells more (N, 2).

        The latter are the logarithms of the rms over the mean and of the signal to noise.
        """
        valid = (ivar > 0).to(flux.dtype)
        number = valid.sum(dim=1, keepdim=True).clamp(min=1)
        centred = valid * (flux - (valid * flux).sum(dim=1, keepdim=True) / number)
        rms = (centred.square().sum(dim=1, keepdim=True) / number).sqrt().clamp(min=0.2)
        to_noise = (ivar.sum(dim=1, keepdim=True) / number).clamp(min=1e-6).sqrt()
        runs = pad(centred / rms, (0, self.runs * RUN - self.pixels)).view(-1, self.runs, RUN)
        return runs, torch.cat([rms.log(), to_noise.log()], dim=1)

    def forward(self, runs: Tensor, taken_out: Tensor) -> Tensor:
        """(N, R, p), (N, 2) -> (N, 1 + R, W)."""
        tokens = torch.cat([self.taken_out(taken_out).unsqueeze(1), self.stem(runs)], dim=1)
        tokens = tokens + self.position
        for block in self.blocks:
            tokens = block(tokens)
        encoded: Tensor = self.norm(tokens)
        return encoded


class MaskedSpectra(nn.Module):
    """The encoder of spectra with what fills hidden runs."""

    def __init__(self, encoder: SpectrumEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.out = nn.Linear(encoder.width, RUN)

    def forward(self, runs: Tensor, taken_out: Tensor, hidden: Tensor) -> Tensor:
        """Rebuild all runs, of which those that are `hidden` (N, R) were set to 0."""
        shown = runs.masked_fill(hidden.unsqueeze(2), 0.0)
        rebuilt: Tensor = self.out(self.encoder(shown, taken_out)[:, 1:])
        return rebuilt


class MaskedSpectraObjective(Unlabelled):
    """Hidden runs from the rest."""

    def __init__(self, network: MaskedSpectra, precision: torch.dtype) -> None:
        self.network, self._precision = network, precision

    def views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        runs = self.network.encoder.runs
        pairs = draw_mask(len(batch), -(-runs // 2), HIDDEN, generator)
        hidden = pairs.repeat_interleave(2, dim=1)[:, :runs].to(batch.image.device)
        return [make_view(batch, spectrum_hidden=hidden, spectrum_shown=True)]

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return self.views(batch, generator)

    def losses(self, view: View) -> dict[str, Tensor]:
        batch, encoder, hidden = view.batch, self.network.encoder, view.spectrum_hidden
        runs, taken_out = encoder.standardise(batch.flux, batch.ivar)
        with autocast(runs, self._precision):
            rebuilt = self.network(runs, taken_out, hidden)
        valid = pad(batch.ivar > 0, (0, runs[0].numel() - encoder.pixels)).view_as(runs)
        loss = masked_mse(rebuilt.float(), runs, valid & hidden.unsqueeze(2))
        return {"total": (view.shares.spectrum * loss).sum()}
