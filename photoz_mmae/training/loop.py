"""Training from a data set to a model folder."""

import dataclasses
import json
import math

import numpy as np
import torch
from torch import nn

from photoz_mmae import __version__
from photoz_mmae.inference.device import check_device_usable, resolve_device
from photoz_mmae.model.dust import Dust
from photoz_mmae.model.info import ModelInfo, TrainingRecord
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, Preset
from photoz_mmae.model.weights import TrainedModel, build_network, save_model
from photoz_mmae.runs import TrainRun
from photoz_mmae.surveys import ZERO_POINT
from photoz_mmae.training.card import model_card
from photoz_mmae.training.checkpoint import CHECKPOINT_FILE
from photoz_mmae.training.course import course_of
from photoz_mmae.training.dust import make_dust, prepared
from photoz_mmae.training.events import require_tensorboard
from photoz_mmae.training.folder import check_usable, folder_held, is_finished
from photoz_mmae.training.objectives import Objective, make_objective
from photoz_mmae.training.scores import Shown, result, result_table
from photoz_mmae.training.settings import decisive_settings, precision_of, preset_of
from photoz_mmae.training.source import find_source
from photoz_mmae.training.step import memory_suffices
from photoz_mmae.training.trainer import Job, Trainer, Watcher
from photoz_mmae.training_sets.mixing import without_star_redshifts
from photoz_mmae.training_sets.training_set import HeldOut, TrainingBatch, TrainingSet

STRETCH_OBJECTS = 2048
"""Training objects that the stretch is measured on."""


@memory_suffices("--accumulate N or a smaller --batch-size needs less, or give another --device")
def train(run: TrainRun, watcher: Watcher) -> TrainedModel | None:
    """Train as `run` says and write the model folder; None where the model is there already.

    The same call goes on with a training that was stopped, from its last checkpoint.

    Raises
    ------
    InputError, LockedError, OutputError, StoppedError, UsageError
    """
    preset = preset_of(run)
    device = resolve_device(run.device)
    precision = precision_of(run, device)
    if run.tensorboard:
        require_tensorboard()
    check_usable(run)  # before minutes are spent on the data
    source = find_source(run, preset, device)
    preset = dataclasses.replace(preset, network=source.network)
    checksums = source.fingerprint, source.unlabelled_sha256
    settings = decisive_settings(run, preset, precision, *checksums)
    if is_finished(run, settings):
        return None
    check_device_usable(device)  # before anything is removed
    torch.manual_seed(run.seed)
    network = build_network(preset.network, preset.dust, preset.missing_bands)

    def objective_of(shown: nn.Module, precision: torch.dtype) -> Objective:
        return make_objective(shown, preset.training, source.bands, precision)

    data = source.open(objective_of(network, precision).normalisation)
    for line in data.composition.lines():
        watcher.on_note(line)
    dust = make_dust(preset.dust, data.survey)
    tells_seeing = False
    if isinstance(network, MMAE):
        sample = prepared(data.sample(STRETCH_OBJECTS), dust)
        network.fit(sample.image, sample.psf_fwhm, sample.measured)
        tells_seeing = network.settings.seeing and not bool(sample.psf_fwhm.isnan().all())
        if network.settings.seeing and not tells_seeing:
            watcher.on_note(
                f"{data.name} tells no seeing (HSC_metadata/<b>_psf_fwhm): the model will not take "
                "it, either"
            )
    classes = preset.network.classes if isinstance(preset.network, MMAENetwork) else ()

    def prepare(batch: TrainingBatch) -> TrainingBatch:
        batch = prepared(batch.to(device), dust)
        return without_star_redshifts(batch) if "star" in classes else batch

    with folder_held(run):
        network.to(device)
        training = Trainer(
            Job(run.output, settings, (run.seed,), precision, run.accumulate, run.tensorboard),
            data,
            network,
            objective_of,
            course_of(preset.training),
            prepare,
            watcher,
        )
        training.run()
        scored = training.score("validation")
        tested = training.score("test") if data.composition.test else scored
        part: HeldOut = "test" if data.composition.test else "validation"
        results = result_table(tested, data.classes(part))
        for name, shown in _other_cases(preset, source.bands, tells_seeing).items():
            other = training.score(part, shown=shown)
            results.append(result(name, other.z_phot, other.z_true))
        composition, progress = data.composition, training.progress
        origin = TrainingRecord(
            data=data.name,
            data_sha256=source.fingerprint,
            data_description=data.description,
            data_seed=data.mock_seed,
            objects_training=composition.training,
            objects_unlabelled=composition.unlabelled,
            objects_validation=composition.validation,
            objects_test=composition.test,
            split=composition.split,
            dropped=composition.dropped,
            lacking=composition.lacking,
            notes=tuple(composition.notes),
            seed=run.seed,
            epochs=progress.epoch,
            best_epoch=progress.best_epoch,
            seconds=round(progress.seconds, 1),
            package_version=__version__,
            torch_version=torch.__version__,
            validation=scored.metrics(),
            results=tuple(results),
            class_results=tuple(training.score_classes(part)) if classes else (),
            settings=json.loads(json.dumps(settings)),
        )
        model = TrainedModel(network, _describe(run, preset, dust, data, origin))
        model = save_model(
            run.output, model, lambda info: model_card(info, preset, run, tells_seeing)
        )
        (run.output / CHECKPOINT_FILE).unlink(missing_ok=True)
        return model


def _other_cases(preset: Preset, bands: tuple[str, ...], tells_seeing: bool) -> dict[str, Shown]:
    """List what else than whole images the network was trained to predict from."""
    if not isinstance(preset.network, MMAENetwork):
        return {}
    cases = {}
    if tells_seeing:
        cases["seeing unknown"] = Shown(seeing=False)
    if preset.missing_bands == "trained":
        cases |= {f"without {band}": Shown(without=index) for index, band in enumerate(bands)}
    if preset.training.spectrum_dropped < 1:
        cases["image and spectrum"] = Shown(spectrum=True)
    if preset.training.image_dropped:
        cases["spectrum alone"] = Shown(image=False, spectrum=True)
    return cases


def _describe(
    run: TrainRun, preset: Preset, dust: Dust, data: TrainingSet, origin: TrainingRecord
) -> ModelInfo:
    survey, network = data.survey, preset.network
    edges = wave = None
    if isinstance(network, MMAENetwork):
        top = math.log1p(network.redshift_max)
        edges = tuple(np.linspace(0, top, network.redshift_bins + 1).tolist())
        wave = tuple(data.wave.tolist())
    return ModelInfo(
        name=run.output.name,
        preset=run.preset,
        survey=survey.name,
        bands=survey.bands,
        image_size=network.image_size,
        pixel_scale=survey.pixel_scale,
        zero_point=ZERO_POINT,
        dust=dust.treatment,
        z_edges=edges,
        wave=wave,
        network=network,
        weights_sha256="",
        training=origin,
        extinction=dust.extinction,
        missing_bands=preset.missing_bands,
    )
