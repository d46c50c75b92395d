"""Some objects of a catalogue predicted again, in this process, and compared."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photoz_mmae.catalog.schema import Column
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag
from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.weights import load_model
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.object_table import ObjectTable
from photoz_mmae.survey_run.part import absolute, predict_rows
from photoz_mmae.survey_run.products import Product
from photoz_mmae.survey_run.run_folder import RunFolder
from photoz_mmae.survey_run.verify_parts import Faults
from photoz_mmae.survey_run.verify_rows import distances, shown

TOLERANCE = 1e-5
"""Between processors of other types; on one type values are equal to the last bit."""

_NOT_PREDICTED = ("object_id", "source")


class Sample:
    """Objects of a catalogue drawn at random, which are gathered while its parts go by.

    Parameters
    ----------
    folder : RunFolder
    rows : int
        Of the catalogue, in the order of the plan.
    size : int
        Objects to be drawn, at most.
    seed : int

    Attributes
    ----------
    drawn : int
    kept : int
        Objects of these that can be predicted again.
    passed_over : int
        Objects of these whose cutouts are gone, deadly, or others than were predicted; the rest
        are of parts that were not looked at.
    """

    def __init__(self, folder: RunFolder, rows: int, size: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._rows = np.sort(rng.choice(rows, min(size, rows), replace=False))
        self._folder = folder
        self._sources: dict[Path | None, list[Source]] = {}
        self._tables: dict[Path | None, list[pa.Table]] = {}
        self.drawn = len(self._rows)
        self.kept = 0
        self.passed_over = 0

    def drawn_from(self, start: int, rows: int) -> NDArray[np.int64]:
        """Return which of some rows were drawn, the first of which is number `start`, (K,)."""
        here = self._rows[(self._rows >= start) & (self._rows < start + rows)]
        return np.asarray(here - start)

    def look_at(
        self,
        table: pa.Table,
        rows: Sequence[int],
        planned: Sequence[Source],
        base: str,
        record: PartRecord,
    ) -> None:
        """Keep those of the rows drawn from a part that can be predicted again.

        Parameters
        ----------
        table : pyarrow.Table
            The rows, with the columns of part files.
        rows : sequence of int
            Their numbers in the part.
        planned : sequence of Source
            Theirs.
        base : str
            Where relative paths start.
        record : PartRecord
            Of the part.
        """
        sha256 = record.settings.partition(":")[2]
        objects = self._folder.table(sha256) if sha256 else None
        flags = table["flags"].to_numpy()
        kept = []
        for place, row in enumerate(rows):
            source = absolute(planned[place], base)
            is_there = not flags[place] & Flag.SOURCE_GONE and _is_unchanged(source)
            # Of what was kept another table may have said otherwise.
            is_there &= row not in record.deadly and not (sha256 and row in record.kept)
            if is_there and (objects is None or objects.is_dir()):
                self._sources.setdefault(objects, []).append(source)
                kept.append(place)
        self.kept += len(kept)
        self.passed_over += len(rows) - len(kept)
        if kept:
            self._tables.setdefault(objects, []).append(table.take(pa.array(kept)))

    def compare(
        self,
        model: Path,
        device: str,
        product: Product,
        columns: Sequence[Column],
        resample: bool,
    ) -> tuple[Faults, str]:
        """Predict again.

        Parameters
        ----------
        model : Path
            Its folder.
        device : str
        product : Product
        columns : sequence of Column
            The catalogue's own, as they are in part files.
        resample : bool

        Returns
        -------
        faults : Faults
            Values that differ by more than `TOLERANCE`, relative to 1 or to the value.
        largest : str
            The largest difference, in words.

        Raises
        ------
        ModelError, UsageError
            There is no such model or device.
        """
        faults, largest, where = Faults(), 0.0, ""
        engine = Engine(load_model(model), device, masks=product.masks)
        for folder, sources in self._sources.items():
            objects = ObjectTable.open(folder) if folder is not None else None
            again = predict_rows(engine, product, sources, "", columns, objects, resample)
            table = pa.concat_tables(self._tables[folder])
            for column in columns:
                name = column.name
                if name in _NOT_PREDICTED:
                    continue
                far = distances(table, again, name)
                if far.max() > largest:
                    largest, where = float(far.max()), f" ({product.naming.name(name)})"
                for row in np.flatnonzero(far > TOLERANCE).tolist():
                    here, there = shown(table, again, name, row)
                    faults.note(
                        f"{product.naming.name(name)} of object {table['object_id'][row]} is "
                        f"{here}, predicted again {there}"
                    )
        return faults, f"{largest:.2g}{where}"


def _is_unchanged(source: Source) -> bool:
    """Whether a source's files have the size and time that they had."""
    if source.is_absent:
        is_there = any(os.path.exists(file) for file in source.files)  # noqa: PTH110
        return source.kind in ("absent", "coadd") or not is_there
    try:
        found = [os.stat(file) for file in source.files]  # noqa: PTH116
    except OSError:
        return False
    size, newest = sum(s.st_size for s in found), max(s.st_mtime_ns for s in found)
    return (size, newest) == (source.size, source.mtime_ns)
