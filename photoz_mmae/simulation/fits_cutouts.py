"""The mock survey as FITS cutouts in the layout of a survey, and their truth beside them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae import __version__
from photoz_mmae.cutouts.ids import is_utf8, printable
from photoz_mmae.errors import OutputError, UsageError
from photoz_mmae.simulation.layouts import get_layout, stamps
from photoz_mmae.simulation.observe import MockChunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.temporaries import remove_temporaries, temporaries, temporary_path

TRUTH = "truth.parquet"
_KIND = (b"photoz_mmae.kind", b"mock cutouts")
_TABLES = b"photoz_mmae.tables"
_UNFINISHED = "simulate"  # as `temporaries` know it


class CutoutFolder:
    """Writes chunks as FITS files into `path`, and `truth.parquet` beside them.

    The files appear in `path` when all are written; until then they are in a hidden folder there,
    on one file system with what they become. Used as a context: leaving it after an exception
    removes what was written. One writer at a time: each begins by removing what others left.

    Parameters
    ----------
    path : Path
        Created where it is missing.
    layout : {"cube", "mef", "per-band", "hsc-das", "lsst"}
        One of `layouts`.
    recipe : Recipe
        Recorded in the truth's metadata.
    overwrite : bool
        Replace the files that an earlier call wrote into `path`, and no other file.

    Raises
    ------
    UsageError
        The recipe's survey does not serve its cutouts in this layout, or the name is not UTF-8.
    OutputError
        The folder holds something, or cannot be written.
    """

    def __init__(self, path: Path, layout: str, recipe: Recipe, overwrite: bool) -> None:
        self._layout = get_layout(layout, recipe.survey)
        if not is_utf8(str(path)):
            raise UsageError(
                f"{printable(str(path))}: no UTF-8, and no program could open {TRUTH} there; "
                "choose another name"
            )
        self._path = path
        self._survey = recipe.survey
        self._count = 0
        self._open = ExitStack()
        with self._reporting():
            self._old = _files_to_replace(path, overwrite)
            self._is_new = not path.exists()
            self._temporary = temporary_path(path / _UNFINISHED)
            try:
                path.mkdir(parents=True, exist_ok=True)
                remove_temporaries(path / _UNFINISHED)
                self._temporary.mkdir()
                schema = _truth_schema(recipe, self._layout.table_names)
                self._truth = pq.ParquetWriter(self._temporary / TRUTH, schema)
                self._open.callback(self._truth.close)
                make_tables = self._layout.tables
                self._tables = make_tables and make_tables(self._temporary, recipe.survey)
                if self._tables:
                    self._open.callback(self._tables.close)
            except BaseException:
                self._clear()
                raise

    def add(self, chunk: MockChunk) -> None:
        """Write a chunk."""
        names, offsets = [], []
        with self._reporting():
            for stamp in stamps(chunk, self._count):
                files = dict(self._layout.files(stamp, self._survey))
                for name, content in files.items():
                    (self._temporary / name).write_bytes(content)
                names.append(list(files))
                offsets.append(stamp.offset)
            self._count += len(chunk)
            self._truth.write_table(_truth_of(chunk, offsets, names, self._truth.schema))
            if self._tables:
                self._tables.add(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._reporting():
                self._open.close()
                if kind is None:
                    self._publish()
        except OutputError:
            if kind is None:
                raise
        finally:
            self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        if self._is_new:
            with suppress(OSError):  # it holds the cutouts
                self._path.rmdir()

    def _publish(self) -> None:
        there = {file.name for file in self._path.iterdir()} - {file.name for file in self._old}
        new = sorted(self._temporary.iterdir())
        taken = next((file.name for file in new if file.name in there), None)
        if taken:
            raise OutputError(f"{self._path / taken}: exists and was not written by simulate")
        # At every moment the truth that is there names all others: --overwrite can replace them.
        for file in self._old:
            if file.name != TRUTH:
                file.unlink(missing_ok=True)
        for file in sorted(new, key=lambda file: file.name != TRUTH):
            file.replace(self._path / file.name)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"{self._path}: cannot be written ({reason})") from error


def _files_to_replace(path: Path, overwrite: bool) -> list[Path]:
    """List what may be removed from `path`; OutputError where it holds anything and may not."""
    if not path.exists():
        return []
    if not path.is_dir():
        raise OutputError(f"{path}: exists and is no folder; choose another name")
    if len(list(path.iterdir())) == len(temporaries(path / _UNFINISHED)):
        return []
    if not overwrite:
        raise OutputError(f"{path}: is not empty; choose another folder or give --overwrite")
    try:
        truth = pq.read_table(path / TRUTH, columns=["files"])
        about = truth.schema.metadata or {}
        tables = json.loads(about.get(_TABLES, "[]"))
    except (OSError, KeyError, ValueError, pa.ArrowException):
        truth, about, tables = None, {}, []
    if truth is None or about.get(_KIND[0]) != _KIND[1]:
        raise OutputError(
            f"{path}: holds files but no {TRUTH} of a mock survey, so nothing there is replaced; "
            "choose another folder"
        )
    cutouts = truth["files"].combine_chunks().flatten().to_pylist()
    # A name is one of this folder, whatever somebody made of the table.
    return [path / Path(name).name for name in (TRUTH, *tables, *cutouts)]


def _truth_schema(recipe: Recipe, tables: tuple[str, ...]) -> pa.Schema:
    """Columns of the truth; `tables` are the files beside the cutouts, recorded with them."""
    bands = recipe.survey.bands
    kinds = [("object_id", pa.int64()), ("ra", pa.float64()), ("dec", pa.float64())]
    kinds += [("redshift", pa.float64())]
    kinds += [(f"mag_{band}", pa.float64()) for band in bands]
    kinds += [("class", pa.string()), ("morphtype", pa.string()), ("ebv", pa.float64())]
    kinds += [(f"psf_fwhm_{band}", pa.float64()) for band in bands]
    kinds += [("offset_x", pa.float64()), ("offset_y", pa.float64())]
    kinds += [("defect", pa.string()), ("files", pa.list_(pa.string()))]
    about = {
        _KIND[0]: _KIND[1],
        b"photoz_mmae.title": b"Mock data: the truth of simulated cutouts",
        b"photoz_mmae.version": __version__.encode(),
        b"photoz_mmae.seed": str(recipe.seed).encode(),
        b"photoz_mmae.survey": recipe.survey.name.encode(),
        b"photoz_mmae.selection": recipe.selection.encode(),
        b"photoz_mmae.fraction_stars": str(recipe.fraction_stars).encode(),
        b"photoz_mmae.fraction_bad": str(recipe.fraction_bad).encode(),
        b"photoz_mmae.ebv": b"drawn" if recipe.ebv is None else str(recipe.ebv).encode(),
        _TABLES: json.dumps(tables).encode(),
    }
    return pa.schema(kinds, metadata=about)


def _truth_of(
    chunk: MockChunk,
    offsets: list[tuple[float, float]],
    files: list[list[str]],
    schema: pa.Schema,
) -> pa.Table:
    """Rows of the truth; `offsets` are those of the targets from the centres of their images."""
    values = {
        "object_id": chunk.object_id,
        "ra": chunk.ra,
        "dec": chunk.dec,
        "redshift": chunk.redshift,
        "class": chunk.kind,
        "morphtype": chunk.morphtype.astype(str),
        "ebv": chunk.ebv,
        "offset_x": [x for x, _ in offsets],
        "offset_y": [y for _, y in offsets],
        "defect": chunk.defect,
        "files": files,
    }
    bands = [name.removeprefix("mag_") for name in schema.names if name.startswith("mag_")]
    for number, band in enumerate(bands):
        values[f"mag_{band}"] = chunk.mag[:, number]
        values[f"psf_fwhm_{band}"] = chunk.psf_fwhm[:, number]
    return pa.table([values[name] for name in schema.names], schema=schema)
