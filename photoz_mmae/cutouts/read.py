"""Sources of any kind to one batch: the function that `predict` calls."""

from collections.abc import Sequence
from contextlib import suppress

from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted, empty_batch
from photoz_mmae.cutouts.coadd_stamps import fill_from_coadds
from photoz_mmae.cutouts.files import fill_from_files
from photoz_mmae.cutouts.fits import Cutout, read_cutout
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.source import Source

_FILL = {"cutout": fill_from_files, "coadd": fill_from_coadds}


def read_batch(
    sources: Sequence[Source], wanted: Wanted, positions: Positions | None = None
) -> CutoutBatch:
    """Read objects into one batch, one row per source, whatever is wrong with it.

    Parameters
    ----------
    sources : sequence of Source
    wanted : Wanted
    positions : callable, optional
        Tells where the targets are; wins over what the files say.

    Returns
    -------
    CutoutBatch
    """
    batch = empty_batch([printable(source.files[0]) for source in sources], wanted)
    for kind in sorted({source.kind for source in sources}):
        rows = [row for row, source in enumerate(sources) if source.kind == kind]
        _FILL[kind](batch, rows, [sources[row] for row in rows], wanted, positions)
    return batch


def read_id(source: Source) -> str:
    """Return the id that `read_batch` gives an object, from its headers alone."""
    if source.object_id is not None:
        return source.object_id
    cutout = Cutout(object_id="")
    with suppress(Exception):  # whatever is wrong with it, it has an id
        read_cutout(source.files, (), cutout)
    return cutout.object_id or printable(source.files[0])
