"""The plan: which object is in which part, in which row.

`plan.jsonl` in the run folder holds one line per part: the folder that relative paths start
from, and for each row `[size, mtime_ns, file, ..., {what else is known}]`; the last entry has
those fields of a `Source` that differ from their defaults, and is left out where none does. A
row that is such an entry alone has the files of the row before it, as objects of one shard do.
With `--checksum` the entry has the files' `sha256`, too. A line that differs from an earlier one
in nothing but times and checksums of the same content says so: `same_as` is that one's fingerprint.

A later line of the same part replaces the earlier one. Parts never change their number, rows
never move; new objects form new parts behind the old ones.
"""

import dataclasses
import itertools
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photoz_mmae.cutouts.containers import is_readable_container
from photoz_mmae.cutouts.source import Kind, Source, identity
from photoz_mmae.cutouts.source_list import SourceList
from photoz_mmae.errors import OutputError
from photoz_mmae.provenance import settings_sha256
from photoz_mmae.survey_run import records
from photoz_mmae.survey_run.contents import Contents, brought_up_to_date
from photoz_mmae.survey_run.known import (
    Known,
    absolute,
    by_id_of,
    key_of,
)
from photoz_mmae.survey_run.plan_rows import decode, encode


@dataclass(frozen=True)
class Part:
    """A part of the plan.

    Attributes
    ----------
    number : int
    rows : int
        Number of objects.
    sources : str
        Fingerprint of its files: names, sizes and times, and checksums where they are known.
    offset, length : int
        Where its line stands in the plan.
    gone : tuple of int
        Rows whose files are not there any more, or hold fewer objects now.
    unasked : tuple of int
        Rows whose files are there, but were not asked for this time.
    """

    number: int
    rows: int
    sources: str
    offset: int
    length: int
    gone: tuple[int, ...]
    unasked: tuple[int, ...]


def update_plan(
    path: Path, sources: Sequence[Source], part_size: int, checksum: bool = False
) -> list[Part]:
    """Bring the plan up to date with what was found, and return its parts in order.

    An object is known by its files' absolute paths; one of several in the same files by its row
    or id as well; one that a list asks for, and that has no file (yet), by its id, and so is one
    on a coadd, whose files may become others. One whose
    files, sizes or times changed changes its part's fingerprint; one that is not there any more
    is listed in its part's `gone` (a file that is there, but was not asked for this time, is not
    gone; an object that a shard or HDF5 file does not hold any more is). With `checksum` all files
    are read, and where the plan knows what was in them before, that decides, whatever their sizes
    and times.

    Raises
    ------
    OutputError
        The plan cannot be written, or is damaged.
    """
    base = str(Path.cwd())
    listed = sources if isinstance(sources, SourceList) else SourceList(sources)
    known = Known(listed, base, Contents(listed) if checksum else None)
    parts = []
    lines = _latest_lines(path)
    if lost := set(range(len(lines))) - set(lines):
        raise OutputError(
            f"{path}: damaged, part {min(lost)} is not in it; put a copy of the file in its place, "
            "or --overwrite to start anew"
        )
    for number, line in sorted(lines.items()):
        record = records.read_line(path, *line)
        try:
            if known.has_as_they_are(record["sources"], record["base"]):
                parts.append(_part(record, *line, (), ()))
                continue
            planned = decode(record["sources"])
            rewritten, changed, gone, unasked = _compare(planned, record["base"], known)
        except (LookupError, TypeError, ValueError) as error:
            raise OutputError(
                f"{path}: part {number} cannot be understood ({error}); --overwrite to start anew"
            ) from error
        part = _part(record, *line, gone, unasked)
        if rewritten:
            record.pop("same_as", None)
            record["sources"] = encode(planned)
            if not changed:
                record["same_as"] = part.sources
            part = _append(path, record, gone, unasked)
        parts.append(part)

    number = parts[-1].number + 1 if parts else 0
    for rows in _batched(known.new_sources(), part_size):
        record = {"part": number, "base": base, "sources": encode(rows)}
        parts.append(_append(path, record))
        number += 1
    return parts


def read_parts(path: Path) -> list[Part]:
    """Return the parts of a plan in order, as they stand there: none is looked for on the disk."""
    parts = {}
    for line in records.read_lines(path):
        if line.record.keys() >= {"part", "base", "sources"}:
            parts[line.record["part"]] = _part(line.record, line.offset, line.length, (), ())
    return [parts[number] for number in sorted(parts)]


def all_lines(path: Path) -> dict[tuple[int, str], tuple[int, int]]:
    """Say where in a plan the lines of each part stand, earlier ones too, by number and sources."""
    return {
        (part.number, part.sources): (part.offset, part.length)
        for line in records.read_lines(path)
        if line.record.keys() >= {"part", "base", "sources"}
        for part in [_part(line.record, line.offset, line.length, (), ())]
    }


def read_sources(path: Path, offset: int, length: int) -> tuple[list[Source], str]:
    """Read one part of the plan: its sources as they were given, and where their paths start."""
    record = records.read_line(path, offset, length)
    return decode(record["sources"]), record["base"]


