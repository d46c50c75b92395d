"""A mock survey beside real data: statistics with their targets, pass or miss.

Images are read block by block, so memory does not grow with them; of each object a few numbers are
held.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.evaluation import published
from photoz_mmae.evaluation.survey_file import REDSHIFT, SurveyFile
from photoz_mmae.evaluation.survey_statistics import (
    colour_difficulty,
    colour_percentiles,
    pixel_statistics,
    psf_share,
    redshift_distance,
)
from photoz_mmae.surveys import SURVEYS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST = 30
"""Objects that a bin of redshift must have for its colours to be judged."""

_PIXEL_SURVEY = SURVEYS[published.PIXEL_SURVEY]


@dataclass(frozen=True)
class Row:
    """A statistic beside its target.

    Attributes
    ----------
    name : str
    value : float
        Of the file; NaN where it could not be had.
    low, high : float
        Between these (inclusive) it passes.
    target : float or None
        The published value, where there is one to divide by.
    band : str
        Empty for statistics of whole objects.
    note : str
        Why it is not judged; empty where it is.
    """

    name: str
    value: float
    low: float
    high: float
    target: float | None = None
    band: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """`pass`, `miss`, or empty: not judged."""
        if self.note:
            return ""
        return "pass" if self.low <= self.value <= self.high else "miss"


@dataclass(frozen=True)
class Colours:
    """Colours in bins of redshift, beside those of zCOSMOS.

    Attributes
    ----------
    count : (9,) int array
        Objects per bin.
    percentiles : (9, 3, 3) array
        Bin, colour (g-r, r-i, i-z), percentile (16, 50, 84), mag; NaN for empty bins.
    """

    count: NDArray[np.int64]
    percentiles: Floats

    @property
    def difference(self) -> Floats:
        """Median minus that of zCOSMOS, mag, (9, 3)."""
        return np.asarray(self.percentiles[..., 1] - published.COLOUR_PERCENTILES[..., 1])

    @property
    def width_ratio(self) -> Floats:
        """16-84 % width over that of zCOSMOS, (9, 3)."""
        ours, theirs = (
            values[..., 2] - values[..., 0]
            for values in (self.percentiles, published.COLOUR_PERCENTILES)
        )
        return np.asarray(ours / theirs)

    @property
    def width_factor(self) -> Floats:
        """The same either way, so at least 1, (9, 3)."""
        with np.errstate(divide="ignore"):
            return np.maximum(self.width_ratio, 1.0 / self.width_ratio)

    @property
    def judged(self) -> Bools:
        """Bins (9,) with enough objects."""
        return self.count >= FEWEST

    @property
    def missed(self) -> tuple[Bools, Bools]:
        """Which medians and which widths miss, (9, 3) each; bins of too few objects never do."""
        judged = self.judged[:, None]
        return (
            judged & (np.abs(self.difference) > published.MEDIAN_TOLERANCE),
            judged & (self.width_factor > published.WIDTH_FACTOR),
        )


@dataclass(frozen=True)
class Description:
    """What `describe` found: the rows that apply to the file, and why others are missing."""

    rows: list[Row]
    colours: Colours | None
    notes: list[str]


def describe(file: SurveyFile, advance: Callable[[int], None]) -> Description:
    """Compute every statistic that the file has the data for and its selection a target.

    Parameters
    ----------
    file : SurveyFile
    advance : callable
        Told how many more images have been read.

    Raises
    ------
    InputError
        A dataset cannot be read, or has another shape than one value per object.
    """
    rows: list[Row] = []
    notes: list[str] = []
    colours = None
    if "image" not in file:
        notes.append("pixel statistics: the file has no 'image'")
    elif (file.survey, file.bands) != (published.PIXEL_SURVEY, _PIXEL_SURVEY.bands):
        notes.append(f"pixel statistics: published for {published.PIXEL_SURVEY} only")
    else:
        rows += _pixel_rows(file, advance)
    kind = file.classes()
    counts = np.ones(file.n, dtype=bool) if kind is None else kind != "STAR"
    if file.selection == "desi":
        rows += _target_rows(file, counts, notes)
    elif file.selection == published.COLOUR_SELECTION:
        colours = _colours(file, counts, notes)
        if colours is not None:
            rows += _colour_rows(colours)
        rows += _difficulty_row(file, counts, notes)
    else:
        notes.append(f"objects: nothing is published for the selection {file.selection}")
    return Description(rows, colours, notes)


def _pixel_rows(file: SurveyFile, advance: Callable[[int], None]) -> list[Row]:
    measured = pixel_statistics(file.images(), _PIXEL_SURVEY.negative_std, advance)
    rows = []
    for (name, target), values in zip(published.PIXELS.items(), measured, strict=True):
        if file.selection != "desi" and name != "std of negative pixels":
            continue  # other objects, other light; the sky is the same
        for band, value, wanted in zip(file.bands, values, target.values, strict=True):
            low, high = (wanted * (1.0 + sign * target.tolerance) for sign in (-1, 1))
            note = "" if np.isfinite(value) else "no such pixels"
            rows.append(Row(name, float(value), low, high, wanted, band, note))
    return rows


def _target_rows(file: SurveyFile, counts: Bools, notes: list[str]) -> list[Row]:
    """Redshifts and types of spectroscopic targets."""
    rows = []
    z, morphtype = file.redshifts(), file.column("DESI_fibermap/MORPHTYPE")
    if z is None:
        notes.append(f"n(z): the file has no {REDSHIFT!r}")
    else:
        known = z[counts & np.isfinite(z) & (z > 0)]
        value, note = redshift_distance(known), "" if len(known) else "no redshift"
        rows.append(Row("n(z), KS against y_test", value, 0.0, published.KS_LIMIT, note=note))
    if morphtype is None:
        notes.append("share of PSF types: the file has no 'DESI_fibermap/MORPHTYPE'")
    else:
        value, note = psf_share(morphtype[counts]), "" if counts.any() else "stars only"
        share, tolerance = published.PSF_SHARE, published.PSF_TOLERANCE
        name, low, high = "share of PSF types", share - tolerance, share + tolerance
        rows.append(Row(name, value, low, high, share, note=note))
    return rows


def _colours(file: SurveyFile, counts: Bools, notes: list[str]) -> Colours | None:
    z, mag = file.redshifts(), file.magnitudes(published.COLOUR_BANDS, dereddened=True)
    if z is None or mag is None:
        notes.append("colours: they need redshift, the magnitudes griz and 'simulation/ebv'")
        return None
    return Colours(*colour_percentiles(mag[counts], z[counts], published.COLOUR_EDGES))


def _colour_rows(colours: Colours) -> list[Row]:
    judged = colours.judged
    median, width, note = np.nan, np.nan, f"fewer than {FEWEST} objects in every bin"
    if judged.any():
        width = float(colours.width_factor[judged].max())
        median, note = float(np.abs(colours.difference[judged]).max()), ""
    limit, factor = published.MEDIAN_TOLERANCE, published.WIDTH_FACTOR
    return [
        Row("worst median colour, mag", median, 0.0, limit, note=note),
        Row("worst colour width, factor", width, 1.0, factor, note=note),
    ]


def _difficulty_row(file: SurveyFile, counts: Bools, notes: list[str]) -> list[Row]:
    z, mag = file.redshifts(), file.magnitudes(published.COLOUR_BANDS, dereddened=False)
    if z is None or mag is None:
        notes.append("sigma_NMAD of extra trees: it needs redshift and the magnitudes griz")
        return []
    enough = published.DIFFICULTY_OBJECTS
    known = np.flatnonzero(counts & np.isfinite(mag).all(axis=1) & np.isfinite(z))[:enough]
    value, note = np.nan, ""
    if importlib.util.find_spec("sklearn") is None:
        note = "needs scikit-learn: pip install 'photoz-mmae[report]'"
    elif len(known) < FEWEST:
        note = f"needs {enough:,} objects"
    else:
        value = colour_difficulty(mag[known], z[known])
        if len(known) < enough:
            note = f"of {len(known):,} objects, the target is for {enough:,}"
    low, high = published.DIFFICULTY_RANGE
    name = "extra trees: sigma_NMAD"
    return [Row(name, value, low, high, published.DIFFICULTY, note=note)]
