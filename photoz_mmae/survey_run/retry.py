"""What `--retry-bad` has computed again: parts with cutouts that could not be read."""

from pathlib import Path

import pyarrow.parquet as pq

from photoz_mmae.flags import Flag
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.plan import Part


def has_unread(part: Part, record: PartRecord, parts: Path) -> bool:
    """Whether a row of a finished part is READ_ERROR, though its cutout is there.

    Permission that was lacking, or a file server that was away, may leave size and time of a
    file as they were, so that the plan does not tell.
    """
    if not record.flags.get(str(Flag.READ_ERROR.name)):
        return False
    flags = pq.read_table(parts / record.file, columns=["flags"])["flags"].to_numpy().copy()
    flags[list(part.gone)] = 0
    return bool((flags & Flag.READ_ERROR).any())
