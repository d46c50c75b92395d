"""What a run tells while it goes on, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from photoz_mmae.catalog.qp import Ensemble
from photoz_mmae.model.info import ModelInfo
from photoz_mmae.survey_run.merge import Problems
from photoz_mmae.survey_run.object_table import CatalogRows
from photoz_mmae.survey_run.objects import Objects
from photoz_mmae.survey_run.plan import Part


class Report(Protocol):
    """What a run tells while it goes on.

    Attributes
    ----------
    has_begun : bool
        `begins` was told: what `--overwrite` removes is removed.
    """

    has_begun: bool

    def catalog(self, path: Path, rows: CatalogRows) -> None:
        """Tell what the table of objects has."""

    def found(self, objects: Objects) -> None:
        """Tell what objects there are."""

    def unused(self, bands: str) -> None:
        """Tell which bands the cutouts have and the model does not take."""

    def begins(self, model: ModelInfo, device: str, parts: int, todo: Sequence[Part]) -> None:
        """Tell how many parts there are, and which of them will be computed now."""

    def workers(self, said: str) -> None:
        """Tell something about who computes them."""

    def part_done(self, rows: int) -> None:
        """Tell that a part of so many rows is finished."""


@dataclass(frozen=True)
class Summary:
    """What became of a run.

    Attributes
    ----------
    output : Path
    thing : str
        What rows have: `redshift` or `embedding`.
    rows : int
        Of the catalogue.
    problems : Problems
        Of the rows without one.
    problems_file : Path
        The list of them.
    gone, unasked : int
        Rows whose cutouts are not there any more, and of those that were not given this time.
    repeated, same_sky : int
        Rows that share their id with another, and rows at the place of another id.
    without_ebv : int
        Rows without E(B-V), where the model wants it.
    flags : mapping of str to int
        How many rows have each flag.
    ids_became_text : bool
        Until now every id was a whole number.
    computed : int
        Rows computed now.
    seconds : float
        From the start of the workers to the finished catalogue.
    changed : bool
        False when everything was up to date and was not touched.
    tolerated : int
        How many rows with cutouts may be without one.
    exit_code : int
        0, or 3 where more are.
    hats : bool
        It is a HATS catalogue.
    unplaced : int
        Rows of it that have no position.
    ensemble : Ensemble or None
        The p(z) in a file of their own.
    """

    output: Path
    thing: str
    rows: int
    problems: Problems
    problems_file: Path
    gone: int
    unasked: int
    repeated: int
    same_sky: int
    without_ebv: int
    flags: Mapping[str, int]
    ids_became_text: bool
    computed: int
    seconds: float
    changed: bool
    tolerated: int
    exit_code: int
    hats: bool
    unplaced: int
    ensemble: Ensemble | None
