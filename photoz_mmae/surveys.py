"""What a survey is: data, not code."""

from dataclasses import dataclass

from photoz_mmae.errors import UsageError

ZERO_POINT = 27.0
"""AB zero point of every flux inside the network."""

NJY_PER_FLUX = 10 ** (-0.4 * (ZERO_POINT - 31.4))
"""nJy per unit of flux at `ZERO_POINT` (AB 31.4 is 1 nJy): about 57.54."""


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
    negative_std : tuple of float
        Standard deviation of the negative pixels per band, flux at `ZERO_POINT`: the noise unit
        of the stretch. For white Gaussian noise it is 0.603 sigma.
    seeing : tuple of float
        Typical PSF full width at half maximum per band, arcsec.
    extinction : tuple of float
        A_band / E(B-V).
    exposure : tuple of float
        Exposure time per band, s.
    aperture : float
        Open area of the telescope, cm2.
    """

    name: str
    bands: tuple[str, ...]
    filters: tuple[str, ...]
    pixel_scale: float
    negative_std: tuple[float, ...]
    seeing: tuple[float, ...]
    extinction: tuple[float, ...]
    exposure: tuple[float, ...]
    aperture: float


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

SURVEYS = {survey.name: survey for survey in (HSC_WIDE,)}


def get_survey(name: str) -> Survey:
    """Return the survey called `name`; raises UsageError for an unknown one."""
    if name not in SURVEYS:
        raise UsageError(f"unknown survey {name!r}; known: {', '.join(SURVEYS)}")
    return SURVEYS[name]
