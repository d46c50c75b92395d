"""The comparison as tables: every outcome in a folder, and ratios with their uncertainty."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.errors import InputError
from photoz_mmae.peers.outcome import (
    OUTCOMES,
    Outcome,
    Tested,
    incomparable,
    load_outcome,
    load_tested,
)
from photoz_mmae.redshift.metrics import bias_median, dz, outlier_015, sigma_nmad

REDSHIFTS = ((0.0, 0.4), (0.4, 1.0), (1.0, 4.5))
"""Bins in true redshift; each holds its lower edge."""

QUASAR = "QSO"

RESAMPLINGS = 1000

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """One way of one model, over its seeds.

    Attributes
    ----------
    name : str
    outcomes : list of Outcome
        By seed.
    errors : array, (seeds, N)
        dz of each test object.
    """

    name: str
    outcomes: list[Outcome]
    errors: Floats

    @property
    def converged(self) -> bool:
        """Whether all of them are."""
        return all(outcome.converged for outcome in self.outcomes)


@dataclass(frozen=True)
class Comparison:
    """All outcomes of a folder.

    Attributes
    ----------
    rows : list of Row
    groups : dict of str to array of bool, (N,)
        Test objects by redshift, with and without quasars.
    """

    rows: list[Row]
    groups: dict[str, Rows]

    def find(self, name: str) -> Row:
        """Return the row `name`; raises InputError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(
            f"no outcome of {name!r}; there are {'; '.join(r.name for r in self.rows)}"
        )


def load_comparison(folder: Path) -> Comparison:
    """Read every outcome of a folder.

    Raises
    ------
    InputError
        There is none, or they were not trained or tested on the same objects.
    """
    paths = sorted(folder.glob(OUTCOMES))
    if not paths:
        raise InputError(f"{folder}: no outcome of compare-models in it")
    outcomes = [load_outcome(path) for path in paths]
    tested = [load_tested(path) for path in paths]
    first = tested[0]
    for path, other in zip(paths, tested, strict=True):
        if not np.array_equal(other.z_true, first.z_true):
            raise InputError(f"{path}: tested on other objects than {paths[0].name}")
    _check_same(paths, outcomes, range(len(paths)))
    rows = []
    by_model = itertools.groupby(range(len(paths)), key=lambda k: outcomes[k].model)
    for model, group in by_model:
        members = list(group)
        _check_same(paths, outcomes, members, is_same_model=True)
        usual = outcomes[members[0]].ways[0]
        for way in outcomes[members[0]].ways:
            errors = [dz(tested[k].z_phot[way], first.z_true) for k in members]
            name = model if way == usual else f"{model}, {way}"
            rows.append(Row(name, [outcomes[k] for k in members], np.stack(errors)))
    return Comparison(rows, _groups(first))


def _check_same(
    paths: Sequence[Path],
    outcomes: Sequence[Outcome],
    members: Sequence[int],
    is_same_model: bool = False,
) -> None:
    first = members[0]
    for k in members[1:]:
        differences = incomparable(outcomes[first].settings, outcomes[k].settings, is_same_model)
        if differences:
            raise InputError(
                f"{paths[k]}: made with other settings than {paths[first].name} ({differences}); "
                "keep them in different folders"
            )


def _groups(tested: Tested) -> dict[str, Rows]:
    z = tested.z_true
    groups = {f"{low:g} - {high:g}": (low <= z) & (z < high) for low, high in REDSHIFTS}
    groups["all"] = np.ones(len(z), dtype=bool)
    if tested.classes is not None:
        others = tested.classes != QUASAR
        groups |= {f"{name}, no quasars": rows & others for name, rows in list(groups.items())}
    return {name: rows for name, rows in groups.items() if rows.any()}


def accuracy_table(comparison: Comparison) -> list[list[str]]:
    """Tabulate accuracy per group of objects, means over seeds: heading, objects, lines."""
    objects = [f"{rows.sum():,} objects" for rows in comparison.groups.values()]
    lines = [["model", "seeds", *comparison.groups], ["", "", *objects]]
    for row in comparison.rows:
        cells = []
        for rows in comparison.groups.values():
            errors = row.errors[:, rows]
            sigma, outliers = _mean(sigma_nmad, errors), _mean(outlier_015, errors)
            cells.append(
                f"{_figure(sigma)} / {100 * outliers:.2f} % / {_mean(bias_median, errors):+.4f}"
            )
        lines.append([row.name, str(len(row.errors)), *cells])
    return lines


