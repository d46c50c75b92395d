"""Which objects lie under the given paths: files to sources, nothing lost and nothing twice.

`*.fits`, `*.fits.gz` and `*.fits.fz` (in any case) are objects, unless they are valid files with
tables only; so is text of that name, or an empty file, or a link that points nowhere: each gets
a row that says what is wrong. Everything else is ignored and counted, and so are hidden files and
folders below those that are given (`.snapshot/`, `._12.fits`). Files with one band each
are put together by their names or headers (see `photoz_mmae.cutouts.grouping`).
"""

import itertools
import os
import stat
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np

from photoz_mmae.cutouts.bands import natural_key
from photoz_mmae.cutouts.grouping import group_files
from photoz_mmae.cutouts.ids import is_input_name, printable
from photoz_mmae.cutouts.source_list import FileList, SourceList
from photoz_mmae.cutouts.texts import Texts
from photoz_mmae.errors import InputError


@dataclass(frozen=True)
class Discovery:
    """What was found: sources folder by folder in natural order, and how much was passed over."""

    sources: SourceList
    ignored: int


@dataclass
class _Found:
    """The state of a search. Files as they were met, in runs of one folder, as it was given."""

    names: list[str] = field(default_factory=list)
    size: "array[int]" = field(default_factory=lambda: array("q"))
    mtime_ns: "array[int]" = field(default_factory=lambda: array("q"))
    runs: list[tuple[str, int, int]] = field(default_factory=list)  # folder, first, last + 1
    visited: set[str] = field(default_factory=set)  # real paths of the folders walked
    given: list[str] = field(default_factory=list)  # files given one by one, or linked to
    ignored: int = 0

    def add(self, name: str, about: os.stat_result | None) -> None:
        self.names.append(name)
        self.size.append(about.st_size if about else 0)
        self.mtime_ns.append(about.st_mtime_ns if about else 0)

    def add_run(self, folder: str, start: int) -> None:
        """Say that the files from `start` on are in a folder."""
        if self.runs and self.runs[-1][0] == folder:
            start = self.runs.pop()[1]
        self.runs.append((folder, start, len(self.names)))


def discover(paths: Sequence[str], listed: Sequence[str] = ()) -> Discovery:
    """Find the cutouts under `paths`.

    Parameters
    ----------
    paths : sequence of str
        Files or folders; folders are walked to the bottom, links followed, loops survived. A
        file reached twice is one source.
    listed : sequence of str
        More of them, from a list that may be out of date: a cutout that is not there (any more)
        is a source nevertheless, of size and time 0.

    Returns
    -------
    Discovery

    Raises
    ------
    InputError
        A path is missing, a folder cannot be read, or there is no cutout at all.
    """
    found = _Found()
    folders: deque[tuple[str, str]] = deque()
    for path in paths:
        _add_given(path, found, folders)
    missing = 0
    for path in listed:
        try:
            _add_given(path, found, folders)
        except InputError:
            if not is_input_name(path) or "\0" in path:
                raise
            found.given.append(path)
            missing += 1
    if missing and missing == len(listed) + len(paths):
        raise InputError(
            f"none of {missing} listed files exists (the first is {printable(listed[0])!r}); "
            "check where the paths start"
        )
    # Linked folders wait until all others were walked, so that a file's own path names it.
    linked: deque[tuple[str, str]] = deque()
    while folders or linked:
        path, real = (folders or linked).popleft()
        if real not in found.visited:
            found.visited.add(real)
            _walk_folder(path, real, found, folders, linked)
    _add_given_files(found)
    ignored = found.ignored
    sources, tables = group_files(_in_order(found))
    ignored += tables
    if not len(sources):
        raise InputError(
            f"no FITS cutouts in {', '.join(printable(path) for path in paths) or 'no path'}: "
            f"{ignored} other file{'s' * (ignored != 1)} ignored; give files named *.fits, "
            "*.fits.gz or *.fits.fz, or folders with such files"
        )
    return Discovery(sources, ignored)


