"""The p(z) of a catalogue as an ensemble of qp, for programs that evaluate densities.

The ensemble is made of the catalogue's own quantiles, some rows at a time. Its file says which
state of which catalogue it holds.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from photoz_mmae.catalog.schema import Z_LEVELS_KEY
from photoz_mmae.catalog.writer import sync_folder
from photoz_mmae.errors import OutputError
from photoz_mmae.redshift.piecewise import PiecewisePdf
from photoz_mmae.temporaries import remove_temporaries, temporary_path

CHUNK = 65536
"""Rows in memory at once."""

CATALOGUE_KEY = "photoz_mmae.catalogue"
WRITTEN_KEY = "photoz_mmae.distributions"
LEFT_OUT_KEY = "photoz_mmae.rows_without_pdf"
"""Attributes of the file, beside the catalogue's metadata: the catalogue's name, how many of its
rows are in the ensemble and how many have no p(z)."""


@dataclass(frozen=True)
class Ensemble:
    """A file of p(z): how many there are, and how many rows of the catalogue have none."""

    path: Path
    written: int
    left_out: int


def read_attributes(path: Path) -> dict[str, str]:
    """Return what a file says of its catalogue; empty when there is none, or it is not ours."""
    try:
        with h5py.File(path) as file:
            attributes = dict(file.attrs)
    except OSError:
        return {}
    return {
        name: value
        for name, value in attributes.items()
        if name.startswith("photoz_mmae.") and isinstance(value, str)
    }


def described(path: Path, attributes: Mapping[str, str]) -> Ensemble:
    """Say what an ensemble of ours holds."""
    return Ensemble(path, int(attributes[WRITTEN_KEY]), int(attributes[LEFT_OUT_KEY]))


def write_ensemble(
    path: Path, files: Sequence[Path], catalogue: str, object_id: str, metadata: Mapping[str, str]
) -> Ensemble:
    """Write the p(z) of a catalogue as a `quant` ensemble; the file is whole or not there.

    Rows without p(z) are left out. Neighbouring quantiles that are equal in the catalogue's
    precision are moved apart by 1e-7 in ln(1+z): qp cannot evaluate ties.

    Parameters
    ----------
    path : Path
        An existing one is replaced; where no row has a p(z) there is none.
    files : sequence of Path
        Of the catalogue.
    catalogue : str
        Its name.
    object_id : str
        Its column of ids; that of the ensemble's ancillary table has the same name.
    metadata : mapping of str to str
        Of the catalogue, with the levels of its quantiles.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    import qp

    levels = np.asarray(json.loads(metadata[Z_LEVELS_KEY]))
    written, longest = _count(files, object_id)
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    if not written:
        path.unlink(missing_ok=True)  # there is no ensemble of nothing
        return Ensemble(path, 0, rows)
    said = {**metadata, CATALOGUE_KEY: catalogue, WRITTEN_KEY: str(written)}
    said[LEFT_OUT_KEY] = str(rows - written)
    temporary = temporary_path(path)
    groups: Any = None
    file: Any = None
    start = 0
    try:
        remove_temporaries(path)
        for ids, quantiles in _distributions(files, object_id):
            locs = np.expm1(PiecewisePdf.from_quantiles(quantiles, levels.tolist()).edges)
            names = ids.to_numpy(zero_copy_only=False)
            if longest is not None:
                names = np.char.encode(names.astype(str), "utf-8").astype(f"S{longest}")
            ensemble = qp.Ensemble(
                qp.quant, data={"quants": levels, "locs": locs}, ancil={object_id: names}
            )
            if file is None:
                groups, file = ensemble.initializeHdf5Write(str(temporary), written)
                file.attrs.update(said)
            ensemble.writeHdf5Chunk(groups, start, start + len(locs))
            start += len(locs)
        ensemble.finalizeHdf5Write(file)
        with temporary.open("rb") as done:
            os.fsync(done.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
    finally:
        if file is not None:
            file.close()
        with suppress(OSError):
            temporary.unlink()
    return described(path, said)


def _distributions(
    files: Sequence[Path], object_id: str
) -> Iterator[tuple[pa.Array, NDArray[np.float64]]]:
    """Yield ids and quantiles, (N,) and (N, L), of the rows that have a p(z)."""
    for file in files:
        # What is buffered ahead stays in memory to the end of the file.
        parquet = pq.ParquetFile(file, pre_buffer=False)
        for batch in parquet.iter_batches(CHUNK, columns=[object_id, "z_quantiles"]):
            lists = batch.column("z_quantiles")
            flat = lists.flatten().to_numpy(zero_copy_only=False)
            quantiles = flat.reshape(len(lists), -1).astype(np.float64)
            good = np.isfinite(quantiles).all(axis=1)
            if good.any():
                yield batch.column(object_id).filter(pa.array(good)), quantiles[good]


def _count(files: Sequence[Path], object_id: str) -> tuple[int, int | None]:
    """Count the rows with a p(z); with it the bytes of the longest id that is text."""
    count, longest = 0, None
    for ids, _ in _distributions(files, object_id):
        count += len(ids)
        if pa.types.is_string(ids.type):
            longest = max(longest or 1, pc.max(pc.binary_length(ids)).as_py())
    return count, longest
