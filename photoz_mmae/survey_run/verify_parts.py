"""A catalogue against its run folder: part by part, in the order of the plan."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.catalog.naming import Naming
from photoz_mmae.catalog.schema import Column
from photoz_mmae.cutouts.source import Source, source_names
from photoz_mmae.provenance import fingerprint
from photoz_mmae.survey_run.journal import PartRecord, checks_out, read_journal
from photoz_mmae.survey_run.part import PROBLEM
from photoz_mmae.survey_run.plan import Part, read_parts
from photoz_mmae.survey_run.records import read_lines
from photoz_mmae.survey_run.run_folder import RunFolder
from photoz_mmae.survey_run.verify_rows import distances, shown
from photoz_mmae.words import count


@dataclass
class Faults:
    """What is wrong with some of many: the first in words, and how many there are."""

    first: str = ""
    count: int = 0

    def note(self, text: str) -> None:
        """Count one more."""
        self.first = self.first or text
        self.count += 1

    def __str__(self) -> str:
        more = self.count - 1
        return self.first + (f", and {more} more" if more > 0 else "")


@dataclass
class PartsCheck:
    """Gathers how the parts of a catalogue differ from what the run folder says of them.

    Attributes
    ----------
    folder : RunFolder
    columns : sequence of Column
        The catalogue's own, as they are in part files; so are those of the tables here.
    naming : Naming
        What they are called in the catalogue.
    model_sha256 : str
        Of the model that the catalogue names.
    parts : list of Part
        Of the plan.
    journal : dict of int to PartRecord
    ids, content, files : Faults
        Other ids or sources than planned; other values than in the part's file; part files that
        are damaged, missing, or of something else.
    """

    folder: RunFolder
    columns: Sequence[Column]
    naming: Naming
    model_sha256: str
    parts: list[Part] = field(init=False)
    journal: Mapping[int, PartRecord] = field(init=False)
    ids: Faults = field(default_factory=Faults)
    content: Faults = field(default_factory=Faults)
    files: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.parts = read_parts(self.folder.plan)
        self.journal = read_journal(self.folder.journal)
        self._whole: set[int] = set()
        for part in self.parts:
            self._look_at_file(part)

    @property
    def rows(self) -> int:
        """Number of rows in the plan."""
        return sum(part.rows for part in self.parts)

    def is_finished(self, part: Part) -> bool:
        """Whether the journal has the part as it is planned."""
        record = self.journal.get(part.number)
        return record is not None and record.sources == part.sources

    def look_at(self, part: Part, sources: Sequence[Source], table: pa.Table, where: str) -> bool:
        """Look at a finished part's rows; `where` says where in the catalogue they are.

        Returns whether they are those of `sources`, in their order.
        """
        record = self.journal[part.number]
        where = f"part {part.number} ({where})"
        if len(table) != record.rows:
            self.ids.note(f"{where} has {count(len(table), 'row')} here, not {record.rows}")
            return False
        if fingerprint(map(str, table["object_id"].to_pylist())) != record.ids:
            self.ids.note(f"{where} has other ids, or in another order, than the journal says")
            return False
        if table["source"].to_pylist() != source_names(sources):
            self.ids.note(f"{where} has other sources, or in another order, than the plan")
            return False
        if (written := self.written(part)) is not None:
            self._compare(table, written, where, record)
        return True

    def written(self, part: Part) -> pa.Table | None:
        """Read the file of a part; None where it is not the one that was written."""
        if part.number not in self._whole:
            return None
        record = self.journal[part.number]
        table = pq.read_table(self.folder.parts / record.file)
        names = [column.name for column in self.columns]
        if absent := [name for name in names if name not in table.column_names]:
            self.files.note(f"{record.file} has no column {', '.join(absent)}")
            return None
        if len(table) - table[PROBLEM].null_count != record.bad:
            self.files.note(f"{record.file} has other rows without result than the journal says")
        return table

    def _look_at_file(self, part: Part) -> None:
        number = part.number
        if not self.is_finished(part):
            self.files.note(f"part {number} is not finished as it is planned")
            return
        record = self.journal[number]
        if record.model != self.model_sha256:
            self.files.note(f"part {number} was made with another model ({record.model[:12]})")
        elif not checks_out(record, self.folder.parts):
            self.files.note(f"{record.file} of part {number} is missing, damaged or another file")
        else:
            self._whole.add(number)

    def _compare(self, table: pa.Table, written: pa.Table, where: str, record: PartRecord) -> None:
        for column in self.columns:
            name = column.name
            for row in np.flatnonzero(distances(table, written, name)).tolist():
                here, there = shown(table, written, name, row)
                self.content.note(
                    f"{where}: {self.naming.name(name)} of object {table['object_id'][row]} is "
                    f"{here}, in {record.file} {there}"
                )


def checksum_problems(folder: RunFolder, size: int, sha256: str) -> list[str]:
    """Say whether a catalogue is not the last that was written, by its size and checksum."""
    known = [(r.record.get("size"), r.record.get("sha256")) for r in read_lines(folder.outputs)]
    if (size, sha256) not in known:
        return [f"{sha256[:12]} is of no file that this run wrote: changed or damaged"]
    if known[-1] != (size, sha256):
        return ["it is an earlier version of this catalogue"]
    return []


def pieces(
    tables: Iterable[pa.Table], parts: Sequence[Part]
) -> Iterator[tuple[Part | None, pa.Table, int]]:
    """Cut a stream of tables into the parts of a plan.

    Yields
    ------
    part, table, start : Part or None, pyarrow.Table, int
        The part, None for rows behind the last one; its rows; number of the first of them. The
        last part may be cut short.
    """
    waiting: list[pa.Table] = []
    held = start = 0
    left = list(reversed(parts))
    for table in tables:
        waiting.append(table)
        held += len(table)
        while left and held >= left[-1].rows:
            part = left.pop()
            joined = pa.concat_tables(waiting)
            yield part, joined.slice(0, part.rows), start
            waiting, held, start = [joined.slice(part.rows)], held - part.rows, start + part.rows
        if not left and held:
            yield None, pa.concat_tables(waiting), start
            waiting, held, start = [], 0, start + held
    if held:
        yield left.pop(), pa.concat_tables(waiting), start
