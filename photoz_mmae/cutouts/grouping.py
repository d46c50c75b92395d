"""Files to objects: tables left out, the files of one object's bands put together.

Opening a file takes longer than all the rest, so where there are many only some are opened:

- Tables. Files of one size, where a folder holds eight of them or more, are taken for cutouts
  when three of them (first, middle, last) are. Otherwise, and where a size is rare, each is looked
  into: a file that nobody looked into is never left out.
- Bands by name (`photoz_mmae.cutouts.bands`). The first, the middle and the last group of a folder
  are looked into. Where one of their files holds several images, the names of that folder mean
  something else, and every group is looked into.
- Bands by header. Of the files that are left in a folder all are looked into where they are few,
  else the first, the middle and the last. Where one of these holds a single image with two axes,
  says of what band it is (EXTNAME, FILTER or BAND) and of what object (OBJECT_ID; without it
  OBJECT, RA_TARG and DEC_TARG, those that are there), every one is looked into, and those of the
  same object go together. Where that makes two files of one band the headers name a field rather
  than an object, and each file of it stays an object of its own.

Folders with fewer files (or groups) than that are taken together, as if they were one.
"""

import os
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import BLUE_TO_RED, BandGroups, band_groups, band_of
from photoz_mmae.cutouts.companions import find_companions
from photoz_mmae.cutouts.containers import rows_in
from photoz_mmae.cutouts.headers import Damaged, Header, open_regular, reader, walk_headers
from photoz_mmae.cutouts.ids import is_hdf5_name
from photoz_mmae.cutouts.source import Kind
from photoz_mmae.cutouts.source_list import FileList, SourceList

COMMON = 8
"""Files of one size from which on not all of them are opened."""

FEW = 24
"""Files of which the headers are all looked at."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class _BandImage:
    """What the headers of a file with the image of one band say: the band, and the object."""

    band: str
    key: Hashable


def group_files(files: FileList) -> tuple[SourceList, int]:
    """Make objects of files.

    Returns
    -------
    sources : SourceList
        In the order of the (first) files.
    ignored : int
        How many files hold no object and are left out.
    """
    count, kind = _contents(files)
    # Of millions of files what led there takes as much memory as the result: it ends before that.
    return SourceList.of_files(files, *_objects(files, count, kind), kind), int(np.sum(count == 0))


def _objects(
    files: FileList, count: Indices, kind: dict[int, Kind]
) -> tuple[Indices, Indices, list[str], Indices]:
    """Return members, counts, bands and rows of the objects, for `SourceList.of_files`."""
    several = np.array(sorted(kind), np.int64)
    rest = np.setdiff1d(np.flatnonzero(count), several, assume_unique=True)
    names = files.names if len(rest) == len(files.names) else files.names.take(rest)
    groups = band_groups(names, files.folder[rest])
    groups = _checked(files, BandGroups(rest[groups.files], groups.counts, groups.bands))
    rest = np.setdiff1d(rest, groups.files, assume_unique=True)
    headed = _header_groups(files, rest)
    rest = np.setdiff1d(rest, headed.files, assume_unique=True)

    # A file of several objects is the one file of each of them.
    row = _runs(np.zeros_like(several), count[several])
    many = np.repeat(several, count[several])
    counts = np.concatenate([np.ones_like(rest), groups.counts, headed.counts, np.ones_like(many)])
    members = np.concatenate([rest, groups.files, headed.files, many])
    bands = [""] * len(rest) + groups.bands + headed.bands + [""] * len(many)
    rows = np.concatenate([np.full(len(counts) - len(many), -1), row])
    starts = np.cumsum(counts) - counts
    order = np.argsort(members[starts], kind="stable")
    return (
        members[_runs(starts[order], counts[order])],
        counts[order],
        [bands[k] for k in order],
        rows[order],
    )


def _contents(files: FileList) -> tuple[Indices, dict[int, Kind]]:
    """Return how many objects each file holds, (F,), and the kind of those of several."""
    count = np.ones(len(files.names), np.int64)
    kind: dict[int, Kind] = {}

    def look(some: Indices) -> bool:
        """Look into files; return whether each is a cutout."""
        plain = True
        for k in some.tolist():
            what, count[k] = _objects_in(files.path(k))
            if what != "cutout":
                kind[k] = what
            plain &= what == "cutout" and count[k] == 1
        return plain

    by_size = np.lexsort((files.size, files.folder))
    pools, rest = _pools(by_size, COMMON, files.folder, files.size)
    rest = rest[np.argsort(files.size[rest], kind="stable")]
    more, rest = _pools(rest, COMMON, files.size)
    look(rest)
    for pool in pools + more:
        if not look(_first_middle_last(pool)):
            look(pool)
    return count, kind


def _checked(files: FileList, groups: BandGroups) -> BandGroups:
    """Take out of the groups by name the files with several images, where there are any."""
    starts = np.cumsum(groups.counts) - groups.counts
    group_folder = files.folder[groups.files[starts]]

    def images(group: int) -> list[bool | None]:
        members = groups.files[starts[group] : starts[group] + groups.counts[group]]
        return [_is_single_image(files.path(k)) for k in members]

    pools, rest = _pools(np.arange(len(starts)), 3, group_folder)
    keep = np.ones(len(groups.files), bool)
    for pool in [*pools, rest]:
        if not any(False in images(group) for group in _first_middle_last(pool)):
            continue
        for group in pool:
            kinds = images(group)
            # A damaged file (None) stays with its group: the object has one row, a READ_ERROR.
            good = [kind is not False for kind in kinds]
            start = starts[group]
            keep[start : start + len(good)] = good if sum(good) >= 2 and any(kinds) else False
    if keep.all():
        return groups
    number = np.repeat(np.arange(len(starts)), groups.counts)[keep]
    letters = np.array(list("".join(groups.bands)))[keep]
    return _from_members(groups.files[keep], number, letters)


def _header_groups(files: FileList, rest: Indices) -> BandGroups:
    """Put files with one band each together by what their headers say."""

    def look(some: Indices) -> list[_BandImage | None]:
        return [_band_image(files.path(k)) for k in some]

    found: dict[tuple[int, Hashable], list[tuple[int, int]]] = {}
    pools, others = _pools(rest, 3, files.folder)
    for pool in [*pools, others]:
        if len(pool) <= FEW or any(look(_first_middle_last(pool))):
            for file, image in zip(pool.tolist(), look(pool), strict=True):
                if image is not None:
                    key = (int(files.folder[file]), image.key)
                    found.setdefault(key, []).append((BLUE_TO_RED.index(image.band), file))
    groups = [sorted(group) for group in found.values()]
    groups = [g for g in groups if len(g) >= 2 and len({band for band, _ in g}) == len(g)]
    number = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    members = np.array([file for group in groups for _, file in group], np.int64)
    letters = np.array([BLUE_TO_RED[band] for group in groups for band, _ in group], str)
    return _from_members(members, number, letters)


def _from_members(files: Indices, number: Indices, letters: NDArray[np.str_]) -> BandGroups:
    """Make groups out of their files, the (increasing) number of each file's group, its band."""
    _, starts, counts = np.unique(number, return_index=True, return_counts=True)
    bands = [
        "".join(letters[start : start + count]) for start, count in zip(starts, counts, strict=True)
    ]
    return BandGroups(files, counts.astype(np.int64), bands)


