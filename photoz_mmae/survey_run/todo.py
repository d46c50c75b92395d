"""Which parts are to be computed, and which are done: the journal beside the plan."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from photoz_mmae.errors import OutputError
from photoz_mmae.survey_run.given import Given
from photoz_mmae.survey_run.journal import PartRecord, append_record, checks_out, read_journal
from photoz_mmae.survey_run.part import PartJob, absolute
from photoz_mmae.survey_run.plan import Part, all_lines, read_sources
from photoz_mmae.survey_run.retry import has_unread
from photoz_mmae.survey_run.run_folder import RunFolder


class ToDo:
    """The parts of a plan, divided by what the journal says of them and what their files are.

    Parameters
    ----------
    parts : sequence of Part
    folder : RunFolder
    made_with : str
        Fingerprint of the settings, with `:` and the checksum of the table where there is one.
    given : Given or None
        What that table gives.
    retry_bad : bool
        Parts with rows that could not be read are to be computed again.

    Attributes
    ----------
    parts : list of Part
        Those to be computed.
    journal : dict of int to PartRecord

    Raises
    ------
    OutputError
        The plan has fewer rows than were computed by it.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        folder: RunFolder,
        made_with: str,
        given: Given | None,
        retry_bad: bool,
    ) -> None:
        self.journal = read_journal(folder.journal)
        self._folder = folder
        self._made_with = made_with
        self._given = given
        self._lines: dict[tuple[int, str], tuple[int, int]] | None = None
        rows = {part.number: part.rows for part in parts}
        for number, record in self.journal.items():
            if rows.get(number, 0) < record.rows:
                raise OutputError(
                    f"{folder.plan}: damaged, part {number} has lost rows that were computed; put "
                    "a copy of the file in its place, or --overwrite to start anew"
                )
        self._sound = {n for n, each in self.journal.items() if checks_out(each, folder.parts)}
        self.parts = [
            part
            for part in parts
            if part.number not in self._sound
            or not self._is_current(part)
            or (retry_bad and has_unread(part, self.journal[part.number], folder))
        ]

    def jobs(self) -> list[PartJob]:
        """Return what the workers are told of the parts to be computed."""
        return list(map(self._job, self.parts))

    def done(self, record: PartRecord) -> None:
        """Write down that a part is finished; raises OutputError."""
        append_record(self._folder.journal, record)
        self.journal[record.part] = record

    def _is_current(self, part: Part) -> bool:
        """Whether the part was made from these files, with this model and these settings.

        A part made with another table is current when that gave its objects the same E(B-V),
        positions and PSFs; its record is then brought up to date, if all of them were asked for.
        """
        record = self.journal[part.number]
        if record.sources != part.sources or not set(part.gone).issuperset(record.stale):
            return False
        if record.settings == self._made_with and not (self._given and record.kept):
            return True
        if self._given is None or record.settings.split(":")[0] != self._made_with.split(":")[0]:
            return False
        not_asked = (*part.gone, *part.unasked)
        if len(not_asked) == part.rows:
            return True
        if not self._given.is_in(self._path(record), not_asked):
            return False
        if not not_asked:
            self.done(dataclasses.replace(record, settings=self._made_with, kept=[]))
        return True

    def _job(self, part: Part) -> PartJob:
        job = PartJob(part.number, part.rows, part.offset, part.length, part.sources)
        if part.number not in self._sound:
            return dataclasses.replace(job, stale=part.gone)
        record = self.journal[part.number]
        others = self._other_rows(part, record).union(record.stale)
        # Their files cannot be read again, or this run's table says nothing of them.
        kept = {*part.gone, *set(part.unasked).difference(others)}
        if not kept:
            return job
        return dataclasses.replace(
            job,
            keep=tuple(sorted(kept)),
            previous=record.file,
            deadly=tuple(sorted(kept.intersection(record.deadly))),
            stale=tuple(sorted(others.intersection(part.gone))),
        )

    def _other_rows(self, part: Part, record: PartRecord) -> set[int]:
        """Return the rows that were planned otherwise when the part was made."""
        if record.sources == part.sources:
            return set()
        if self._lines is None:
            self._lines = all_lines(self._folder.plan)
        before = self._lines.get((part.number, record.sources))
        if before is None:
            return set(range(part.rows))
        old, old_base = read_sources(self._folder.plan, *before)
        new, base = read_sources(self._folder.plan, part.offset, part.length)
        is_other = [
            absolute(one, old_base) != absolute(two, base)
            for one, two in zip(old, new, strict=True)
        ]
        return {row for row, other in enumerate(is_other) if other}

    def _path(self, record: PartRecord) -> Path:
        return self._folder.parts / record.file
