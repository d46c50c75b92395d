"""What was found, looked up by the names that an object of the plan is known by."""

import dataclasses
import itertools
import os
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.source_list import SourceList
from photoz_mmae.survey_run.contents import Contents


class Known:
    """What was found, looked up by the names that an object is known by.

    A million paths as text would take more memory than all the rest: their hashes are kept, in
    order, and the text is made again to verify a match.
    """

    def __init__(self, sources: SourceList, base: str, contents: Contents | None) -> None:
        self.sources = sources
        self.base = base
        self._contents = contents
        self._real: dict[str, str] = {}
        self._folders = [absolute_folder(base, folder) for folder in sources.folders]
        hashes, owners = array("q"), array("q")
        identities = list(sources.identities())
        on_coadds = dict(sources.on_coadds())
        for index, (first, last) in enumerate(itertools.pairwise(sources.first)):
            if index in on_coadds:
                hashes.append(hash(on_coadds_key(on_coadds[index])))
                owners.append(index)
                continue
            for file in range(first, last):
                hashes.append(hash(self._path(file) + identities[index]))
                owners.append(index)
        for index, object_id, ra, dec in sources.named():
            # Its name may have come, or changed, since its file was planned.
            names = [*self.absolute(index), by_id(object_id, ra, dec)]
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
            key = key_of(sources[index], self._path(sources.first[index]))
            self.new[index] = self.find([key]) == [index]

    def has_as_they_are(self, rows: Sequence[Any], base: str) -> bool:
        """Whether a part's rows are all here, in their order and unchanged; takes them if so.

        Of a million objects most are as they were: they need not be looked up one by one. New
        ones may lie between them. False may also mean that this is not so easily told.
        """
        if base != self.base or self._contents is not None:
            return False
        first = self.find([absolute(base, rows[0][2])])[0]
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

    def only(self, path: str) -> int | None:
        """Return the number of the source in a file, None unless there is exactly one."""
        wanted = np.int64(hash(path))
        start, end = (
            np.searchsorted(self._hashes, wanted, side=side) for side in ("left", "right")
        )
        owners = {i for i in self._owners[start:end].tolist() if path in self.absolute(i)}
        return owners.pop() if len(owners) == 1 else None

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

    def real(self, path: str) -> str:
        """Return a path with the links in its folder followed: where it was moved to, perhaps."""
        folder, name = os.path.split(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)  # noqa: PTH118 (text with any bytes)

    def _verified(self, key: str, start: int, end: int) -> int | None:
        for index in self._owners[start:end].tolist():
            if key.startswith("\0coadd\0"):
                source = self.sources[index]
                if source.kind == "coadd" and key == key_of(source, ""):
                    return int(index)
                continue
            which = self._identities[index]
            if any(key in (path + which, path) for path in self.absolute(index)):
                return int(index)
            source = self.sources[index]
            if source.object_id is not None and key == by_id_of(source):
                return int(index)
        return None

    def _path(self, file: int) -> str:
        return self._folders[self.sources.folder[file]] + self.sources.names[file]


def key_of(source: Source, path: str) -> str:
    """Return what an object in a file is known by."""
    if source.kind == "coadd":
        return on_coadds_key(source.object_id or "")
    return path + source.identity


def on_coadds_key(object_id: str) -> str:
    return f"\0coadd\0{object_id}"


def by_id(object_id: str, ra: float, dec: float) -> str:
    """Return the name of an object that a list asks for: no path has a NUL in it."""
    return f"\0{object_id} {ra:.3f} {dec:.3f}"


def by_id_of(source: Source) -> str:
    return by_id(source.object_id or "", source.ra, source.dec)


def absolute(base: str, file: str) -> str:
    folder, slash, name = file.rpartition("/")
    return absolute_folder(base, folder + slash) + name


@lru_cache(maxsize=1024)
def absolute_folder(base: str, folder: str) -> str:
    """Return the folder's absolute path with a slash at its end."""
    path = os.path.normpath(os.path.join(base, folder))  # noqa: PTH118 (text with any bytes)
    return path if path.endswith("/") else f"{path}/"
