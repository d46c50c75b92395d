"""The plan: which object is in which part, in which row.

`plan.jsonl` in the run folder holds one line per part: the folder that relative paths start
from, and for each row `[size, mtime_ns, file, ...]`, or `[size, mtime_ns, file, kind, row]` for
an object of a file that holds many. A later line of the same part replaces the earlier one. Parts
never change their number, rows never move; new objects form new parts behind the old ones.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photoz_mmae.cutouts.source import Source
from photoz_mmae.provenance import settings_sha256
from photoz_mmae.survey_run import records


@dataclass(frozen=True)
class Part:
    """A part of the plan.

    Attributes
    ----------
    number : int
    rows : int
        Number of objects.
    sources : str
        Fingerprint of its files: names, sizes and times.
    offset, length : int
        Where its line stands in the plan.
    gone : tuple of int
        Rows whose files are not there any more.
    unasked : int
        Rows whose files are there, but were not asked for this time.
    """

    number: int
    rows: int
    sources: str
    offset: int
    length: int
    gone: tuple[int, ...]
    unasked: int


def update_plan(path: Path, sources: Sequence[Source], part_size: int) -> list[Part]:
    """Bring the plan up to date with what was found, and return its parts in order.

    An object is known by its files' absolute paths. One whose files, sizes or times changed
    changes its part's fingerprint; one that is not there any more is listed in its part's `gone`
    (a file that is there, but was not asked for this time, is not gone).
    """
    base = str(Path.cwd())
    owner: dict[str, int] = {}
    for index, source in enumerate(sources):
        for file in source.files:
            owner.setdefault(_identity(base, file, source.row), index)
    # What is given twice is one object.
    new = bytearray(owner[_identity(base, s.files[0], s.row)] == i for i, s in enumerate(sources))

    parts = []
    for _, line in sorted(_latest_lines(path).items()):
        record = records.read_line(path, *line)
        changed, gone, unasked = _compare(record, sources, owner, new, base)
        if changed:
            parts.append(_append(path, record, gone, unasked))
        else:
            parts.append(_part(record, *line, gone, unasked))

    number = parts[-1].number + 1 if parts else 0
    for rows in _batched((s for i, s in enumerate(sources) if new[i]), part_size):
        record = {"part": number, "base": base, "sources": [_row(s, s.files) for s in rows]}
        parts.append(_append(path, record))
        number += 1
    return parts


def read_sources(path: Path, offset: int, length: int) -> tuple[list[Source], str]:
    """Read one part of the plan: its sources as they were given, and where their paths start."""
    record = records.read_line(path, offset, length)
    return [_source(entry) for entry in record["sources"]], record["base"]


def _compare(
    record: dict[str, Any],
    sources: Sequence[Source],
    owner: dict[str, int],
    new: bytearray,
    base: str,
) -> tuple[bool, tuple[int, ...], int]:
    """Mark the part's objects as not new, bring its rows up to date.

    Returns whether it changed, the rows that are gone, how many rows were not asked for.
    """
    changed = False
    unasked = 0
    gone = []
    for row, known in enumerate(map(_source, record["sources"])):
        files = known.files
        names = [_absolute(record["base"], file) for file in files]
        keys = [_identity(record["base"], file, known.row) for file in files]
        index = next((owner[n] for n in keys if n in owner and new[owner[n]]), None)
        if index is None:
            if any(_exists(name) for name in names):
                unasked += 1
            else:
                gone.append(row)
            continue
        new[index] = False
        source = sources[index]
        found = [_absolute(base, file) for file in source.files]
        # Paths stay as they were first given, unless the files are others now.
        entry = _row(source, files if found == names else found)
        if entry != record["sources"][row]:
            record["sources"][row] = entry
            changed = True
    return changed, tuple(gone), unasked


def _row(source: Source, files: Sequence[str]) -> list[int | str]:
    if source.row < 0:
        return [source.size, source.mtime_ns, *files]
    return [source.size, source.mtime_ns, *files, source.kind, source.row]


def _source(entry: list[Any]) -> Source:
    size, mtime_ns, *files = entry
    if isinstance(files[-1], int):
        *files, kind, row = files
        return Source(tuple(files), size, mtime_ns, kind, row)
    return Source(tuple(files), size, mtime_ns)


def _identity(base: str, file: str, row: int) -> str:
    """Return what an object is known by; no path holds a zero byte."""
    path = _absolute(base, file)
    return path if row < 0 else f"{path}\0{row}"


def _part(
    record: dict[str, Any], offset: int, length: int, gone: tuple[int, ...], unasked: int
) -> Part:
    rows = len(record["sources"])
    return Part(record["part"], rows, settings_sha256(record), offset, length, gone, unasked)


def _append(
    path: Path, record: dict[str, Any], gone: tuple[int, ...] = (), unasked: int = 0
) -> Part:
    line = records.append(path, record)
    return _part(record, line.offset, line.length, gone, unasked)


def _latest_lines(path: Path) -> dict[int, tuple[int, int]]:
    return {line.record["part"]: (line.offset, line.length) for line in records.read_lines(path)}


def _absolute(base: str, file: str) -> str:
    return os.path.normpath(os.path.join(base, file))  # noqa: PTH118 (text with any bytes)


def _exists(file: str) -> bool:
    try:
        os.stat(file)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # A file system that does not answer has lost nothing yet.
        return True
    return True


def _batched(items: Iterator[Source], size: int) -> Iterator[list[Source]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
