"""Sources of any kind to one batch: the function that `predict` calls."""

from collections.abc import Sequence

from photoz_mmae.cutouts.absent import fill_absent
from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted, empty_batch
from photoz_mmae.cutouts.coadd_stamps import fill_from_coadds
from photoz_mmae.cutouts.files import fill_from_files, read_id
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.source import Source

__all__ = ["read_batch", "read_id"]

_FILL = {"cutout": fill_from_files, "coadd": fill_from_coadds, "absent": fill_absent}


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
    batch = empty_batch([printable(source.files[0]) for source in sources], wanted, reuse)
    for kind in sorted({source.kind for source in sources}):
        rows = [row for row, source in enumerate(sources) if source.kind == kind]
        if kind not in ("cutout", "coadd"):
            batch.images[rows] = 0
        _FILL[kind](batch, rows, [sources[row] for row in rows], wanted, positions)
    return batch
