"""One frozen, validated dataclass per verb: the only settings there are.

A run is built from the defaults below, then a TOML file (`--config`), then the command line;
each later source wins. An unknown key is an error that names the nearest known one.
"""

import dataclasses
import difflib
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from photoz_mmae.batch_jobs import SlurmJobs
from photoz_mmae.errors import InputError, UsageError
from photoz_mmae.limits import Duration, MaxBad

_STRICT = ConfigDict(extra="forbid")
_ARGUMENTS = {"cutouts": "CUTOUTS", "catalog": "CATALOG", "data": "DATA", "files": "FILES"}
"""Fields that stand on the command line without a name."""
_MISSING = "missing; give it on the command line or in a --config file"


@dataclass(frozen=True, config=_STRICT)
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


@dataclass(frozen=True, config=_STRICT)
class DescribeRun:
    """`photoz-mmae simulate --describe`: a mock survey beside real data, as table and page."""

    describe: Path
    report: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, config=_STRICT)
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
            raise ValueError(f"{_MISSING}, or give --simulate N")
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


@dataclass(frozen=True, config=_STRICT)
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

    @field_validator("models", mode="before")
    @classmethod
    def _models_are_a_list(cls, models: Any) -> Any:
        return _listed(models)

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds_are_a_list(cls, seeds: Any) -> Any:
        return _listed(seeds)


@dataclass(frozen=True, config=_STRICT)
class InspectRun:
    """`photoz-mmae inspect`: files of any kind in, what they are out."""

    files: tuple[str, ...]
    model: str = "base"

    @field_validator("files", mode="before")
    @classmethod
    def _one_is_enough(cls, files: Any) -> Any:
        return (files,) if isinstance(files, str) else files


PSF_ROLES = {band: f"psf_fwhm_{band}" for band in "ugrizy"}
"""What the PSF's width in a band is called: column of the table, role, column of the catalogue."""

CATALOG_COLUMNS = ("id", "ra", "dec", "ebv", *PSF_ROLES.values(), "file", "tract", "patch")
"""What `predict --catalog` takes from a table."""


