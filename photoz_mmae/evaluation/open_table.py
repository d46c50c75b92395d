"""The tables that are compared: a file, or a folder of files as `predict` writes them."""

from pathlib import Path

from photoz_mmae.catalog.layouts import catalogue_files, read_metadata
from photoz_mmae.catalog.naming import Naming, naming_of
from photoz_mmae.errors import InputError
from photoz_mmae.tables import ID_COLUMN, TableFile


def open_catalogue(path: Path) -> tuple[TableFile, Naming]:
    """Open a catalogue, and say whose names its columns have.

    Raises
    ------
    InputError
        It cannot be read, or is a folder that is no whole catalogue.
    """
    files = _files(path)
    table = TableFile(path, files=files)
    naming = naming_of(table.names)
    if (name := naming.name(ID_COLUMN)) != ID_COLUMN:
        table = TableFile(path, name, files=files)
    return table, naming


def open_table(path: Path, own_id: str) -> TableFile:
    """Open a table whose ids are in the column `own_id`, else in `object_id`; raises as above."""
    files = _files(path)
    table = TableFile(path, files=files)
    if own_id != ID_COLUMN and own_id in table.names:
        table = TableFile(path, own_id, files=files)
    return table


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    if not read_metadata(path):
        raise InputError(
            f"{path}: is a folder that holds no whole catalogue of this program (of one "
            "`photoz-mmae verify` says what is wrong)"
        )
    return catalogue_files(path)
