"""The settings of the verbs that go through a survey: `predict`, `embed`, `pack`, `verify`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from photoz_mmae.batch_jobs import SlurmJobs
from photoz_mmae.limits import Duration, MaxBad
from photoz_mmae.runs import MISSING, STRICT

PSF_ROLES = {band: f"psf_fwhm_{band}" for band in "ugrizy"}
"""What the PSF's width in a band is called: column of the table, role, column of the catalogue."""

CATALOG_COLUMNS = ("id", "ra", "dec", "ebv", *PSF_ROLES.values(), "file", "tract", "patch")
"""What `predict --catalog` takes from a table."""


@dataclass(frozen=True, config=STRICT)
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
    checksum: bool = False
    resample: bool = False
    scheduler: str | None = None
    cluster: SlurmJobs | None = None
    gpus: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    workers: int | None = Field(default=None, ge=1)
    dashboard: bool = False
    max_bad: MaxBad = "0"
    retry_bad: bool = False
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
            raise ValueError(f"{MISSING}, or give --coadds DIR --catalog TABLE")
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


@dataclass(frozen=True, config=STRICT)
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


@dataclass(frozen=True, config=STRICT)
class EmbedRun(SurveyRun):
    """`photoz-mmae embed`: cutouts in, one table of embeddings out."""


@dataclass(frozen=True, config=STRICT)
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


@dataclass(frozen=True, config=STRICT)
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
