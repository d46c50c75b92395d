"""Millions of sources in little memory: names in one buffer, folders once, the rest in arrays."""

import itertools
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.source import Kind, Source, identity
from photoz_mmae.cutouts.texts import Texts, Words


@dataclass(frozen=True)
class FileList:
    """Files, folder by folder, names in natural order.

    Attributes
    ----------
    folders : list of str
        Each with a slash at its end, unless it is ''.
    folder : array of int32, (F,)
        Number of each file's folder.
    names : Texts, (F,)
    size, mtime_ns : array of int64, (F,)
    """

    folders: list[str]
    folder: NDArray[np.int32]
    names: Texts
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]

    def path(self, file: int) -> str:
        """Return the path of the file of that number."""
        return self.folders[int(self.folder[file])] + self.names[file]


class SourceList(Sequence[Source]):
    """A sequence of N sources with F files, made one by one when they are asked for.

    A million objects of one file each take some 75 MB, a third of it their names.

    Attributes
    ----------
    folders : list of str
        Each with a slash at its end, unless it is ''.
    names : Texts, (F,)
        File names without their folder, object after object.
    folder : array of int, (F,)
        Number of each file's folder.
    first : array of int, (N + 1,)
        Object k has the files `first[k]` to `first[k + 1]`.
    """

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self.folders: list[str] = []
        self.names = Texts()
        self.folder = array("i")
        self.first = array("q", [0])
        self._numbers: dict[str, int] = {}
        self._files: tuple[str, ...] | None = None
        self._size = array("q")
        self._mtime_ns = array("q")
        self._kind: Words[Kind] = Words()
        self._row = array("q")
        self._bands: Words[str] = Words()
        # Where most are not given any these end early: what follows has none.
        self._object_id: list[str | None] = []
        self._ra = array("d")
        self._dec = array("d")
        for source in sources:
            self.append(source)

    def append(self, source: Source) -> None:
        """Add one source."""
        if source.files == self._files:  # objects of one coadd or shard: their names once
            first, last = self.first[-2], self.first[-1]
            self.names.extend(self.names[first:last])
            self.folder.extend(self.folder[first:last])
        else:
            self._files = source.files
            for file in source.files:
                folder, slash, name = file.rpartition("/")
                self.names.append(name)
                self.folder.append(self._number(folder + slash))
        self.first.append(len(self.names))
        self._size.append(source.size)
        self._mtime_ns.append(source.mtime_ns)
        self._kind.append(source.kind)
        self._row.append(source.row)
        self._bands.append(source.bands)
        if source.object_id is not None or not (math.isnan(source.ra) and math.isnan(source.dec)):
            without = len(self) - 1 - len(self._ra)
            self._object_id.extend([*itertools.repeat(None, without), source.object_id])
            self._ra.extend([*itertools.repeat(math.nan, without), source.ra])
            self._dec.extend([*itertools.repeat(math.nan, without), source.dec])

    @classmethod
    def of_files(
        cls,
        files: FileList,
        members: NDArray[np.int64],
        counts: NDArray[np.int64],
        bands: Sequence[str],
        rows: NDArray[np.int64],
        kind: Mapping[int, Kind],
    ) -> "SourceList":
        """Make objects out of files, whose names are taken over, not copied, if in order.

        Parameters
        ----------
        files : FileList
        members : array of int, (F,)
            Numbers of the files, object after object.
        counts : array of int, (N,)
            Files of each object.
        bands : sequence of str, (N,)
        rows : array of int, (N,)
        kind : mapping of int to str
            Of the files that are no cutouts.
        """
        made = cls()
        n, starts = len(counts), np.cumsum(counts) - counts
        made.folders = list(files.folders)
        made._numbers = {folder: number for number, folder in enumerate(files.folders)}
        as_they_are = np.array_equal(members, np.arange(len(files.names)))
        made.names = files.names if as_they_are else files.names.take(members)
        made.folder.frombytes(files.folder[members].tobytes())
        made.first.frombytes(np.cumsum(counts, dtype=np.int64).tobytes())
        if n:
            made._size.frombytes(np.add.reduceat(files.size[members], starts).tobytes())
            newest = np.maximum.reduceat(files.mtime_ns[members], starts)
            made._mtime_ns.frombytes(newest.tobytes())
        made._kind.extend(itertools.repeat("cutout", n))
        for index in np.flatnonzero(rows >= 0).tolist():
            made._kind[index] = kind[int(members[starts[index]])]
        made._row.frombytes(rows.tobytes())
        made._bands.extend(bands)
        return made

    def __len__(self) -> int:
        return len(self._size)

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> list[Source]: ...
    def __getitem__(self, index: int | slice) -> Source | list[Source]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        first, last = self.first[index], self.first[index + 1]
        object_id, ra, dec = self._given(index)
        return Source(
            files=tuple([self.path(file) for file in range(first, last)]),
            size=self._size[index],
            mtime_ns=self._mtime_ns[index],
            kind=self._kind[index],
            row=self._row[index],
            bands=self._bands[index],
            object_id=object_id,
            # The very NaN of the class, so that equal sources are equal.
            ra=math.nan if math.isnan(ra) else ra,
            dec=math.nan if math.isnan(dec) else dec,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(
            one == two for one, two in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SourceList({list(self)!r})"

    def identities(self) -> Iterator[str]:
        """Yield `Source.identity` of each object."""
        ids = itertools.chain(self._object_id, itertools.repeat(None))
        return map(identity, self._kind, self._row, ids)

    def named(self) -> Iterator[tuple[int, str, float, float]]:
        """Yield number, id, right ascension, declination of objects that were given an id.

        Those in files that hold many objects are left out: their id is their identity.
        """
        for index, object_id in enumerate(self._object_id):
            if object_id is not None and self._kind[index] in ("cutout", "absent"):
                yield index, object_id, self._ra[index], self._dec[index]

    def on_coadds(self) -> Iterator[tuple[int, str]]:
        """Yield number and id of the objects on coadds."""
        for index, kind in enumerate(self._kind):
            if kind == "coadd":
                yield index, self._given(index)[0] or ""

    def plain(self, start: int, stop: int) -> Iterator[tuple[int, int, int, list[str], str]]:
        """Yield number, size, time, files and bands of cutouts that nobody says more of."""
        for index in range(start, min(stop, len(self))):
            object_id, ra, _ = self._given(index)
            if self._kind[index] == "cutout" and object_id is None and math.isnan(ra):
                files = list(map(self.path, range(self.first[index], self.first[index + 1])))
                yield index, self._size[index], self._mtime_ns[index], files, self._bands[index]

    def path(self, file: int) -> str:
        """Return the path of the file of that number, 0 to F - 1."""
        return self.folders[int(self.folder[file])] + self.names[file]

    def _given(self, index: int) -> tuple[str | None, float, float]:
        if index >= len(self._ra):
            return None, math.nan, math.nan
        return self._object_id[index], self._ra[index], self._dec[index]

    def _number(self, folder: str) -> int:
        number = self._numbers.setdefault(folder, len(self.folders))
        if number == len(self.folders):
            self.folders.append(folder)
        return number
