"""One frozen, validated dataclass per verb: the only settings there are.

Those of the verbs that go through a survey are in `survey_runs`; `load_run` makes them of a TOML
file and the command line.
"""

import itertools
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")
MISSING = "missing; give it on the command line or in a --config file"


@dataclass(frozen=True, config=STRICT)
class SimulateRun:
    """`photoz-mmae simulate`: draw galaxies, write a training file and/or FITS cutouts."""

    n: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    survey: str = "hsc-wide"
    selection: str = "desi"
    fraction_stars: float = Field(default=0.0, ge=0, le=1)
    fraction_bad: float = Field(default=0.0, ge=0, le=1)
    ebv: float | None = Field(default=None, ge=0, le=2)
    spectrum_pixels: Literal[259, 7783] = 259
    output: Path | None = None
    cutouts: Path | None = None
    layout: Literal["cube", "mef", "per-band", "hsc-das", "lsst"] = "cube"
    workers: int = Field(default=1, ge=1)
    device: str = "cpu"
    overwrite: bool = False


@dataclass(frozen=True, config=STRICT)
class DescribeRun:
    """`photoz-mmae simulate --describe`: a mock survey beside real data, as table and page."""

    describe: Path
    report: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, config=STRICT)
class TrainRun:
    """`photoz-mmae train`: a training file in, a model folder out."""

    output: Path
    simulate: int | None = Field(default=None, ge=100)
    data: Path | None = Field(default=None, validate_default=True)
    unlabelled: Path | None = None
    unlabelled_catalog: Path | None = None
    simulate_seed: int = Field(default=0, ge=0)
    survey: str = "hsc-wide"
    selection: str = "desi"
    fraction_stars: float = Field(default=0.0, ge=0, le=0.9)
    preset: str = "base"
    split: Literal["sky", "published"] = "sky"
    match_to: Path | None = None
    limit: int | None = Field(default=None, ge=10)
    seed: int = Field(default=0, ge=0)
    epochs: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=2)
    learning_rate: float | None = Field(default=None, gt=0)
    dust: Literal["none", "deredden", "input"] | None = None
    drop_bands: float | None = Field(default=None, ge=0, le=1)
    accumulate: int = Field(default=1, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    tensorboard: bool = False
    overwrite: bool = False

    @field_validator("data")
    @classmethod
    def _one_source(cls, data: Path | None, info: ValidationInfo) -> Path | None:
        if data is None and info.data.get("simulate") is None:
            raise ValueError(f"{MISSING}, or give --simulate N")
        if data is not None and info.data.get("simulate") is not None:
            raise ValueError("give either DATA or --simulate N")
        return data

    @field_validator("unlabelled_catalog")
    @classmethod
    def _of_unlabelled(cls, table: Path | None, info: ValidationInfo) -> Path | None:
        if table is not None and info.data.get("unlabelled") is None:
            raise ValueError("is a table of the objects of --unlabelled CUTOUTS; give them, too")
        return table

    @field_validator("split", "match_to", "limit", "unlabelled")
    @classmethod
    def _for_files(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("simulate") is not None:
            raise ValueError("is for a file; --simulate has no use for it")
        return value

    @field_validator("survey", "selection", "fraction_stars")
    @classmethod
    def _for_simulation(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("simulate") is None:
            raise ValueError("is for --simulate N; a file says itself what it is of")
        return value


@dataclass(frozen=True, config=STRICT)
class CompareModelsRun:
    """`photoz-mmae compare-models`: networks trained and tested on the same objects."""

    data: Path
    output: Path
    models: tuple[str, ...] = ()
    against: str | None = None
    seeds: tuple[int, ...] = (0,)
    training_size: int | None = Field(default=None, ge=10)
    validation_size: int | None = Field(default=None, ge=10)
    test_size: int | None = Field(default=None, ge=10)
    unlabelled_size: int = Field(default=0, ge=0)
    split: Literal["sky", "published"] = "sky"
    dust: Literal["none", "deredden"] = "deredden"
    epochs: int | None = Field(default=None, ge=1)
    hours: float | None = Field(default=None, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"
    overwrite: bool = False

    @property
    def most_seconds(self) -> float:
        """Time to train in, at most."""
        return math.inf if self.hours is None else 3600 * self.hours

    @field_validator("models", mode="before")
    @classmethod
    def _models_are_a_list(cls, models: Any) -> Any:
        return _listed(models)

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds_are_a_list(cls, seeds: Any) -> Any:
        return _listed(seeds)


@dataclass(frozen=True, config=STRICT)
class InspectRun:
    """`photoz-mmae inspect`: files of any kind in, what they are out."""

    files: tuple[str, ...]
    model: str = "base"

    @field_validator("files", mode="before")
    @classmethod
    def _one_is_enough(cls, files: Any) -> Any:
        return (files,) if isinstance(files, str) else files


@dataclass(frozen=True, config=STRICT)
class EvaluateRun:
    """`photoz-mmae evaluate`: a catalogue and the truth in, metrics out.

    `bins` are edges in true redshift; each bin holds its lower edge. `z_phot` is None for the point
    of the catalogue's naming, as `z_best`.
    """

    catalog: Path
    truth: Path
    z_phot: str | None = None
    z_spec: str = "redshift"
    bins: tuple[float, ...] = (0.0, 0.4, 0.8, 1.2, 2.0, 4.5)

    @field_validator("bins")
    @classmethod
    def _bins_increase(cls, bins: tuple[float, ...]) -> tuple[float, ...]:
        if any(low >= high for low, high in itertools.pairwise(bins)):
            raise ValueError("the edges do not increase")
        return bins


def _listed(names: Any) -> Any:
    """`a,b` as the command line has it; TOML has lists."""
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else names
