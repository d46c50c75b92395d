"""Figures of a mock survey: redshifts, colours, spectra, pixels, conditions; and all in order."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from photoz_mmae.evaluation import published
from photoz_mmae.evaluation.describe import Description
from photoz_mmae.evaluation.image_plots import plot_sizes, plot_stamps
from photoz_mmae.evaluation.plot_parts import Plot, by_class, legend, scatter
from photoz_mmae.evaluation.spectrum_plot import plot_spectra
from photoz_mmae.evaluation.style import (
    CLASS_COLOURS,
    INK,
    band_colours,
    new_figure,
    redshift_scale,
)
from photoz_mmae.evaluation.survey_file import SurveyFile
from photoz_mmae.simulation.population import N_OF_Z, Z_EDGES

Floats = NDArray[np.float64]


def all_plots(file: SurveyFile, description: Description) -> list[Plot]:
    """Make every figure that the file has the data for; within `style.styled`."""
    makers: tuple[Callable[[SurveyFile], Plot | None], ...] = (
        plot_stamps,
        plot_redshifts,
        plot_colours,
        plot_sizes,
        plot_spectra_of_classes,
        lambda _: plot_pixels(description),
        plot_conditions,
    )
    plots = (make(file) for make in makers)
    return [plot for plot in plots if plot is not None]


def plot_redshifts(file: SurveyFile) -> Plot | None:
    """Draw n(z), classes stacked, with the published histogram where the selection is DESI's."""
    z = file.redshifts()
    if z is None:
        return None
    target = file.selection == "desi"
    classes = by_class(file, np.isfinite(z) & (z > 0), stars=False)
    n = sum(map(len, classes.values()))
    figure = new_figure(3.9)
    high = max((float(z[rows].max()) for rows in classes.values()), default=1.0)
    edges = Z_EDGES
    if not target:
        edges = np.linspace(0.0, high, 41)
    parts = [(0.0, 1.5), (1.5, 4.0)] if target else [(0.0, float(edges[-1]))]
    panels = figure.subplots(1, len(parts), width_ratios=[1.7, 1.0][: len(parts)], squeeze=False)
    for axes, (low, end) in zip(panels[0], parts, strict=True):
        base = np.zeros(len(edges) - 1)
        for name, rows in classes.items():
            share = np.histogram(z[rows], edges)[0] / np.diff(edges) / max(n, 1)
            axes.bar(
                edges[:-1],
                share,
                np.diff(edges),
                base,
                align="edge",
                color=CLASS_COLOURS[name],
                alpha=0.85,
                linewidth=0,
                label=name,
            )
            base += share
        if target:
            wanted = np.array(N_OF_Z) / sum(N_OF_Z) / np.diff(edges)
            axes.stairs(wanted, edges, color=INK, linewidth=1.4, label="published y_test")
            inside = (edges[:-1] >= low - 0.05) & (edges[1:] <= end + 0.01)
            axes.set_ylim(0.0, 1.1 * max(wanted[inside].max(), base[inside].max()))
        axes.set_xlim(low, end)
        axes.set_xlabel("redshift")
        axes.grid(False, axis="x")
    panels[0, 0].set_ylabel("share of objects per unit redshift")
    panels[0, 0].legend()
    if target:
        panels[0, 1].set_title("the tail, on a scale of its own", weight="normal")
    words = "The line is the published test split of GalaxiesML-Spectra. " if target else ""
    return Plot("Redshifts", f"{n:,} objects, classes stacked. {words}Stars are left out.", figure)


def plot_colours(file: SurveyFile) -> Plot | None:
    """Draw colours against redshift, with zCOSMOS where the selection is its own."""
    z, mag = file.redshifts(), file.magnitudes("griz", dereddened=True)
    dereddened = mag is not None
    if mag is None:
        mag = file.magnitudes("griz", dereddened=False)
    if z is None or mag is None:
        return None
    colour = -np.diff(mag, axis=1)
    classes = by_class(file, np.isfinite(z) & (z > 0) & np.isfinite(colour).all(axis=1), False)
    if not classes:
        return None
    real = file.selection == published.COLOUR_SELECTION
    figure = new_figure(4.0)
    high = 1.02 * max(float(z[rows].max()) for rows in classes.values())
    shown = np.concatenate(list(classes.values()))
    for number, axes in enumerate(figure.subplots(1, 3)):
        scatter(axes, z, colour[:, number], classes)
        if real:
            _zcosmos(axes, number)
        low, top = np.percentile(colour[shown, number], (0.3, 99.7))
        axes.set_ylim(low - 0.2, top + 0.3)
        axes.set_ylabel(("g - r", "r - i", "i - z")[number] + "  (mag)")
        redshift_scale(axes, high)
        if number == 0:
            legend(axes)
    words = "without the Galaxy's reddening" if dereddened else "as measured"
    end = " Bars: medians and 16-84 % of zCOSMOS-bright." if real else ""
    return Plot("Colours", f"Colours of cmodel magnitudes, {words}.{end}", figure)


