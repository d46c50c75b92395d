"""What a model folder says of itself: everything beside the weights, and no torch.

A model folder holds `weights.safetensors`, `model.json` (this) and `CARD.md`.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

import photoz_mmae
from photoz_mmae.errors import ModelError
from photoz_mmae.model.presets import (
    LATER_SETTINGS,
    DustTreatment,
    MissingBands,
    MMAENetwork,
    Network,
    PublishedNetwork,
)

SCHEMA_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
INFO_FILE = "model.json"
CARD_FILE = "CARD.md"

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Result:
    """Point metrics of `n` objects; None where they are too few for one."""

    objects: str
    n: int
    sigma_nmad: float | None
    bias_median: float | None
    outlier_015: float | None


@dataclass(frozen=True, config=_STRICT)
class ClassResult:
    """How well objects of a class are told from the others, by the likeliest class.

    Attributes
    ----------
    name : str
    n : int
        Objects of the class.
    completeness, purity : float or None
        Share of these that are taken for it, and of those that are taken for it which are; None
        where there are none.
    """

    name: str
    n: int
    completeness: float | None
    purity: float | None


@dataclass(frozen=True, config=_STRICT)
class TrainingRecord:
    """Where a model comes from.

    Attributes
    ----------
    data, data_sha256, data_description : str
        File name, checksum, and what it says of itself (mock data says so).
    data_seed : int or None
        Seed of mock data.
    objects_training, objects_validation, objects_test : int
    objects_unlabelled : int
        Of those for training, the ones whose images alone were trained on.
    split : str
        How they were told apart, in words.
    dropped, lacking : dict of str to int
        Objects that were not used, why; training objects without redshift or spectrum.
    notes : tuple of str
        What else is to be known of the data.
    seed, epochs : int
    best_epoch : int
        The epoch whose weights were kept: the one of least validation loss.
    seconds : float
        Wall-clock time of the training.
    package_version, torch_version : str
    validation : dict of str to float
        Losses and metrics on the validation objects, image only.
    results : tuple of Result
        On the test objects, or where there are none on those of validation; image only.
    class_results : tuple of ClassResult
        On the same objects, of a model that tells classes apart.
    settings : dict
        All that decides the weights; the same settings train the same model.
    """

    data: str
    data_sha256: str
    data_description: str
    objects_training: int
    objects_validation: int
    seed: int
    epochs: int
    best_epoch: int
    seconds: float
    package_version: str
    torch_version: str
    validation: dict[str, float]
    data_seed: int | None = None
    objects_test: int = 0
    split: str = "at random"
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    lacking: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    objects_unlabelled: int = 0
    class_results: tuple[ClassResult, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class ModelInfo:
    """The contents of `model.json`.

    Attributes
    ----------
    name, preset, survey : str
    bands : tuple of str
    image_size : int
        Pixels on a side.
    pixel_scale, zero_point : float
        arcsec; AB.
    dust : str
        How Galactic reddening is treated: `none`, `deredden` or `input`.
    z_edges : tuple of float or None
        Edges of p(z)'s bins in ln(1+z); None for a model that gives a point estimate.
    wave : tuple of float or None
        Observed wavelengths of the reconstructed spectrum, Angstrom; None where its ratios to the
        continuum mean nothing.
    network : PublishedNetwork or MMAENetwork
    weights_sha256 : str
    training : TrainingRecord
    schema_version : int
    extinction : tuple of float or None
        A_band / E(B-V) per band, of a model that dereddens.
    missing_bands : str
        `trained`: objects without all bands are predicted; `refused`: they are not.
    """

    name: str
    preset: str
    survey: str
    bands: tuple[str, ...]
    image_size: int
    pixel_scale: float
    zero_point: float
    dust: DustTreatment
    z_edges: tuple[float, ...] | None
    wave: tuple[float, ...] | None
    network: Network
    weights_sha256: str
    training: TrainingRecord
    schema_version: int = SCHEMA_VERSION
    extinction: tuple[float, ...] | None = None
    missing_bands: MissingBands = "refused"

    @model_validator(mode="after")
    def _network_can(self) -> Self:
        if len(self.extinction or ()) != (len(self.bands) if self.dust == "deredden" else 0):
            raise ValueError("extinction coefficients: one per band of a model that dereddens")
        if self.dust == "input" and isinstance(self.network, PublishedNetwork):
            raise ValueError("dust: the published network does not take E(B-V)")
        if self.missing_bands == "trained" and isinstance(self.network, PublishedNetwork):
            raise ValueError("missing_bands: the published network needs all bands")
        return self

    def to_json(self) -> str:
        """Text of `model.json`."""
        values = dataclasses.asdict(self)
        # Models from before there were such keys keep their checksum.
        if self.extinction is None:
            del values["extinction"]
        if self.missing_bands == "refused":
            del values["missing_bands"]
        if not self.training.objects_unlabelled:
            del values["training"]["objects_unlabelled"]
        if not self.training.class_results:
            del values["training"]["class_results"]
        if isinstance(self.network, MMAENetwork):
            network = values["network"].items()
            values["network"] = {
                name: value
                for name, value in network
                if name not in LATER_SETTINGS or value != LATER_SETTINGS[name]
            }
        return json.dumps(values, indent=1) + "\n"

    @property
    def seeing(self) -> bool:
        """Whether the network is told the PSF's width per band, where it is known."""
        return isinstance(self.network, MMAENetwork) and self.network.seeing

    @property
    def classes(self) -> tuple[str, ...]:
        """What objects are told apart, or nothing."""
        return self.network.classes if isinstance(self.network, MMAENetwork) else ()

    @property
    def sha256(self) -> str:
        """One checksum for all that decides a prediction: weights and everything else here."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def find_model(name: str) -> Path:
    """Return the folder of a model given by the name of a shipped one or by its path.

    A bare name means a shipped model first; write `./NAME` for a folder of that name.

    Raises
    ------
    ModelError
        There is none, or it cannot be read.
    """
    named = [root / name for root in _shipped_roots()] if "/" not in name else []
    try:
        for folder in (*named, Path(name)):
            if (folder / INFO_FILE).is_file():
                return folder
    except OSError as error:
        raise ModelError(f"model {name!r}: cannot be read ({error.strerror})") from error
    shipped = ", ".join(shipped_models()) or "none"
    what = f"has no {INFO_FILE}" if Path(name).is_dir() else "is neither shipped nor a folder"
    raise ModelError(f"model {name!r} {what}; shipped models: {shipped}")


def shipped_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(
        {file.parent.name for root in _shipped_roots() for file in root.glob("*/model.json")}
    )


def _shipped_roots() -> list[Path]:
    package = Path(photoz_mmae.__file__).parent
    # In a wheel the models lie inside the package, in a checkout beside it.
    return [package / "shipped", package.parent / "models"]


def read_weights(folder: Path, info: ModelInfo) -> bytes:
    """Read the weights; raises ModelError where they are not those that `info` tells of."""
    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != info.weights_sha256:
        raise ModelError(f"{path}: damaged or replaced: its checksum is not that of {INFO_FILE}")
    return content


def load_info(folder: Path) -> ModelInfo:
    """Read `model.json`; raises ModelError when it is damaged or from a newer version."""
    path = folder / INFO_FILE
    try:
        values: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: damaged or unreadable ({error})") from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ModelError(
            f"{path}: written by a newer version (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade photoz-mmae"
        )
    try:
        return TypeAdapter(ModelInfo).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(f"{path}: damaged: {where}: {first['msg']}") from error