def cost_table(comparison: Comparison) -> list[list[str]]:
    """Tabulate what each model costs, and whether it has converged."""
    lines = [
        [
            "model",
            "parameters",
            "MFLOP/object",
            "trained in",
            "training objects/s",
            "prediction objects/s",
            "epochs",
            "minutes",
            "",
        ]
    ]
    for row in comparison.rows:
        outcome = row.outcomes[0]
        if row.name != outcome.model:
            continue
        lines.append(
            [
                row.name,
                f"{outcome.parameters:,}",
                f"{outcome.operations / 1e6:.1f}",
                "/".join(dict.fromkeys(o.settings["precision"] for o in row.outcomes)),
                f"{np.median([o.training_speed for o in row.outcomes]):.0f}",
                f"{np.median([o.prediction_speed for o in row.outcomes]):.0f}",
                "/".join(str(len(o.curve)) for o in row.outcomes),
                "/".join(_minutes(o.seconds) for o in row.outcomes),
                "converged" if row.converged else "NOT CONVERGED",
            ]
        )
    return lines


def matched_table(
    comparison: Comparison, epochs: Iterable[int], minutes: Iterable[float]
) -> list[list[str]]:
    """Tabulate the validation objects' sigma_NMAD after so many epochs, and so much time.

    Of the last stage of a training; the lowest so far. A dash where there is none yet, where the
    stage gives no redshifts, or where the training was not gone on with, though it might get
    better; of one that has converged the last value stays.
    """
    epochs, minutes = list(epochs), list(minutes)
    lines = [
        ["model", *(f"{n} epochs" for n in epochs), *(f"{m:g} min" for m in minutes)],
    ]
    for row in comparison.rows:
        if row.name == row.outcomes[0].model:
            cells = [_at(row, "epoch", n) for n in epochs]
            cells += [_at(row, "seconds", 60 * m) for m in minutes]
            lines.append([row.name, *cells])
    return lines


def _at(row: Row, key: str, limit: float) -> str:
    found = []
    for outcome in row.outcomes:
        last = outcome.curve[-1]["stage"]
        points = [point for point in outcome.curve if point["stage"] == last]
        before = [point["sigma_nmad"] for point in points if point[key] <= limit]
        known = outcome.converged or points[-1][key] >= limit
        if known and before and None not in before:
            found.append(min(before))
    return f"{np.mean(found):.4f}" if found else "-"


@dataclass(frozen=True)
class Ratio:
    """One row's figure over another's; `upper` is the one-sided 95 % bound."""

    value: float
    upper: float


def ratio(ours: Floats, theirs: Floats, metric: Callable[[Floats], float], seed: int = 0) -> Ratio:
    """Ratio of a metric, mean over seeds, by paired bootstrap over the objects.

    Parameters
    ----------
    ours, theirs : array, (seeds, N)
        dz of the same N objects.
    """
    rng = np.random.default_rng(seed)
    n = ours.shape[1]
    drawn = np.empty(RESAMPLINGS)
    for k in range(RESAMPLINGS):
        rows = rng.integers(n, size=n)
        drawn[k] = _mean(metric, ours[:, rows]) / max(_mean(metric, theirs[:, rows]), 1e-12)
    value = _mean(metric, ours) / max(_mean(metric, theirs), 1e-12)
    return Ratio(value, float(np.quantile(drawn, 0.95)))


def ratio_table(comparison: Comparison, against: str) -> list[list[str]]:
    """Tabulate ratios of the row `against` to every other; none where one has not converged.

    Raises
    ------
    InputError
        There is no row `against`.
    """
    ours = comparison.find(against)
    lines = [[f"{against} /", "sigma_NMAD", "95 % bound", "abs(dz) > 0.15", "95 % bound"]]
    for row in comparison.rows:
        if row.name == against:
            continue
        if not (ours.converged and row.converged):
            lines.append([row.name, "NOT CONVERGED", "", "", ""])
            continue
        cells = []
        for metric in (sigma_nmad, outlier_015):
            found = ratio(ours.errors, row.errors, metric)
            cells += [f"{found.value:.3f}", f"{found.upper:.3f}"]
        lines.append([row.name, *cells])
    return lines


def as_markdown(lines: list[list[str]]) -> str:
    """Turn lines of cells into a table of Markdown."""
    rule = ["---"] * len(lines[0])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [lines[0], rule, *lines[1:]])


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.{0 if seconds >= 600 else 1}f}"


def _figure(value: float) -> str:
    """Of too few objects there is none."""
    return f"{value:.4f}" if np.isfinite(value) else "-"


def _mean(metric: Callable[[Floats], float], errors: Floats) -> float:
    return float(np.mean([metric(row) for row in errors]))
