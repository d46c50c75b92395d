"""A catalogue whose rows are in another order than the plan's (HATS), against its run folder.

The catalogue is read once, and of each row its place and two hashes are kept: of id and source, and
of all values. Then each part's rows are looked up, part by part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photoz_mmae.catalog.opened import OpenedCatalogue
from photoz_mmae.catalog.schema import Column
from photoz_mmae.catalog.verify_rows import own_columns
from photoz_mmae.cutouts.source import Source, source_names
from photoz_mmae.flags import Flag
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.plan import Part, read_sources
from photoz_mmae.survey_run.verify_against import Against
from photoz_mmae.survey_run.verify_parts import PartsCheck
from photoz_mmae.survey_run.verify_rows import SET_BY_MERGE, distances, shown
from photoz_mmae.survey_run.verify_sample import Sample
from photoz_mmae.words import count

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class _Drawn:
    """Rows of a part that are to be predicted again, and where they are in the catalogue."""

    places: Numbers
    rows: list[int]
    sources: list[Source]
    base: str
    record: PartRecord


class Shuffled:
    """Rows of a catalogue in any order, found again by id and source.

    Parameters
    ----------
    catalogue : OpenedCatalogue
    parts : PartsCheck
        Takes note of what is wrong.

    Attributes
    ----------
    lost : int
        Rows of parts whose files are lost, of which nothing can be said.
    """

    def __init__(self, catalogue: OpenedCatalogue, parts: PartsCheck) -> None:
        self.lost = 0
        self._catalogue = catalogue
        self._parts = parts
        self._keys: list[Hashes] = []
        self._values: list[Hashes] = []
        self._gone: list[NDArray[np.bool_]] = []

    def look_at(self, table: pa.Table) -> None:
        """Remember the next rows of the catalogue, with the columns of part files."""
        self._keys.append(_keys(table))
        self._values.append(_values(table, self._parts.columns))
        self._gone.append((table["flags"].to_numpy() & int(Flag.SOURCE_GONE)) != 0)

    def compare(self, sample: Sample | None, against: Against | None) -> None:
        """Look up the rows of all parts; let the sample and the cutouts have what is found."""
        index = _Index(_joined(self._keys), _joined(self._values))
        gone = np.concatenate([np.empty(0, bool), *self._gone])
        drawn = []
        start = 0
        for part in self._parts.parts:
            is_finished = self._parts.is_finished(part)
            written = self._parts.written(part) if is_finished else None
            if written is None:
                self.lost += part.rows
            else:
                plan = self._parts.folder.plan
                sources, base = read_sources(plan, part.offset, part.length)
                places, same = index.find(_keys(written), _values(written, self._parts.columns))
                self._note(part, written, sources, places, same)
                found = np.flatnonzero(places >= 0)
                if sample is not None:
                    rows = sample.drawn_from(start, part.rows)
                    here = rows[places[rows] >= 0]
                    numbers = here.tolist()
                    planned = [sources[row] for row in numbers]
                    record = self._parts.journal[part.number]
                    drawn.append(_Drawn(places[here], numbers, planned, base, record))
                if against is not None:
                    flags = np.where(gone[places[found]], int(Flag.SOURCE_GONE), 0)
                    names = written["source"].take(pa.array(found))
                    against.look_at(pa.table({"source": names, "flags": flags}), base)
            start += part.rows
        self._note_rest(index)
        if sample is not None:
            self._fetch(sample, [each for each in drawn if each.rows])

    def _note(
        self,
        part: Part,
        written: pa.Table,
        sources: Sequence[Source],
        places: Numbers,
        same: NDArray[np.bool_],
    ) -> None:
        ids, record = self._parts.ids, self._parts.journal[part.number]
        if written["source"].to_pylist() != source_names(sources):
            ids.note(f"{record.file} has other sources, or in another order, than the plan")
        for row in np.flatnonzero(places < 0).tolist():
            ids.note(
                f"object {written['object_id'][row]} of part {part.number} "
                f"({written['source'][row]}) is not there"
            )
        content = self._parts.content
        for row in np.flatnonzero((places >= 0) & ~same).tolist():
            # Rows are read again one by one: those of the first fault are enough.
            place = int(places[row])
            content.note("" if content.count else self._difference(place, written, row, record))

    def _difference(self, place: int, written: pa.Table, row: int, record: PartRecord) -> str:
        table, other = self._rows(np.array([place])), written.slice(row, 1)
        for column in self._parts.columns:
            if distances(table, other, column.name)[0]:
                name = self._parts.naming.name(column.name)
                here, there = shown(table, other, column.name, 0)
                return (
                    f"{self._catalogue.place(place)}: {name} of object {table['object_id'][0]} is "
                    f"{here}, in {record.file} {there}"
                )
        return f"{self._catalogue.place(place)} is another than in {record.file}"

    def _note_rest(self, index: "_Index") -> None:
        ids = self._parts.ids
        if twice := index.asked_too_often:
            some = count(twice, "row")
            ids.note(f"missing: {some} of the parts, with id and source of rows that are there")
        rest = index.rest()
        if len(rest) > self.lost:
            more = len(rest) - self.lost
            which = "" if self.lost else f", the first {self._catalogue.place(int(rest.min()))}"
            ids.note(f"{count(more, 'row is', 'rows are')} of no part, or there twice{which}")
        elif len(rest) < self.lost:
            missing = count(self.lost - len(rest), "row")
            ids.note(f"missing: {missing} of parts whose files are lost")

    def _fetch(self, sample: Sample, drawn: Sequence[_Drawn]) -> None:
        if not drawn:
            return
        table = self._rows(np.concatenate([each.places for each in drawn]))
        start = 0
        for each in drawn:
            here = table.slice(start, len(each.rows))
            sample.look_at(here, each.rows, each.sources, each.base, each.record)
            start += len(each.rows)

    def _rows(self, places: Numbers) -> pa.Table:
        return own_columns(self._catalogue.take(places), self._parts.columns)


class _Index:
    """Hashes of rows, in the order of those of their ids and sources."""

    def __init__(self, keys: Hashes, values: Hashes) -> None:
        self._order = np.lexsort((values, keys))
        self._keys = keys[self._order]
        self._values = values[self._order]
        self._asked = np.zeros(len(keys), np.int32)

    def find(self, keys: Hashes, values: Hashes) -> tuple[Numbers, NDArray[np.bool_]]:
        """Return the numbers of rows, -1 where there is none, and whether their values are these.

        Of several with one id and source it is one that has the values, if there is one.
        """
        first = np.searchsorted(self._keys, keys, side="left")
        behind = np.searchsorted(self._keys, keys, side="right")
        there = first < behind
        np.add.at(self._asked, first[there], 1)
        place = np.where(there, first, 0)
        for row in np.flatnonzero(behind - first > 1).tolist():
            some = self._values[first[row] : behind[row]]
            place[row] += min(int(np.searchsorted(some, values[row])), len(some) - 1)
        if not len(self._keys):
            return np.full(len(keys), -1), np.zeros(len(keys), bool)
        same = there & (self._values[place] == values)
        return np.where(there, self._order[place], -1), same

    @property
    def asked_too_often(self) -> int:
        """How many more rows were looked up than there are, of ids and sources that are there."""
        first, counts = self._counts()
        return int(np.maximum(self._asked[first] - counts, 0).sum())

    def rest(self) -> Numbers:
        """Return the numbers of rows that were not looked up, or are there more often than that."""
        first, counts = self._counts()
        rank = np.arange(len(self._keys)) - np.repeat(first, counts)
        return np.asarray(self._order[rank >= np.repeat(self._asked[first], counts)])

    def _counts(self) -> tuple[Numbers, Numbers]:
        _, first, counts = np.unique(self._keys, return_index=True, return_counts=True)
        return first, counts


def _keys(table: pa.Table) -> Hashes:
    """Hash id, as text, and source of each row."""
    ids = map(str, table["object_id"].to_pylist())
    pairs = zip(ids, table["source"].to_pylist(), strict=True)
    return np.array([hash(pair) for pair in pairs], np.int64).view(np.uint64)


def _values(table: pa.Table, columns: Sequence[Column]) -> Hashes:
    """Hash all values of each row but id and source; flags but for those that `merge` sets."""
    hashes = np.zeros(len(table), np.uint64)
    for column in columns:
        if column.name in ("object_id", "source"):
            continue
        values = table[column.name].combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            size = column.type.list_size
            flat = values.fill_null(pa.scalar([np.nan] * size, column.type)).flatten()
            for one in _bits(flat).reshape(-1, size).T:
                hashes = _mixed(hashes ^ one)
        else:
            if column.name == "flags":
                values = pa.array(values.to_numpy() & ~int(SET_BY_MERGE))
            hashes = _mixed(hashes ^ _bits(values))
    return hashes


def _bits(values: pa.Array) -> Hashes:
    """Return numbers as whole ones that are equal where they are, null as NaN."""
    numbers = values.to_numpy(zero_copy_only=False)
    if numbers.dtype.kind == "f":
        numbers = numbers.astype(np.float64) + 0.0  # -0 and 0 are equal
        numbers[np.isnan(numbers)] = np.nan
        return np.asarray(numbers.view(np.uint64))
    return np.asarray(numbers.astype(np.int64).view(np.uint64))


def _mixed(hashes: Hashes) -> Hashes:
    """Let each bit depend on all others (the last steps of splitmix64)."""
    hashes = hashes + np.uint64(0x9E37_79B9_7F4A_7C15)
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return np.asarray(hashes ^ (hashes >> np.uint64(31)))


def _joined(hashes: Sequence[Hashes]) -> Hashes:
    return np.concatenate([np.empty(0, np.uint64), *hashes])
