"""Whether what a catalogue says of p(z) is such as every sound one says it, under any naming.

Rules speak of what columns hold (`Naming.redshift`); a rule about something that a naming lacks
is none there.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photoz_mmae.catalog.naming import Naming
from photoz_mmae.catalog.schema import CatalogModel
from photoz_mmae.catalog.verify_rows import ROUNDING, Rule, flagged, has, lists, numbers
from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.redshift.pdf import LEVELS, WIDE

_POINTS = ("z_best", "z_mean", "z_median", "z_mode", "z_mc")
_INTERVALS = {
    "z_err95_min": 0.025,
    "z_err68_min": 0.16,
    "z_median": 0.5,
    "z_err68_max": 0.84,
    "z_err95_max": 0.975,
}
"""Levels of what increases in each row."""

_ABOUT_THE_MEAN = ("z_std", "z_std_mean")
"""Standard deviation of p(z), whatever a naming calls it."""

_LIMITS = {"z_std": (0.0, np.inf), "z_risk": (0.0, 1.0), "z_conf": (0.0, 1.0)}
"""Of columns that begin so."""


def redshift_rules(table: pa.Table, model: CatalogModel, naming: Naming) -> Iterator[Rule]:
    """Yield what is wrong with the redshifts of the rows of a table, and with which rows."""
    point = naming.point
    has_z, no = has(table, point), flagged(table, NO_REDSHIFT)
    yield f"{point} and the flags of rows without redshift do not agree", has_z == no
    yield (
        "UNCALIBRATED on other rows than those with redshift",
        flagged(table, Flag.UNCALIBRATED) == no,
    )
    for name in ("z_std_epistemic", "spec_slope", "spec_slope_err", "spec_d4000", "spec_d4000_err"):
        if name in table.column_names:
            yield f"{name} of a row without redshift", has(table, name) & ~has_z
    if model.z_edges is None:
        odd = Flag.Z_AT_EDGE | Flag.MULTI_PEAK | Flag.WIDE_PDF
        yield "flags of p(z) where there is none", flagged(table, odd)
        return
    edges = np.asarray(model.z_edges)
    low, high = float(np.expm1(edges[0])), float(np.expm1(edges[-1]))
    yield from _columns(table, naming, low, high)
    yield from _intervals(table, naming, low, high)
    if "z_pdf" in table.column_names:
        mass = lists(table, "z_pdf")
        yield f"z_pdf and {point} are not there together", np.isfinite(mass).all(axis=1) != has_z
        yield "z_pdf is negative", (mass < 0).any(axis=1)
        yield "z_pdf does not sum to 1", np.abs(mass.sum(axis=1) - 1) > ROUNDING
    yield from _flags(table, naming, edges)


def class_rules(table: pa.Table, model: CatalogModel, naming: Naming) -> Iterator[Rule]:
    """Yield what is wrong with the probabilities of classes."""
    if not model.classes:
        return
    has_z = has(table, naming.point)
    shares = np.stack([numbers(table, f"prob_{name}") for name in model.classes], axis=1)
    there = np.isfinite(shares)
    yield (
        f"prob_... and {naming.point} are not null together",
        (there != has_z[:, None]).any(axis=1),
    )
    yield "prob_... is outside 0 to 1", ((shares < 0) | (shares > 1 + ROUNDING)).any(axis=1)
    yield "prob_... do not sum to 1", np.abs(shares.sum(axis=1) - 1) > ROUNDING


def _columns(table: pa.Table, naming: Naming, low: float, high: float) -> Iterator[Rule]:
    """Yield the rules for each column by itself, and for the deviations among each other."""
    has_z = has(table, naming.point)
    names = naming.names
    for source, name in names.items():
        if name != naming.point:
            yield f"{name} and {naming.point} are not null together", has(table, name) != has_z
        values = numbers(table, name)
        if source in (*_POINTS, *_INTERVALS):
            yield (
                f"{name} is outside the model's range, {low:.4g} to {high:.4g}",
                _outside(values, low, high),
            )
        for beginning, (least, most) in _LIMITS.items():
            if source.startswith(beginning):
                room = ROUNDING if most == 1 else 0.0
                yield (
                    f"{name} is outside {least:g} to {most:g}",
                    (values < least) | (values > most + room),
                )
    for mean in (names[source] for source in _ABOUT_THE_MEAN if source in names):
        least_deviation = numbers(table, mean) * (1 - ROUNDING)
        for source, name in names.items():
            if source.startswith("z_std") and name != mean:
                yield f"{name} is below {mean}", numbers(table, name) < least_deviation


def _intervals(table: pa.Table, naming: Naming, low: float, high: float) -> Iterator[Rule]:
    names = {naming.names[s]: level for s, level in _INTERVALS.items() if s in naming.names}
    ordered = np.stack([numbers(table, name) for name in names], axis=1)
    known = list(names)
    for k, name in enumerate(known[1:], 1):
        yield f"{known[k - 1]} is above {name}", ordered[:, k - 1] > ordered[:, k]
    if "z_quantiles" not in table.column_names:
        return
    has_z, values = has(table, naming.point), lists(table, "z_quantiles")
    yield (
        f"z_quantiles and {naming.point} are not there together",
        (np.isfinite(values).all(axis=1) != has_z) | (np.isfinite(values).any(axis=1) != has_z),
    )
    yield "z_quantiles decrease", (np.diff(values, axis=1) < 0).any(axis=1)
    yield "z_quantiles leave the model's range", _outside(values, low, high).any(axis=1)
    same = values[:, [LEVELS.index(level) for level in names.values()]] == ordered
    what = ", ".join(known)
    yield f"z_quantiles and {what} differ", has_z & ~same.all(axis=1)


def _flags(table: pa.Table, naming: Naming, edges: NDArray[np.float64]) -> Iterator[Rule]:
    """Yield whether flags about z_best agree with it, where it is there."""
    names = naming.names
    if "z_best" not in names:
        return
    z = table[names["z_best"]].to_numpy()
    width = numbers(table, names["z_err68_max"]) - numbers(table, names["z_err68_min"])
    limit = WIDE * (1 + z)
    yield (
        f"WIDE_PDF does not agree with {names['z_err68_min']} and {names['z_err68_max']}",
        (flagged(table, Flag.WIDE_PDF) != (width > limit)) & (np.abs(width - limit) > ROUNDING),
    )
    u = np.log1p(z.astype(np.float64))
    yield (
        f"Z_AT_EDGE does not agree with {names['z_best']}",
        flagged(table, Flag.Z_AT_EDGE) != ((u <= edges[1]) | (u >= edges[-2])),
    )


def _outside(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    room = ROUNDING * (1 + high)
    return np.asarray((values < low - room) | (values > high + room))
