"""What a survey is: data, not code."""

from dataclasses import dataclass, replace

from photoz_mmae.errors import UsageError

ZERO_POINT = 27.0
"""AB zero point of every flux inside the network."""

AB_OF_1_NJY = 31.4

NJY_PER_FLUX = 10 ** (-0.4 * (ZERO_POINT - AB_OF_1_NJY))
"""nJy per unit of flux at `ZERO_POINT`: about 57.54."""


@dataclass(frozen=True)
class Survey:
    """An imaging survey as this package needs to know it.

    Attributes
    ----------
    name : str
    bands : tuple of str
        One letter each, blue to red.
    filters : tuple of str
        Names of the response curves in speclite, one per band.
    pixel_scale : float
        arcsec per pixel.
    seeing : tuple of float
        Typical PSF full width at half maximum per band, arcsec.
    extinction : tuple of float
        A_band / E(B-V).
    exposure : tuple of float
        Exposure time per band, s.
    aperture : float
        Open area of the telescope, cm2.
    negative_std : tuple of float
        Standard deviation of the negative pixels per band, flux at `ZERO_POINT`. For white
        Gaussian noise it is 0.603 sigma. Empty where `depth` says how noisy the images are.
    depth : tuple of float
        Median 5-sigma depth for point sources per band, AB magnitudes. Empty where
        `negative_std` says it.
    """

    name: str
    bands: tuple[str, ...]
    filters: tuple[str, ...]
    pixel_scale: float
    seeing: tuple[float, ...]
    extinction: tuple[float, ...]
    exposure: tuple[float, ...]
    aperture: float
    negative_std: tuple[float, ...] = ()
    depth: tuple[float, ...] = ()


HSC_WIDE = Survey(
    name="hsc-wide",
    bands=("g", "r", "i", "z", "y"),
    filters=("hsc2017-g", "hsc2017-r", "hsc2017-i", "hsc2017-z", "hsc2017-y"),
    pixel_scale=0.168,
    # Of the 134,533 images of GalaxiesML-Spectra, as published with DeepZ.
    negative_std=(0.0212, 0.0352, 0.0369, 0.0688, 0.1367),
    # HSC PDR2 wide (Aihara et al. 2019), median seeing.
    seeing=(0.79, 0.75, 0.60, 0.68, 0.68),
    extinction=(3.240, 2.276, 1.633, 1.263, 1.075),
    exposure=(600.0, 600.0, 1200.0, 1200.0, 1200.0),
    aperture=4.9e5,
)

_LSST_BANDS = ("u", "g", "r", "i", "z", "y")
_LSST_FILTERS = tuple(f"lsst2023-{band}" for band in _LSST_BANDS)
_LSST_EXTINCTION = (4.145, 3.237, 2.273, 1.684, 1.323, 1.088)
_LSST_APERTURE = 3.24e5
_LSST_VISIT = 30.0  # s

# Ten years as designed: visits, coadded depth and median seeing of the overview paper
# (arXiv:0805.2366, tables 1 and 2). Its seeing is an effective width at the zenith: typical, not
# delivered. Newer simulations of the survey are 0.3 to 0.6 mag shallower (arXiv:2603.23786).
_Y10_VISITS = (56, 80, 184, 184, 160, 160)
_Y10_DEPTH = (26.1, 27.4, 27.5, 26.8, 26.1, 24.9)
_Y10_SEEING = (0.92, 0.87, 0.83, 0.80, 0.78, 0.76)

LSST_Y10 = Survey(
    name="lsst-y10",
    bands=_LSST_BANDS,
    filters=_LSST_FILTERS,
    pixel_scale=0.2,
    seeing=_Y10_SEEING,
    extinction=_LSST_EXTINCTION,
    exposure=tuple(_LSST_VISIT * visits for visits in _Y10_VISITS),
    aperture=_LSST_APERTURE,
    depth=_Y10_DEPTH,
)

# A tenth of that: 1.25 log10(10) mag shallower.
LSST_Y1 = replace(
    LSST_Y10,
    name="lsst-y1",
    exposure=tuple(0.1 * time for time in LSST_Y10.exposure),
    depth=tuple(magnitude - 1.25 for magnitude in LSST_Y10.depth),
)

# Data Preview 1: its deepest field, the Extended Chandra Deep Field South. Median depth of the
# coadds, median PSF and number of visits as published (arXiv:2603.23786; rtn-095.lsst.io).
LSST_DP1 = replace(
    LSST_Y10,
    name="lsst-dp1",
    seeing=(1.40, 1.14, 1.08, 1.00, 1.00, 1.07),
    exposure=tuple(_LSST_VISIT * visits for visits in (43, 230, 237, 162, 153, 30)),
    depth=(24.55, 26.18, 25.96, 25.71, 25.07, 23.10),
)

PASSBANDS = {
    "u": (3493.0, 3956.0),
    "g": (4080.0, 5450.0),
    "r": (5480.0, 6970.0),
    "i": (6950.0, 8460.0),
    "z": (8530.0, 9290.0),
    "y": (9350.0, 10080.0),
}
"""Where a band's response is half of its maximum, Angstrom: HSC's, u of LSST (response curves of
speclite). LSST's others lie within 4 per cent of these."""

SURVEYS = {survey.name: survey for survey in (HSC_WIDE, LSST_Y1, LSST_Y10, LSST_DP1)}


def get_survey(name: str) -> Survey:
    """Return the survey called `name`; raises UsageError for an unknown one."""
    if name not in SURVEYS:
        raise UsageError(f"unknown survey {name!r}; known: {', '.join(SURVEYS)}")
    return SURVEYS[name]
