"""GalaxiesML-Spectra files (HDF5): images, spectra, redshifts.

The layout is that of `DESI_HSC_64x64_v2.hdf5`, with 7783 pixels of 0.8 A per spectrum or the 259
pixels of 24 A that they are pooled into; simulated surveys are written in the same layout.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.errors import InputError
from photoz_mmae.spectra import grid
from photoz_mmae.surveys import get_survey
from photoz_mmae.training_sets.ebv import read_ebv

POOLED_PIXELS = 259

Normalisation = Literal["paper", "relative"]
"""`paper`: mean 0 and rms 1, as published. `relative`: over the mean, never subtracted."""


@dataclass
class TrainingBatch:
    """N objects of a training file.

    Attributes
    ----------
    image : Tensor, (N, B, S, S)
        Flux at zero point 27; pixels that are not finite are 0, as in prediction.
    flux, ivar : Tensor, (N, 259)
        Normalised spectrum and its inverse variance in the same units; 0 where invalid.
    has_spectrum : Tensor of bool, (N,)
    redshift : Tensor, (N,)
    ebv : Tensor, (N,)
        E(B-V), mag; NaN where missing, and everywhere unless `SpectraFile.load_ebv` was called.
    """

    image: Tensor
    flux: Tensor
    ivar: Tensor
    has_spectrum: Tensor
    redshift: Tensor
    ebv: Tensor

    def to(self, device: str) -> "TrainingBatch":
        """Return the same objects on another device."""
        return TrainingBatch(**{name: value.to(device) for name, value in vars(self).items()})

    def __getitem__(self, rows: slice) -> "TrainingBatch":
        """Return some of the objects."""
        return TrainingBatch(**{name: value[rows] for name, value in vars(self).items()})


class SpectraFile:
    """A GalaxiesML-Spectra file, open for reading.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    rows : array of int
        The objects that can be used: those with a redshift.
    wave : array, (259,)
        Observed wavelengths in Angstrom.
    description : str
        What the file says of itself; simulated ones say that they are mock data.
    survey : str
        Name of the survey the images are of.
    ebv : array, (N,)
        See `load_ebv`.

    Raises
    ------
    InputError
        The file is missing, not HDF5, or lacks a dataset.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise InputError(f"{path}: not a readable HDF5 file ({error})") from error
        self._image = self._dataset("image", 4)
        self._flux = self._dataset("spectrum/flux", 2)
        self._ivar = self._dataset("spectrum/ivar", 2)
        redshift = self._dataset("DESI_fibermap/DESI_redshift", 1)[:].astype(np.float64)
        lengths = {len(self._image), len(self._flux), len(self._ivar), len(redshift)}
        if len(lengths) > 1:
            raise InputError(f"{path}: datasets of different lengths: {sorted(lengths)}")
        self.redshift = redshift
        self.rows = np.flatnonzero(np.isfinite(redshift) & (redshift >= 0))
        if not len(self.rows):
            raise InputError(f"{path}: no object has a redshift")
        pixels = self._flux.shape[1]
        if pixels != POOLED_PIXELS and pixels // grid.POOL != POOLED_PIXELS:
            raise InputError(f"{path}: spectra of {pixels} pixels; 259 or 7783 are known")
        self._pooled = pixels == POOLED_PIXELS
        wave = self._dataset("spectrum/wave")
        wave = np.asarray(wave[0] if wave.ndim == 2 else wave[:], dtype=np.float64)
        self.wave = wave if self._pooled else grid.pooled_wave(wave)
        self.description = str(self._file.attrs.get("title", "a file without a title"))
        self.survey = str(self._file.attrs.get("survey", "hsc-wide"))
        self.ebv = np.full(len(redshift), np.nan, np.float32)

    def load_ebv(self) -> None:
        """Read E(B-V) of all objects; raises InputError where the file has none."""
        self.ebv = read_ebv(self._file, len(self.redshift), get_survey(self.survey))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Bands, height, width."""
        shape: tuple[int, int, int] = self._image.shape[1:]
        return shape

    def sha256(self) -> str:
        """Checksum of the whole file."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def read(self, rows: NDArray[np.int64], normalisation: Normalisation) -> TrainingBatch:
        """Read some objects, in the order asked for.

        Parameters
        ----------
        rows : array of int, (N,)
            Row numbers of the file, none twice.
        normalisation : {"paper", "relative"}
        """
        # HDF5 wants increasing row numbers.
        order = np.argsort(rows)
        back = np.empty_like(order)
        back[order] = np.arange(len(rows))
        ordered = rows[order]
        image = np.nan_to_num(self._image[ordered], nan=0.0, posinf=0.0, neginf=0.0)
        flux, ivar, present = self._normalise(
            self._flux[ordered].astype(np.float64),
            self._ivar[ordered].astype(np.float64),
            normalisation,
        )
        return TrainingBatch(
            image=torch.from_numpy(image[back].astype(np.float32, copy=False)),
            flux=torch.from_numpy(flux[back]),
            ivar=torch.from_numpy(ivar[back]),
            has_spectrum=torch.from_numpy(present[back]),
            redshift=torch.from_numpy(self.redshift[rows].astype(np.float32)),
            ebv=torch.from_numpy(self.ebv[rows]),
        )

    def _normalise(
        self, flux: grid.Float, ivar: grid.Float, normalisation: Normalisation
    ) -> tuple[grid.Float, grid.Float, NDArray[np.bool_]]:
        """(N, 7783 or 259) twice -> (N, 259) twice, and which objects have a spectrum."""
        if normalisation == "paper":
            normed = grid.paper_normalise(flux, ivar)
            valid = (ivar > 0).astype(np.float32)
            if not self._pooled:
                normed, valid = grid.pool_mean(normed), grid.pool_mean(valid)
            return normed, valid, np.any(ivar > 0, axis=1)
        if not self._pooled:
            flux, ivar = grid.pool_weighted(flux, ivar)
        return grid.relative_to_mean(flux, ivar)

    def _dataset(self, name: str, dimensions: int | None = None) -> Any:
        if not isinstance(self._file.get(name), h5py.Dataset):
            raise InputError(
                f"{self.path}: dataset {name!r} is missing; "
                "a GalaxiesML-Spectra file (or `photoz-mmae simulate -o`) has it"
            )
        dataset = self._file[name]
        if dimensions is not None and dataset.ndim != dimensions:
            raise InputError(f"{self.path}: {name!r} has shape {dataset.shape}")
        return dataset


def split_rows(
    rows: NDArray[np.int64], validation_share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split at random, once for a seed: rows for training, rows for validation."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    n_validation = max(1, round(validation_share * len(rows)))
    return np.sort(shuffled[n_validation:]), np.sort(shuffled[:n_validation])
