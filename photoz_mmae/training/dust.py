"""How a training treats Galactic dust."""

import dataclasses

from photoz_mmae.errors import UsageError
from photoz_mmae.model.dust import Dust
from photoz_mmae.model.presets import DustTreatment, Preset, PublishedNetwork
from photoz_mmae.surveys import Survey
from photoz_mmae.training_sets.galaxiesml import TrainingBatch


def choose_dust(wanted: DustTreatment | None, preset: Preset, survey: Survey) -> Dust:
    """Return the treatment that was asked for, else the preset's.

    Raises
    ------
    UsageError
        The preset's network cannot take E(B-V).
    """
    treatment = wanted or preset.dust
    if treatment == "input" and isinstance(preset.network, PublishedNetwork):
        raise UsageError(
            "--dust input: the published network does not take E(B-V); use none or deredden"
        )
    return Dust(treatment, survey.extinction if treatment == "deredden" else None)


def prepared(batch: TrainingBatch, dust: Dust) -> TrainingBatch:
    """Return the batch with images and E(B-V) as the network gets them."""
    image, ebv = dust.prepare(batch.image, batch.ebv)
    return dataclasses.replace(batch, image=image, ebv=ebv)
