"""The objects of a run: files under the paths given or named by a table, or places on coadds."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from photoz_mmae.cutouts.coadd_objects import CoaddObjects, TractPatch
from photoz_mmae.cutouts.coadds import Coadds, find_coadds
from photoz_mmae.cutouts.ids import is_fits_name
from photoz_mmae.cutouts.requested import Joined
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError
from photoz_mmae.survey_run.find import find_cutouts
from photoz_mmae.survey_run.object_table import CatalogFile, CatalogRows, check_ids
from photoz_mmae.survey_runs import SurveyRun

BAND = "{band}"
"""Stands in the file names of a table for each of the model's bands."""


@dataclass(frozen=True)
class Objects:
    """What a run is about.

    Attributes
    ----------
    sources : sequence of Source
    ignored : int
        Files that are no objects: of other kinds, or not named by the table.
    absent : int
        Objects whose files are not there, or which no coadd covers.
    coadds : Coadds or None
        Where the objects lie, if not in files of their own.
    joined : Joined or None
        What a request list says of them.
    """

    sources: Sequence[Source]
    ignored: int
    absent: int = 0
    coadds: Coadds | None = None
    joined: Joined | None = None


def kind_of_objects(run: SurveyRun) -> str | None:
    """Say whose objects a run is about; None for those of CUTOUTS."""
    if run.coadds is not None:
        return "--coadds"
    return "the files the table names" if "file" in run.columns else None


def find_objects(
    run: SurveyRun, bands: Sequence[str], file: CatalogFile | None, rows: CatalogRows | None
) -> Objects:
    """Find the objects of a run.

    Parameters
    ----------
    run : SurveyRun
    bands : sequence of str
        Of the model.
    file, rows : CatalogFile, CatalogRows, or None
        The table, and what was read of it; there where the run is about its objects.

    Raises
    ------
    InputError
        There are none, or none of them is in the table.
    """
    if file is not None and rows is not None:
        if run.coadds is not None:
            return _on_coadds(str(run.coadds), bands, file, rows)
        if "file" in file.columns:
            return _named_files(run, bands, file, rows)
    found = find_cutouts(run)
    if file is not None and rows is not None:
        check_ids(rows.objects, file, found.sources)
    return Objects(found.sources, found.ignored, joined=found.joined)


def _on_coadds(folder: str, bands: Sequence[str], file: CatalogFile, rows: CatalogRows) -> Objects:
    coadds = find_coadds(folder, bands)
    assert rows.objects.ra is not None
    assert rows.objects.dec is not None
    ids = file.table.ids.combine_chunks().take(pa.array(rows.rows))
    sources = CoaddObjects(coadds, ids, rows.objects.ra, rows.objects.dec, _tract_patch(file, rows))
    if sources.uncovered == len(sources):
        raise InputError(
            f"{file.table.path}: none of {len(sources)} objects lies on one of the "
            f"{len(coadds.patches)} patches in {folder}; are its positions "
            f"({file.columns['ra']}, {file.columns['dec']}) in degrees?"
        )
    return Objects(sources, coadds.ignored, sources.uncovered, coadds)


def _tract_patch(file: CatalogFile, rows: CatalogRows) -> TractPatch | None:
    """Read tract and patch of the objects, where the table has them."""
    roles = [role for role in ("tract", "patch") if role in file.columns]
    if not roles:
        return None
    # Few values repeat: their numbers are held, not their texts.
    numbers = np.zeros(len(rows.rows), np.int64)
    pairs: list[tuple[str | None, str | None]] = [(None, None)]
    for place, role in enumerate(("tract", "patch")):
        if role not in roles:
            continue
        texts = file.table.texts(file.columns[role], file.option(role))
        encoded = pc.fill_null(texts, "").combine_chunks().dictionary_encode()
        words = encoded.dictionary.to_pylist()
        codes = encoded.indices.to_numpy()[rows.rows]
        together, numbers = np.unique(numbers * len(words) + codes, return_inverse=True)
        joined = [(pairs[pair // len(words)], words[pair % len(words)]) for pair in together]
        pairs = [(word, None) if place == 0 else (pair[0], word) for pair, word in joined]
    return TractPatch(pairs, numbers)


def _named_files(
    run: SurveyRun, bands: Sequence[str], file: CatalogFile, rows: CatalogRows
) -> Objects:
    """Make the rows of a table that name files the objects, in the table's order."""
    # Where a table stands alone its names start from where it is.
    folder = run.cutouts[0] if run.cutouts else str(file.table.path.parent)
    if run.cutouts and not os.path.isdir(folder):  # noqa: PTH112 (text with any bytes)
        raise InputError(f"{folder}: no such folder, which the files of the table would be in")
    order = pa.array(np.sort(rows.rows))
    names = file.table.texts(file.columns["file"], file.option("file")).combine_chunks().take(order)
    ids = file.table.ids.combine_chunks().take(order)
    sources = []
    for object_id, name in zip(ids, names, strict=True):
        sources.append(_source(folder, name.as_py() or "", bands, object_id.as_py()))
    absent = sum(source.is_absent for source in sources)
    if absent == len(sources):
        raise InputError(
            f"{file.table.path}: none of the files in column {file.columns['file']!r} is there "
            f"(the first is looked for as {sources[0].files[0]!r}); give the folder they are in "
            "as CUTOUTS"
        )
    named = {os.path.normpath(path) for source in sources for path in source.files}
    unnamed = _count_others(folder, named) if run.cutouts else 0
    return Objects(sources, unnamed, absent)


def _source(folder: str, name: str, bands: Sequence[str], object_id: str) -> Source:
    given = [name.replace(BAND, band) for band in bands] if BAND in name else [name]
    letters = list(bands) if BAND in name else []
    paths = [os.path.join(folder, each) for each in given]  # noqa: PTH118
    found = {}
    for number, path in enumerate(paths):
        try:
            about = os.stat(path)  # noqa: PTH116
        except (OSError, ValueError):
            continue
        if not stat.S_ISDIR(about.st_mode):  # where there is no name it is the folder itself
            found[number] = about
    there = list(found) or list(range(len(paths)))
    return Source(
        tuple(paths[number] for number in there),
        sum(about.st_size for about in found.values()),
        max((about.st_mtime_ns for about in found.values()), default=0),
        bands="".join(letters[number] for number in there) if letters else "",
        object_id=object_id,
    )


def _count_others(folder: str, named: set[str]) -> int:
    """Count the FITS files below a folder that are not among those named."""
    others = 0
    for path, _, names in os.walk(folder):
        fits = (os.path.normpath(os.path.join(path, n)) for n in names if is_fits_name(n))  # noqa: PTH118
        others += sum(name not in named for name in fits)
    return others
