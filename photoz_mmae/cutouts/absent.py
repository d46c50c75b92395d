"""Objects that a list asks for and no file answers: a row that says so."""

from collections.abc import Sequence

from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag


def fill_absent(
    batch: CutoutBatch,
    rows: Sequence[int],
    sources: Sequence[Source],
    wanted: Wanted,
    positions: Positions | None,
) -> None:
    """Fill rows of a batch with what the list says of objects without a file: READ_ERROR.

    Parameters
    ----------
    batch : CutoutBatch
        Filled in place.
    rows : sequence of int
        Where each source belongs.
    sources : sequence of Source
        Of kind `absent`.
    wanted : Wanted
    positions : callable or None
    """
    for row, source in zip(rows, sources, strict=True):
        batch.object_id[row] = source.object_id or ""
        batch.ra[row], batch.dec[row] = source.ra, source.dec
        batch.missing[row] = True
        batch.flags[row] = Flag.READ_ERROR
        batch.reason[row] = f"{printable(source.files[0])}: asked for in line {source.row}, no file"
