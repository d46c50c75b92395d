"""The journal: which parts are finished, one synced line each, in `journal.jsonl`."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.provenance import file_sha256
from photoz_mmae.survey_run import records


@dataclass(frozen=True)
class PartRecord:
    """A finished part.

    Attributes
    ----------
    part : int
    sources : str
        Fingerprint of the files it was made from, as in the plan.
    rows, bad : int
        Number of rows, and of those without redshift.
    flags : dict of str to int
        How many rows have each flag that any has.
    deadly : list of int
        Rows whose files were not read, since they kill the process that does.
    file : str
        Name in the run folder's `parts/`.
    size : int
        Bytes.
    sha256 : str
        Of the file.
    ids : str
        Fingerprint of the object ids in their order.
    model, settings : str
        Checksums of the model and of the settings that decide the values.
    device, version : str
        What it was computed on, and by which version of this package.
    seconds : float
        That the worker took.
    finished : str
        When, UTC.
    kept : list of int
        Rows that were taken from the part's file before: another table may have said otherwise.
    stale : list of int
        Rows whose files were gone and that are not as the plan says: to be made when they are back.
    """

    part: int
    sources: str
    rows: int
    bad: int
    flags: dict[str, int]
    deadly: list[int]
    file: str
    size: int
    sha256: str
    ids: str
    model: str
    settings: str
    device: str
    version: str
    seconds: float
    finished: str
    kept: list[int] = dataclasses.field(default_factory=list)
    stale: list[int] = dataclasses.field(default_factory=list)


_LATER = {"kept", "stale"}
"""Fields that a journal of an earlier version lacks."""


def read_journal(path: Path) -> dict[int, PartRecord]:
    """Return the last record of each part; a torn or strange line is as if it were not there."""
    journal = {}
    names = {field.name for field in dataclasses.fields(PartRecord)}
    for line in records.read_lines(path):
        if line.record.keys() | _LATER == names:
            record = PartRecord(**line.record)
            journal[record.part] = record
    return journal


def append_record(path: Path, record: PartRecord) -> None:
    """Write down that a part is finished; raises OutputError."""
    records.append(path, dataclasses.asdict(record))


def checks_out(record: PartRecord, parts: Path) -> bool:
    """Whether the part's file is the one that was written: size, checksum, rows of its footer."""
    file = parts / record.file
    try:
        return (
            file.stat().st_size == record.size
            and file_sha256(file) == record.sha256
            and pq.read_metadata(file).num_rows == record.rows
        )
    except (OSError, pa.ArrowException):
        return False


def remove_strays(parts: Path, journal: Iterable[PartRecord]) -> None:
    """Remove from `parts/` what killed or repeated tasks wrote and the journal does not name."""
    known = {record.file for record in journal}
    for file in parts.iterdir():
        if file.name not in known and "part-" in file.name:
            file.unlink(missing_ok=True)
