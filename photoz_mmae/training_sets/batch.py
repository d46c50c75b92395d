"""Images, spectra and redshifts, as a file or the simulation has them, made a batch to train on."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from photoz_mmae.cutouts.opposite import fill_from_opposite
from photoz_mmae.spectra import grid
from photoz_mmae.training_sets.training_set import (
    KINDS,
    UNKNOWN_KIND,
    Normalisation,
    TrainingBatch,
)


def make_batch(
    image: NDArray[Any],
    flux: NDArray[Any],
    ivar: NDArray[Any],
    redshift: NDArray[np.float64],
    weight: NDArray[np.float64],
    ebv: NDArray[np.float32],
    psf_fwhm: NDArray[np.float32],
    kind: NDArray[np.int64],
    normalisation: Normalisation,
) -> TrainingBatch:
    """Make a batch of arrays as a file or the simulation has them.

    Parameters
    ----------
    image : array, (N, B, S, S)
        Pixels that are no numbers take the value opposite to them, as in prediction, or else 0.
    flux, ivar : array, (N, 7783 or 259)
    redshift : array, (N,)
        NaN where there is none.
    weight : array, (N,)
    ebv : array, (N,)
        Mag; NaN where it is not known.
    psf_fwhm : array, (N, B)
        Arcsec; NaN where it is not known.
    kind : array of int64, (N,)
        As in TrainingBatch.
    normalisation : {"paper", "relative"}
    """
    measured = measured_bands(image)
    lost = ~np.isfinite(image)
    if lost.any():
        image = np.ascontiguousarray(_finite(image))
        fill_from_opposite(image, lost)
    if not measured.all():
        image = np.where(measured[:, :, None, None], image, 0.0)
    flux, ivar, present = _normalise(
        flux.astype(np.float64), ivar.astype(np.float64), normalisation
    )
    known = np.isfinite(redshift)
    return TrainingBatch(
        image=torch.from_numpy(image.astype(np.float32, copy=False)),
        measured=torch.from_numpy(measured),
        flux=torch.from_numpy(flux),
        ivar=torch.from_numpy(ivar),
        has_spectrum=torch.from_numpy(present),
        redshift=torch.from_numpy(np.where(known, redshift, 0).astype(np.float32)),
        has_redshift=torch.from_numpy(known),
        weight=torch.from_numpy(weight.astype(np.float32)),
        ebv=torch.from_numpy(ebv),
        psf_fwhm=torch.from_numpy(psf_fwhm),
        kind=torch.from_numpy(kind.astype(np.int64, copy=False)),
    )


def _finite(image: NDArray[Any]) -> NDArray[Any]:
    """Put 0 where an image has no number."""
    return np.asarray(np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0))


def measured_bands(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which bands hold anything but one constant: (N, B, S, S) -> (N, B)."""
    return np.asarray(np.ptp(_finite(image), axis=(2, 3)) > 0)


def kinds(spectral_types: NDArray[np.str_]) -> NDArray[np.int64]:
    """Turn spectral types of DESI, or target classes of mock data, into places in KINDS, (N,).

    GALAXY, QSO and STAR are DESI's; BGS, LRG, ELG and GAL are the mock survey's galaxies.
    """
    of = {"QSO": KINDS.index("qso"), "STAR": KINDS.index("star")}
    of |= dict.fromkeys(("GALAXY", "BGS", "LRG", "ELG", "GAL"), KINDS.index("galaxy"))
    names, places = np.unique(np.char.strip(spectral_types), return_inverse=True)
    return np.array([of.get(name, UNKNOWN_KIND) for name in names.tolist()], np.int64)[places]


def _normalise(
    flux: grid.Float, ivar: grid.Float, normalisation: Normalisation
) -> tuple[grid.Float, grid.Float, NDArray[np.bool_]]:
    """(N, 7783 or 259) twice -> (N, 259) twice, and which objects have a spectrum."""
    pooled = flux.shape[1] == grid.POOLED_PIXELS
    if normalisation == "paper":
        normed = grid.paper_normalise(flux, ivar)
        valid = (ivar > 0).astype(np.float32)
        if not pooled:
            normed, valid = grid.pool_mean(normed), grid.pool_mean(valid)
        return normed, valid, np.any(ivar > 0, axis=1)
    if not pooled:
        flux, ivar = grid.pool_weighted(flux, ivar)
    return grid.relative_to_mean(flux, ivar)
