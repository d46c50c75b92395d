"""Where the objects of a training come from: a file, or the simulation."""

import dataclasses
from collections.abc import Callable, Set
from dataclasses import dataclass

import numpy as np

from photoz_mmae.model.frame import Frame, network_for
from photoz_mmae.model.presets import Network, Preset, PublishedNetwork
from photoz_mmae.runs import TrainRun
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.surveys import get_survey
from photoz_mmae.training_sets.file_set import FileSet
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.simulated import SimulatedSet, recipe_sha256
from photoz_mmae.training_sets.training_set import KINDS, Normalisation, TrainingSet
from photoz_mmae.training_sets.unlabelled import Unlabelled

SIMULATED_STAMP = 64


@dataclass
class Source:
    """A data set that is known, but not yet looked through.

    Attributes
    ----------
    network : Network
        That of the preset, for images of this set.
    bands : tuple of str
    fingerprint : str
        Two sources of the same fingerprint hold the same objects.
    open : callable
        Look through it; spectra come in the normalisation asked for.
    unlabelled_sha256 : str or None
        Checksum of the unlabelled objects, where there are some.
    """

    network: Network
    bands: tuple[str, ...]
    fingerprint: str
    open: Callable[[Normalisation], TrainingSet]
    unlabelled_sha256: str | None = None


def find_source(run: TrainRun, preset: Preset, device: str) -> Source:
    """Find what `run` names, fit the preset's network to it, and check its E(B-V) for the dust.

    Raises
    ------
    InputError
        The file, its E(B-V), or what the published network cannot take; unlabelled cutouts, or
        their table.
    UsageError
        There is no such survey, or selection.
    """
    shares = (preset.training.validation_share, preset.training.test_share)
    if run.simulate is not None:
        survey, n = get_survey(run.survey), run.simulate
        recipe = Recipe(survey, run.simulate_seed, run.selection, run.fraction_stars)
        frame = Frame(survey.bands, SIMULATED_STAMP, survey.pixel_scale)
        return Source(
            _told_apart(
                network_for(preset.network, frame, f"--survey {survey.name}"), recipe.kinds
            ),
            survey.bands,
            recipe_sha256(recipe, n),
            lambda normalisation: SimulatedSet(recipe, n, normalisation, shares, device),
        )
    assert run.data is not None  # the run has one of both
    file = SpectraFile(run.data)
    network = network_for(preset.network, file.frame, str(run.data))
    network = _told_apart(network, {KINDS[k] for k in np.unique(file.kind[file.kind >= 0])})
    if preset.dust != "none":
        file.load_ebv()
    cutouts, every_band = None, preset.missing_bands != "trained"
    if run.unlabelled is not None:
        cutouts = Unlabelled(run.unlabelled, file.frame, run.unlabelled_catalog, every_band)
    return Source(
        network,
        file.survey.bands,
        file.sha256(),
        lambda normalisation: FileSet(
            *(file, normalisation, run.split, shares, run.seed, run.limit, run.match_to),
            cutouts=cutouts,
            every_band=every_band,
        ),
        None if cutouts is None else cutouts.sha256(),
    )


def _told_apart(network: Network, known: Set[str]) -> Network:
    """Leave a network those classes that its data know; to tell one from nothing is no task."""
    if isinstance(network, PublishedNetwork):
        return network
    classes = tuple(name for name in network.classes if name in known)
    return dataclasses.replace(network, classes=classes if len(classes) > 1 else ())
