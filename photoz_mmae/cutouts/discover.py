"""Which objects lie under the given paths: files to sources, nothing lost and nothing twice.

`*.fits`, `*.fits.gz` and `*.fits.fz` (in any case) are objects, unless they are valid files with
tables only; so is text of that name, or an empty file, or a link that points nowhere: each gets
a row that says what is wrong. Packed shards, and `*.h5` and `*.hdf5` files with images, are as many
objects as they hold (see `photoz_mmae.cutouts.containers`). Everything else is ignored and
counted. Files with one band each are put together by their names (see
`photoz_mmae.cutouts.bands`).
"""

import os
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from photoz_mmae.cutouts.bands import group_by_band, natural_key
from photoz_mmae.cutouts.containers import rows_in
from photoz_mmae.cutouts.headers import Damaged, open_regular, reader, walk_headers
from photoz_mmae.cutouts.ids import is_fits_name, is_hdf5_name, printable
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError


@dataclass(frozen=True)
class Discovery:
    """What was found: sources in the natural order of their paths, and how much was passed over."""

    sources: list[Source]
    ignored: int


@dataclass
class _Found:
    """The state of a search: (name, size, mtime) of FITS files per folder as it was given."""

    folders: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)  # real paths of the folders walked
    links: list[str] = field(default_factory=list)  # given or linked files, looked at last
    ignored: int = 0


def discover(paths: Sequence[str]) -> Discovery:
    """Find the cutouts under `paths`.

    Parameters
    ----------
    paths : sequence of str
        Files or folders; folders are walked to the bottom, links followed, loops survived. A
        file reached twice is one source.

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
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{printable(path)!r} cannot be read: {reason}; check the path"
            ) from error
        if is_folder:
            folders.append((path, os.path.realpath(path)))
        else:
            found.links.append(path)
    # Linked folders wait until all others were walked, so that a file's own path names it.
    linked: deque[tuple[str, str]] = deque()
    while folders or linked:
        path, real = (folders or linked).popleft()
        if real not in found.visited:
            found.visited.add(real)
            _walk_folder(path, real, found, folders, linked)
    _add_links(found)
    sources: list[Source] = []
    for folder in list(found.folders):
        found.ignored += _add_sources(folder, found.folders.pop(folder), sources)
    if not sources:
        raise InputError(
            f"no FITS cutouts in {', '.join(printable(path) for path in paths) or 'no path'}: "
            f"{found.ignored} other files ignored; give files named *.fits, *.fits.gz or "
            "*.fits.fz, or folders with such files"
        )
    sources.sort(key=lambda source: (natural_key(source.files[0]), source.row))
    return Discovery(sources, found.ignored)


def _walk_folder(
    path: str,
    real: str,
    found: _Found,
    folders: deque[tuple[str, str]],
    linked: deque[tuple[str, str]],
) -> None:
    files = []
    try:
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_symlink():
                    if os.path.isdir(entry.path):  # noqa: PTH112
                        linked.append((entry.path, os.path.realpath(entry.path)))
                    else:
                        found.links.append(entry.path)
                elif entry.is_dir():
                    folders.append((entry.path, os.path.join(real, entry.name)))  # noqa: PTH118
                elif _is_input(entry.name) and entry.is_file():
                    about = entry.stat()
                    files.append((entry.name, about.st_size, about.st_mtime_ns))
                else:
                    found.ignored += 1
    except OSError as error:
        raise InputError(
            f"folder {printable(path)!r} cannot be read: {error.strerror}; nothing was skipped "
            "silently: make it readable or leave it out"
        ) from error
    if files:
        found.folders.setdefault(path, []).extend(files)


def _add_links(found: _Found) -> None:
    """Add the files that were named one by one or linked to, where they are not in yet."""
    seen: set[str] = set()
    for path in found.links:
        real = os.path.realpath(path)
        folder, name = os.path.split(path)
        in_walk = os.path.dirname(real) in found.visited  # noqa: PTH120
        # A regular FITS file in a folder that was walked is in already; a link never is.
        if real in seen or (in_walk and _is_input(real) and _is_plain_file(real)):
            continue
        seen.add(real)
        about = _stat(path)
        if _is_input(name) and (about is None or stat.S_ISREG(about.st_mode)):
            size, mtime = (about.st_size, about.st_mtime_ns) if about else (0, 0)
            found.folders.setdefault(folder, []).append((name, size, mtime))
        elif not in_walk or name != os.path.basename(real):  # noqa: PTH119
            found.ignored += 1


def _is_input(name: str) -> bool:
    return is_fits_name(name) or is_hdf5_name(name)


def _is_plain_file(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)  # noqa: PTH113, PTH114


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116
    except OSError:
        return None


def _add_sources(folder: str, files: list[tuple[str, int, int]], sources: list[Source]) -> int:
    """Append the sources of one folder; return how many files are no images."""
    about = {name: (size, mtime) for name, size, mtime in files}
    path_of = {name: os.path.join(folder, name) for name in about}  # noqa: PTH118
    ignored = 0
    for name, (size, mtime) in list(about.items()):
        container = rows_in(path_of[name])
        if container is not None:
            kind, count = container
            sources.extend(Source((path_of[name],), size, mtime, kind, row) for row in range(count))
        if container is not None or is_hdf5_name(name):
            ignored += container is None
            del about[name]
    tables = {name for name in about if _is_table_only(path_of[name])}
    grouped: set[str] = set()
    for _, bands in group_by_band(about.keys() - tables):
        kinds = {name: _is_single_image(path_of[name]) for name in bands.values()}
        # A damaged file (None) stays with its group: the object then has one row, a READ_ERROR.
        names = [name for name, single in kinds.items() if single is not False]
        if len(names) >= 2 and any(kinds.values()):
            grouped.update(names)
            sources.append(
                Source(
                    files=tuple(path_of[name] for name in names),
                    size=sum(about[name][0] for name in names),
                    mtime_ns=max(about[name][1] for name in names),
                )
            )
    for name, (size, mtime) in about.items():
        if name not in tables and name not in grouped:
            sources.append(Source((path_of[name],), size, mtime))
    return ignored + len(tables)


def _is_table_only(path: str) -> bool:
    """Whether this is a whole FITS file with tables and no image; reads headers only."""
    tables = 0
    try:
        descriptor = open_regular(path)
        try:
            for header in walk_headers(reader(descriptor)):
                if header.shape:
                    return False
                tables += header.is_table
        finally:
            os.close(descriptor)
    except (OSError, Damaged):
        return False
    return tables > 0


def _is_single_image(path: str) -> bool | None:
    """Whether the file holds the image of one band and no other; None for a damaged file."""
    try:
        descriptor = open_regular(path)
        try:
            images = [h.plain_shape for h in walk_headers(reader(descriptor)) if h.is_science]
        finally:
            os.close(descriptor)
    except (OSError, Damaged):
        return None
    return len(images) == 1 and len(images[0]) == 2
