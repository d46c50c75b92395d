"""What a table of objects gives the rows of a part, and whether an older part has the same."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Given:
    """What a run takes of its table of objects.

    Attributes
    ----------
    table : ObjectTable
    has_ebv : bool
    psf_bands : sequence of str
    """

    table: ObjectTable
    has_ebv: bool
    psf_bands: Sequence[str]

    def is_in(self, path: Path, kept: Sequence[int]) -> bool:
        """Whether a part's file was made with these E(B-V), positions and PSFs.

        Parameters
        ----------
        path : Path
            The part's file.
        kept : sequence of int
            Rows that do not count: they cannot be made again, or are not asked for.
        """
        # A part made without any positions has no columns of them.
        names = ("ebv", *GIVEN, *GIVEN_PSF.values())
        there = [name for name in names if name in pq.read_schema(path).names]
        rows = pq.read_table(path, columns=["object_id", *there])
        ids = rows["object_id"].to_pylist()
        given: dict[str, Any] = dict(zip(GIVEN, self.table.positions_of(ids), strict=True))
        if self.has_ebv:
            given["ebv"] = self.table.ebv_of(ids)
        for band in self.psf_bands:
            given[GIVEN_PSF[band]] = self.table.psf_fwhm_of(ids, [band])[:, 0]
        rest = np.delete(np.arange(len(ids)), kept)
        for name, values in given.items():
            before = rows[name].to_numpy() if name in there else np.full(len(ids), np.nan)
            if not np.array_equal(values[rest], before[rest], equal_nan=True):
                return False
        return True
