"""How a run stands: read from its folder, whether it is at work, ended or died. Writes nothing."""

import mmap
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.catalog.layouts import catalogue_files, read_metadata, size
from photoz_mmae.cutouts.source import source_names
from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.survey_run import records
from photoz_mmae.survey_run.at_work import read_holder, state_of
from photoz_mmae.survey_run.journal import PartRecord, read_journal
from photoz_mmae.survey_run.plan import read_sources
from photoz_mmae.survey_run.ranges import read_ranges
from photoz_mmae.survey_run.run_folder import RunFolder
from photoz_mmae.survey_run.status_facts import CatalogueState, Progress, SlowPart, Status

LAST_PARTS = 20
"""Parts whose times make the rate of now."""

SLOWEST = 5
"""Parts that are shown."""

_LINE_OF_PART = re.compile(rb'\{"part":(\d+),')


def run_status(path: Path) -> Status:
    """Say how the run of a catalogue stands.

    Parameters
    ----------
    path : Path
        The catalogue, file or folder, there or not, or its run folder.

    Raises
    ------
    InputError
        There is no run, or it cannot be reached.
    """
    folder = _folder(path)
    try:
        facts = folder.record.read()
    except OutputError as error:
        raise InputError(str(error)) from error
    holder = read_holder(folder.path)
    if not facts and holder is None:
        raise InputError(f"{folder.path}: no run was begun in it")
    state = state_of(holder, facts)
    if holder is not None and not holder.wrote(facts):
        # The command did not come so far as to speak of itself.
        facts = {key: facts[key] for key in ("settings", "output") if key in facts}
        facts.setdefault("settings", {})
        facts |= {"host": holder.host, "process": holder.pid, "started": holder.started}
    parts = facts.get("parts")
    journal = [r for r in read_journal(folder.journal).values() if parts is None or r.part < parts]
    journal.sort(key=lambda record: record.finished)
    # The command knew which parts were out of date.
    to_do = read_ranges(facts.get("which_to_do", ""))
    journal = [r for r in journal if r.part not in to_do or r.finished >= facts["started"]]
    now_done = [r for r in journal if r.finished >= facts["started"]]
    progress = _progress(facts, journal, now_done)
    rate, rate_now = _rates(facts, now_done)
    left = None
    if state in ("running", "unknown") and progress.rows_to_do is not None:
        speed = rate_now or rate
        left = (progress.rows_to_do - progress.rows_done_now) / speed if speed else None
    catalogue = _catalogue(_output(folder, facts), folder, state, facts)
    last = journal[-1].finished if journal else None
    flags: Counter[str] = Counter()
    for record in journal:
        flags.update(record.flags)
    return Status(
        run=str(folder.path),
        state=state,
        thing="embedding" if facts["settings"].get("content") == "embeddings" else "redshift",
        host=facts["host"],
        process=facts["process"],
        since=facts["started"],
        ended=facts.get("ended"),
        exit=facts.get("exit"),
        message=facts.get("message"),
        last_part=last,
        last_part_age=_age(last) if last else None,
        progress=progress,
        rate=rate,
        rate_now=rate_now,
        seconds_left=left,
        rows_bad=facts.get("rows_bad", sum(record.bad for record in journal)),
        flags=facts.get("flags", dict(flags)),
        slowest=_slowest(folder.plan, journal),
        catalogue=catalogue,
    )


def _folder(path: Path) -> RunFolder:
    folder = RunFolder(path.with_suffix("") if path.suffix == ".run" else path)
    try:
        is_there = folder.path.is_dir()
    except OSError as error:
        raise InputError(f"{folder.path}: cannot be reached ({error.strerror})") from error
    if not is_there:
        raise InputError(f"{path}: no run there: no folder {folder.path}")
    return folder


def _output(folder: RunFolder, facts: dict[str, Any]) -> Path:
    """Return where the run's output is, which may have been named without its suffix, or with."""
    if "output" in facts:
        # Its form alone: it may have been renamed since, as the run folder has.
        is_file = facts["output"].endswith(".parquet")
    else:
        is_file = folder.is_file or not folder.output.is_dir()
    return folder.path.with_suffix(".parquet" if is_file else "")


