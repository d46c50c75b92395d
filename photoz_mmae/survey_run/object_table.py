"""The table of objects given as `--catalog`: read once, sorted by id, looked up by all workers.

In the run folder it becomes a folder of arrays, `ids.npy` (bytes, increasing) and, where the
table has such columns, `ebv.npy`, `ra.npy`, `dec.npy` and `psf_fwhm_<b>.npy`. Workers map them
into memory: a task carries a path, and the processes of a machine share the pages.
"""

import dataclasses
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

from photoz_mmae.catalog.writer import sync_folder
from photoz_mmae.cutouts.read import read_id
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.model.dust import usable_ebv
from photoz_mmae.model.seeing import usable_fwhm
from photoz_mmae.survey_runs import PSF_ROLES, SurveyRun
from photoz_mmae.tables import ID_COLUMN, TableFile
from photoz_mmae.temporaries import temporary_path

LONGEST_ID = 40
"""Bytes: of a longer id its checksum is kept."""

LOOKED_AT = 1000
"""Cutouts that are looked at, about, before a table is refused for having none of them."""

_POSITION_COLUMNS = (("ra", "dec"), ("coord_ra", "coord_dec"), ("ra", "decl"))
"""Usual names, in any case."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class ObjectTable:
    """Ids of objects and what is known of them, sorted by id.

    Attributes
    ----------
    ids : array of bytes, (N,)
    ebv : array of float32, (N,), or None
        E(B-V), mag; NaN where missing. None where the table has no such column.
    ra, dec : array of float64, (N,), or None
        Position, deg; NaN where missing. None where the table has no such columns.
    psf_fwhm : dict of str to array of float32, (N,)
        Width of the PSF by band, arcsec; NaN where missing. Of the bands that the table has.
    """

    ids: NDArray[np.bytes_]
    ebv: NDArray[np.float32] | None = None
    ra: NDArray[np.float64] | None = None
    dec: NDArray[np.float64] | None = None
    psf_fwhm: Mapping[str, NDArray[np.float32]] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map what `save` wrote into memory; raises OutputError."""
        names = ("ids", *(name for name in _VALUES if (folder / f"{name}.npy").exists()))
        bands = [band for band, name in PSF_ROLES.items() if (folder / f"{name}.npy").exists()]

        def mapped(name: str) -> Any:
            return np.load(folder / f"{name}.npy", mmap_mode="r")

        try:
            widths = {band: mapped(PSF_ROLES[band]) for band in bands}
            return cls(**{name: mapped(name) for name in names}, psf_fwhm=widths)
        except (OSError, ValueError) as error:
            raise OutputError(f"{folder}: damaged or gone ({error}); remove it") from error

    @property
    def sha256(self) -> str:
        """Checksum of the content."""
        digest = sha256(str(self.ids.dtype).encode())
        for name, values in self._arrays.items():
            # Without a name: the checksum of ids and E(B-V) alone.
            digest.update(name.encode() if name not in ("ids", "ebv") else b"")
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write it as a folder that is either whole or not there; raises OutputError."""
        temporary = temporary_path(folder)
        try:
            temporary.mkdir()
            for name, values in self._arrays.items():
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
        if self.ebv is None:
            return np.full(len(ids), np.nan, np.float32)
        rows, found = self.find(ids)
        return np.where(found, self.ebv[rows], np.float32(np.nan))

    def positions_of(self, ids: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Right ascension and declination of objects, deg; NaN where they are not known, (N,)."""
        if self.ra is None or self.dec is None:
            return np.full(len(ids), np.nan), np.full(len(ids), np.nan)
        rows, found = self.find(ids)
        return np.where(found, self.ra[rows], np.nan), np.where(found, self.dec[rows], np.nan)

    def psf_fwhm_of(self, ids: Sequence[str], bands: Sequence[str]) -> NDArray[np.float32]:
        """Widths of the PSF, arcsec; NaN where they are not known, (N, B)."""
        values = np.full((len(ids), len(bands)), np.nan, np.float32)
        rows, found = self.find(ids)
        for number, band in enumerate(bands):
            if band in self.psf_fwhm:
                values[found, number] = self.psf_fwhm[band][rows[found]]
        return values

    @property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        values = {name: getattr(self, name) for name in ("ids", *_VALUES)}
        values |= {PSF_ROLES[band]: array for band, array in self.psf_fwhm.items()}
        return {name: array for name, array in values.items() if array is not None}


_VALUES = ("ebv", "ra", "dec")


