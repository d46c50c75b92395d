"""Our networks and the published one as contestants: everything is in their presets."""

from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from photoz_mmae.model.masking import HIDDEN_SHARE, draw_mask
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import Preset
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.model.weights import build_network
from photoz_mmae.peers.contestant import Batches, Stage
from photoz_mmae.peers.outcome import FLAT_EPOCHS
from photoz_mmae.training.course import Course, course_of
from photoz_mmae.training.mmae_objective import MMAEObjective
from photoz_mmae.training.objectives import Objective, make_objective
from photoz_mmae.training.views import View
from photoz_mmae.training_sets.training_set import TrainingBatch

MASKED = "25 % masked"
SEEING = "seeing given"

MOST_EPOCHS = 1000


class PresetContestant:
    """A network of `photoz-mmae train`, also asked with a quarter of the image hidden.

    Validation, which decides what is kept, and the usual way to ask it see images alone, as those
    of its peers do. A network that takes the seeing is asked with it as well.

    Parameters
    ----------
    name : str
    preset : Preset
        Its `dust` does not count: all contestants get the same images.
    bands : tuple of str
    """

    labelled_only = False

    def __init__(self, name: str, preset: Preset, bands: tuple[str, ...]) -> None:
        self._bands = bands
        self.name, self.source, self._preset = name, preset.description, preset
        self.network: MMAE | PublishedMMAE = build_network(
            preset.network, "none", preset.missing_bands
        )
        self.settings = {
            "network": asdict(preset.network),
            "training": asdict(preset.training),
        }
        self.normalisation = self._make(self.network).normalisation
        self._told = False

    def fit(self, sample: TrainingBatch, objects: int) -> None:
        if isinstance(self.network, MMAE):
            self.network.fit(sample.image, sample.psf_fwhm, sample.measured)
            self._told = self.network.settings.seeing and not bool(sample.psf_fwhm.isnan().all())

    def stages(self) -> list[Stage]:
        return [Stage("training", self.network, self._course(), self._make)]

    def finish(self, training: Batches, validation: Batches) -> None:
        """Do nothing: there is nothing after the training."""

    def redshift(self, batch: TrainingBatch) -> Tensor:
        objective = make_objective(self.network, self._preset.training, self._bands)
        return objective.redshift(objective.whole(_untold(batch)))

    def redshifts(self, batch: TrainingBatch) -> dict[str, Tensor]:
        objective = make_objective(self.network, self._preset.training, self._bands)
        view = objective.whole(_untold(batch))
        # The same generator for each batch: the same objects always hide the same.
        generator = torch.Generator().manual_seed(0)
        tokens = self.network.settings.image_tokens
        hidden = draw_mask(len(batch), tokens, HIDDEN_SHARE, generator).to(batch.image.device)
        ways = {
            "whole image": objective.redshift(view),
            MASKED: objective.redshift(replace(view, image_hidden=hidden)),
        }
        if self._told:
            ways[SEEING] = objective.redshift(objective.whole(batch))
        return ways

    def _make(self, network: nn.Module, precision: torch.dtype = torch.float32) -> Objective:
        if isinstance(network, MMAE):
            return _ValidatedWithoutSeeing(network, self._preset.training, self._bands, precision)
        return make_objective(network, self._preset.training, self._bands, precision)

    def _course(self) -> Course:
        course = course_of(self._preset.training)
        if self._preset.training.warmup:
            return course
        # A constant learning rate has no end of its own; published is a number of epochs on far
        # more objects. Without an average of the weights, validation losses go up and down.
        return replace(course, epochs=MOST_EPOCHS, patience=4 * FLAT_EPOCHS)


class _ValidatedWithoutSeeing(MMAEObjective):
    """The usual training."""

    def validation_views(self, batch: TrainingBatch, generator: torch.Generator) -> list[View]:
        return super().validation_views(_untold(batch), generator)

    def whole(self, batch: TrainingBatch) -> View:
        return super().whole(_untold(batch))


def _untold(batch: TrainingBatch) -> TrainingBatch:
    """Objects of which no seeing is known."""
    return replace(batch, psf_fwhm=torch.full_like(batch.psf_fwhm, torch.nan))
