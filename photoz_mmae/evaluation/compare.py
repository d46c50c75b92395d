"""A catalogue against the truth: join, then the metrics over all objects and per redshift bin."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from photoz_mmae.catalog.naming import Naming
from photoz_mmae.catalog.schema import Z_EDGES_KEY, Z_LEVELS_KEY
from photoz_mmae.errors import InputError
from photoz_mmae.evaluation.open_table import open_catalogue, open_table
from photoz_mmae.redshift import metrics
from photoz_mmae.redshift.piecewise import PiecewisePdf
from photoz_mmae.runs import EvaluateRun
from photoz_mmae.tables import ID_COLUMN, TableFile

Array = NDArray[np.float64]

_PDF_COLUMNS = {"z_pdf": Z_EDGES_KEY, "z_quantiles": Z_LEVELS_KEY}
"""Columns that hold p(z), the better first, and the file metadata that explains each."""

_INTERVALS = {
    "coverage_68": ("z_err68_min", "z_err68_max"),
    "coverage_95": ("z_err95_min", "z_err95_max"),
}
"""By the standard names."""

ROW_NUMBER = "row number"
"""How rows of one file are joined."""

HIGHEST_MEDIAN = 15.0
"""No sample of galaxies has a higher median redshift; magnitudes and ids do."""

_CLASSES = ("class", "spectype")
"""Columns of the truth, in any case, that say STAR of a star."""

_STAR_REDSHIFT = 0.002
"""Stars move no faster."""

_ROWS = 8192  # p(z) of as many objects in memory at once


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes
    ----------
    all : dict of str to float
        The metrics over all compared objects, named as in `redshift.metrics`.
    bins : list of dict
        The same per bin of true redshift, after `z_min` (inclusive) and `z_max` (exclusive).
    rows : dict of str to int
        What became of the rows. `catalog` = `compared` + `without_truth` + `stars` +
        `without_z_spec` + `without_z_phot`; a row is counted at the first of these that holds.
        `truth`, `truth_without_catalog`, `truth_duplicates`, `catalog_duplicates`.
    joined_by : str
        The column of ids in the catalogue, or `row number`.
    z_phot : str
        The column that was judged.
    pdf : str or None
        The column that p(z) was taken from.
    notes : list of str
        What the catalogue has and could not be used; how many compared objects may be stars.
    """

    all: dict[str, float]
    bins: list[dict[str, float]]
    rows: dict[str, int]
    joined_by: str
    z_phot: str
    pdf: str | None
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return plain dicts in which NaN is None."""
        return {
            "all": _none_for_nan(self.all),
            "bins": [_none_for_nan(row) for row in self.bins],
            "rows": self.rows,
            "joined_by": self.joined_by,
            "z_phot": self.z_phot,
            "pdf": self.pdf,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class _Compared:
    """What is known of each compared object, all (N,)."""

    z_phot: Array
    z_true: Array
    intervals: dict[str, tuple[Array, Array]]
    pdf_terms: dict[str, Array]

    def metrics(self, chosen: NDArray[np.bool_]) -> dict[str, float]:
        result = metrics.point_metrics(self.z_phot[chosen], self.z_true[chosen])
        for name, (low, high) in self.intervals.items():
            known = chosen & np.isfinite(low) & np.isfinite(high)
            result[name] = metrics.coverage(low[known], high[known], self.z_true[known])
        if self.pdf_terms:
            known = chosen & np.isfinite(self.pdf_terms["pit"])
            terms = {name: values[known] for name, values in self.pdf_terms.items()}
            result["n_pdf"] = int(known.sum())
            for name in ("cde_loss", "crps"):
                result[name] = float(np.mean(terms[name])) if known.any() else np.nan
            result |= metrics.pit_statistics(terms["pit"])
        return result


def evaluate(run: EvaluateRun) -> Evaluation:
    """Compare a catalogue with true redshifts.

    Rows are joined by id (compared as text, so the integer 17 equals "17"), or by row number when
    both are one file or folder. Of several truth rows with one id the first counts. Stars, where a
    column `class` or `SPECTYPE` of the truth tells them, are not compared. Columns of ids,
    points and intervals are those of the naming (`catalog.naming`) that the catalogue has; ids of
    the truth may have that name, or are in `object_id`.

    Parameters
    ----------
    run : EvaluateRun

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        A file or a column cannot be used, or no object is left to compare.
    """
    catalog, naming = open_catalogue(run.catalog)
    own_id = naming.name(ID_COLUMN)
    truth = open_table(run.truth, own_id)
    point = run.z_phot or naming.point
    z_phot = catalog.numbers(point, "--z-phot")
    z_spec = truth.numbers(run.z_spec, "--z-spec")
    unpaired: dict[str, int] = {}
    if run.catalog.samefile(run.truth):
        joined_by, match = ROW_NUMBER, np.arange(len(catalog))
    else:
        joined_by = own_id
        match, unpaired = _match(catalog, truth)
    z_true = np.where(match >= 0, z_spec[match], np.nan)
    in_truth = match >= 0
    stars = _stars(truth)
    is_star = in_truth & (False if stars is None else stars[match])
    has_z_spec = in_truth & ~is_star & np.isfinite(z_true) & (z_true > -1)
    used = has_z_spec & np.isfinite(z_phot)
    rows = {
        "catalog": len(catalog),
        "truth": len(truth),
        "compared": int(used.sum()),
        "without_truth": int((~in_truth).sum()),
        "stars": int(is_star.sum()),
        "without_z_spec": int((in_truth & ~is_star & ~has_z_spec).sum()),
        "without_z_phot": int((has_z_spec & ~used).sum()),
        **unpaired,
    }
    if not used.any():
        raise InputError(_nothing_left(run, point, rows, catalog, truth, joined_by))
    for path, column, values in (
        (run.catalog, point, z_phot[used]),
        (run.truth, run.z_spec, z_true[used]),
    ):
        if np.median(np.abs(values)) > HIGHEST_MEDIAN:
            raise InputError(
                f"{path}: column {column!r} holds no redshifts (median {np.median(values):g})"
            )
    pdf, terms, notes = _pdf_terms(catalog, np.where(used, z_true, np.nan))
    slow = int((np.abs(z_true[used]) < _STAR_REDSHIFT).sum())
    if stars is None and slow:
        notes.append(
            f"{slow} compared with |{run.z_spec}| < {_STAR_REDSHIFT:g} may be stars: the truth has "
            "no column class or SPECTYPE to tell"
        )
    compared = _Compared(
        z_phot[used],
        z_true[used],
        {
            name: (catalog.numbers(low)[used], catalog.numbers(high)[used])
            for name, (low, high) in _intervals(naming).items()
            if low in catalog.names and high in catalog.names
        },
        {name: values[used] for name, values in terms.items()},
    )
    bins = []
    for low, high in zip(run.bins[:-1], run.bins[1:], strict=True):
        inside = (compared.z_true >= low) & (compared.z_true < high)
        bins.append({"z_min": low, "z_max": high, **compared.metrics(inside)})
    everything = compared.metrics(np.ones(rows["compared"], dtype=bool))
    return Evaluation(everything, bins, rows, joined_by, point, pdf, notes)


def _intervals(naming: Naming) -> dict[str, tuple[str, str]]:
    """Names of the intervals that a naming has."""
    names = naming.names
    return {
        what: (names[low], names[high])
        for what, (low, high) in _INTERVALS.items()
        if low in names and high in names
    }


def _stars(truth: TableFile) -> NDArray[np.bool_] | None:
    """Which rows of the truth are of stars, (M,); None where no column tells."""
    stars = None
    for name in truth.names:
        if name.lower() not in _CLASSES or truth.names.count(name) > 1:
            continue
        kind = truth.column(name).type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            continue
        try:
            text = truth.texts(name)
        except InputError:
            continue  # lists, bytes that are no text
        if text.null_count == len(text):
            continue
        says_so = np.asarray(pc.fill_null(pc.equal(pc.utf8_upper(text), "STAR"), False))
        stars = says_so if stars is None else stars | says_so
    return stars


def _match(catalog: TableFile, truth: TableFile) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Row in the truth of each row of the catalogue (-1: none), and what did not pair up."""
    ours, theirs = catalog.ids, truth.ids
    index = pc.index_in(ours, value_set=theirs.combine_chunks(), skip_nulls=True)
    match = np.asarray(pc.fill_null(pc.cast(index, pa.int64()), -1).to_numpy())
    found = pc.is_in(theirs, value_set=ours.combine_chunks(), skip_nulls=True)
    return match, {
        "truth_without_catalog": len(theirs) - int(pc.sum(found).as_py() or 0),
        "truth_duplicates": _duplicates(theirs),
        "catalog_duplicates": _duplicates(ours),
    }


