"""What `predict` makes of the objects of a shard or an HDF5 file."""

from collections import Counter

import numpy as np

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.containers import rows_in
from photoz_mmae.cutouts.inspect.facts import Inspection, Objects
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag

MOST = 256
"""Objects that are read: a file may hold a hundred thousand."""


def look_at_objects(path: str, wanted: Wanted, found: Inspection) -> None:
    """Read the first objects of a file with several, and add what became of them to `found`.

    Nothing is added where the file holds no objects that `predict` would read.
    """
    container = rows_in(path)
    if container is None:
        return
    kind, count = container
    sources = [Source((path,), 0, 0, kind, row) for row in range(min(count, MOST))]
    batch = read_batch(sources, wanted)
    measure_batch(batch, wanted.bands)
    flags = Counter(flag.name or "" for flag in Flag for row in batch.flags if row & flag)
    reason = next((reason for reason in batch.reason if reason), "")
    found.objects = Objects(count, len(sources), dict(flags), reason.removeprefix(f"{path}, "))
    if np.all(batch.flags == Flag.READ_ERROR) and not found.wrong:
        found.wrong.append(f"no object can be read; {found.objects.reason}")