def _progress(
    facts: dict[str, Any], journal: Sequence[PartRecord], now_done: Sequence[PartRecord]
) -> Progress:
    rows, parts = facts.get("rows"), facts.get("parts")
    rows_now, parts_now = sum(record.rows for record in now_done), len(now_done)
    rows_done, parts_done = sum(record.rows for record in journal), len(journal)
    if rows is not None and parts is not None:
        # The times are whole seconds: a part of the command before may look like one of this.
        rows_now, parts_now = (
            min(rows_now, facts["rows_to_do"]),
            min(parts_now, facts["parts_to_do"]),
        )
        rows_done = rows - facts["rows_to_do"] + rows_now
        parts_done = parts - facts["parts_to_do"] + parts_now
    return Progress(
        rows=rows,
        rows_done=rows_done,
        parts=parts,
        parts_done=parts_done,
        rows_to_do=facts.get("rows_to_do"),
        rows_done_now=rows_now,
        parts_to_do=facts.get("parts_to_do"),
        parts_done_now=parts_now,
    )


def _rates(
    facts: dict[str, Any], now_done: Sequence[PartRecord]
) -> tuple[float | None, float | None]:
    """Objects per second of a command, from its start on, and between its last parts."""
    if not now_done:
        return None, None
    seconds = _seconds(facts["started"], now_done[-1].finished)
    rate = sum(record.rows for record in now_done) / max(seconds, 1.0)
    last = now_done[-LAST_PARTS:]
    seconds = _seconds(last[0].finished, last[-1].finished)
    # The times are whole seconds.
    if seconds < 2:
        return rate, None
    return rate, sum(record.rows for record in last[1:]) / seconds


def _catalogue(
    output: Path, folder: RunFolder, state: str, facts: dict[str, Any]
) -> CatalogueState:
    path = str(output)
    files = catalogue_files(output)
    if not output.exists() or not files:
        return CatalogueState(path, None, None, False, "not there yet")
    rows = 0
    for file in files:
        try:
            rows += int(pq.read_metadata(file).num_rows)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            which = f"{file.name}: " if file != output else ""
            says = f"not readable as Parquet ({which}{reason})"
            return CatalogueState(path, None, None, False, says)
    created = read_metadata(output).get("photoz_mmae.created")
    written = None
    for line in records.read_lines(folder.outputs):
        written = line.record.get("size")
    if size(output) != written:
        says = "not as this run wrote it"
    elif state == "ended" and facts.get("exit") in (0, 3):
        says = "up to date"
    else:
        says = "of an earlier command"
    return CatalogueState(path, rows, created, says == "up to date", says)


def _slowest(plan: Path, journal: Sequence[PartRecord]) -> list[SlowPart]:
    slow = sorted(journal, key=lambda record: -record.seconds)[:SLOWEST]
    lines = _lines_of_parts(plan, {record.part for record in slow})
    shown = []
    for record in slow:
        first = last = None
        if record.part in lines:
            try:
                sources, _ = read_sources(plan, *lines[record.part])
                first, *_, last = source_names([sources[0], sources[-1]])
            except (OSError, OutputError, LookupError, TypeError, ValueError):
                pass  # the plan is damaged, or was begun anew just now
        shown.append(SlowPart(record.part, record.rows, round(record.seconds, 3), first, last))
    return shown


def _lines_of_parts(plan: Path, parts: set[int]) -> dict[int, tuple[int, int]]:
    """Find offset and length of the last line of each of these parts.

    A plan of a million objects is some 100 MB of JSON: only the heads of its lines are looked at.
    """
    lines: dict[int, tuple[int, int]] = {}
    try:
        with plan.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            start = 0
            while (end := text.find(b"\n", start)) >= 0:
                head = _LINE_OF_PART.match(text[start : start + 32])
                if head and int(head[1]) in parts:
                    lines[int(head[1])] = (start, end + 1 - start)
                start = end + 1
    except (OSError, ValueError):  # gone, or empty
        return {}
    return lines


def _seconds(before: str, after: str) -> float:
    return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()


def _age(time: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
