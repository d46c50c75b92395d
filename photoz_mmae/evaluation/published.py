"""What real data look like: the published numbers that a mock survey is held against."""

from dataclasses import dataclass

import numpy as np

OBJECTS = 20_000
"""The targets are meant for as many objects; fewer miss some by chance."""


@dataclass(frozen=True)
class PixelTarget:
    """A statistic of all pixels per band.

    Attributes
    ----------
    values : tuple of float
        grizy, flux at AB zero point 27.
    tolerance : float
        How far a mock survey may be from it, as a share of it.
    """

    values: tuple[float, ...]
    tolerance: float


# Of the 134,533 images of GalaxiesML-Spectra, as published in the code of DeepZ (kimbielby, 2026).
# The unit of the arcsinh is the standard deviation of the negative pixels in the third line.
PIXELS = {
    "pixel mean": PixelTarget((0.2851, 0.6045, 0.9089, 1.1676, 1.3929), 0.25),
    "pixel std": PixelTarget((1.1039, 2.1952, 3.5377, 4.3867, 5.0706), 0.25),
    "std of negative pixels": PixelTarget((0.0212, 0.0352, 0.0369, 0.0688, 0.1367), 0.15),
    "mean of arcsinh(x/noise)": PixelTarget((1.6004, 1.8535, 2.0918, 1.8240, 1.5074), 0.15),
    "std of arcsinh(x/noise)": PixelTarget((1.8264, 1.8293, 1.9493, 1.8944, 1.7909), 0.15),
}
"""In the order of `describe.pixel_statistics`."""

PIXEL_SURVEY = "hsc-wide"
"""The survey whose pixels these are."""

KS_LIMIT = 0.03
"""Largest Kolmogorov-Smirnov distance from the published redshifts."""

PSF_SHARE, PSF_TOLERANCE = 0.158, 0.03
"""Objects of MORPHTYPE PSF: 21,288 of 134,533 (DeepZ keeps the other 113,245)."""

COLOUR_SELECTION = "magnitude:22.5"
"""The selection of a mock survey that zCOSMOS-bright (i < 22.5) can be compared with."""

COLOUR_BANDS = "griz"
COLOUR_EDGES = np.linspace(0.05, 1.1, 10)
MEDIAN_TOLERANCE, WIDTH_FACTOR = 0.12, 1.4
"""Magnitudes between the medians; ratio of the 16-84 % widths, either way."""

# zCOSMOS-bright (Lilly et al. 2007, ApJS 172, 70), 14,623 of its secure redshifts: g-r, r-i and
# i-z (Subaru, AB), per bin of redshift their percentiles (16, 50, 84). Computed from
# zcosmos/griz_specz.csv of the shared data; tests/evaluation/test_describe.py does it again.
COLOUR_PERCENTILES = np.array(
    [
        [[0.342, 0.479, 0.699], [0.195, 0.251, 0.326], [0.099, 0.165, 0.303]],
        [[0.528, 0.683, 1.085], [0.213, 0.297, 0.411], [0.125, 0.203, 0.403]],
        [[0.747, 0.961, 1.517], [0.197, 0.336, 0.513], [0.271, 0.344, 0.465]],
        [[0.834, 1.075, 1.632], [0.273, 0.414, 0.642], [0.206, 0.333, 0.460]],
        [[0.778, 1.019, 1.600], [0.370, 0.533, 0.825], [0.163, 0.318, 0.470]],
        [[0.656, 0.963, 1.719], [0.524, 0.740, 1.100], [0.215, 0.365, 0.517]],
        [[0.488, 0.760, 1.620], [0.603, 0.802, 1.179], [0.287, 0.399, 0.633]],
        [[0.387, 0.684, 1.631], [0.646, 0.818, 1.164], [0.334, 0.481, 0.788]],
        [[0.346, 0.612, 1.138], [0.543, 0.681, 0.975], [0.387, 0.529, 0.793]],
    ]
)  # (9 bins, 3 colours, 3)

DIFFICULTY, DIFFICULTY_RANGE = 0.0255, (0.020, 0.030)
"""sigma_NMAD of extra trees on the same table, and what a mock survey may have."""
DIFFICULTY_OBJECTS = 12_000
