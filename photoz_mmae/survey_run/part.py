"""The work on one part, as a worker process does it: files in, one Parquet file out."""

import dataclasses
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from photoz_mmae import __version__
from photoz_mmae.catalog.schema import Column
from photoz_mmae.catalog.writer import atomic_parquet
from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source, source_names
from photoz_mmae.errors import ModelError
from photoz_mmae.flags import count_flags
from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.weights import load_model
from photoz_mmae.provenance import file_sha256, fingerprint, now
from photoz_mmae.survey_run.given import GIVEN, GIVEN_PSF
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.object_table import ObjectTable
from photoz_mmae.survey_run.plan import read_sources
from photoz_mmae.survey_run.products import Product

CHUNK = 256
"""Objects in memory at once (some 20 MB of images), rounded up to whole batches."""

PROBLEM = "problem"
"""Column of the part files alone: why a row has no redshift (or embedding), in words."""


@dataclass(frozen=True)
class PartSettings:
    """What is the same for all parts of a run.

    Attributes
    ----------
    plan, parts : str
        Absolute paths of the plan and of the folder for the part files.
    model, model_sha256 : str
        Absolute path of the model's folder, and what is to be found there.
    device : str
    table : str or None
        Absolute path of the table of objects (`ObjectTable`) in the run folder.
    batch_size : int or "auto"
    product : Product
        What is written for each object.
    resample : bool
    made_with : str
        For the part's record: fingerprint of what decides the values.
    """

    plan: str
    parts: str
    model: str
    model_sha256: str
    table: str | None
    device: str
    batch_size: int | str
    product: Product
    resample: bool
    made_with: str


@dataclass(frozen=True)
class PartJob:
    """One part to be done.

    Attributes
    ----------
    number, rows, offset, length : int
        The part, the number of its rows, and where its line stands in the plan.
    sources : str
        Fingerprint of its sources.
    keep : tuple of int
        Rows whose files are gone, or were not asked for; they are taken from `previous`, the name
        of an older part file.
    deadly : tuple of int
        Rows whose files kill the process that reads them; they are not read.
    stale : tuple of int
        Rows whose files are gone and that are not as the plan says.
    """

    number: int
    rows: int
    offset: int
    length: int
    sources: str
    keep: tuple[int, ...] = ()
    previous: str | None = None
    deadly: tuple[int, ...] = ()
    stale: tuple[int, ...] = ()


def predict_part(job: PartJob, settings: PartSettings) -> PartRecord:
    """Do one part: write its file under a name of its own, and say what was written.

    Doing it twice does no harm: the file counts only once the journal names it.

    Raises
    ------
    ModelError
        The model is not the one the run began with.
    OutputError
        The part cannot be written.
    """
    start = time.monotonic()
    engine = _engine(settings)
    sources, base = _sources(job, settings)
    kept = set(job.keep)
    table = _rows(engine, settings, [s for row, s in enumerate(sources) if row not in kept], base)
    if job.previous is not None:
        previous = pq.read_table(Path(settings.parts) / job.previous, schema=table.schema)
        table = _with_kept_rows(table, previous, kept)

    path = Path(settings.parts) / f"part-{job.number:06d}-{uuid.uuid4().hex[:12]}.parquet"
    with atomic_parquet(path, table.schema) as file:
        file.write(table)
    return PartRecord(
        part=job.number,
        sources=job.sources,
        rows=table.num_rows,
        bad=table.num_rows - table[PROBLEM].null_count,
        flags=count_flags(table["flags"].to_numpy()),
        deadly=list(job.deadly),
        file=path.name,
        size=path.stat().st_size,
        sha256=file_sha256(path),
        ids=fingerprint(table["object_id"].to_pylist()),
        model=settings.model_sha256,
        settings=settings.made_with,
        device=engine.device,
        version=__version__,
        seconds=time.monotonic() - start,
        finished=now(),
        kept=list(job.keep),
        stale=list(job.stale),
    )


def try_rows(job: PartJob, settings: PartSettings, start: int, stop: int) -> None:
    """Do some rows of a part for the sake of seeing whether one survives it."""
    engine = _engine(settings)
    sources, base = _sources(job, settings)
    kept = set(job.keep)
    some = [sources[row] for row in range(start, stop) if row not in kept]
    _rows(engine, settings, some, base)


def _sources(job: PartJob, settings: PartSettings) -> tuple[list[Source], str]:
    sources, base = read_sources(Path(settings.plan), job.offset, job.length)
    for row in job.deadly:
        sources[row] = dataclasses.replace(sources[row], kind="deadly")
    return sources, base