def _pools(
    items: Indices, at_least: int, *keys: NDArray[np.integer]
) -> tuple[list[Indices], Indices]:
    """Cut items, sorted by their keys, into runs of equal keys.

    Returns the runs of `at_least` items and more, and all the others.
    """
    if not len(items):
        return [], items
    change = np.any([np.diff(key[items]) != 0 for key in keys], axis=0)
    bounds = np.concatenate([[0], np.flatnonzero(change) + 1, [len(items)]])
    large = np.diff(bounds) >= at_least
    runs = zip(bounds[:-1][large].tolist(), bounds[1:][large].tolist(), strict=True)
    return [items[a:b] for a, b in runs], items[np.repeat(~large, np.diff(bounds))]


def _first_middle_last(pool: Indices) -> Indices:
    some = sorted({0, len(pool) // 2, len(pool) - 1}) if len(pool) else []
    return np.array([pool[k] for k in some], np.int64)


def _runs(starts: Indices, counts: Indices) -> Indices:
    """Return the numbers from each start on, as many as its count, one run behind the other."""
    shift = starts - (np.cumsum(counts) - counts)
    every = np.repeat(shift, counts)
    return np.asarray(np.arange(len(every)) + every)


def _headers(path: str) -> Iterator[Header]:
    descriptor = open_regular(path)
    try:
        yield from walk_headers(reader(descriptor))
    finally:
        os.close(descriptor)


def _objects_in(path: str) -> tuple[Kind, int]:
    """Say what a file holds, and how many: one cutout, unless it holds tables only or many."""
    if container := rows_in(path):
        return container
    no_cutout = is_hdf5_name(path) or _is_table_only(path)
    return "cutout", 0 if no_cutout else 1


def _is_table_only(path: str) -> bool:
    """Whether this is a whole FITS file with tables and no image; reads headers only."""
    tables = 0
    try:
        for header in _headers(path):
            if header.shape:
                return False
            tables += header.is_table
    except (OSError, Damaged):
        return False
    return tables > 0


def _is_single_image(path: str) -> bool | None:
    """Whether the file holds the image of one band and no other; None for a damaged file."""
    try:
        images = _images(list(_headers(path)))
    except (OSError, Damaged):
        return None
    return len(images) == 1 and len(images[0].plain_shape) == 2


def _band_image(path: str) -> _BandImage | None:
    """Read what a file's headers say of band and object, where it holds one image of one band."""
    try:
        headers = list(_headers(path))
    except (OSError, Damaged):
        return None
    images = _images(headers)
    if len(images) != 1 or len(images[0].plain_shape) != 2:
        return None
    said = [images[0], headers[0]]
    names = (header.text(word) for header in said for word in ("EXTNAME", "FILTER", "BAND"))
    band = next((band for name in names if (band := band_of(name))), None)
    key: Hashable = _first(headers, "OBJECT_ID")
    if not key:
        rest = tuple(_first(headers, word) for word in ("OBJECT", "RA_TARG", "DEC_TARG"))
        key = rest if rest[0] or all(rest[1:]) else None
    return _BandImage(band, key) if band and key else None


def _images(headers: Sequence[Header]) -> list[Header]:
    """Return the images of the sky, without masks and variances."""
    return [headers[unit] for unit in find_companions(headers)]


def _first(headers: Sequence[Header], word: str) -> str:
    return next((text for header in headers if (text := header.text(word))), "")
