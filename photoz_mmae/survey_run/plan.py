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
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.source_list import SourceList
from photoz_mmae.errors import OutputError
from photoz_mmae.provenance import settings_sha256
from photoz_mmae.survey_run import records
from photoz_mmae.survey_run.contents import Contents, brought_up_to_date

_FIELDS = ("kind", "row", "bands", "object_id", "ra", "dec")
_DEFAULTS = {name: getattr(Source((), 0, 0), name) for name in _FIELDS}


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


def update_plan(
    path: Path, sources: Sequence[Source], part_size: int, checksum: bool = False
) -> list[Part]:
    """Bring the plan up to date with what was found, and return its parts in order.

    An object is known by its files' absolute paths; one of several in the same files by its row
    or id as well; one that a list asks for, and that has no file (yet), by its id, and so is one
    on a coadd, whose files may become others. One whose
    files, sizes or times changed changes its part's fingerprint; one that is not there any more
    is listed in its part's `gone` (a file that is there, but was not asked for this time, is not
    gone). With `checksum` all files are read, and where the plan knows what was in them before,
    that decides, whatever their sizes and times.

    Raises
    ------
    OutputError
        The plan cannot be written, or is damaged.
    """
    base = str(Path.cwd())
    listed = sources if isinstance(sources, SourceList) else SourceList(sources)
    known = _Known(listed, base, Contents(listed) if checksum else None)
    parts = []
    for number, line in sorted(_latest_lines(path).items()):
        record = records.read_line(path, *line)
        try:
            if known.has_as_they_are(record["sources"], record["base"]):
                parts.append(_part(record, *line, (), 0))
                continue
            planned = _decode(record["sources"])
            rewritten, changed, gone, unasked = _compare(planned, record["base"], known)
        except (LookupError, TypeError, ValueError) as error:
            raise OutputError(
                f"{path}: part {number} cannot be understood ({error}); --overwrite to start anew"
            ) from error
        part = _part(record, *line, gone, unasked)
        if rewritten:
            record.pop("same_as", None)
            record["sources"] = _encode(planned)
            if not changed:
                record["same_as"] = part.sources
            part = _append(path, record, gone, unasked)
        parts.append(part)

    number = parts[-1].number + 1 if parts else 0
    for rows in _batched(known.new_sources(), part_size):
        record = {"part": number, "base": base, "sources": _encode(rows)}
        parts.append(_append(path, record))
        number += 1
    return parts


def read_parts(path: Path) -> list[Part]:
    """Return the parts of a plan in order, as they stand there: none is looked for on the disk."""
    parts = {}
    for line in records.read_lines(path):
        if line.record.keys() >= {"part", "base", "sources"}:
            parts[line.record["part"]] = _part(line.record, line.offset, line.length, (), 0)
    return [parts[number] for number in sorted(parts)]


def read_sources(path: Path, offset: int, length: int) -> tuple[list[Source], str]:
    """Read one part of the plan: its sources as they were given, and where their paths start."""
    record = records.read_line(path, offset, length)
    return _decode(record["sources"]), record["base"]