def _rows(engine: Engine, settings: PartSettings, sources: Sequence[Source], base: str) -> pa.Table:
    objects = _object_table(settings.table) if settings.table else None
    product = settings.product
    columns = product.columns(
        engine.model.info,
        ebv=objects is not None and objects.ebv is not None,
        psf_fwhm_i=objects is not None and "i" in objects.psf_fwhm,
    )
    return predict_rows(engine, product, sources, base, columns, objects, settings.resample)


def predict_rows(
    engine: Engine,
    product: Product,
    sources: Sequence[Source],
    base: str,
    columns: Sequence[Column],
    objects: ObjectTable | None,
    resample: bool,
) -> pa.Table:
    """Make the rows of N objects, with the columns that part files alone have.

    Parameters
    ----------
    engine : Engine
    product : Product
    sources : sequence of Source, (N,)
    base : str
        Where relative paths start.
    columns : sequence of Column
    objects : ObjectTable, optional
        What is known of them.
    resample : bool
    """
    model = engine.model.info
    wanted = Wanted(
        model.bands,
        model.image_size,
        model.pixel_scale,
        resample=resample,
        every_band=model.missing_bands == "refused",
    )
    chunk = -(-CHUNK // engine.batch_size) * engine.batch_size
    positions = objects.positions_of if objects and objects.ra is not None else None
    tables = []
    batch: CutoutBatch | None = None
    # At least one chunk, so that a part without rows to compute has its columns.
    for start in range(0, max(len(sources), 1), chunk):
        given = sources[start : start + chunk]
        batch = read_batch([absolute(source, base) for source in given], wanted, positions, batch)
        measure_batch(batch, model.bands)
        batch = dataclasses.replace(batch, source=source_names(given))
        if objects is None:
            ebv = np.full(len(given), np.nan, np.float32)
            psf_fwhm = np.full((len(given), len(model.bands)), np.nan, np.float32)
        else:
            ebv = objects.ebv_of(batch.object_id)
            psf_fwhm = objects.psf_fwhm_of(batch.object_id, model.bands)
        rows = product.rows(engine, batch, columns, ebv, psf_fwhm)
        problems = _problems(batch.reason, product.lacking(rows), product.thing)
        if positions is not None:
            for name, values in zip(GIVEN, positions(batch.object_id), strict=True):
                rows = rows.append_column(name, pa.array(values, from_pandas=True))
        for band in objects.psf_fwhm if objects else ():
            width = psf_fwhm[:, model.bands.index(band)]
            rows = rows.append_column(GIVEN_PSF[band], pa.array(width, from_pandas=True))
        tables.append(rows.append_column(PROBLEM, problems))
    return pa.concat_tables(tables)


def _problems(reasons: Sequence[str], lacking: NDArray[np.bool_], thing: str) -> pa.Array:
    """Say why rows have no redshift or embedding; null for those that have one."""
    problems = [
        (reason or f"the network gives no {thing}") if lacks else None
        for reason, lacks in zip(reasons, lacking, strict=True)
    ]
    return pa.array(problems, pa.string())


def _with_kept_rows(table: pa.Table, previous: pa.Table, kept: set[int]) -> pa.Table:
    """Put the new rows and the kept ones of the previous file in the order of the part."""
    order = np.arange(previous.num_rows) + table.num_rows
    new = [row for row in range(previous.num_rows) if row not in kept]
    order[new] = np.arange(len(new))
    return pa.concat_tables([table, previous]).take(pa.array(order))


def absolute(source: Source, base: str) -> Source:
    """Return a source with absolute paths: a worker may have been started in another folder."""
    files = tuple(os.path.join(base, file) for file in source.files)  # noqa: PTH118
    return dataclasses.replace(source, files=files)


@lru_cache(maxsize=1)
def _engine(settings: PartSettings) -> Engine:
    """Load the model once per worker process and run."""
    # One process per core: more threads wait for each other when the machine is busy.
    torch.set_num_threads(1)
    model = load_model(Path(settings.model))
    if model.info.sha256 != settings.model_sha256:
        raise ModelError(f"{settings.model}: the model was replaced while the run was going on")
    return Engine(model, settings.device, settings.batch_size, settings.product.masks)


@lru_cache(maxsize=1)
def _object_table(path: str) -> ObjectTable:
    """Map the table into memory once per process; the path names its content."""
    return ObjectTable.open(Path(path))
