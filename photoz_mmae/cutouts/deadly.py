"""Objects whose files kill the process that reads them: a row that says so, and no reading."""

import os
from collections.abc import Sequence

from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted
from photoz_mmae.cutouts.containers import fallback_id
from photoz_mmae.cutouts.fits import name_id
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag


def fill_deadly(
    batch: CutoutBatch,
    rows: Sequence[int],
    sources: Sequence[Source],
    wanted: Wanted,
    positions: Positions | None,
) -> None:
    """Fill rows of a batch with what is known without a look into the files: READ_ERROR.

    Parameters
    ----------
    batch : CutoutBatch
        Filled in place.
    rows : sequence of int
        Where each source belongs.
    sources : sequence of Source
    wanted : Wanted
    positions : callable or None
    """
    for row, source in zip(rows, sources, strict=True):
        name = name_id(source) if source.row < 0 else fallback_id(source)
        batch.object_id[row] = source.object_id or name
        batch.ra[row], batch.dec[row] = source.ra, source.dec
        batch.missing[row] = True
        batch.flags[row] = Flag.READ_ERROR
        size = sum(os.path.getsize(file) for file in source.files if os.path.exists(file))  # noqa: PTH110, PTH202
        batch.reason[row] = (
            f"{printable(source.files[0])}: kills the process that reads it: it crashes a library, "
            f"or takes too much memory ({size} bytes)"
        )
