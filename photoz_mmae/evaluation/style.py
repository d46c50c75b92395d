"""One look for all figures of the page: light, and told apart by those who see fewer colours."""

import base64
import io
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito's palette, whose colours differ for every kind of colour vision.
CLASS_COLOURS = {
    "BGS": "#0072B2",
    "GAL": "#0072B2",
    "LRG": "#D55E00",
    "ELG": "#009E73",
    "QSO": "#CC79A7",
    "STAR": "#E69F00",
    "all": "#5b6470",
}
"""Also the order in which classes are shown; `all` where the file names none."""

# Petroff's ten (arXiv:2107.02270), told apart as lines.
LINE_COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)

INK, FAINT = "#1f2933", "#8a939e"
WIDTH = 11.0  # inches of every figure: equal letters all over the page
_DPI = 150
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def styled() -> Any:
    """Return a context in which figures are made and drawn."""
    return rc_context(_STYLE)


def new_figure(height: float) -> Figure:
    """Return an empty figure of the page's width and `height` inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def band_colours(n: int) -> list[Any]:
    """Return n colours from blue to red light, dark to bright, so that grey tells them apart."""
    return [colormaps["viridis"](0.05 + 0.85 * k / max(1, n - 1)) for k in range(n)]


def redshift_scale(axes: Axes, z_max: float) -> None:
    """Make x a redshift from 0 to `z_max`; beyond 1.5 as ln(1 + z), so that both ends show."""
    axes.set_xlabel("redshift")
    if z_max <= 1.5:
        axes.set_xlim(0.0, z_max)
        return
    # Redshifts of stars lie a little below 0.
    axes.set_xscale("function", functions=(lambda z: np.log1p(np.maximum(z, -0.5)), np.expm1))
    ticks = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(0.0, z_max)


def png(figure: Figure) -> str:
    """Return the figure as a PNG inside a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
