"""What a table of objects gives the rows of a part, and whether an older part has the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from photoz_mmae.survey_run.object_table import ObjectTable
from photoz_mmae.survey_runs import PSF_ROLES

GIVEN = ("given_ra", "given_dec")
"""Columns of the part files alone: the position that the table of objects gave, deg."""

GIVEN_PSF = {band: f"given_{role}" for band, role in PSF_ROLES.items()}
"""The same for the widths of the PSF, arcsec, by band."""


def has_what_a_table_gives(
    path: Path, gone: Sequence[int], table: ObjectTable, has_ebv: bool, psf_bands: Sequence[str]
) -> bool:
    """Whether a part's file was made with the E(B-V), positions and PSFs that a table gives.

    Parameters
    ----------
    path : Path
        The part's file.
    gone : sequence of int
        Rows that do not count: they cannot be made again.
    table : ObjectTable
    has_ebv : bool
    psf_bands : sequence of str
        What the run takes of it.
    """
    # A part made without any positions has no columns of them.
    names = ("ebv", *GIVEN, *GIVEN_PSF.values())
    there = [name for name in names if name in pq.read_schema(path).names]
    rows = pq.read_table(path, columns=["object_id", *there])
    ids = rows["object_id"].to_pylist()
    given: dict[str, Any] = dict(zip(GIVEN, table.positions_of(ids), strict=True))
    if has_ebv:
        given["ebv"] = table.ebv_of(ids)
    for band in psf_bands:
        given[GIVEN_PSF[band]] = table.psf_fwhm_of(ids, [band])[:, 0]
    rest = np.delete(np.arange(len(ids)), gone)
    for name, values in given.items():
        before = rows[name].to_numpy() if name in there else np.full(len(ids), np.nan)
        if not np.array_equal(values[rest], before[rest], equal_nan=True):
            return False
    return True
