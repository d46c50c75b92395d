"""Sources of any kind to one batch: the function that `predict` calls."""

from collections.abc import Sequence
from typing import Any

from photoz_mmae.cutouts.absent import fill_absent
from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted, empty_batch
from photoz_mmae.cutouts.coadd_stamps import fill_from_coadds
from photoz_mmae.cutouts.deadly import fill_deadly
from photoz_mmae.cutouts.files import fill_from_files, read_file_bands, read_file_id
from photoz_mmae.cutouts.packed import fill_from_shards, read_shard_bands, read_shard_id
from photoz_mmae.cutouts.source import Source, source_names


def _fill_from_hdf5(*arguments: Any) -> None:
    # h5py is loaded only where such a file is read.
    from photoz_mmae.cutouts.hdf5 import fill_from_hdf5

    fill_from_hdf5(*arguments)


_FILL = {
    "cutout": fill_from_files,
    "shard": fill_from_shards,
    "hdf5": _fill_from_hdf5,
    "coadd": fill_from_coadds,
    "absent": fill_absent,
    "deadly": fill_deadly,
}


def read_batch(
    sources: Sequence[Source],
    wanted: Wanted,
    positions: Positions | None = None,
    reuse: CutoutBatch | None = None,
) -> CutoutBatch:
    """Read objects into one batch, one row per source, whatever is wrong with it.

    Parameters
    ----------
    sources : sequence of Source
    wanted : Wanted
    positions : callable, optional
        Tells where the targets are; wins over what the files say.
    reuse : CutoutBatch, optional
        One that is not needed any more: its memory is taken.

    Returns
    -------
    CutoutBatch
    """
    batch = empty_batch(source_names(sources), wanted, reuse)
    for kind in sorted({source.kind for source in sources}):
        rows = [row for row, source in enumerate(sources) if source.kind == kind]
        if kind in ("absent", "deadly"):
            batch.images[rows] = 0
        some = sources if len(rows) == len(sources) else [sources[row] for row in rows]
        _FILL[kind](batch, rows, some, wanted, positions)
    return batch


def read_id(source: Source) -> str:
    """Return the id that `read_batch` gives an object, from its headers alone."""
    if source.kind == "shard":
        return read_shard_id(source)
    if source.kind == "hdf5":
        from photoz_mmae.cutouts.hdf5 import read_hdf5_id

        return read_hdf5_id(source)
    return read_file_id(source)


def read_bands(source: Source) -> str:
    """Return the bands of ugrizy that an object's files hold; '' where they do not tell."""
    if source.kind == "shard":
        return read_shard_bands(source)
    return read_file_bands(source) if source.kind == "cutout" else ""