def _add_given(path: str, found: _Found, folders: deque[tuple[str, str]]) -> None:
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{printable(path)!r} cannot be read: {reason}; check the path") from error
    if is_folder:
        folders.append((path, os.path.realpath(path)))
    else:
        found.given.append(path)


def _walk_folder(
    path: str,
    real: str,
    found: _Found,
    folders: deque[tuple[str, str]],
    linked: deque[tuple[str, str]],
) -> None:
    start = len(found.names)
    links, inner = [], []
    add = found.add
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    found.ignored += 1
                elif entry.is_symlink():
                    links.append(entry.name)
                elif entry.is_dir():
                    inner.append(entry.name)
                elif is_input_name(entry.name) and entry.is_file():
                    try:
                        about = entry.stat()
                    except FileNotFoundError:  # gone since the folder was read
                        continue
                    add(entry.name, about)
                else:
                    found.ignored += 1
    except OSError as error:
        raise InputError(
            f"folder {printable(path)!r} cannot be read: {error.strerror}; nothing was skipped "
            "silently: make it readable or leave it out"
        ) from error
    if len(found.names) > start:
        found.add_run(path, start)
    for name in sorted(inner):
        folders.append((os.path.join(path, name), os.path.join(real, name)))  # noqa: PTH118
    for name in sorted(links):
        target = os.path.join(path, name)  # noqa: PTH118
        if os.path.isdir(target):  # noqa: PTH112
            linked.append((target, os.path.realpath(target)))
        else:
            found.given.append(target)


def _add_given_files(found: _Found) -> None:
    """Add the files that were named one by one or linked to, where they are not in yet."""
    seen: set[str] = set()
    real_folder: dict[str, str] = {}
    for path in found.given:
        folder, name = os.path.split(path)
        about, is_link = _stat(path)
        if is_link:
            real = os.path.realpath(path)
        else:
            if folder not in real_folder:
                real_folder[folder] = os.path.realpath(folder)
            real = os.path.join(real_folder[folder], name)  # noqa: PTH118
        folder_of_it, real_name = os.path.split(real)
        in_walk = folder_of_it in found.visited and not real_name.startswith(".")
        # A regular FITS file in a folder that was walked is in already; a link never is.
        if real in seen or (in_walk and is_input_name(real) and _is_plain_file(real)):
            continue
        seen.add(real)
        if is_input_name(name) and (about is None or stat.S_ISREG(about.st_mode)):
            found.add(name, about)
            found.add_run(folder, len(found.names) - 1)
        elif not in_walk or name != real_name:
            found.ignored += 1


def _is_plain_file(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)  # noqa: PTH113, PTH114


def _stat(path: str) -> tuple[os.stat_result | None, bool]:
    """Return what the file is, None for one that is not there, and whether the path is a link."""
    try:
        about = os.lstat(path)
        if stat.S_ISLNK(about.st_mode):
            return os.stat(path), True  # noqa: PTH116
    except OSError:
        return None, os.path.islink(path)  # noqa: PTH114
    return about, False


def _in_order(found: _Found) -> FileList:
    """Sort the files by folder and name, both in natural order; leaves nothing in `found`."""
    found.runs.sort(key=lambda run: (natural_key(run[0]), run[1]))
    folders: list[str] = []
    names = Texts()
    counts: list[int] = []
    order = array("q")
    for folder, runs in itertools.groupby(found.runs, key=itemgetter(0)):
        numbers = [k for _, start, end in runs for k in range(start, end)]
        numbers.sort(key=lambda k: natural_key(found.names[k]))
        names.extend(map(found.names.__getitem__, numbers))
        order.extend(numbers)
        folders.append(os.path.join(folder, ""))  # noqa: PTH118
        counts.append(len(numbers))
    index = np.frombuffer(order, np.int64)
    files = FileList(
        folders=folders,
        folder=np.repeat(np.arange(len(folders), dtype=np.int32), counts),
        names=names,
        size=np.frombuffer(found.size, np.int64)[index],
        mtime_ns=np.frombuffer(found.mtime_ns, np.int64)[index],
    )
    found.names.clear()
    found.runs.clear()
    return files
