"""A catalogue in HATS, the layout by place on the sky that LSDB reads (IVOA Note "HATS").

hats-import sorts the rows into HEALPix pixels, as tasks of a Dask client. It takes no rows without
a position, and loses the files' metadata: the rows are put aside, the metadata written again.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from photoz_mmae.catalog.atomic_folder import atomic_folder
from photoz_mmae.catalog.header import Header
from photoz_mmae.catalog.layouts import (
    COMMON_METADATA,
    NO_POSITION,
    Layout,
    Publishing,
    Write,
    with_rows,
)
from photoz_mmae.catalog.schema import Column, arrow_schema
from photoz_mmae.catalog.writer import atomic_parquet, row_groups
from photoz_mmae.errors import InputError, OutputError

FINEST_ORDER = 8
"""Of the pixels (0.05 square degrees) that files are made of; a map of the sky has this order."""

ROWS_PER_FILE = 1_000_000
"""Of a file, at most: some 300 MB."""

UNPLACED_KEY = "photoz_mmae.rows_without_position"
"""Key of the catalogue's metadata."""

INDEX = Column("_healpix_29", pa.int64(), None, "pos.healpix", "HEALPix number of order 29, nested")
"""The column that HATS puts before all others."""


def hats_layout(
    scratch: Path, object_id: str, ra: str, dec: str, client: Callable[[], Any]
) -> Layout:
    """Make the layout that writes a HATS catalogue.

    Parameters
    ----------
    scratch : Path
        For files that are needed meanwhile; made, and removed.
    object_id, ra, dec : str
        Columns.
    client : callable
        Opens a context with a Dask client, whose workers see the same files.
    """

    @contextmanager
    def layout(output: Path, header: Header, publishing: Publishing) -> Iterator[Write]:
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            with atomic_folder(output, publishing) as folder:
                importer = _Importer(scratch, folder, (object_id, ra, dec), client)
                yield partial(importer.write, with_rows(header))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    return layout


def has_place(ra: pa.Array | pa.ChunkedArray, dec: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Say which positions, deg, are such on the sky, (N,)."""
    x, y = (pc.fill_null(values, np.nan).to_numpy(zero_copy_only=False) for values in (ra, dec))
    return np.asarray(np.isfinite(x) & (np.abs(y) <= 90))


class _Importer:
    def __init__(
        self,
        scratch: Path,
        folder: Path,
        columns: tuple[str, str, str],
        client: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.scratch = scratch
        self.folder = folder
        self.object_id, self.ra, self.dec = columns
        self.client = client

    def write(self, header: Header, tables: Iterable[pa.Table]) -> int:
        placed, unplaced = self._divide(tables)
        counts = [
            sum(pq.read_metadata(file).num_rows for file in each) for each in (placed, unplaced)
        ]
        if not placed:
            raise InputError(
                f"--hats: none of {counts[1]} objects has a position, and HATS is an order by "
                "position; leave --hats out, or give positions (--catalog with ra and dec)"
            )
        header = replace(header, metadata={**header.metadata, UNPLACED_KEY: str(counts[1])})
        self._import(placed, counts[0], header)
        if unplaced:
            rows = (pq.read_table(file) for file in unplaced)
            with atomic_parquet(self.folder / NO_POSITION, header.schema(counts[1])) as file:
                for table in row_groups(rows):
                    file.write(table)
        return sum(counts)

    def _divide(self, tables: Iterable[pa.Table]) -> tuple[list[Path], list[Path]]:
        """Write the rows that have a place on the sky, and those that have none; files of both."""
        files: tuple[list[Path], list[Path]] = ([], [])
        folders = self.scratch / "placed", self.scratch / "unplaced"
        for folder in folders:
            folder.mkdir(parents=True)
        for number, table in enumerate(tables):
            placed = has_place(table[self.ra], table[self.dec])
            for found, folder, wanted in zip(files, folders, (True, False), strict=True):
                rows = table.filter(pa.array(placed == wanted))
                if rows.num_rows:
                    found.append(folder / f"{number:06d}.parquet")
                    pq.write_table(rows, found[-1])
        return files

    def _import(self, files: list[Path], rows: int, header: Header) -> None:
        from hats_import import pipeline_with_client
        from hats_import.catalog.arguments import ImportArguments

        # The metadata of this schema come into every file; those of VOParquet know another schema.
        schema = self.scratch / "schema.parquet"
        pq.write_metadata(arrow_schema(header.columns).with_metadata(header.metadata), schema)
        try:
            arguments = ImportArguments(
                output_path=self.folder.parent,
                output_artifact_name=self.folder.name,
                input_file_list=[*files],
                file_reader="parquet",
                ra_column=self.ra,
                dec_column=self.dec,
                sort_columns=self.object_id,
                use_schema_file=schema,
                expected_total_rows=rows,
                highest_healpix_order=FINEST_ORDER,
                pixel_threshold=ROWS_PER_FILE,
                tmp_dir=self.scratch / "import",
                resume=False,
                progress_bar=False,
            )
            with self.client() as client:
                _run(lambda: pipeline_with_client(arguments, client))
        except (ValueError, RuntimeError, AssertionError) as error:
            raise OutputError(f"--hats: the import failed ({error})") from error
        common = self.folder / COMMON_METADATA
        described = replace(header, columns=(INDEX, *header.columns)).schema(header.rows)
        pq.write_metadata(described, common)


def _run(pipeline: Callable[[], None]) -> None:
    """Run it; a full disk is not to be taken for a scheduler that went away."""
    try:
        pipeline()
    except OSError as error:
        if error.errno is None:  # what Dask says of a connection
            raise
        raise OutputError(f"--hats: the import failed ({error})") from error
