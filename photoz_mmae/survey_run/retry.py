"""What `--retry-bad` has computed again: parts with cutouts that could not be read."""

import pyarrow.parquet as pq

from photoz_mmae.flags import Flag
from photoz_mmae.survey_run.journal import PartRecord
from photoz_mmae.survey_run.plan import Part, read_sources
from photoz_mmae.survey_run.run_folder import RunFolder


def has_unread(part: Part, record: PartRecord, folder: RunFolder) -> bool:
    """Whether a row of a finished part is READ_ERROR, though its cutout is there and asked for.

    Permission that was lacking, or a file server that was away, may leave size and time of a
    file as they were, so that the plan does not tell.
    """
    if not record.flags.get(str(Flag.READ_ERROR.name)):
        return False
    flags = pq.read_table(folder.parts / record.file, columns=["flags"])["flags"].to_numpy()
    unread = {row for row, value in enumerate(flags.tolist()) if value & Flag.READ_ERROR}
    unread -= {*part.gone, *part.unasked}
    if not unread:
        return False
    sources, _ = read_sources(folder.plan, part.offset, part.length)
    return not all(sources[row].is_absent for row in unread)