class _Known:
    """What was found, looked up by the names that an object is known by.

    A million paths as text would take more memory than all the rest: their hashes are kept, in
    order, and the text is made again to verify a match.
    """

    def __init__(self, sources: SourceList, base: str, contents: Contents | None) -> None:
        self.sources = sources
        self.base = base
        self._contents = contents
        self._folders = [_absolute_folder(base, folder) for folder in sources.folders]
        hashes, owners = array("q"), array("q")
        identities = list(sources.identities())
        on_coadds = dict(sources.on_coadds())
        for index, (first, last) in enumerate(itertools.pairwise(sources.first)):
            if index in on_coadds:
                hashes.append(hash(_on_coadds(on_coadds[index])))
                owners.append(index)
                continue
            for file in range(first, last):
                hashes.append(hash(self._path(file) + identities[index]))
                owners.append(index)
        for index, object_id, ra, dec in sources.named():
            # Its name may have come, or changed, since its file was planned.
            names = [*self.absolute(index), _by_id(object_id, ra, dec)]
            hashes.extend(map(hash, names))
            owners.extend([index] * len(names))
        order = np.argsort(np.array(hashes, np.int64), kind="stable")
        self._hashes = np.array(hashes, np.int64)[order]
        self._owners = np.array(owners, np.int64)[order]
        self._identities = identities
        self.new = bytearray(b"\1") * len(sources)
        # What is given twice is one object.
        twice = np.flatnonzero(self._hashes[1:] == self._hashes[:-1]) + 1
        for index in np.unique(self._owners[twice]).tolist():
            key = _key(sources[index], self._path(sources.first[index]))
            self.new[index] = self.find([key]) == [index]

    def has_as_they_are(self, rows: Sequence[Any], base: str) -> bool:
        """Whether a part's rows are all here, in their order and unchanged; takes them if so.

        Of a million objects most are as they were: they need not be looked up one by one. New
        ones may lie between them. False may also mean that this is not so easily told.
        """
        if base != self.base or self._contents is not None:
            return False
        first = self.find([_absolute(base, rows[0][2])])[0]
        if first is None:
            return False
        now = (
            (index, [size, mtime_ns, *files, *([{"bands": bands}] if bands else [])])
            for index, size, mtime_ns, files, bands in self.sources.plain(
                first, first + 2 * len(rows)
            )
        )
        taken = []
        for row in rows:
            index = next((index for index, is_now in now if is_now == row), None)
            if index is None or not self.new[index]:
                return False
            taken.append(index)
        for index in taken:
            self.new[index] = 0
        return True

    def find(self, keys: Sequence[str]) -> list[int | None]:
        """Return for each key the number of the first source that is known by it, or None."""
        hashes = np.array([hash(key) for key in keys], np.int64)
        starts = np.searchsorted(self._hashes, hashes, side="left").tolist()
        ends = np.searchsorted(self._hashes, hashes, side="right").tolist()
        return [
            self._verified(key, start, end) if end > start else None
            for key, start, end in zip(keys, starts, ends, strict=True)
        ]

    def new_sources(self) -> Iterator[Source]:
        """Yield the sources that are in no part yet."""
        for index in itertools.compress(range(len(self.new)), self.new):
            yield self.source(index)

    def source(self, index: int) -> Source:
        """Return the source of that number, with its checksum where that was asked for."""
        source = self.sources[index]
        if self._contents is None:
            return source
        return dataclasses.replace(source, sha256=self._contents[index])

    def first_new(self, found: Sequence[int | None]) -> int | None:
        """Return the first of these sources that no row has taken yet."""
        return next((i for i in found if i is not None and self.new[i]), None)

    def absolute(self, index: int) -> list[str]:
        """Return the absolute paths of a source's files."""
        first = self.sources.first
        return [self._path(file) for file in range(first[index], first[index + 1])]

    def _verified(self, key: str, start: int, end: int) -> int | None:
        for index in self._owners[start:end].tolist():
            if key.startswith("\0coadd\0"):
                source = self.sources[index]
                if source.kind == "coadd" and key == _key(source, ""):
                    return int(index)
                continue
            which = self._identities[index]
            if any(key in (path + which, path) for path in self.absolute(index)):
                return int(index)
            source = self.sources[index]
            if source.object_id is not None and key == _by_id_of(source):
                return int(index)
        return None

    def _path(self, file: int) -> str:
        return self._folders[self.sources.folder[file]] + self.sources.names[file]


def _compare(
    planned: list[Source], base: str, known: _Known
) -> tuple[bool, bool, tuple[int, ...], int]:
    """Mark the part's objects as not new, bring its rows up to date.

    Returns whether its line changed, whether an object in it has to be computed again, the rows
    that are gone, how many rows were not asked for.
    """
    paths = [[_absolute(base, file) for file in source.files] for source in planned]
    rewritten = changed = False
    unasked = 0
    gone = []
    for row, index in enumerate(_find(planned, paths, known)):
        before = planned[row]
        if index is None:
            if any(map(_exists, paths[row])):
                unasked += 1
            else:
                gone.append(row)
            continue
        known.new[index] = 0
        source = known.source(index)
        came_to_nothing = source.is_absent and not before.is_absent
        # An object may have moved off coadds that are still there.
        if came_to_nothing and (source.kind != "coadd" or not any(map(_exists, paths[row]))):
            gone.append(row)
            continue
        # Paths stay as they were first given, unless the files are others now.
        same = known.absolute(index) == paths[row]
        files = before.files if same else tuple(known.absolute(index))
        if files != source.files:
            source = dataclasses.replace(source, files=files)
        planned[row], is_other = brought_up_to_date(before, source)
        rewritten |= planned[row] is not before
        changed |= is_other
    return rewritten, changed, tuple(gone), unasked


