"""What a mock survey is made from: everything that decides its objects, and nothing else."""

from dataclasses import dataclass, replace
from typing import Literal

from photoz_mmae.errors import UsageError
from photoz_mmae.surveys import Survey

MAGNITUDE_RANGE = (16.0, 25.5)
"""Limits in i that `magnitude:LIMIT` may have."""


@dataclass(frozen=True)
class Recipe:
    """A mock survey: its objects follow from this and their number, whatever computes them.

    Attributes
    ----------
    survey : Survey
        Bands, depth, seeing, pixel scale.
    seed : int
    selection : str
        `desi`: the targets of GalaxiesML-Spectra; `magnitude:LIMIT`: field galaxies brighter than
        LIMIT in i, before Galactic reddening. Several, with commas, take turns by the chunk.
    fraction_stars, fraction_bad : float
        Share of the objects that are stars, and that have something wrong (see `defects`).
    ebv : float or None
        Galactic E(B-V) of every stamp; None draws each its own, 0 to 0.3.
    spectrum_pixels : {259, 7783}
        Pixels of 24 or of 0.8 Angstrom.

    Raises
    ------
    UsageError
        The selection is not one of these.
    """

    survey: Survey
    seed: int
    selection: str = "desi"
    fraction_stars: float = 0.0
    fraction_bad: float = 0.0
    ebv: float | None = None
    spectrum_pixels: Literal[259, 7783] = 259

    def __post_init__(self) -> None:
        for selection in self.selections:
            _limit_of(selection)

    @property
    def selections(self) -> tuple[str, ...]:
        """Each by itself."""
        return tuple(part.strip() for part in self.selection.split(","))

    def of_chunk(self, chunk: int) -> "Recipe":
        """Return the recipe of a chunk, which has one selection."""
        return replace(self, selection=self.selections[chunk % len(self.selections)])

    @property
    def kinds(self) -> frozenset[str]:
        """What the objects are, of galaxy, qso and star."""
        kinds = {"galaxy"}
        if "desi" in self.selections:
            kinds.add("qso")
        if self.fraction_stars:
            kinds.add("star")
        return frozenset(kinds)

    @property
    def magnitude_limit(self) -> float | None:
        """Faintest magnitude in i; None for `desi`; of a recipe of one selection."""
        return _limit_of(self.selection)


def _limit_of(selection: str) -> float | None:
    """Faintest magnitude in i of one selection, None for `desi`; raises UsageError."""
    if selection == "desi":
        return None
    kind, _, number = selection.partition(":")
    low, high = MAGNITUDE_RANGE
    try:
        limit = float(number)
    except ValueError:
        limit = float("nan")
    if kind != "magnitude" or not low <= limit <= high:
        raise UsageError(
            f"--selection {selection}: give desi, or magnitude:LIMIT with a limit in i "
            f"from {low:g} to {high:g}, such as magnitude:22.5; several with commas between them"
        )
    return limit
