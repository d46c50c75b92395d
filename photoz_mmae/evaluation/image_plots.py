"""Figures of the images: a contact sheet in colour, and sizes measured on them."""

import numpy as np
from matplotlib import patheffects

from photoz_mmae.cutouts.placing import MAX_FLUX
from photoz_mmae.evaluation.plot_parts import POINTS, Plot, by_class, legend, scatter
from photoz_mmae.evaluation.style import INK, new_figure
from photoz_mmae.evaluation.survey_file import SurveyFile
from photoz_mmae.evaluation.survey_statistics import half_light_radius
from photoz_mmae.surveys import ZERO_POINT

_ROWS, _COLUMNS = 8, 12  # of the contact sheet
_GAP = 2  # pixels between stamps
_BRIGHTEST = 1e6  # flux of a pixel; what a damaged one has beyond it is white all the same
# What i, r and g are multiplied with to be red, green and blue: a galaxy of mean colour is grey.
_BALANCE = (0.75, 1.0, 1.9)


def plot_stamps(file: SurveyFile) -> Plot | None:
    """Draw stamps in colour, drawn at random, in order of redshift."""
    z = file.redshifts()
    if "image" not in file or not set("gri") <= set(file.bands):
        return None
    from astropy.visualization import make_lupton_rgb

    rows = np.sort(np.random.default_rng(0).permutation(file.n)[: _ROWS * _COLUMNS])
    if z is not None:
        rows = rows[np.argsort(z[rows], kind="stable")]
    kind = file.classes()
    stamps = np.clip(np.nan_to_num(file.stamps(rows)), -_BRIGHTEST, _BRIGHTEST)
    channels = [
        stamps[:, file.bands.index(band)] * factor
        for band, factor in zip("irg", _BALANCE, strict=True)
    ]
    size = stamps.shape[-1]
    lines = -(-len(rows) // _COLUMNS)
    step = size + _GAP
    sheet = np.full((lines * step - _GAP, _COLUMNS * step - _GAP, 3), 255, dtype=np.uint8)
    figure = new_figure(11.0 * lines / _COLUMNS)
    axes = figure.add_subplot()
    for number, row in enumerate(rows):
        top, left = step * (number // _COLUMNS), step * (number % _COLUMNS)
        # Row 0 of a stamp is its southern edge: north is up, east left.
        pixels = make_lupton_rgb(
            *(c[number, ::-1] for c in channels), minimum=-0.03, stretch=0.9, Q=9
        )
        sheet[top : top + size, left : left + size] = pixels
        words = [] if z is None else [f"{z[row]:.3f}"]
        words += [] if kind is None else [str(kind[row])]
        axes.text(
            left + 2,
            top + size - 3,
            " ".join(words),
            color="white",
            fontsize=6.5,
            path_effects=[patheffects.withStroke(linewidth=1.6, foreground="black")],
        )
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    return Plot(
        "Images",
        f"{len(rows)} objects drawn at random, in order of redshift, with redshift and class. "
        f"Red, green, blue are i, r, g; each stamp is {size * file.pixel_scale:.1f} arcsec wide, "
        "all with one stretch (asinh, Lupton et al. 2004).",
        figure,
    )


def plot_sizes(file: SurveyFile) -> Plot | None:
    """Draw half-light radii measured on the images against magnitude in i."""
    mag = file.magnitudes("i", dereddened=False)
    if "image" not in file or "i" not in file.bands or mag is None:
        return None
    step = -(-file.n // POINTS)
    band, flux = file.bands.index("i"), 10 ** (-0.4 * (mag[::step, 0] - ZERO_POINT))
    radius = np.full(file.n, np.nan)
    measured, first = [], 0
    for block in file.images(step):
        images = np.where(np.abs(block[:, band]) <= MAX_FLUX, block[:, band], 0)
        measured.append(
            half_light_radius(images, flux[first : first + len(images)], file.pixel_scale)
        )
        first += len(images)
    radius[::step] = np.concatenate(measured)
    classes = by_class(file, np.isfinite(radius) & np.isfinite(mag[:, 0]), stars=True)
    if not classes:
        return None
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    scatter(axes, mag[:, 0], radius, classes)
    seeing = file.numbers("simulation/i_psf_fwhm")
    if seeing is not None:
        # Of a Moffat profile of beta = 3, which the simulation's PSFs have.
        axes.axhline(
            0.631 * float(np.nanmedian(seeing)), color=INK, linewidth=1.2, linestyle="--", zorder=4
        )
        axes.annotate(
            "median PSF",
            (0.995, 0.631 * float(np.nanmedian(seeing))),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="top",
            xytext=(0, -3),
            textcoords="offset points",
            fontsize=9,
        )
    shown = np.concatenate(list(classes.values()))
    low, top = np.percentile(mag[shown, 0], (0.1, 99.9))
    axes.set_xlim(low - 0.3, top + 0.3)
    axes.set_yscale("log")
    ticks = [0.3, 0.5, 0.7, 1.0, 2.0, 3.0, 5.0]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0.25, 5.7)
    axes.set_xlabel("i  (cmodel, mag)")
    axes.set_ylabel("half-light radius in i  (arcsec)")
    legend(axes)
    return Plot(
        "Sizes",
        "Radius of the circle around the centre of the stamp that holds half of the cmodel flux in "
        "i, measured on the image; the PSF is not taken off.",
        figure,
    )
