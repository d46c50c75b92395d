"""The model card: what a model is, what it was trained on, how good it is, what it is not for."""

import math

from photoz_mmae.model.info import ModelInfo
from photoz_mmae.model.presets import Preset
from photoz_mmae.runs import TrainRun

_DUST = {
    "none": "images are taken as they come",
    "deredden": "images are corrected by E(B-V), which is to be given (`predict --catalog`)",
    "input": "the network is told E(B-V), which is to be given (`predict --catalog`)",
}


def model_card(info: ModelInfo, preset: Preset, run: TrainRun) -> str:
    """Text of CARD.md."""
    record = info.training
    size, bands = info.image_size, "".join(info.bands)
    field = f'{bands} images of {size} x {size} px of {info.pixel_scale}", alone'
    z_range = f"0 to {math.expm1(info.z_edges[-1]):g}" if info.z_edges else "not bounded"
    output = "p(z), reconstructed spectrum" if info.wave else "a point redshift"
    validation = "\n".join(
        f"| {name} | {value:.4f} |"
        for name, value in sorted(record.validation.items())
        if name != "loss_image"  # nothing of the image is hidden here
    )
    given = [
        f" --{name.replace('_', '-')} {getattr(run, name)}"
        for name in ("epochs", "batch_size", "learning_rate", "limit", "dust")
        if getattr(run, name) is not None
    ]
    command = (
        f"photoz-mmae train {run.data} -o {run.output} --preset {run.preset} "
        f"--seed {run.seed}{''.join(given)}"
    )
    return f"""# Model `{info.name}`

Preset `{info.preset}`: {preset.description}.

| | |
|---|---|
| input | {field}; flux at AB zero point {info.zero_point:g} |
| output | {output}; redshift range: {z_range} |
| Galactic dust | {info.dust}: {_DUST[info.dust]} |
| calibration of p(z) | none: every row is flagged UNCALIBRATED |
| weights sha256 | `{info.weights_sha256}` |

## Training

Data: `{record.data}` ({record.data_description}), sha256 `{record.data_sha256}`;
{record.objects_training} objects for training, {record.objects_validation} for validation, split at
random with seed {record.seed}. {record.epochs} epochs in {_duration(record.seconds)}; the
weights are those of epoch {record.best_epoch}, of least validation loss.
photoz-mmae {record.package_version}, torch {record.torch_version}. Made by

    {command}

## Results on the validation objects, image only

Point: {"median of p(z)" if info.z_edges else "the network's"}; sigma_NMAD about the median of dz.

| metric | value |
|---|---|
{validation}

## Must not be used for

Objects unlike the training data above: another survey, depth, pixel scale or target selection. A
model that was trained on mock data says nothing reliable about real galaxies until it has been
tried on real ones with spectroscopic redshifts. Its p(z) is not calibrated.
"""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} minutes"
