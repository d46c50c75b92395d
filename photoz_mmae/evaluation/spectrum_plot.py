"""One spectrum of each class, smoothed, its lines marked at their observed wavelengths."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from photoz_mmae.evaluation.style import CLASS_COLOURS, FAINT, INK, new_figure
from photoz_mmae.evaluation.survey_file import SurveyFile

Floats = NDArray[np.float64]

# Vacuum wavelengths, Angstrom.
_NEBULAR = (
    ("[O II]", 3728.5),
    ("Hβ", 4862.7),
    ("[O III]", 5008.2),
    ("Hα", 6564.6),
    ("[S II]", 6725.5),
)
_BROAD = (
    ("Lyα", 1215.7),
    ("C IV", 1549.1),
    ("C III]", 1908.7),
    ("Mg II", 2799.1),
    ("Hγ", 4341.7),
    ("Hβ", 4862.7),
    ("Hα", 6564.6),
)
_STELLAR = (("K", 3934.8), ("H", 3969.6), ("G", 4305.6), ("Mg b", 5176.6), ("Na D", 5895.6))
_LINES = {"QSO": (_BROAD, ()), "STAR": ((), _STELLAR)}
"""Emission and absorption; galaxies have the nebular and the stellar ones."""

_CANDIDATES = 200  # spectra read per class to choose from
_QUANTILE = 0.9  # of the signal to noise among them: a good one, no freak
_SMOOTH = 24.0  # Angstrom, full width at half maximum: one coarse pixel


def plot_spectra(
    file: SurveyFile, z: Floats, classes: dict[str, NDArray[np.int64]]
) -> Figure | None:
    """Draw one spectrum per class; None where the file has no spectra."""
    chosen = {}
    for name, rows in classes.items():
        few = rows[:: -(-len(rows) // _CANDIDATES)]
        spectra = file.spectra(few)
        if spectra is None:
            return None
        wave, flux, ivar = spectra
        good = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
        signal = np.where(good, flux * np.sqrt(np.where(good, ivar, 0.0)), 0.0)
        order = np.argsort(np.median(signal, axis=1))
        best = order[round(_QUANTILE * (len(few) - 1))]
        if good[best].any():
            chosen[name] = few[best], wave, flux[best], np.where(good[best], ivar[best], 0.0)
    if not chosen:
        return None
    figure = new_figure(0.9 + 1.9 * len(chosen))
    panels = figure.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, (row, wave, flux, ivar)) in zip(panels, chosen.items(), strict=True):
        smooth = _smoothed(wave, flux, ivar)
        axes.plot(wave, np.where(ivar > 0, flux, np.nan), color="#d5dae0", linewidth=0.6)
        axes.plot(wave, smooth, color=CLASS_COLOURS[name], linewidth=1.3)
        low, high = np.nanpercentile(smooth, (0.5, 99.8))
        axes.set_ylim(min(0.0, low) - 0.06 * (high - low), high + 0.35 * (high - low))
        axes.set_xlim(wave[0], wave[-1])
        axes.set_title(f"{name}, z = {round(z[row], 4) + 0.0:.4f}")  # no minus before zero
        _mark(axes, name, float(z[row]))
    figure.supylabel("$f_λ$  (10$^{-17}$ erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$)", fontsize=10)
    panels[-1].set_xlabel("observed wavelength  (Å)")
    return figure


def _smoothed(wave: Floats, flux: Floats, ivar: Floats) -> Floats:
    """Smooth a spectrum (P,), every pixel with its inverse variance as weight."""
    sigma = max(0.7, _SMOOTH / 2.355 / float(np.median(np.diff(wave))))
    weight = gaussian_filter1d(ivar, sigma)
    total = gaussian_filter1d(np.where(ivar > 0, flux * ivar, 0.0), sigma)
    return np.asarray(np.divide(total, weight, out=np.full(len(flux), np.nan), where=weight > 0))


def _mark(axes: Axes, name: str, z: float) -> None:
    emission, absorption = _LINES.get(name, (_NEBULAR, _STELLAR))
    for lines, colour, at, vertical in (
        (emission, INK, 0.98, "top"),
        (absorption, FAINT, 0.02, "bottom"),
    ):
        for label, rest in lines:
            observed = rest * (1.0 + z)
            low, high = axes.get_xlim()
            if not low < observed < high:
                continue
            axes.axvline(observed, color=colour, linewidth=0.7, linestyle=":", zorder=3)
            left = label != "H"  # beside K
            axes.annotate(
                label,
                (observed, at),
                xycoords=axes.get_xaxis_transform(),
                xytext=(-1.5 if left else 1.5, 0),
                textcoords="offset points",
                fontsize=8,
                rotation=90,
                ha="right" if left else "left",
                va=vertical,
            )
