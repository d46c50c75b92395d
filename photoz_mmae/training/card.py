"""The model card: what a model is, what it was trained on, how good it is, what it is not for."""

import math
import shlex
from collections.abc import Mapping

from photoz_mmae.model.info import ModelInfo, Result
from photoz_mmae.model.presets import Preset
from photoz_mmae.runs import TrainRun
from photoz_mmae.training_sets.training_set import counted

_OPTIONS = (
    "unlabelled", "unlabelled_catalog", "preset", "split", "match_to", "limit", "seed", "epochs",
    "patience", "batch_size", "learning_rate", "dust", "drop_bands", "precision",
)  # fmt: skip
"""Those that decide what comes out."""

_DUST = {
    "none": "images are taken as they come",
    "deredden": "images are corrected by E(B-V), which is to be given (`predict --catalog`)",
    "input": "the network is told E(B-V), which is to be given (`predict --catalog`)",
}

_MISSING_BANDS = {
    "refused": "no redshift without all bands",
    "trained": "predicted from the bands that are there, and flagged FEWER_BANDS",
}


def model_card(info: ModelInfo, preset: Preset, run: TrainRun, is_told_seeing: bool) -> str:
    """Text of CARD.md; `is_told_seeing`: the training data have it, and the network takes it."""
    record = info.training
    size, bands = info.image_size, "".join(info.bands)
    field = f'{bands} images of {size} x {size} px of {info.pixel_scale}", alone'
    z_range = f"0 to {math.expm1(info.z_edges[-1]):g}" if info.z_edges else "not bounded"
    seeing = "told per band where known (`predict --catalog`)" if is_told_seeing else "not told"
    shown = "image and seeing" if is_told_seeing else "image only"
    output = "p(z), reconstructed spectrum" if info.wave else "a point redshift"
    if info.classes:
        output += f", probabilities of {', '.join(info.classes)}"
    point = "median of p(z)" if info.z_edges else "the network's"
    losses = "\n".join(
        f"| {name} | {value:.4f} |"
        for name, value in sorted(record.validation.items())
        if name.startswith("loss_") and name != "loss_image"  # nothing of the image is hidden here
    )
    seed = "" if record.data_seed is None else f", seed {record.data_seed}"
    of_what = "" if run.data else " of its recipe"
    notes = "".join(f"\n- {note}" for note in record.notes)
    training = f"{record.objects_training:,} objects for training"
    if record.objects_unlabelled:
        training += f" ({record.objects_unlabelled:,} unlabelled)"
    part = "test" if record.objects_test else "validation"
    average = record.settings.get("training", {}).get("ema")
    kept = "the weights' moving average" if average else "the weights"
    return f"""# Model `{info.name}`

Preset `{info.preset}`: {preset.description}.

| | |
|---|---|
| input | {field}; flux at AB zero point {info.zero_point:g} |
| output | {output}; redshift range: {z_range} |
| Galactic dust | {info.dust}: {_DUST[info.dust]} |
| seeing | {seeing} |
| missing bands | {_MISSING_BANDS[info.missing_bands]} |
| calibration of p(z) | none: every row with a redshift is flagged UNCALIBRATED |
| weights sha256 | `{info.weights_sha256}` |

## Training

Data: `{record.data}` ({record.data_description}{seed}), sha256{of_what} `{record.data_sha256}`.

- {training}, {record.objects_validation:,} for validation,
  {record.objects_test:,} for the test; split: {record.split}
- Training objects without: {_counts(record.lacking)}
- Dropped: {_counts(record.dropped)}{notes}

{counted(record.epochs, "epoch")} in {_duration(record.seconds)}; kept: {kept} after epoch
{record.best_epoch}, of least validation loss. Made by

    {_command(run)}

with photoz-mmae {record.package_version}, torch {record.torch_version}.

## Results on the {part} objects, {shown}

Point: {point}; dz = (z_phot - z) / (1 + z); sigma_NMAD
about the median of dz; bias is that median.

| objects | n | sigma_NMAD | bias | &#124;dz&#124; > 0.15 |
|---|---|---|---|---|
{chr(10).join(_row(result) for result in record.results)}
{_classes(info)}
Losses on the validation objects:

| loss | value |
|---|---|
{losses}

## Must not be used for

Objects unlike the training data above: another survey, depth, pixel scale or target selection. A
model that was trained on mock data says nothing reliable about real galaxies until it has been
tried on real ones with spectroscopic redshifts. Its p(z) is not calibrated.
"""


def _classes(info: ModelInfo) -> str:
    """Text on the classes, empty for a model that tells none apart."""
    if not info.classes:
        return ""
    rows = "\n".join(
        f"| {found.name} | {found.n:,} | {_share(found.completeness)} | {_share(found.purity)} |"
        for found in info.training.class_results
    )
    stars = "p(z) is that of an object that is no star; stars are not in the table above.\n"
    return f"""
{stars if "star" in info.classes else ""}Each of the same objects taken for what is likeliest:

| class | n | completeness | purity |
|---|---|---|---|
{rows}
"""


def _command(run: TrainRun) -> str:
    given = [f"--{n.replace('_', '-')} {getattr(run, n)}" for n in _OPTIONS if _is_told(run, n)]
    simulated = f"--simulate {run.simulate} --simulate-seed {run.simulate_seed}"
    for name in ("survey", "selection", "fraction_stars"):
        if _is_told(run, name):
            simulated += f" --{name.replace('_', '-')} {getattr(run, name)}"
    source = shlex.quote(str(run.data)) if run.data else simulated
    return " ".join(["photoz-mmae train", source, "-o", shlex.quote(str(run.output)), *given])


def _is_told(run: TrainRun, name: str) -> bool:
    """Preset and seed always, the others where they are not what they are by default."""
    value = getattr(run, name)
    return name in ("preset", "seed") or (value is not None and value != getattr(TrainRun, name))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "none"


def _row(result: Result) -> str:
    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return (
        f"| {result.objects} | {result.n:,} | {number(result.sigma_nmad, 4)} "
        f"| {number(result.bias_median, 4)} | {_share(result.outlier_015)} |"
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}".replace("%", " %")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} minutes"
