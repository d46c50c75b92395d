"""Files of HSC's cutout service joined with the list that they were asked for with.

A file answers the line of the list that its name says. Its position there has to fall on its
image: of some hundred files that is looked at before anything else is done, and the list is
refused when most of them lie elsewhere; a single one gets a row that says so when it is read.

Bands are asked for on separate lines. Lines are of one object when their positions agree to 0.5"
and their ids, where the list has them, are equal. Where one band is there twice, the second file
makes a second object. The files of an object stand in the order of the list.

Every object of the list has a row: one without any file is a source of kind `absent`.
"""

import itertools
import math
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.headers import Damaged, open_regular, reader, walk_headers
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.request_list import RequestList, answers, band_letter
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.source_list import SourceList
from photoz_mmae.cutouts.wcs import read_wcs
from photoz_mmae.errors import InputError

SAME_POSITION = 0.5
"""arcsec."""

LOOKED_AT = 100
"""Files, about, whose position is looked at before a list is refused."""

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Joined:
    """Sources of which a list says what they are.

    Attributes
    ----------
    sources : SourceList
        Those of the list in its order, then those it does not know.
    answers, unanswered : int
        Cutouts that answer a line of the list; lines that nothing answers.
    absent : int
        Objects without any file.
    unlisted : int
        Sources whose names say no line of the list.
    other : int
        Files of filters that are none of ugrizy, left out.
    """

    sources: SourceList
    answers: int
    unanswered: int
    absent: int
    unlisted: int
    other: int


@dataclass(frozen=True)
class _Answers:
    """Sources that answer a line, in the list's order: which, its row in the list, their bands."""

    source: Index
    row: Index
    bands: list[str]


def join_list(found: SourceList, asked: RequestList) -> Joined:
    """Say which object each file is of, and put the bands of one object together.

    Parameters
    ----------
    found : SourceList
        What lies under the paths given.
    asked : RequestList

    Raises
    ------
    InputError
        The list does not belong to these files.
    """
    given, unlisted, other = _match(found, asked)
    if not given.bands:
        raise InputError(
            f"{asked.path}: none of {len(found)} cutouts answers it; files of the cutout service "
            "are named N-cutout-..., N being the line of the list"
        )
    _check_positions(found, given, asked)
    objects = _objects(asked)
    first_row = np.unique(objects, return_index=True)[1]
    number = objects[given.row]
    # The second file of a band makes a second object.
    copy = _occurrence(number, given.bands)
    order = np.lexsort((np.arange(len(number)), copy, number))
    change = (np.diff(number[order]) != 0) | (np.diff(copy[order]) != 0)
    bounds = np.concatenate([[0], np.flatnonzero(change) + 1, [len(order)]]).tolist()
    absent = np.setdiff1d(objects, number)
    # (row of the object's first line, where its files stand in `order`)
    rows = [(int(first_row[number[order[a]]]), a, b) for a, b in itertools.pairwise(bounds)]
    rows += [(int(row), 0, 0) for row in first_row[absent]]
    rows.sort()
    joined = SourceList(
        _source(asked, row, [(found[int(given.source[k])], given.bands[k]) for k in order[a:b]])
        for row, a, b in rows
    )
    for index in unlisted:
        joined.append(found[index])
    unanswered = len(asked.line) - len(np.unique(given.row))
    return Joined(joined, len(given.bands), unanswered, len(absent), len(unlisted), other)


def _match(found: SourceList, asked: RequestList) -> tuple[_Answers, list[int], int]:
    """Join files with lines; returns also the sources that answer none, and how many have no band.

    A source of several files has one line: they were put together because their names agree.
    """
    rows, sources = array("q"), array("q")
    bands: list[str] = []
    unlisted = []
    other = 0
    for index in range(len(found)):
        name = found.names[found.first[index]]
        said = answers(name)
        line, filter_name = said or (-1, "")
        row = int(np.searchsorted(asked.line, line))
        if said is None or row == len(asked.line) or asked.line[row] != line:
            unlisted.append(index)
            continue
        source = found[index]
        own = source.bands or band_letter(filter_name)
        if asked.band[row] not in ("", own) and source.kind == "cutout" and len(own) == 1:
            raise InputError(
                f"{asked.path} does not belong to these files: its line {line} asks for another "
                f"filter than that of {printable(name)}"
            )
        if own == "?":
            other += 1
            continue
        rows.append(row)
        sources.append(index)
        bands.append(own)
    row_of, source_of = np.array(rows, np.int64), np.array(sources, np.int64)
    order = np.argsort(row_of, kind="stable")
    return _Answers(source_of[order], row_of[order], [bands[k] for k in order]), unlisted, other


