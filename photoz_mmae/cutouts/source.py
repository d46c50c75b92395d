"""Where one object's images are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Literal

from photoz_mmae.cutouts.ids import printable

Kind = Literal["cutout", "shard", "hdf5", "coadd", "absent", "deadly"]


_CONTAINERS = ("shard", "hdf5")


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one object, and what is known of it beforehand.

    Attributes
    ----------
    files : tuple of str
        One file, or one per band from blue to red; the given path joined with what was found
        below it. Bytes that are no UTF-8 are kept as `os.fsdecode` gives them.
    size : int
        Bytes, summed; 0, as `mtime_ns`, where something names a file that is not there.
    mtime_ns : int
        Of the newest file.
    kind : str
        `cutout`: the files hold this object alone; `shard`, `hdf5`: one file of many objects, of
        which this is number `row`; `coadd`: images of a patch of sky with the object at (ra, dec);
        `absent`: the file is a list that asks for the object in line `row`, and no file answers;
        `deadly`: whoever reads it dies.
    row : int
        Of a shard, an HDF5 file or a list; -1 elsewhere.
    bands : str
        Of the files in their order, one letter each, where their names or a list say so; else ''.
    object_id : str or None
        Given by a table or a list; wins over what the files say.
    ra, dec : float
        Of the target, deg, given by a table or a list; they win over what the files say. NaN
        where nobody said it.
    sha256 : str or None
        Of the file's content, or of several files' checksums; None where nobody looked.
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
    sha256: str | None = None

    def __eq__(self, other: object) -> bool:
        # The generated one, from Python 3.13 on, finds no NaN equal to itself.
        if not isinstance(other, Source):
            return NotImplemented
        return bool(_values(self) == _values(other))

    @property
    def identity(self) -> str:
        """What tells it from the other objects in its files; '' where there are none."""
        return identity(self.kind, self.row, self.object_id)

    @property
    def is_absent(self) -> bool:
        """Whether something asks for it and there was no file when it was looked for."""
        return self.size == 0 and self.mtime_ns == 0


_values = attrgetter(*(field.name for field in fields(Source)))


def identity(kind: Kind, row: int, object_id: str | None) -> str:
    """Return what tells an object from the others in its files; '' where there are none."""
    if kind in _CONTAINERS:
        return f"\0{row}"
    return "" if object_id is None else f"\0{object_id}"


def source_names(sources: Sequence[Source]) -> list[str]:
    """Name sources by their (first) file, as text, and the row where it holds several objects."""
    names = []
    path, text = "", ""
    for source in sources:
        if source.files[0] is not path:
            path = source.files[0]
            text = printable(path)
        names.append(f"{text}#{source.row}" if source.kind in _CONTAINERS else text)
    return names