@dataclass(frozen=True, config=_STRICT)
class SurveyRun:
    """What `predict` and `embed` share: cutouts in, one table out.

    `columns` names columns of the tables `catalog` and `list`; those not in it have their usual
    names. Objects are those of `cutouts`, or of the table where it names files or `coadds` are
    given. `-` among the `cutouts` stands for paths on standard input.
    """

    output: Path
    catalog: Path | None = None
    coadds: Path | None = None
    list: Path | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    keep: tuple[str, ...] = ()
    cutouts: tuple[str, ...] = Field(default=(), validate_default=True)
    model: str = "base"
    device: str = "auto"
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    part_size: int = Field(default=8192, ge=1)
    resample: bool = False
    scheduler: str | None = None
    cluster: SlurmJobs | None = None
    gpus: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    workers: int | None = Field(default=None, ge=1)
    dashboard: bool = False
    max_bad: MaxBad = "0"
    max_runtime: Duration | None = None
    reproducible: bool = False
    log_json: bool = False
    overwrite: bool = False

    @field_validator("cutouts", mode="before")
    @classmethod
    def _one_is_enough(cls, cutouts: Any) -> Any:
        return (cutouts,) if isinstance(cutouts, str) else cutouts

    @field_validator("cutouts")
    @classmethod
    def _objects_are_somewhere(cls, cutouts: Any, given: ValidationInfo) -> Any:
        coadds = given.data.get("coadds") is not None
        named = "file" in given.data.get("columns", ()) and given.data.get("catalog") is not None
        if coadds and (cutouts or named):
            raise ValueError("give either CUTOUTS or --coadds DIR")
        if (coadds or named) and given.data.get("list") is not None:
            raise ValueError("the table says which objects there are; --list has no use for it")
        if named and len(cutouts) > 1:
            raise ValueError("the table names the files (file=NAME); give one folder they are in")
        if not (cutouts or coadds or named):
            raise ValueError(f"{_MISSING}, or give --coadds DIR --catalog TABLE")
        return cutouts

    @field_validator("coadds")
    @classmethod
    def _coadds_need_objects(cls, coadds: Path | None, given: ValidationInfo) -> Path | None:
        if coadds is not None and given.data.get("catalog") is None:
            raise ValueError("needs a table of objects with id, ra and dec as --catalog TABLE")
        return coadds

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_are_known(cls, columns: Any, given: ValidationInfo) -> Any:
        if isinstance(columns, str):
            columns = dict(pair.partition("=")[::2] for pair in columns.split(","))
        if not isinstance(columns, dict) or not all(columns.values()):
            raise ValueError("give names as in id=objectId,ebv=ebv_sfd")
        for role in columns:
            if role not in CATALOG_COLUMNS:
                known = ", ".join(CATALOG_COLUMNS)
                raise ValueError(f"unknown {role!r}; names can be given for {known}")
        if ("ra" in columns) != ("dec" in columns):
            raise ValueError("ra and dec are named together")
        if given.data.get("catalog") is None and given.data.get("list") is None:
            raise ValueError("names columns of a table; give it as --catalog TABLE")
        return columns

    @field_validator("keep", mode="before")
    @classmethod
    def _keep_is_a_list(cls, keep: Any, given: ValidationInfo) -> Any:
        names = [name.strip() for name in keep.split(",")] if isinstance(keep, str) else list(keep)
        if not all(names):
            raise ValueError("give names as in tract,patch")
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is named twice")
        if names and given.data.get("catalog") is None:
            raise ValueError("names columns of a table; give it as --catalog TABLE")
        return names

    @field_validator("cluster", mode="before")
    @classmethod
    def _cluster_is_text(cls, cluster: Any, given: ValidationInfo) -> Any:
        if given.data.get("scheduler") is not None:
            raise ValueError("give either --scheduler ADDRESS or --cluster slurm:...")
        return SlurmJobs.parse(cluster) if isinstance(cluster, str) else cluster

    @field_validator("gpus")
    @classmethod
    def _gpus_are_here(cls, gpus: Any, given: ValidationInfo) -> Any:
        if given.data.get("scheduler") is not None:
            raise ValueError("is about this machine; the workers of --scheduler have their own")
        if given.data.get("cluster") is not None:
            raise ValueError("is about this machine; ask for GPUs of jobs as --cluster ...,gpus=N")
        if given.data.get("device", "auto") not in ("auto", "cuda"):
            raise ValueError("shares out all GPUs or N of them; --device names one. Give either")
        return gpus

    @field_validator("workers")
    @classmethod
    def _workers_are_ours(cls, workers: int | None, given: ValidationInfo) -> int | None:
        if given.data.get("scheduler") is not None:
            raise ValueError("is how many are started; those of --scheduler are there already")
        return workers

    @field_validator("dashboard")
    @classmethod
    def _dashboard_is_ours(cls, dashboard: bool, given: ValidationInfo) -> bool:
        if dashboard and given.data.get("scheduler") is not None:
            raise ValueError("is not started here: the scheduler has its own, or none")
        return dashboard


@dataclass(frozen=True, config=_STRICT)
class PredictRun(SurveyRun):
    """`photoz-mmae predict`: cutouts in, one catalogue out."""

    masks: int = Field(default=4, ge=0, le=64)
    pdf: Literal["none", "quantiles", "grid"] = "quantiles"
    naming: Literal["standard", "hsc", "lsst"] = "standard"
    hats: bool = False
    qp: Path | None = None

    @field_validator("hats")
    @classmethod
    def _hats_is_a_folder(cls, hats: bool, given: ValidationInfo) -> bool:
        output = given.data.get("output")
        if hats and output is not None and output.suffix == ".parquet":
            raise ValueError(f"a HATS catalogue is a folder; name it {output.stem}")
        return hats

    @field_validator("qp")
    @classmethod
    def _qp_has_something_to_hold(cls, qp: Path | None, given: ValidationInfo) -> Path | None:
        if qp is not None and qp.suffix not in (".hdf5", ".h5"):
            raise ValueError(f"the file is HDF5; name it {qp.stem}.hdf5")
        if qp is not None and given.data.get("pdf") == "none":
            raise ValueError("holds p(z), and --pdf none stores none; take quantiles or grid")
        return qp


@dataclass(frozen=True, config=_STRICT)
class EmbedRun(SurveyRun):
    """`photoz-mmae embed`: cutouts in, one table of embeddings out."""


