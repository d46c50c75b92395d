"""How a training treats Galactic dust: as the model will in prediction."""

import dataclasses

from photoz_mmae.model.dust import Dust
from photoz_mmae.model.presets import DustTreatment
from photoz_mmae.surveys import Survey
from photoz_mmae.training_sets.training_set import TrainingBatch


def make_dust(treatment: DustTreatment, survey: Survey) -> Dust:
    """Return the treatment with the survey's coefficients, where it needs them."""
    return Dust(treatment, survey.extinction if treatment == "deredden" else None)


def prepared(batch: TrainingBatch, dust: Dust) -> TrainingBatch:
    """Return the batch with images and E(B-V) as the network gets them."""
    image, ebv = dust.prepare(batch.image, batch.ebv)
    return dataclasses.replace(batch, image=image, ebv=ebv)