def _duplicates(ids: Any) -> int:
    """Rows beyond the first of their id."""
    known = ids.drop_null()
    return len(known) - int(pc.count_distinct(known).as_py())


def _nothing_left(
    run: EvaluateRun,
    point: str,
    rows: dict[str, int],
    catalog: TableFile,
    truth: TableFile,
    joined_by: str,
) -> str:
    if rows["without_truth"] == rows["catalog"] and joined_by != ROW_NUMBER:
        return (
            f"no {joined_by} of {run.catalog} is in {run.truth} "
            f"(they look like {catalog.ids[0]} and {truth.ids[0]})"
        )
    return (
        f"nothing to compare: of {rows['catalog']} rows of {run.catalog}, {rows['without_truth']} "
        f"are not in {run.truth}, {rows['stars']} are stars, {rows['without_z_spec']} have no "
        f"{run.z_spec}, {rows['without_z_phot']} no {point}"
    )


def _pdf_terms(catalog: TableFile, z_true: Array) -> tuple[str | None, dict[str, Array], list[str]]:
    """Per-object PIT, CDE and CRPS terms from the best p(z) the catalogue has; NaN where none."""
    notes = []
    for name, key in _PDF_COLUMNS.items():
        if name in catalog.names and key in catalog.metadata:
            break
        if name in catalog.names + catalog.unread:
            notes.append(f"{name} not used: the file's metadata has no {key} (Parquet alone has)")
    else:
        return None, {}, notes
    numbers = catalog.increasing_numbers(key)
    length = len(numbers) - 1 if name == "z_pdf" else len(numbers)
    terms = {term: np.full(len(z_true), np.nan) for term in ("pit", "cde_loss", "crps")}
    for rows, values in catalog.lists(name, length, _ROWS):
        if name == "z_pdf":
            pdf = PiecewisePdf.from_mass(values, numbers)
        else:
            pdf = PiecewisePdf.from_quantiles(values, numbers)
        terms["pit"][rows] = metrics.pit_values(pdf, z_true[rows])
        terms["cde_loss"][rows] = metrics.cde_loss_terms(pdf, z_true[rows])
        terms["crps"][rows] = metrics.crps_terms(pdf, z_true[rows])
    return name, terms, notes


def _none_for_nan(row: dict[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in row.items()}
