"""A catalogue of any layout, opened to be checked: its files, what they say, its rows in order."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from photoz_mmae.catalog.hats import INDEX
from photoz_mmae.catalog.layouts import COMMON_METADATA, NO_POSITION, catalogue_files
from photoz_mmae.errors import InputError
from photoz_mmae.parquet_files import ParquetFiles

UNREADABLE = (OSError, pa.ArrowException)


class OpenedCatalogue:
    """The Parquet files that hold a catalogue's rows.

    Parameters
    ----------
    path : Path
        A file, or a folder.

    Attributes
    ----------
    path : Path
    is_folder, is_hats : bool
    damaged : list of str
        Files that cannot be opened, and why.
    is_readable : bool
        Whether there are others. If not, there is nothing of what follows.
    files : ParquetFiles
        The others.
    said : dict of str to str
        Metadata of the first.

    Raises
    ------
    InputError
        There is no such file or folder, it cannot be reached, or it holds no Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        names = ("dataset", "hats.properties", NO_POSITION)
        try:
            self.is_folder = path.is_dir()
            self.is_hats = any((path / name).exists() for name in names)
            files = catalogue_files(path)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error
        self.damaged: list[str] = []
        sound = []
        for file in files:
            try:
                self.schema(file)
                sound.append(file)
            except OSError as error:
                if not self.is_folder:
                    raise InputError(f"{path}: {error.strerror or error}") from error
                self.damaged.append(f"{self.name(file)}: {error.strerror or error}")
            except pa.ArrowException as error:
                self.damaged.append(self._damage(file, first_line(error)))
        if not sound and not self.damaged:
            raise InputError(f"{path}: a folder without any file of a catalogue of this program")
        self.is_readable = bool(sound)
        if sound:
            self.files = ParquetFiles(sound)
            metadata = self.files.schema.metadata or {}
            self.said = {key.decode(): value.decode() for key, value in metadata.items()}

    @property
    def rows(self) -> int:
        """Number of rows in all files that can be opened."""
        return len(self.files)

    def name(self, file: Path) -> str:
        """Return the name of a file in the folder."""
        return str(file.relative_to(self.path)) if self.is_folder else file.name

    def schema(self, file: Path) -> pa.Schema:
        """Return the schema of a file, with its metadata."""
        return pq.read_schema(file.open("rb"))

    @property
    def described_in(self) -> Path:
        """The file whose VOTable header is that of the whole catalogue, or of its first part."""
        return self.path / COMMON_METADATA if self.is_hats else self.files.paths[0]

    def tables(self, number: int) -> Iterator[pa.Table]:
        """Read file `number` piece by piece, but for the column that HATS adds."""
        for batch in self.files.batches(number):
            yield _without_index(pa.Table.from_batches([batch]))

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """Read single rows, in the order given, but for the column that HATS adds."""
        return _without_index(self.files.take(rows))

    def place(self, row: int) -> str:
        """Say where a row of the catalogue is."""
        if not self.is_folder:
            return f"row {row}"
        number = max(k for k, start in enumerate(self.files.starts.tolist()) if start <= row)
        start = int(self.files.starts[number])
        return f"row {row - start} of {self.name(self.files.paths[number])}"

    def _damage(self, file: Path, reason: str) -> str:
        with file.open("rb") as content:
            begins_so = content.read(4) == b"PAR1"
        if not self.is_folder and not begins_so:
            raise InputError(f"{self.path}: no Parquet file ({reason})")
        where = f"{self.name(file)}: " if self.is_folder else ""
        return (
            f"{where}it begins as Parquet and does not end so: {reason}"
            if begins_so
            else (f"{where}no Parquet file ({reason})")
        )


def _without_index(table: pa.Table) -> pa.Table:
    return table.drop_columns(INDEX.name) if INDEX.name in table.column_names else table


def first_line(error: Exception) -> str:
    """Return the first line of what a library says of a damaged file."""
    return str(error).splitlines()[0]
