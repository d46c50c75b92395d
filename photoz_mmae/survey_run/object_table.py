"""The table of objects given as `--catalog`: read once, sorted by id, looked up by all workers.

In the run folder it becomes a folder of two arrays, `ids.npy` (bytes, increasing) and `ebv.npy`.
Workers map them into memory: a task carries a path, and the processes of a machine share the pages.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from photoz_mmae.catalog.writer import sync_folder, temporary_path
from photoz_mmae.cutouts.read import read_id
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.model.dust import usable_ebv
from photoz_mmae.runs import PredictRun
from photoz_mmae.tables import TableFile

LONGEST_ID = 40
"""Bytes: of a longer id its checksum is kept."""

LOOKED_AT = 1000
"""Cutouts that are looked at, about, before a table is refused for having none of them."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class ObjectTable:
    """Ids of objects and what is known of them, sorted by id.

    Attributes
    ----------
    ids : array of bytes, (N,)
    ebv : array of float32, (N,)
        E(B-V), mag; NaN where missing.
    """

    ids: NDArray[np.bytes_]
    ebv: NDArray[np.float32]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map what `save` wrote into memory; raises OutputError."""
        try:
            ids, ebv = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "ebv"))
        except (OSError, ValueError) as error:
            raise OutputError(f"{folder}: damaged or gone ({error}); remove it") from error
        return cls(ids, ebv)

    @property
    def sha256(self) -> str:
        """Checksum of the content."""
        digest = sha256(str(self.ids.dtype).encode())
        digest.update(np.ascontiguousarray(self.ids).data)
        digest.update(np.ascontiguousarray(self.ebv).data)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write it as a folder that is either whole or not there; raises OutputError."""
        temporary = temporary_path(folder)
        try:
            temporary.mkdir()
            for name, values in (("ids", self.ids), ("ebv", self.ebv)):
                with (temporary / f"{name}.npy").open("xb") as file:
                    np.save(file, values)
                    file.flush()
                    os.fsync(file.fileno())
            temporary.rename(folder)
            sync_folder(folder.parent)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OutputError(f"{folder}: cannot be written ({error})") from error

    def find(self, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Look ids up: their rows here (any, where they are not), and which of them are here."""
        if not len(ids):
            return np.zeros(0, np.int64), np.zeros(0, bool)
        wanted = np.array([_key(text.encode("utf-8", "surrogateescape")) for text in ids])
        # Of one width, else numpy makes a wider copy of them all; what is cut off, the comparison
        # below finds.
        rows = np.searchsorted(self.ids, wanted.astype(self.ids.dtype))
        rows = np.minimum(rows, len(self.ids) - 1)
        return rows, self.ids[rows] == wanted

    def ebv_of(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """E(B-V) of objects, mag; NaN for those that are not here, (N,)."""
        rows, found = self.find(ids)
        return np.where(found, self.ebv[rows], np.float32(np.nan))


def read_object_table(path: Path, columns: Mapping[str, str]) -> tuple[ObjectTable, int]:
    """Read and sort a table; returns it, and how many rows repeat the id of an earlier one.

    An id that occurs twice has the values of its first row. Rows without id are left out.

    Parameters
    ----------
    path : Path
        CSV, Parquet or FITS.
    columns : mapping of str to str
        Names of the columns `id` and `ebv` in it.

    Raises
    ------
    InputError
        It is missing, damaged, without these columns, or without an id.
    """
    table = TableFile(path, columns["id"], "--columns id=NAME")
    ids = _keys(table.ids)
    ebv = usable_ebv(table.numbers(columns["ebv"], "--columns ebv=NAME"))
    order = np.argsort(ids, kind="stable")
    order = order[np.searchsorted(ids, b"", side="right", sorter=order) :]
    if not len(order):
        raise InputError(f"{path}: column {columns['id']!r} holds no id")
    ids = ids[order]
    first = np.append(True, ids[1:] != ids[:-1])
    return ObjectTable(ids[first], ebv[order[first]]), int(np.sum(~first))


def check_ids(table: ObjectTable, run: PredictRun, sources: Sequence[Source]) -> None:
    """Raise InputError when none of the cutouts, or of some of very many, is in the table."""
    step = max(len(sources) // LOOKED_AT, 1)
    ids = []
    for source in sources[::step]:
        ids.append(read_id(source))
        if table.find(ids[-1:])[1].any():
            return
    raise InputError(
        f"{run.catalog}: column {run.columns['id']!r} has the id of none of {len(ids)} cutouts "
        f"looked at (cutouts: {ids[0]!r}, ...; table: {table.ids[0].decode(errors='replace')!r}, "
        "...); --columns id=NAME names another column"
    )


def _keys(ids: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Ids as bytes of one width, null as none, (N,)."""
    data = pc.fill_null(pc.cast(ids, pa.large_binary()), b"")
    longest = pc.max(pc.binary_length(data)).as_py() or 1
    keys = np.zeros(len(data), f"S{min(longest, LONGEST_ID)}")
    for start in range(0, len(data), _CHUNK):
        some: Any = data.slice(start, _CHUNK).to_numpy()
        keys[start : start + _CHUNK] = [_key(text) for text in some]
    return keys


def _key(text: bytes) -> bytes:
    if len(text) <= LONGEST_ID:
        return text
    return blake2b(text, digest_size=LONGEST_ID // 2).hexdigest().encode()
