"""Distances in flat LambdaCDM with H0 = 70 km/s/Mpc and Omega_m = 0.3."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_Z_RANGE = (0.005, 5.0)


@lru_cache(maxsize=1)
def _table() -> tuple[Floats, Floats, Floats, Floats]:
    from astropy.cosmology import FlatLambdaCDM

    model = FlatLambdaCDM(H0=70.0, Om0=0.3)
    z = np.geomspace(*_Z_RANGE, 400)
    return (
        np.log(z),
        np.asarray(model.distmod(z).value),
        np.log(model.arcsec_per_kpc_proper(z).value),
        np.log(model.differential_comoving_volume(z).value),
    )


def distance_modulus(z: Floats) -> Floats:
    """Distance modulus (N,) at redshifts (N,)."""
    grid, modulus, _, _ = _table()
    return np.interp(np.log(z), grid, modulus)


def arcsec_per_kpc(z: Floats) -> Floats:
    """Angle of a proper kpc (N,)."""
    grid, _, scale, _ = _table()
    return np.exp(np.interp(np.log(z), grid, scale))


def volume_per_redshift(z: Floats) -> Floats:
    """Comoving volume per steradian and unit of redshift (N,), Mpc^3."""
    grid, _, _, volume = _table()
    return np.exp(np.interp(np.log(z), grid, volume))
