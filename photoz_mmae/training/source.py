"""Where the objects of a training come from: a file, or the simulation."""

from collections.abc import Callable
from dataclasses import dataclass

from photoz_mmae.errors import InputError
from photoz_mmae.model.presets import Preset
from photoz_mmae.runs import TrainRun
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.surveys import Survey, get_survey
from photoz_mmae.training_sets.file_set import FileSet
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.simulated import SimulatedSet, recipe_sha256
from photoz_mmae.training_sets.training_set import Normalisation, TrainingSet

SIMULATED_SURVEY = "hsc-wide"
SIMULATED_STAMP = 64


@dataclass
class Source:
    """A data set that is known, but not yet looked through.

    Attributes
    ----------
    fingerprint : str
        Two sources of the same fingerprint hold the same objects.
    open : callable
        Look through it; spectra come in the normalisation asked for.
    """

    fingerprint: str
    open: Callable[[Normalisation], TrainingSet]


def find_source(run: TrainRun, preset: Preset, device: str) -> Source:
    """Find what `run` names, and check that its images fit the network, and E(B-V) the dust.

    Raises
    ------
    InputError
    """
    shares = (preset.training.validation_share, preset.training.test_share)
    if run.simulate is not None:
        recipe, n = Recipe(get_survey(SIMULATED_SURVEY), run.simulate_seed), run.simulate
        shape = (len(recipe.survey.bands), SIMULATED_STAMP, SIMULATED_STAMP)
        _check_images("--simulate", shape, recipe.survey, preset)
        return Source(
            recipe_sha256(recipe, n),
            lambda normalisation: SimulatedSet(recipe, n, normalisation, shares, device),
        )
    assert run.data is not None  # the run has one of both
    file = SpectraFile(run.data)
    _check_images(str(run.data), file.image_shape, file.survey, preset)
    if preset.dust != "none":
        file.load_ebv()
    return Source(
        file.sha256(),
        lambda normalisation: FileSet(
            file, normalisation, run.split, shares, run.seed, run.limit, run.match_to
        ),
    )


def _check_images(where: str, shape: tuple[int, int, int], survey: Survey, preset: Preset) -> None:
    bands, height, width = shape
    network = preset.network
    if bands != network.bands or bands != len(survey.bands):
        raise InputError(
            f"{where}: images of {bands} bands; the preset wants {network.bands}, and the "
            f"survey {survey.name} has {len(survey.bands)} ({''.join(survey.bands)})"
        )
    if (height, width) != (network.image_size, network.image_size):
        raise InputError(
            f"{where}: images of {height} x {width} pixels; the preset wants "
            f"{network.image_size} x {network.image_size}"
        )
