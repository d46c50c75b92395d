"""Emission lines: which there are, how strong they are, and how a quasar's are made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEBULAR = {
    "OII": 3728.5,
    "NeIII": 3869.9,
    "Hdelta": 4102.9,
    "Hgamma": 4341.7,
    "Hbeta": 4862.7,
    "OIII4960": 4960.3,
    "OIII": 5008.2,
    "HeI": 5877.2,
    "OI": 6302.0,
    "NII6550": 6549.9,
    "Halpha": 6564.6,
    "NII": 6585.3,
    "SII6718": 6718.3,
    "SII6733": 6732.7,
    "SIII9071": 9071.1,
    "SIII": 9533.2,
}
"""Vacuum wavelengths in Angstrom of the lines of star-forming galaxies."""

HALPHA_PER_UV = 23.6
"""Angstrom: L(Halpha) / L_lambda(2000 A), the two calibrations of Kennicutt (1998, ARA&A 36, 189)
(equations 1 and 2) divided by one another."""

# A floor of old stars (LI(N)ER-like): equivalent width in Angstrom against their light at 5500 A.
_OLD_FLOOR = {"OII": 1.5, "OIII": 0.5, "Halpha": 0.6, "NII": 0.8, "NII6550": 0.27, "SII6718": 0.3}


@dataclass(frozen=True)
class BroadLine:
    """A quasar line: vacuum wavelength, Gaussian sigma, rest equivalent width (all Angstrom)."""

    wave: float
    sigma: float
    width: float


# After the composite of Vanden Berk et al. (2001, AJ 122, 549), table 2, at sigma = 2200 km/s;
# the last entries are the blends of FeII and the Balmer continuum as wide bumps.
QUASAR_LINES = (
    *(
        BroadLine(wave, wave * 2200.0 / 299792.458, width)
        for wave, width in (
            (1033.0, 9.6),
            (1215.7, 75.0),
            (1240.1, 20.0),
            (1399.0, 8.1),
            (1549.0, 23.8),
            (1640.4, 4.0),
            (1905.0, 21.2),
            (2800.0, 32.3),
            (4102.9, 5.0),
            (4341.7, 12.6),
            (4862.7, 46.2),
            (6564.6, 195.0),
        )
    ),
    BroadLine(3728.5, 4.0, 1.6),
    BroadLine(5008.2, 6.0, 13.2),
    BroadLine(2080.0, 60.0, 6.0),
    BroadLine(2500.0, 130.0, 35.0),
    BroadLine(3200.0, 330.0, 130.0),
    BroadLine(4570.0, 80.0, 14.0),
    BroadLine(5300.0, 110.0, 20.0),
)


def nebular_luminosities(
    uv: NDArray[np.float64], old: NDArray[np.float64], metallicity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Dust-free line luminosities of galaxies.

    Parameters
    ----------
    uv : (N,) array
        Intrinsic L_lambda(2000 A) of the young stars, any unit u per Angstrom.
    old : (N,) array
        L_lambda(5500 A) of the old stars, in u per Angstrom.
    metallicity : (N,) array
        12 + log(O/H).

    Returns
    -------
    (N, L) array in u, in the order of `NEBULAR`.

    Notes
    -----
    Case B Balmer ratios (Osterbrock & Ferland 2006); [NII] and [OIII] from Pettini & Pagel
    (2004, MNRAS 348, L59), equations 1 and 3; [OII] and [SII] follow mean local trends.
    """
    halpha = HALPHA_PER_UV * uv
    hbeta = halpha / 2.86
    n2 = (metallicity - 8.90) / 0.57
    o3 = (8.73 - metallicity) / 0.32 + n2  # log [OIII]/Hbeta, from O3N2 = o3 - n2
    oiii = hbeta * 10.0 ** np.minimum(o3, 0.85)
    nii = halpha * 10.0**n2
    oii = hbeta * 10.0 ** (0.55 - 1.2 * (metallicity - 8.45) ** 2)
    sii = halpha * 10.0 ** (-0.75 + 0.25 * n2)
    strength = {
        "OII": oii,
        "NeIII": 0.09 * oiii,
        "Hdelta": 0.26 * hbeta,
        "Hgamma": 0.47 * hbeta,
        "Hbeta": hbeta,
        "OIII4960": oiii / 2.98,
        "OIII": oiii,
        "HeI": 0.12 * hbeta,
        "OI": 0.12 * sii,
        "NII6550": nii / 3.05,
        "Halpha": halpha,
        "NII": nii,
        "SII6718": 0.57 * sii,
        "SII6733": 0.43 * sii,
        "SIII9071": 0.03 * halpha,
        "SIII": 0.075 * halpha,
    }
    floor = np.array([_OLD_FLOOR.get(line, 0.0) for line in NEBULAR])
    total: NDArray[np.float64] = np.stack([strength[line] for line in NEBULAR], axis=1)
    total += old[:, None] * floor
    return total
