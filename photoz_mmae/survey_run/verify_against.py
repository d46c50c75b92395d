"""A catalogue against the cutouts on the disk: each has its one row, each row its cutout."""

import os
from array import array
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.source import source_names
from photoz_mmae.flags import Flag
from photoz_mmae.words import count

EXAMPLES = 5
"""Of each kind of fault, so many are named."""


class Against:
    """Cutouts below some paths, and which of them rows have been seen of.

    Names are held as hashes: those of millions of files would take more memory than all the rest.

    Parameters
    ----------
    paths : sequence of str

    Attributes
    ----------
    extra : list of str
        Rows without a cutout, the first few.
    extra_count : int

    Raises
    ------
    InputError
        A path is missing, or there is no cutout.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.sources = discover(paths).sources
        cwd = os.getcwd()  # noqa: PTH109 (text with any bytes)
        hashes, owners = array("q"), array("q")
        for number in range(len(self.sources)):
            source = self.sources[number]
            [name] = source_names([source])
            row = name[len(printable(source.files[0])) :]  # of a shard
            for file in source.files:
                hashes.append(_hash(cwd, file, row))
                owners.append(number)
        order = np.argsort(np.array(hashes, np.int64), kind="stable")
        self._hashes = np.array(hashes, np.int64)[order]
        self._owners = np.array(owners, np.int64)[order]
        self._seen = np.zeros(len(self.sources), np.int32)
        self.extra: list[str] = []
        self.extra_count = 0

    def look_at(self, table: pa.Table, base: str) -> None:
        """Look at rows whose relative paths start from `base`."""
        names = table["source"].to_pylist()
        wanted = np.array([_hash(base, name or "") for name in names], np.int64)
        places = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        found = self._hashes[places] == wanted
        np.add.at(self._seen, self._owners[places[found]], 1)
        gone = (table["flags"].to_numpy() & int(Flag.SOURCE_GONE)) != 0
        extra: NDArray[np.intp] = np.flatnonzero(~found & ~gone)
        self.extra_count += len(extra)
        self.extra += [names[row] for row in extra[: EXAMPLES - len(self.extra)].tolist()]

    def problems(self) -> list[str]:
        """Return what is wrong, when all rows have been looked at."""
        missing, doubled = np.flatnonzero(self._seen == 0), np.flatnonzero(self._seen > 1)
        said = []
        for what, some in (("without a row", missing), ("with several rows", doubled)):
            if len(some):
                names = source_names([self.sources[k] for k in some[:EXAMPLES].tolist()])
                said.append(_listed(f"{count(len(some), 'cutout')} {what}", names, len(some)))
        if self.extra_count:
            what = f"{count(self.extra_count, 'row')} without a cutout there"
            said.append(_listed(what, self.extra, self.extra_count))
        return said


def _hash(base: str, file: str, row: str = "") -> int:
    folder, _, name = os.path.join(base, file).rpartition("/")  # noqa: PTH118 (any bytes)
    return hash(f"{_real(folder)}/{printable(name)}{row}")


@lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    # The same folder may have been given by another path.
    return printable(os.path.realpath(folder))


def _listed(what: str, names: list[str], number: int) -> str:
    return f"{what}: {', '.join(names)}{', ...' if number > len(names) else ''}"