def _compare(
    planned: list[Source], base: str, known: Known
) -> tuple[bool, bool, tuple[int, ...], tuple[int, ...]]:
    """Mark the part's objects as not new, bring its rows up to date.

    Returns whether its line changed, whether an object in it has to be computed again, the rows
    that are gone, those that were not asked for.
    """
    paths = [[absolute(base, file) for file in source.files] for source in planned]
    rewritten = changed = False
    gone, unasked = [], []
    searched: set[str] | None = None
    for row, index in enumerate(_find(planned, paths, known)):
        before = planned[row]
        if index is None:
            if searched is None:
                searched = _searched(planned, paths, known)
            is_there = any(_exists(file, before.kind) for file in paths[row])
            # One that could not be read looked like a cutout.
            is_shard = before.kind == "cutout" and _holds(paths[row][0], "shard", known)
            if is_there and paths[row][0] not in searched and not is_shard:
                unasked.append(row)
            else:
                gone.append(row)
            continue
        known.new[index] = 0
        source = known.source(index)
        if source.is_absent and not before.is_absent:
            is_there = any(_exists(file, source.kind) for file in paths[row])
            moved_off = is_there and source.kind == "coadd" and _is_below(paths[row], known, index)
            if not moved_off:
                # Its answer, or its coadds, may be elsewhere, and not given this time.
                is_elsewhere = is_there and source.kind in ("absent", "coadd")
                (unasked if is_elsewhere else gone).append(row)
                continue
        # Paths stay as they were first given, unless the files are others now.
        now = known.absolute(index)
        same = now == paths[row] or now == list(map(known.real, paths[row]))
        files = before.files if same else tuple(now)
        if files != source.files:
            source = dataclasses.replace(source, files=files)
        planned[row], is_other = brought_up_to_date(before, source)
        rewritten |= planned[row] is not before
        changed |= is_other
    return rewritten, changed, tuple(gone), tuple(unasked)


def _holds(file: str, kind: Kind, known: Known) -> bool:
    """Whether a file was found as one of many objects."""
    return known.find([file + identity(kind, 0, None)]) != [None]


def _searched(planned: Sequence[Source], paths: Sequence[Sequence[str]], known: Known) -> set[str]:
    """Return the shards and HDF5 files of these rows that were found, with all they hold now."""
    firsts: dict[str, str] = {}
    for source, some in zip(planned, paths, strict=True):
        if (first := identity(source.kind, 0, None)) and some[0] not in firsts:
            firsts[some[0]] = some[0] + first
    found = known.find(list(firsts.values()))
    return {
        file
        for file, index in zip(firsts, found, strict=True)
        # One that cannot be read counts as one object, whatever it holds.
        if index is not None and is_readable_container(file)
    }


def _find(
    planned: Sequence[Source], paths: Sequence[Sequence[str]], known: Known
) -> Iterator[int | None]:
    """Yield the number of the source that each row is of, None where it is not among them.

    A source that an earlier row has taken (in this loop or before it) is not found again.
    """
    keys, ends = [], [0]
    for source, some in zip(planned, paths, strict=True):
        keys += [key_of(source, path) for path in (some[:1] if source.kind == "coadd" else some)]
        ends.append(len(keys))
    found = known.find(keys)
    # Where a file holds several objects its path says nothing about which of them a row is.
    holds = Counter(some[0] for some in paths)
    for source, some, bounds in zip(planned, paths, itertools.pairwise(ends), strict=True):
        index = known.first_new(found[slice(*bounds)])
        if index is None and source.kind == "cutout" and holds[some[0]] == 1:
            index = known.first_new([known.only(path) for path in some])
            # Objects that a table names are what it calls them, whichever file they are in.
            if index is not None and None not in (source.object_id, known.sources[index].object_id):
                index = None
        if index is None:
            real = list(map(known.real, some))
            if real != list(some):
                index = known.first_new(known.find([key_of(source, path) for path in real]))
        if index is None and source.object_id is not None:
            # What a list asks for may get its file later, or lose it.
            [other] = known.find([by_id_of(source)])
            if other is not None and known.new[other]:
                kinds = {source.kind, known.sources[other].kind}
                index = other if "absent" in kinds else None
        yield index


def _part(
    record: dict[str, Any],
    offset: int,
    length: int,
    gone: tuple[int, ...],
    unasked: tuple[int, ...],
) -> Part:
    rows = len(record["sources"])
    sources = record.get("same_as") or settings_sha256(record)
    return Part(record["part"], rows, sources, offset, length, gone, unasked)


def _append(
    path: Path, record: dict[str, Any], gone: tuple[int, ...] = (), unasked: tuple[int, ...] = ()
) -> Part:
    line = records.append(path, record)
    return _part(record, line.offset, line.length, gone, unasked)


def _latest_lines(path: Path) -> dict[int, tuple[int, int]]:
    return {
        line.record["part"]: (line.offset, line.length)
        for line in records.read_lines(path)
        if isinstance(line.record.get("part"), int)
    }


def _is_below(files: Sequence[str], known: Known, index: int) -> bool:
    """Whether coadds lie in the folder in which an object that is on none was looked for."""
    (folder,) = known.absolute(index)
    return all(file.startswith(f"{folder}/") for file in files)


def _exists(file: str, kind: Kind) -> bool:
    try:
        about = os.stat(file)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # A file system that does not answer has lost nothing yet.
        return True
    # What a table that names no file was once taken for.
    return kind != "cutout" or not stat.S_ISDIR(about.st_mode)


def _batched(items: Iterator[Source], size: int) -> Iterator[list[Source]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
