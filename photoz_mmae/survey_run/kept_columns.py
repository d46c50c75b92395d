"""Columns of the table of objects that are passed through to the catalogue (`--keep`).

They are written to the run folder in the order of the object table, an Arrow file each, and
mapped into memory while the catalogue is merged: a changed value costs a merge, no prediction.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from photoz_mmae.catalog.schema import Column
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.errors import InputError, OutputError, UsageError
from photoz_mmae.provenance import file_sha256, fingerprint
from photoz_mmae.survey_run.object_table import ObjectTable
from photoz_mmae.tables import TableFile

_CHUNK = 1 << 20

# What VOTable has no word for becomes the next wider type; readers of VOParquet know no null
# among booleans.
_STORED_AS = {
    pa.bool_(): pa.uint8(),
    pa.int8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.int64(),
    pa.float16(): pa.float32(),
}
_AS_THEY_ARE = (pa.uint8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64())


@dataclass(frozen=True)
class KeptColumns:
    """Columns to be joined to the catalogue by id.

    Attributes
    ----------
    objects : ObjectTable
        Of N objects.
    columns : tuple of Column
    values : tuple of arrow arrays, (N,) each
        In the order of the objects.
    lengths : dict of str to int
        Of the longest text of each column of text.
    sha256 : str
        Checksum of the columns, their values and the ids that these belong to.
    """

    objects: ObjectTable
    columns: tuple[Column, ...]
    values: tuple[Any, ...]
    lengths: dict[str, int]
    sha256: str

    def of(self, ids: Sequence[str]) -> list[Any]:
        """Return the values of objects, one arrow array per column, (n,).

        Null where they are unknown; of text nothing, as astropy makes the word None of a null.
        """
        rows, found = self.objects.find(ids)
        places = pa.array(rows, mask=~found)
        joined = []
        for column, values in zip(self.columns, self.values, strict=True):
            taken = pc.cast(values.take(places), column.type)
            joined.append(pc.fill_null(taken, "") if column.type == pa.string() else taken)
        return joined


def stored_types(
    table: TableFile, names: Sequence[str], own: Sequence[Column]
) -> dict[str, pa.DataType]:
    """Say as what each of the columns to be kept is stored.

    Parameters
    ----------
    table : TableFile
    names : sequence of str
    own : sequence of Column
        The catalogue's own.

    Raises
    ------
    UsageError
        One has the name of a column of the catalogue.
    InputError
        There is no such column, or its type has no place in a catalogue.
    """
    taken = {column.name.lower() for column in own}
    for name in names:
        if name.lower() in taken:
            raise UsageError(f"--keep: the catalogue has a column {name.lower()!r} of its own")
    return {name: _stored_type(table, name) for name in names}


def keep_columns(
    table: TableFile,
    kinds: Mapping[str, pa.DataType],
    objects: ObjectTable,
    rows: NDArray[Any],
    folder: Path,
) -> KeptColumns:
    """Read columns of a table, write them to `folder`, anew, and map them into memory.

    Parameters
    ----------
    table : TableFile
    kinds : mapping of str to arrow type
        Names of the columns, and as what each is stored.
    objects : ObjectTable
        Of N objects.
    rows : array of int, (N,)
        The table's row of each.
    folder : Path
        Without such files yet.

    Raises
    ------
    InputError
        A value does not fit.
    OutputError
        They cannot be written.
    """
    columns, values, lengths = [], [], {}
    try:
        folder.mkdir(exist_ok=True)
        for number, (name, kind) in enumerate(kinds.items()):
            path = folder / f"{number}.arrow"
            _write(path, _readable(table, name, kind), rows)
            about = table.about(name)
            described = about.description or f"{name} of the table given as --catalog"
            columns.append(
                Column(
                    name,
                    pa.string() if kind == pa.large_string() else kind,
                    about.unit and printable(about.unit),
                    printable(about.ucd),
                    printable(described),
                )
            )
            values.append(_mapped(path))
            if kind == pa.large_string():
                lengths[name] = pc.max(pc.utf8_length(values[-1])).as_py() or 0
        checksums = [file_sha256(folder / f"{n}.arrow") for n in range(len(kinds))]
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error})") from error
    ids = ObjectTable(objects.ids).sha256
    sha256 = fingerprint([ids, *checksums, *(str(column) for column in columns)])
    return KeptColumns(objects, tuple(columns), tuple(values), lengths, sha256)


def _stored_type(table: TableFile, name: str) -> pa.DataType:
    if name in table.unread:
        raise InputError(f"{table.path}: --keep {name}: a column of arrays cannot be kept")
    kind = table.column(name, "--keep").type
    kind = _STORED_AS.get(kind, kind)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind) or pa.types.is_temporal(kind):
        kind = pa.large_string()
    if kind not in (*_AS_THEY_ARE, pa.large_string()):
        raise InputError(
            f"{table.path}: --keep {name}: a column of type {kind} cannot be kept; numbers, text, "
            "times and booleans can"
        )
    return kind


def _readable(table: TableFile, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return pc.cast(table.column(name), kind)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{table.path}: --keep {name}: not storable as {kind} ({reason})"
        ) from error


def _write(path: Path, column: pa.ChunkedArray, rows: NDArray[Any]) -> None:
    values = column.combine_chunks()
    schema = pa.schema([("values", values.type)])
    with path.open("xb") as sink, pa.ipc.new_file(sink, schema) as file:
        for start in range(0, len(rows), _CHUNK):
            taken = values.take(pa.array(rows[start : start + _CHUNK]))
            file.write_batch(pa.record_batch([taken], schema=schema))
        os.fsync(sink.fileno())


def _mapped(path: Path) -> pa.ChunkedArray:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()["values"]
