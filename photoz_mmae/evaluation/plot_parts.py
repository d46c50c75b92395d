"""What several figures are made of: objects by class, as dots with a legend."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from photoz_mmae.evaluation.style import CLASS_COLOURS
from photoz_mmae.evaluation.survey_file import SurveyFile

Floats = NDArray[np.float64]

POINTS = 6000
"""Dots of a scatter plot; more only make it black."""


@dataclass(frozen=True)
class Plot:
    """A figure with its heading and what to see in it."""

    title: str
    caption: str
    figure: Figure


def by_class(
    file: SurveyFile, chosen: NDArray[np.bool_], stars: bool
) -> dict[str, NDArray[np.int64]]:
    """Rows of the chosen objects per class, in the order of the colours; `all` without classes."""
    kind = file.classes()
    if kind is None:
        found = {"all": np.flatnonzero(chosen)}
    else:
        found = {name: np.flatnonzero(chosen & (kind == name)) for name in CLASS_COLOURS}
    return {name: rows for name, rows in found.items() if len(rows) and (stars or name != "STAR")}


def scatter(axes: Axes, x: Floats, y: Floats, classes: dict[str, NDArray[np.int64]]) -> None:
    """Draw dots by class, at most `POINTS` of them."""
    rng = np.random.default_rng(0)
    total = sum(map(len, classes.values()))
    size = 8.0 if total < 300 else 4.0 if total < 3000 else 3.0
    for name, rows in classes.items():
        share = min(1.0, POINTS / total)
        shown = rows[rng.random(len(rows)) < share] if share < 1.0 else rows
        axes.plot(
            x[shown],
            y[shown],
            ".",
            markersize=size,
            alpha=0.5,
            markeredgewidth=0,
            color=CLASS_COLOURS[name],
            label=name,
            rasterized=True,
        )


def legend(axes: Axes) -> None:
    """Draw a legend whose dots one can see."""
    handles, labels = axes.get_legend_handles_labels()
    large = [
        Line2D([], [], color=CLASS_COLOURS[label], marker=".", markersize=9, linestyle="")
        if label in CLASS_COLOURS
        else handle
        for handle, label in zip(handles, labels, strict=True)
    ]
    axes.legend(large, labels)
