"""What a catalogue tells of itself, against what is there."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from photoz_mmae.catalog.opened import OpenedCatalogue
from photoz_mmae.catalog.schema import SCHEMA_VERSION, SCHEMA_VERSION_KEY, Column
from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.flags import Flag
from photoz_mmae.model.info import ModelInfo
from photoz_mmae.survey_run.at_work import read_holder, state_of
from photoz_mmae.survey_run.merge import (
    FLAG_COUNTS_KEY,
    REPEATED_KEY,
    SAME_SKY_KEY,
    read_problems,
)
from photoz_mmae.survey_run.products import Product, product_of_settings
from photoz_mmae.survey_run.run_folder import RunFolder
from photoz_mmae.survey_run.verification import Verification
from photoz_mmae.survey_run.verify_sample import TOLERANCE, Sample
from photoz_mmae.words import count


def settings_of(catalogue: OpenedCatalogue) -> dict[str, Any]:
    """Return the settings that a catalogue notes.

    Raises
    ------
    InputError
        It notes none that this version knows.
    """
    path, said = catalogue.path, catalogue.said
    version = said.get(SCHEMA_VERSION_KEY, "")
    if version.isdigit() and int(version) > SCHEMA_VERSION:
        raise InputError(
            f"{path}: written by a newer version (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade photoz-mmae"
        )
    try:
        settings = json.loads(said["photoz_mmae.settings"])
        product_of_settings(settings).naming  # noqa: B018 (raises where there is no such naming)
        said["photoz_mmae.model_name"], said["photoz_mmae.model_sha256"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a catalogue of this program") from error
    return dict(settings)


def why_no_folder(folder: RunFolder) -> str:
    """Say why nothing is compared with the run folder; '' where it is."""
    path = folder.path
    if not path.is_dir():
        return f"no run folder {path}"
    holder = read_holder(path)
    try:
        facts = folder.record.read()
    except OutputError as error:
        return str(error)
    if not facts:
        return f"{path} has no run.json"
    if holder is not None and state_of(holder, facts) in ("running", "unknown"):
        return f"process {holder.pid} on {holder.host} may be at work on it"
    return ""


def model_problems(name: str, sha256: str, folder: Path, model: ModelInfo) -> list[str]:
    """Compare the model that a catalogue names with the one in a folder."""
    if (model.name, model.sha256) == (name, sha256):
        return []
    return [
        f"the catalogue is of {name} ({sha256[:12]}), {folder} holds "
        f"{model.name} ({model.sha256[:12]}); --model names another"
    ]


def count_problems(
    said: Mapping[str, str],
    flags: Counter[str],
    bad: int,
    product: Product,
    problems_file: Path | None,
) -> list[str]:
    """Compare what was counted with a catalogue's metadata, and with the list of bad rows.

    Parameters
    ----------
    said : mapping of str to str
        The metadata.
    flags : Counter
        Rows with each flag.
    bad : int
        Rows without what the product has.
    product : Product
    problems_file : Path or None
        The list; None where there is no run folder.
    """
    problems = []
    if flags != json.loads(said.get(FLAG_COUNTS_KEY, "{}")):
        problems.append(f"the metadata count other flags than {json.dumps(flags)}")
    for flag, key in ((Flag.DUPLICATE_ID, REPEATED_KEY), (Flag.DUPLICATE_SKY, SAME_SKY_KEY)):
        number, told = flags[str(flag.name)], said.get(key)
        if str(number) != told:
            problems.append(
                f"{count(number, 'row has', 'rows have')} {flag.name}, the metadata say {told}"
            )
    if problems_file is not None:
        listed = read_problems(problems_file)
        if listed is None or listed.bad != bad:
            told = "is damaged or missing" if listed is None else f"has {listed.bad}"
            problems.append(
                f"{count(bad, 'row')} without {product.thing}, {problems_file.name} {told}"
            )
    return problems


def judge_sample(
    result: Verification,
    sample: Sample | None,
    why_none: str,
    said: Mapping[str, str],
    model_folder: Path,
    model: ModelInfo,
    device: str | None,
    columns: Sequence[Column],
) -> None:
    """Predict the sample again, and judge it.

    Parameters
    ----------
    result : Verification
        The judgement goes there.
    sample : Sample or None
    why_none : str
        Why there is no sample, where there is none.
    said : mapping of str to str
        The catalogue's metadata.
    model_folder, model : Path, ModelInfo
    device : str or None
        None for the kind that the catalogue was made on, if it is there.
    columns : sequence of Column
        As they are in part files.
    """
    why = why_none
    if sample is not None and model.sha256 != said["photoz_mmae.model_sha256"]:
        sample, why = None, "not the same model"
    elif sample is not None and not sample.kept:
        why = f"none of {count(sample.drawn, 'object')} can be predicted again{_left_out(sample)}"
        sample = None
    if sample is None:
        result.skip(("sample",), why)
        return
    made_on = said.get("photoz_mmae.device", "")
    has_gpu = torch.cuda.is_available() and made_on.startswith("cuda")
    device = device or ("auto" if has_gpu else "cpu")
    settings = json.loads(said["photoz_mmae.settings"])
    faults, largest = sample.compare(
        model_folder,
        device,
        product_of_settings(settings),
        columns,
        bool(settings.get("resample", False)),
    )
    text = f"{sample.kept} of {count(sample.drawn, 'object')} predicted again{_left_out(sample)}"
    text += f", largest difference {largest}"
    if not made_on.startswith(device.partition(":")[0]) and device != "auto":
        text += f"; made on {made_on}, compared on {device}"
    problems = [f"{text}, more than {TOLERANCE:g}: {faults}"] if faults.count else []
    result.judge("sample", problems, text)


def _left_out(sample: Sample) -> str:
    """Say why objects that were drawn are not predicted again; '' where all are."""
    reasons = (
        (sample.passed_over, "whose cutouts are gone, changed or not given last"),
        (sample.drawn - sample.kept - sample.passed_over, "of parts with a fault"),
    )
    told = ", ".join(f"{number} {why}" for number, why in reasons if number)
    return f" ({told})" if told else ""
