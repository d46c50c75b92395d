"""Where one object's images are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from photoz_mmae.cutouts.ids import printable

Kind = Literal["cutout", "shard", "hdf5", "coadd"]


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one object, and what is known of it beforehand.

    Attributes
    ----------
    files : tuple of str
        One file, or one per band from blue to red; the given path joined with what was found
        below it. Bytes that are no UTF-8 are kept as `os.fsdecode` gives them.
    size : int
        Bytes, summed.
    mtime_ns : int
        Of the newest file.
    kind : str
        `cutout`: the files hold this object alone; `shard`, `hdf5`: one file of many objects, of
        which this is number `row`; `coadd`: images of a patch of sky with the object at (ra, dec).
    row : int
        Of a shard or an HDF5 file; -1 elsewhere.
    bands : str
        Of the files in their order, one letter each, where their names or a list say so; else ''.
    object_id : str or None
        Given by a table or a list; wins over what the files say.
    ra, dec : float
        Of the target, deg, given by a table or a list; they win over what the files say. NaN
        where nobody said it.
    """

    files: tuple[str, ...]
    size: int
    mtime_ns: int
    kind: Kind = "cutout"
    row: int = -1
    bands: str = ""
    object_id: str | None = None
    ra: float = math.nan
    dec: float = math.nan


def source_names(sources: Sequence[Source]) -> list[str]:
    """Name sources by their (first) file, as text, and the row where it holds several objects."""
    names = []
    path, text = "", ""
    for source in sources:
        if source.files[0] is not path:
            path = source.files[0]
            text = printable(path)
        names.append(text if source.row < 0 else f"{text}#{source.row}")
    return names