def _check_positions(found: SourceList, given: _Answers, asked: RequestList) -> None:
    """Raise InputError when most of the files looked at are not where the list says."""
    looked, off = 0, []
    for k in range(0, len(given.bands), max(len(given.bands) // LOOKED_AT, 1)):
        row = given.row[k]
        path = found[int(given.source[k])].files[0]
        inside = _is_on_image(path, float(asked.ra[row]), float(asked.dec[row]))
        if inside is not None:
            looked += 1
            off += [] if inside else [(asked.line[row], path)]
    if 2 * len(off) > looked:
        line, path = off[0]
        raise InputError(
            f"{asked.path} does not belong to these files: {printable(os.path.basename(path))} "  # noqa: PTH119
            f"does not show the position in line {line} ({len(off)} of {looked} files looked at "
            "are elsewhere)"
        )


def _is_on_image(path: str, ra: float, dec: float) -> bool | None:
    """Whether a position falls on a file's image; None where the file does not tell."""
    try:
        descriptor = open_regular(path)
        try:
            headers = walk_headers(reader(descriptor))
            header = next((h for h in headers if h.is_science and len(h.plain_shape) == 2), None)
        finally:
            os.close(descriptor)
    except (OSError, Damaged):
        return None
    wcs = read_wcs(header) if header else None
    if header is None or wcs is None:
        return None
    x, y = wcs.to_pixel(ra, dec)
    height, width = header.plain_shape
    return -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5


def _objects(asked: RequestList) -> Index:
    """Give each line the number of its object, counted by their first lines, (N,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    places, place = np.unique(np.stack([asked.ra, asked.dec]), axis=1, return_inverse=True)
    ra, dec = np.radians(places)
    sky = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = 2 * math.sin(math.radians(SAME_POSITION / 3600) / 2)
    pairs = cKDTree(sky).query_pairs(chord, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(len(sky), len(sky)))
    _, clump = connected_components(links, directed=False)
    objects = clump[place.ravel()].astype(np.int64)
    if asked.object_id is not None:
        _, same_id = np.unique(np.array(asked.object_id), return_inverse=True)
        objects = objects * len(objects) + same_id
    _, first, objects = np.unique(objects, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[objects])


def _occurrence(number: Index, bands: Sequence[str]) -> Index:
    """Say for each file how many of the same object and band stand before it, (f,)."""
    _, band = np.unique(np.array(bands), return_inverse=True)
    order = np.lexsort((np.arange(len(number)), band, number))
    begins = np.ones(len(number), bool)
    begins[1:] = (np.diff(number[order]) != 0) | (np.diff(band[order]) != 0)
    starts = np.flatnonzero(begins)
    counts = np.diff(np.append(starts, len(number)))
    occurrence = np.empty(len(number), np.int64)
    occurrence[order] = np.arange(len(number)) - np.repeat(starts, counts)
    return occurrence


def _source(asked: RequestList, row: int, parts: Sequence[tuple[Source, str]]) -> Source:
    """Make the source of an object out of those that its files were."""
    ra, dec = float(asked.ra[row]), float(asked.dec[row])
    name = asked.object_id[row] if asked.object_id else f"{ra:.5f}{dec:+.5f}"
    if not parts:
        line = int(asked.line[row])
        return Source((str(asked.path),), 0, 0, "absent", line, "", name, ra, dec)
    return Source(
        files=tuple(file for source, _ in parts for file in source.files),
        size=sum(source.size for source, _ in parts),
        mtime_ns=max(source.mtime_ns for source, _ in parts),
        bands="".join(bands for _, bands in parts),
        object_id=name,
        ra=ra,
        dec=dec,
    )