def plot_spectra_of_classes(file: SurveyFile) -> Plot | None:
    """Draw a spectrum of each class with its lines."""
    z = file.redshifts()
    if z is None:
        return None
    figure = plot_spectra(file, z, by_class(file, np.isfinite(z), stars=True))
    if figure is None:
        return None
    return Plot(
        "Spectra",
        "One object of each class, brighter than most of it: as observed (grey) and smoothed; "
        "lines at their observed wavelengths, emission above, absorption below.",
        figure,
    )


def plot_pixels(description: Description) -> Plot | None:
    """Draw the pixel statistics over the published ones as bars."""
    rows = [row for row in description.rows if row.band and row.target and not row.note]
    names = list(dict.fromkeys(row.name for row in rows))
    bands = list(dict.fromkeys(row.band for row in rows))
    if not rows:
        return None
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    width = 0.8 / len(bands)
    ratios = []
    for row in rows:
        assert row.target is not None  # see above
        column, place = names.index(row.name), bands.index(row.band)
        ratios.append(row.value / row.target)
        axes.bar(
            column + (place - 0.5 * (len(bands) - 1)) * width,
            ratios[-1] - 1.0,
            0.9 * width,
            bottom=1.0,
            color=band_colours(len(bands))[place],
            label=row.band if column == 0 else None,
        )
        if row.verdict == "miss":
            axes.annotate(
                "×",
                (column + (place - 0.5 * (len(bands) - 1)) * width, ratios[-1]),
                xytext=(0, 8 if ratios[-1] > 1.0 else -8),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=13,
                weight="bold",
                color=CLASS_COLOURS["LRG"],
            )
        if place == 0:
            low, high = row.low / row.target, row.high / row.target
            axes.fill_between(
                [column - 0.45, column + 0.45], low, high, color="#dfe7ee", zorder=0, linewidth=0
            )
    axes.axhline(1.0, color=INK, linewidth=1.0)
    axes.set_xticks(range(len(names)), [name.replace(" of ", "\nof ") for name in names])
    axes.set_xlim(-0.6, max(len(names), 3) - 0.4)
    axes.grid(False, axis="x")
    axes.set_ylabel("file / published")
    axes.set_ylim(min(0.7, *ratios) - 0.05, max(1.3, *ratios) + 0.05)
    axes.legend(ncols=len(bands), loc="upper right")
    return Plot(
        "Pixels",
        "Statistics of all pixels over the published ones of the real images. Shaded: what passes; "
        "a cross marks what misses.",
        figure,
    )


def plot_conditions(file: SurveyFile) -> Plot | None:
    """Draw the width of the PSF per band and E(B-V)."""
    seeing = {
        band: values
        for band in file.bands
        if (values := file.numbers(f"simulation/{band}_psf_fwhm")) is not None
    }
    ebv = file.numbers("simulation/ebv")
    if not seeing or ebv is None:
        return None
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2)
    low, high = np.percentile(np.concatenate(list(seeing.values())), (0.0, 100.0))
    bins = np.linspace(low - 0.02, high + 0.02, 27)
    for (band, values), colour in zip(seeing.items(), band_colours(len(seeing)), strict=True):
        left.hist(values, bins, histtype="step", color=colour, linewidth=1.7, label=band)
    left.set_xlabel("PSF full width at half maximum  (arcsec)")
    handles = [Line2D([], [], color=c, linewidth=1.7) for c in band_colours(len(seeing))]
    left.legend(handles, list(seeing))
    right.hist(ebv, np.linspace(0.0, max(0.3, float(ebv.max())), 41), color=CLASS_COLOURS["all"])
    right.set_xlabel("Galactic E(B-V)  (mag)")
    for axes in (left, right):
        axes.set_ylabel("objects")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return Plot("Seeing and dust", "Of each stamp, from the truth of the simulation.", figure)


def _zcosmos(axes: Axes, number: int) -> None:
    """Draw medians and 16-84 % of the colour `number` of zCOSMOS."""
    low, median, high = published.COLOUR_PERCENTILES[:, number].T
    middle = 0.5 * (published.COLOUR_EDGES[1:] + published.COLOUR_EDGES[:-1])
    axes.errorbar(
        middle,
        median,
        (median - low, high - median),
        fmt="o",
        markersize=5,
        color=INK,
        markerfacecolor="white",
        linewidth=1.3,
        label="zCOSMOS-bright",
        zorder=5,
    )
