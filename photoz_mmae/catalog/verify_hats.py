"""Whether the files of a HATS catalogue are those that its own lists name, and hold what they say.

The note "HATS" of the IVOA says what the files are: `hats.properties`, `partition_info.csv`,
`dataset/_metadata`, and a file of rows for each HEALPix pixel, sorted by `_healpix_29`.
"""

import csv
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from photoz_mmae.catalog.hats import INDEX, UNPLACED_KEY, has_place
from photoz_mmae.catalog.layouts import NO_POSITION
from photoz_mmae.catalog.naming import Naming
from photoz_mmae.catalog.opened import UNREADABLE, OpenedCatalogue, first_line
from photoz_mmae.words import count

_PIXEL = re.compile(r"dataset/Norder=(\d+)/Dir=(\d+)/Npix=(\d+)\.parquet")
_DEEPEST = 29


def hats_problems(catalogue: OpenedCatalogue, naming: Naming) -> tuple[list[str], str]:
    """Say what is wrong with the lists and with the rows' places, and what could not be checked.

    Returns
    -------
    problems : list of str
    unchecked : str
        '' when all was.
    """
    problems = _list_problems(catalogue)
    has_hats = find_spec("hats") is not None
    for number, path in enumerate(catalogue.files.paths):
        name = catalogue.name(path)
        try:
            wrong = _place_problem(catalogue, number, naming, has_hats)
        except UNREADABLE as error:
            wrong = first_line(error)
        if wrong:
            problems.append(f"{name}: {wrong}")
    unchecked = "" if has_hats else f"; {INDEX.name} not compared with positions: no package hats"
    return problems, unchecked


def _list_problems(catalogue: OpenedCatalogue) -> list[str]:
    rows = dict(zip(map(catalogue.name, catalogue.files.paths), catalogue.files.rows, strict=True))
    unplaced = rows.pop(NO_POSITION, 0)
    problems = []
    if str(unplaced) != catalogue.said.get(UNPLACED_KEY):
        problems.append(f"{count(unplaced, 'row')} in {NO_POSITION}, its metadata say otherwise")
    folder = catalogue.path
    told: dict[str, str] = {}
    try:
        lines = (folder / "hats.properties").read_text().splitlines()
        told = dict(line.partition("=")[::2] for line in lines)
    except (OSError, ValueError) as error:
        problems.append(f"hats.properties: cannot be read ({error})")
    if told and told.get("hats_nrows") != str(sum(rows.values())):
        problems.append(
            f"hats_nrows of hats.properties is {told.get('hats_nrows')}, the partitions have "
            f"{count(sum(rows.values()), 'row')}"
        )
    try:
        listed = _partitions(folder)
    except (OSError, ValueError, KeyError) as error:
        problems.append(f"partition_info.csv: cannot be read ({error})")
    else:
        problems += _difference("partition_info.csv", listed, {_pixel(name) for name in rows})
    try:
        footer = pq.read_metadata((folder / "dataset/_metadata").open("rb"))
    except UNREADABLE as error:
        problems.append(f"dataset/_metadata: cannot be read ({first_line(error)})")
    else:
        groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
        pixels = {_pixel(f"dataset/{group.column(0).file_path}") for group in groups}
        problems += _difference("dataset/_metadata", pixels, {_pixel(name) for name in rows})
        if footer.num_rows != sum(rows.values()):
            problems.append(f"dataset/_metadata tells of {count(footer.num_rows, 'row')}")
    return problems


def _place_problem(catalogue: OpenedCatalogue, number: int, naming: Naming, has_hats: bool) -> str:
    """Say what is wrong with the places of the rows of a file; '' where nothing is."""
    name = catalogue.name(catalogue.files.paths[number])
    ra, dec = naming.name("ra"), naming.name("dec")
    if name == NO_POSITION:
        for batch in catalogue.files.batches(number, [ra, dec]):
            if has_place(batch[ra], batch[dec]).any():
                return "rows with a position"
        return ""
    order, folder, pixel = _pixel(name)
    if folder != pixel // 10_000 * 10_000:
        return "in the folder of other pixels"
    last = -1
    for batch in catalogue.files.batches(number, [INDEX.name, ra, dec]):
        index = batch[INDEX.name].to_numpy(zero_copy_only=False)
        if (index >> 2 * (_DEEPEST - order) != pixel).any():
            return "rows of other pixels"
        if (np.diff(np.concatenate([[last], index])) < 0).any():
            return f"not sorted by {INDEX.name}"
        if has_hats and not _is_index(index, batch[ra], batch[dec]).all():
            return f"{INDEX.name} is not that of {ra} and {dec}"
        last = int(index[-1])
    return ""


def _is_index(index: NDArray[np.int64], ra: pa.Array, dec: pa.Array) -> NDArray[np.bool_]:
    """Whether numbers of pixels are those of positions, deg, (N,)."""
    from hats.pixel_math.spatial_index import compute_spatial_index

    x, y = (values.to_numpy(zero_copy_only=False) for values in (ra, dec))
    right = np.asarray(compute_spatial_index(x, y) == index)
    # On the edge of a pixel (1e-7 deg wide) another processor may have rounded otherwise.
    for dx, dy in ((1e-9, 0.0), (-1e-9, 0.0), (0.0, 1e-9), (0.0, -1e-9)):
        if right.all():
            break
        right |= compute_spatial_index(x + dx, np.clip(y + dy, -90, 90)) == index
    return right


def _partitions(folder: Path) -> set[tuple[int, int, int]]:
    with (folder / "partition_info.csv").open(newline="") as file:
        pixels = [(int(row["Norder"]), int(row["Npix"])) for row in csv.DictReader(file)]
    return {(order, pixel // 10_000 * 10_000, pixel) for order, pixel in pixels}


def _pixel(name: str) -> tuple[int, int, int]:
    """Return order, folder and number of the pixel of a partition; (-1, -1, -1) of others."""
    found = _PIXEL.fullmatch(name)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (-1, -1, -1)


def _difference(
    where: str, listed: set[tuple[int, int, int]], there: set[tuple[int, int, int]]
) -> list[str]:
    problems = []
    for what, pixels in (("names", listed - there), ("does not name", there - listed)):
        if pixels:
            order, _, pixel = min(pixels)
            is_there = ", which is not there" if what == "names" else ""
            more = f", and {len(pixels) - 1} more" if len(pixels) > 1 else ""
            problems.append(f"{where} {what} Norder={order}, Npix={pixel}{more}{is_there}")
    return problems