class CatalogFile:
    """The table of objects as it was given, opened: its columns by their roles.

    Parameters
    ----------
    run : SurveyRun
        With `catalog`.
    psf_bands : sequence of str, optional
        Those whose PSF is of use.

    Attributes
    ----------
    table : TableFile
    columns : dict of str to str
        Name of the column of each role that the table has.
    psf_bands : list of str
        Bands whose PSF it tells.

    Raises
    ------
    InputError
        It is missing, damaged, or has nothing that was asked for.
    """

    def __init__(self, run: SurveyRun, psf_bands: Sequence[str] = ()) -> None:
        assert run.catalog is not None
        id_column = run.columns.get("id", ID_COLUMN)
        try:
            self.table = TableFile(run.catalog, id_column, "--columns id=NAME")
        except InputError as error:
            raise InputError(f"--catalog {error}") from error
        named: Mapping[str, str] = run.columns
        if run.list is not None:  # some may be names in the list
            names = {*self.table.names, named.get("id", ID_COLUMN)}
            named = {role: name for role, name in named.items() if name in names}
        useless = {role for band, role in PSF_ROLES.items() if band not in psf_bands}
        named = {role: name for role, name in named.items() if role not in useless}
        self.columns = {"id": ID_COLUMN, **named}
        widths = [(PSF_ROLES[band],) for band in psf_bands]
        for roles in (("ebv",), ("ra", "dec"), ("tract",), ("patch",), *widths):
            if not set(roles) & named.keys():
                self.columns |= zip(roles, self._usual(roles), strict=False)
        self.psf_bands = [band for band in psf_bands if PSF_ROLES[band] in self.columns]
        if not ({"ebv", "ra", "file"} & self.columns.keys() or self.psf_bands or run.keep):
            self.columns["ebv"] = "ebv"  # nothing there to be taken: the message says what
        if run.coadds is not None and "ra" not in self.columns:
            raise InputError(
                f"{run.catalog}: no columns ra and dec, where the objects are; "
                "--columns ra=NAME,dec=NAME names others"
            )

    def option(self, role: str) -> str:
        """Return the option that names the column of a role, for messages."""
        return f"--columns {role}=NAME"

    def _usual(self, roles: tuple[str, ...]) -> tuple[str, ...]:
        """Return the table's columns with usual names of these roles; none where one is missing."""
        for usual in _POSITION_COLUMNS if roles == ("ra", "dec") else (roles,):
            names = [[n for n in self.table.names if n.lower() == name] for name in usual]
            if all(len(found) == 1 for found in names):
                return tuple(found[0] for found in names)
        return ()


@dataclass(frozen=True)
class CatalogRows:
    """What was read of a table.

    Attributes
    ----------
    objects : ObjectTable
        Of N objects.
    rows : array of int, (N,)
        The file's row of each.
    repeated, without_id : int
        Rows that repeat the id of an earlier one, and rows without id; neither is among the N.
    """

    objects: ObjectTable
    rows: NDArray[np.int64]
    repeated: int
    without_id: int


def read_objects(file: CatalogFile) -> CatalogRows:
    """Read and sort a table.

    An id that occurs twice has the values of its first row. Rows without id are left out.

    Raises
    ------
    InputError
        It is damaged, without a column that was named, or without an id.
    """
    table, columns = file.table, file.columns
    ids = _keys(table.ids)
    order = np.argsort(ids, kind="stable")
    without_id = int(np.searchsorted(ids, b"", side="right", sorter=order))
    order = order[without_id:]
    if not len(order):
        raise InputError(f"{table.path}: column {columns['id']!r} holds no id")
    ids = ids[order]
    first = np.append(True, ids[1:] != ids[:-1])
    rows = order[first]
    values: dict[str, Any] = {}
    if "ebv" in columns:
        values["ebv"] = usable_ebv(table.numbers(columns["ebv"], file.option("ebv")))[rows]
    values["psf_fwhm"] = {
        band: usable_fwhm(table.numbers(columns[role], file.option(role)))[rows]
        for band, role in PSF_ROLES.items()
        if band in file.psf_bands
    }
    if "ra" in columns:
        ra, dec = (table.angles(columns[role], file.option(role))[rows] for role in ("ra", "dec"))
        usable = (np.abs(ra) <= 360) & (np.abs(dec) <= 90)  # not those that say "unknown"
        values["ra"] = np.where(usable, ra % 360.0, np.nan)
        values["dec"] = np.where(usable, dec, np.nan)
    return CatalogRows(ObjectTable(ids[first], **values), rows, int(np.sum(~first)), without_id)


def check_ids(table: ObjectTable, file: CatalogFile, sources: Sequence[Source]) -> None:
    """Raise InputError when none of the cutouts, or of some of very many, is in the table."""
    step = max(len(sources) // LOOKED_AT, 1)
    ids = []
    for source in sources[::step]:
        ids.append(read_id(source))
        if table.find(ids[-1:])[1].any():
            return
    raise InputError(
        f"{file.table.path}: column {file.columns['id']!r} has the id of none of {len(ids)} "
        f"cutouts looked at (cutouts: {ids[0]!r}, ...; table: "
        f"{table.ids[0].decode(errors='replace')!r}, ...); {file.option('id')} names another column"
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