def _find(
    planned: Sequence[Source], paths: Sequence[Sequence[str]], known: _Known
) -> Iterator[int | None]:
    """Yield the number of the source that each row is of, None where it is not among them.

    A source that an earlier row has taken (in this loop or before it) is not found again.
    """
    keys, ends = [], [0]
    for source, some in zip(planned, paths, strict=True):
        keys += [_key(source, path) for path in (some[:1] if source.kind == "coadd" else some)]
        ends.append(len(keys))
    found = known.find(keys)
    for source, some, bounds in zip(planned, paths, itertools.pairwise(ends), strict=True):
        index = known.first_new(found[slice(*bounds)])
        if index is None and source.kind == "cutout":
            index = known.first_new(known.find(some))
        if index is None and source.object_id is not None:
            # What a list asks for may get its file later, or lose it.
            [other] = known.find([_by_id_of(source)])
            if other is not None and known.new[other]:
                kinds = {source.kind, known.sources[other].kind}
                index = other if "absent" in kinds else None
        yield index


def _decode(rows: Sequence[Any]) -> list[Source]:
    sources: list[Source] = []
    for row in rows:
        if isinstance(row, dict):
            before = sources[-1]
            files, size, mtime_ns = before.files, before.size, before.mtime_ns
            more = {"sha256": before.sha256, **row}
        else:
            size, mtime_ns, *names = row
            more = names.pop() if isinstance(names[-1], dict) else {}
            files = tuple(names)
        sources.append(Source(files, size, mtime_ns, **more))
    return sources


def _encode(sources: Iterable[Source]) -> list[Any]:
    rows: list[Any] = []
    before: tuple[Any, ...] = ()
    for source in sources:
        more = {
            name: value
            for name in _FIELDS
            # An unknown position, NaN, equals nothing.
            if (value := getattr(source, name)) != _DEFAULTS[name] and value == value
        }
        files = (source.size, source.mtime_ns, *source.files)
        if more and (files, source.sha256) == before:
            rows.append(more)
        else:
            if source.sha256 is not None:
                more["sha256"] = source.sha256
            rows.append([*files, more] if more else list(files))
        before = files, source.sha256
    return rows


def _key(source: Source, path: str) -> str:
    """Return what an object in a file is known by."""
    if source.kind == "coadd":
        return _on_coadds(source.object_id or "")
    return path + source.identity


def _on_coadds(object_id: str) -> str:
    return f"\0coadd\0{object_id}"


def _by_id(object_id: str, ra: float, dec: float) -> str:
    """Return the name of an object that a list asks for: no path has a NUL in it."""
    return f"\0{object_id} {ra:.3f} {dec:.3f}"


def _by_id_of(source: Source) -> str:
    return _by_id(source.object_id or "", source.ra, source.dec)


def _part(
    record: dict[str, Any], offset: int, length: int, gone: tuple[int, ...], unasked: int
) -> Part:
    rows = len(record["sources"])
    sources = record.get("same_as") or settings_sha256(record)
    return Part(record["part"], rows, sources, offset, length, gone, unasked)


def _append(
    path: Path, record: dict[str, Any], gone: tuple[int, ...] = (), unasked: int = 0
) -> Part:
    line = records.append(path, record)
    return _part(record, line.offset, line.length, gone, unasked)


def _latest_lines(path: Path) -> dict[int, tuple[int, int]]:
    return {
        line.record["part"]: (line.offset, line.length)
        for line in records.read_lines(path)
        if isinstance(line.record.get("part"), int)
    }


def _absolute(base: str, file: str) -> str:
    folder, slash, name = file.rpartition("/")
    return _absolute_folder(base, folder + slash) + name


@lru_cache(maxsize=1024)
def _absolute_folder(base: str, folder: str) -> str:
    """Return the folder's absolute path with a slash at its end."""
    path = os.path.normpath(os.path.join(base, folder))  # noqa: PTH118 (text with any bytes)
    return path if path.endswith("/") else f"{path}/"


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