@dataclass(frozen=True, config=_STRICT)
class PackRun:
    """`photoz-mmae pack`: cutouts in, a folder of shards out."""

    cutouts: tuple[str, ...]
    output: Path
    size: int = Field(default=8192, ge=1, le=1 << 20)
    image_size: int = Field(default=64, ge=8, le=1024)
    bands: str = "grizy"
    pixel_scale: float = Field(default=0.168, gt=0)
    max_bad: MaxBad = "0"
    overwrite: bool = False

    @field_validator("cutouts", mode="before")
    @classmethod
    def _one_is_enough(cls, cutouts: Any) -> Any:
        return (cutouts,) if isinstance(cutouts, str) else cutouts

    @field_validator("bands")
    @classmethod
    def _bands_are_known(cls, bands: str) -> str:
        if not bands or not set(bands) <= set("ugrizy") or len(set(bands)) < len(bands):
            raise ValueError("give letters of ugrizy, none twice, as in grizy")
        return bands


@dataclass(frozen=True, config=_STRICT)
class VerifyRun:
    """`photoz-mmae verify`: a finished catalogue in, what is wrong with it out.

    `model` is None for the one that the catalogue names; `against` are the paths of cutouts.
    """

    catalog: Path
    against: tuple[str, ...] = ()
    sample: int = Field(default=100, ge=0)
    model: str | None = None
    device: str | None = None

    @field_validator("against", mode="before")
    @classmethod
    def _one_is_enough(cls, against: Any) -> Any:
        return (against,) if isinstance(against, str) else against


@dataclass(frozen=True, config=_STRICT)
class EvaluateRun:
    """`photoz-mmae evaluate`: a catalogue and the truth in, metrics out.

    `bins` are edges in true redshift; each bin holds its lower edge.
    """

    catalog: Path
    truth: Path
    z_phot: str = "z_best"
    z_spec: str = "redshift"
    bins: tuple[float, ...] = (0.0, 0.4, 0.8, 1.2, 2.0, 4.5)

    @field_validator("bins")
    @classmethod
    def _bins_increase(cls, bins: tuple[float, ...]) -> tuple[float, ...]:
        if any(low >= high for low, high in itertools.pairwise(bins)):
            raise ValueError("the edges do not increase")
        return bins


Run = TypeVar(
    "Run",
    SimulateRun,
    DescribeRun,
    TrainRun,
    CompareModelsRun,
    PredictRun,
    EmbedRun,
    PackRun,
    VerifyRun,
    EvaluateRun,
    InspectRun,
)


def _listed(names: Any) -> Any:
    """`a,b` as the command line has it; TOML has lists."""
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else names


def load_run(kind: type[Run], config: Path | None, options: Mapping[str, Any]) -> Run:
    """Build a run of `kind` from defaults, a TOML file and the options that were given.

    Parameters
    ----------
    kind : type
        One of the dataclasses above.
    config : Path or None
        TOML file with the fields of `kind` as top-level keys; `-` and `_` are the same.
    options : mapping
        From the command line; entries that are None or an empty tuple were not given.

    Raises
    ------
    InputError
        The TOML file cannot be read.
    UsageError
        An unknown key, a missing one, or a value out of its range.
    """
    values = _read_toml(config) if config else {}
    known = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            spelt = [name.replace("_", "-") for name in known]
            near = difflib.get_close_matches(key.replace("_", "-"), spelt, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(spelt)}"
            raise UsageError(f"{config}: unknown key {key.replace('_', '-')!r}; {hint}")
    values |= {key: value for key, value in options.items() if value is not None and value != ()}
    try:
        return kind(**values)
    except ValidationError as error:
        where = f" (options and {config})" if config else ""
        raise UsageError("; ".join(_problems(error)) + where) from error


def _problems(error: ValidationError) -> Iterator[str]:
    """One sentence per field; of a field that may be one of several kinds, all in one."""
    for name, problems in itertools.groupby(error.errors(), lambda problem: problem["loc"][0]):
        option = "-n" if name == "n" else f"--{str(name).replace('_', '-')}"
        said = [_problem(problem["type"], problem["msg"]) for problem in problems]
        yield f"{_ARGUMENTS.get(str(name), option)}: {' or '.join(said)}"


def _problem(kind: str, message: str) -> str:
    if kind == "missing":
        return _MISSING
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return message.partition(",")[0].replace("Input should be", "must be")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        return {key.replace("-", "_"): value for key, value in tomllib.loads(text).items()}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error
