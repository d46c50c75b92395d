"""Packing cutouts into shards, from end to end: find, plan, write what is not there yet."""

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from photoz_mmae import __version__
from photoz_mmae.catalog.writer import sync_folder
from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.discover import Discovery, discover
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.shard_file import VERSION
from photoz_mmae.cutouts.shard_write import NeedsFloat64, shard_writer
from photoz_mmae.cutouts.source import Source, source_names
from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.survey_run.pack_folder import PackFolder, ShardRecord, count_flags
from photoz_mmae.survey_run.plan import Part, read_sources, update_plan
from photoz_mmae.survey_runs import PackRun
from photoz_mmae.temporaries import temporary_path

CHUNK = 512
"""Objects of 64 x 64 pixels in memory at once, 300 MB with all that is kept; fewer larger ones."""

EXAMPLES = 5
"""Objects without redshift that a summary shows."""


class PackReport(Protocol):
    """What a packing tells while it goes on."""

    def found(self, discovery: Discovery) -> None:
        """Tell what was found under the paths given."""

    def begins(self, shards: int, todo: Sequence[Part]) -> None:
        """Tell how many shards there are, and which of them will be written now."""

    def packed(self, rows: int) -> None:
        """Tell that so many objects are in a shard."""


@dataclass(frozen=True)
class PackSummary:
    """What became of a packing.

    Attributes
    ----------
    output : Path
    shards, rows, size : int
        Number of shards, of objects in them, and bytes.
    bad : int
        Objects that can have no redshift.
    flags : mapping of str to int
        How many of these have each of the flags of NO_REDSHIFT.
    examples : list of (str, str)
        Source and reason of the first few of them.
    gone, unasked : int
        Objects whose cutouts are not there any more, and of those that were not given this time.
    written : int
        Objects packed now.
    seconds : float
    """

    output: Path
    shards: int
    rows: int
    size: int
    bad: int
    flags: Mapping[str, int]
    examples: Sequence[Sequence[str]]
    gone: int
    unasked: int
    written: int
    seconds: float


def pack_survey(run: PackRun, report: PackReport) -> PackSummary:
    """Bring the shards in `run.output` up to date with the cutouts.

    Raises
    ------
    InputError, OutputError, LockedError
        What cannot be used, before anything is changed; or the disk is full.
    """
    folder = PackFolder(run.output)
    _refuse_own_output(run)
    discovery = discover(run.cutouts)
    report.found(discovery)
    settings = {
        "format": VERSION,
        "bands": run.bands,
        "image_size": run.image_size,
        "pixel_scale": run.pixel_scale,
    }
    with folder.locked():
        folder.begin(settings, run.overwrite)
        parts = update_plan(folder.plan, discovery.sources, run.size)
        del discovery
        done = folder.finished()
        todo = [
            part
            for part in parts
            if part.number not in done or done[part.number].sources != part.sources
        ]
        report.begins(len(parts), todo)
        start = time.perf_counter()
        for part in todo:
            record = _pack_part(run, folder, part, report, part.number in done)
            folder.write_down(record)
            done[part.number] = record
    records = [done[part.number] for part in parts]
    return PackSummary(
        output=run.output,
        shards=len(records),
        rows=sum(record.rows for record in records),
        size=sum(record.size for record in records),
        bad=sum(record.bad for record in records),
        flags=count_flags(record.flags for record in records),
        examples=[example for record in records for example in record.examples][:EXAMPLES],
        gone=sum(len(part.gone) for part in parts),
        unasked=sum(len(part.unasked) for part in parts),
        written=sum(part.rows for part in todo),
        seconds=time.perf_counter() - start,
    )


def _refuse_own_output(run: PackRun) -> None:
    output = os.path.realpath(run.output)
    for path in run.cutouts:
        real = os.path.realpath(path)
        if os.path.commonpath([output, real]) == real:
            raise InputError(
                f"{run.output} lies in {path}, which is to be packed; choose another folder"
            )


def _pack_part(
    run: PackRun, folder: PackFolder, part: Part, report: PackReport, previous: bool
) -> ShardRecord:
    """Write one shard: under a temporary name, then under its own."""
    sources, base = read_sources(folder.plan, part.offset, part.length)
    path = folder.shard(part.number)
    origins = [_absolute(source, base) for source in sources]
    if previous:
        # Their files are gone, but their pixels are in the shard that is replaced.
        about = path.stat()
        for row in part.gone:
            origins[row] = Source(
                (str(path),), about.st_size, about.st_mtime_ns, kind="shard", row=row
            )
    temporary = temporary_path(path)
    try:
        try:
            record = _write(run, temporary, sources, origins, report, double=False)
        except NeedsFloat64:
            record = _write(run, temporary, sources, origins, report, double=True)
        about = temporary.stat()
        temporary.replace(path)
        sync_folder(folder.output)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return dataclasses.replace(
        record,
        shard=part.number,
        sources=part.sources,
        file=path.name,
        size=about.st_size,
        mtime_ns=about.st_mtime_ns,
    )


def _write(
    run: PackRun,
    path: Path,
    sources: Sequence[Source],
    origins: Sequence[Source],
    report: PackReport,
    double: bool,
) -> ShardRecord:
    """Write a shard of `sources`, read from where they are now; says what is in it."""
    # Whether a model can do without a band is up to the model.
    wanted = Wanted(tuple(run.bands), run.image_size, run.pixel_scale, every_band=False, raw=True)
    flags: Counter[str] = Counter()
    examples: list[list[str]] = []
    bad = 0
    with shard_writer(path, len(sources), run.bands, run.image_size, double) as shard:
        count = min(max(CHUNK * 64**2 // run.image_size**2, 1), CHUNK)
        for start in range(0, len(sources), count):
            chunk = sources[start : start + count]
            batch = _read(origins[start : start + count], wanted)
            shard.add(batch, chunk)
            for row in np.flatnonzero(batch.flags & int(NO_REDSHIFT)).tolist():
                bad += 1
                flags.update(flag.name or "" for flag in Flag(int(batch.flags[row])) & NO_REDSHIFT)
                if len(examples) < EXAMPLES:
                    examples.append([source_names(chunk[row : row + 1])[0], batch.reason[row]])
            report.packed(len(chunk))
    return ShardRecord(
        shard=0,
        sources="",
        rows=len(sources),
        bad=bad,
        flags=dict(flags),
        examples=examples,
        file="",
        size=0,
        mtime_ns=0,
        version=__version__,
    )


def _read(sources: Sequence[Source], wanted: Wanted) -> CutoutBatch:
    """Read and measure objects at the scale that their files tell, else at the one assumed."""
    batch = read_batch(sources, wanted)
    assert batch.raw is not None
    scale = batch.raw.scale
    batch.scale[:] = np.where(np.isfinite(scale), scale, wanted.pixel_scale)
    # No model, no other scale than the model's.
    batch.flags &= ~int(Flag.OTHER_PIXEL_SCALE)
    measure_batch(batch, wanted.bands)
    return batch


def _absolute(source: Source, base: str) -> Source:
    files = tuple(os.path.join(base, file) for file in source.files)  # noqa: PTH118
    return dataclasses.replace(source, files=files)
