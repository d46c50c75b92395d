"""Learning curves of a comparison as one picture; needs the extra `report`."""

from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from photoz_mmae.evaluation.style import FAINT, LINE_COLOURS, new_figure, styled
from photoz_mmae.peers.outcome import Outcome
from photoz_mmae.peers.table import Comparison


def draw_curves(comparison: Comparison, path: Path) -> None:
    """Draw sigma_NMAD of the validation objects against epochs and against time; raises OSError.

    One colour per model, one line per seed, the last stage of each training; dashed where the
    training has not converged. Models that tell no redshifts before their end are left out; with
    no others, no picture is made.
    """
    models = {
        row.outcomes[0].model: row.outcomes for row in comparison.rows if _known(row.outcomes[0])
    }
    if not models:
        return
    with styled():
        figure = new_figure(4.2)
        by_epoch, by_time = figure.subplots(1, 2, sharey=True)
        for (name, outcomes), colour in zip(models.items(), cycle(LINE_COLOURS), strict=False):
            for outcome in outcomes:
                label = name if outcome is outcomes[0] else None
                _draw(by_epoch, outcome, "epoch", 1.0, colour, label)
                _draw(by_time, outcome, "seconds", 60.0, colour, label)
        by_epoch.set(xlabel="epoch", ylabel="sigma_NMAD of the validation objects", yscale="log")
        by_epoch.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        by_epoch.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        by_epoch.yaxis.set_minor_formatter(NullFormatter())
        by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True))
        by_time.set(xlabel="minutes", xscale="log")
        by_time.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        by_time.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        by_time.xaxis.set_minor_formatter(NullFormatter())
        if not all(outcome.converged for drawn in models.values() for outcome in drawn):
            by_epoch.plot([], [], color=FAINT, linestyle="--", label="not converged")
        by_epoch.legend()
        figure.savefig(path, dpi=120, metadata={"Software": None})


def _draw(
    axes: Axes, outcome: Outcome, key: str, unit: float, colour: object, label: str | None
) -> None:
    known = _known(outcome)
    axes.plot(
        # Seconds are rounded, and a logarithmic axis has no zero.
        [max(point[key], 0.1) / unit for point in known],
        [point["sigma_nmad"] for point in known],
        color=colour,
        linestyle="-" if outcome.converged else "--",
        label=label,
    )


def _known(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the points of the last stage that have a scatter."""
    last = outcome.curve[-1]["stage"]
    points = [point for point in outcome.curve if point["stage"] == last]
    return [point for point in points if point["sigma_nmad"] is not None]
