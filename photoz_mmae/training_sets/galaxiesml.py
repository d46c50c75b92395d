"""GalaxiesML-Spectra files (HDF5): images, spectra, redshifts.

The layout is that of `DESI_HSC_64x64_v2.hdf5`, with 7783 pixels of 0.8 A per spectrum or the 259
pixels of 24 A that they are pooled into; simulated surveys are written in the same layout.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import bands_in
from photoz_mmae.cutouts.fill_row import SCALE_TOLERANCE
from photoz_mmae.cutouts.hdf5 import POSITIONS
from photoz_mmae.errors import InputError, UsageError
from photoz_mmae.model.frame import Frame
from photoz_mmae.model.seeing import usable_fwhm
from photoz_mmae.provenance import file_sha256
from photoz_mmae.spectra import grid
from photoz_mmae.surveys import SURVEYS, ZERO_POINT, get_survey
from photoz_mmae.training_sets.batch import kinds, make_batch, measured_bands
from photoz_mmae.training_sets.ebv import read_ebv
from photoz_mmae.training_sets.training_set import (
    UNKNOWN_KIND,
    Normalisation,
    TrainingBatch,
)

STAR_REDSHIFT = 0.002
"""Stars approach and recede: a redshift down to minus this counts as 0."""

HIGHEST_REDSHIFT = 15.0
"""No galaxy is known beyond; 99, 999 and 9999 stand for none."""


class SpectraFile:
    """A GalaxiesML-Spectra file, open for reading.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    redshift : array, (N,)
        NaN where there is none: not finite, below -0.002 (up to 0 it is 0), above 15, or ZWARN is
        not 0.
    wave : array, (259,)
        Observed wavelengths in Angstrom.
    description : str
        What the file says of itself; simulated ones say that they are mock data.
    mock_seed : int or None
        Seed of a simulated file.
    survey : Survey
        What the images are of.
    ebv : array, (N,), or None
        See `load_ebv`.
    psf_fwhm : array, (N, B)
        Width of the PSF, arcsec; NaN where it is not known.
    kind : array of int64, (N,)
        Place in KINDS, or UNKNOWN_KIND: from DESI's SPECTYPE, or the class of mock data.

    Raises
    ------
    InputError
        The file is missing, not HDF5, lacks a dataset, or its datasets do not fit together.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            what = "is a folder; name the HDF5 file" if path.is_dir() else "no such file"
            raise InputError(f"{path}: {what}")
        try:
            # Without a lock, as cutouts are read, which may be of the same file.
            self._file = h5py.File(path, "r", locking=False)
        except OSError as error:
            raise InputError(f"{path}: not a readable HDF5 file ({error})") from error
        self._image = self._dataset("image", 4)
        self._flux = self._dataset("spectrum/flux", 2)
        self._ivar = self._dataset("spectrum/ivar", 2)
        redshift = self._dataset("DESI_fibermap/DESI_redshift", 1)[:].astype(np.float64)
        n = len(self._image)
        if not n == len(self._flux) == len(redshift) or self._flux.shape != self._ivar.shape:
            raise InputError(
                f"{path}: datasets of different lengths: image {n}, spectrum/flux "
                f"{self._flux.shape}, spectrum/ivar {self._ivar.shape}, redshift {len(redshift)}"
            )
        good = (redshift >= -STAR_REDSHIFT) & (redshift <= HIGHEST_REDSHIFT)
        redshift = np.maximum(redshift, 0.0)
        warnings = self.column("DESI_fibermap/ZWARN")
        if warnings is not None:
            good &= warnings == 0
        if not good.any():
            raise InputError(f"{path}: no object has a redshift")
        self.redshift = np.where(good, redshift, np.nan)
        pixels = self._flux.shape[1]
        if pixels != grid.POOLED_PIXELS and pixels // grid.POOL != grid.POOLED_PIXELS:
            raise InputError(f"{path}: spectra of {pixels} pixels; 259 or 7783 are known")
        self._pooled = pixels == grid.POOLED_PIXELS
        wave = self._dataset("spectrum/wave")
        if wave.shape[-1:] != (pixels,):
            raise InputError(
                f"{path}: 'spectrum/wave' has shape {wave.shape}, flux {pixels} pixels"
            )
        self.wave = self._read_wave(wave)
        self.description = str(self._file.attrs.get("title", "a file without a title"))
        seed = self._file.attrs.get("seed") if self._file.attrs.get("mock", False) else None
        self.mock_seed = None if seed is None else int(seed)
        try:
            self.survey = get_survey(str(self._file.attrs.get("survey", "hsc-wide")))
        except UsageError as error:
            raise InputError(f"{path}: {error}") from error
        self._check_attributes()
        self.ebv: NDArray[np.float32] | None = None
        widths = [self._read_psf_fwhm(band) for band in self.survey.bands]
        self.psf_fwhm = np.stack(widths, axis=1)
        spectral_types = self._text("DESI_fibermap/SPECTYPE")
        if spectral_types is None:
            spectral_types = self.classes()
        elif warnings is not None:
            # One fit tells redshift and type.
            spectral_types = np.where(warnings == 0, spectral_types, "")
        self.kind = (
            np.full(len(self), UNKNOWN_KIND) if spectral_types is None else kinds(spectral_types)
        )

    def __len__(self) -> int:
        return len(self.redshift)

    def _check_attributes(self) -> None:
        """Raise InputError where the file's attributes say other than its survey."""
        said = self._file.attrs.get("bands", "")
        bands = bands_in(said.decode() if isinstance(said, bytes) else str(said))
        if bands and tuple(bands) != self.survey.bands:
            raise self._contradiction("bands", "".join(bands), "".join(self.survey.bands))
        scale = self.survey.pixel_scale
        for name, expected, tolerance in (
            ("pixel_scale", scale, SCALE_TOLERANCE * scale),
            ("zero_point", ZERO_POINT, 1e-3),
        ):
            there = self._file.attrs.get(name, expected)
            if not np.all(np.abs(np.asarray(there, np.float64) - expected) <= tolerance):
                raise self._contradiction(name, there, expected)

    def _contradiction(self, name: str, there: Any, expected: Any) -> InputError:
        advice = "convert the images"
        if name != "zero_point":  # which is that of all
            advice += ", or if they are of another survey name it in the attribute 'survey' "
            advice += f"({', '.join(SURVEYS)})"
        return InputError(
            f"{self.path}: attribute {name!r} is {there}, but {expected} for training on the "
            f"survey {self.survey.name}; {advice}"
        )

    def _read_wave(self, wave: h5py.Dataset) -> NDArray[np.float64]:
        """Read the wavelengths of the pooled pixels, which have to be DESI's."""
        own = np.atleast_2d(wave[:: max(1, len(wave) - 1)] if wave.ndim == 2 else wave[:])
        expected = grid.pooled_wave() if self._pooled else grid.desi_wave(own.shape[1])
        # Half a pixel; objects are moved in redshift along this grid.
        if not (np.abs(own - expected) <= (expected[1] - expected[0]) / 2).all():
            raise InputError(
                f"{self.path}: 'spectrum/wave' goes from {own.min():.1f} to {own.max():.1f}, not "
                f"as DESI's {len(expected)} pixels from {expected[0]:.1f} to {expected[-1]:.1f} "
                "Angstrom; resample the spectra"
            )
        first = own[0].astype(np.float64)
        return first if self._pooled else grid.pooled_wave(first)

    def load_ebv(self) -> None:
        """Read E(B-V) of all objects; raises InputError where the file has none."""
        self.ebv = read_ebv(self._file, len(self), self.survey)

    @property
    def taken_for(self) -> str:
        """What the images are taken to be, in one line."""
        survey = self.survey
        unsaid = "" if "survey" in self._file.attrs else " (the file names no survey)"
        return (
            f"images are taken to be of {survey.name}{unsaid}: {''.join(survey.bands)}, "
            f"{survey.pixel_scale:g} arcsec per pixel, zero point {ZERO_POINT:g}"
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Bands, height, width."""
        shape: tuple[int, int, int] = self._image.shape[1:]
        return shape

    @property
    def frame(self) -> Frame:
        """What the images are; raises InputError where they are not square images of the survey."""
        survey, (bands, height, width) = self.survey, self.image_shape
        if bands != len(survey.bands):
            raise InputError(
                f"{self.path}: images of {bands} bands; the survey {survey.name} has "
                f"{len(survey.bands)} ({''.join(survey.bands)})"
            )
        if height != width:
            raise InputError(f"{self.path}: images of {height} x {width} pixels; not square")
        return Frame(survey.bands, height, survey.pixel_scale)

    def sha256(self) -> str:
        """Checksum of the whole file."""
        return file_sha256(self.path)

    def column(self, name: str) -> NDArray[Any] | None:
        """Read a dataset of one number or text per object, (N,); None where there is none.

        Raises
        ------
        InputError
            It has another length.
        """
        if not isinstance(self._file.get(name), h5py.Dataset):
            return None
        values = np.asarray(self._file[name][()])
        if values.shape != (len(self._image),):
            raise InputError(
                f"{self.path}: datasets of different lengths: {name!r} has shape {values.shape}, "
                f"'image' {len(self._image)} objects"
            )
        return values

    def positions(self) -> NDArray[np.float64] | None:
        """Right ascension and declination in degrees, (N, 2); the first pair of datasets counts."""
        for names in POSITIONS:
            pair = [self.column(name) for name in names]
            if pair[0] is not None and pair[1] is not None:
                return np.stack([pair[0], pair[1]], axis=1).astype(np.float64)
        return None

    def classes(self) -> NDArray[np.str_] | None:
        """Class of each object (N,); mock data have it."""
        return self._text("simulation/class")

    def scan(self, start: int, stop: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which bands of the objects' images are measured, and which objects have a spectrum.

        Returns
        -------
        two arrays of bool, (stop - start, B) and (stop - start,)
        """
        measured = measured_bands(self._image[start:stop])
        ivar = self._ivar[start:stop]
        return measured, np.any(np.isfinite(ivar) & (ivar > 0), axis=1)

    def read(
        self,
        rows: NDArray[np.int64],
        normalisation: Normalisation,
        weights: NDArray[np.float64] | None = None,
    ) -> TrainingBatch:
        """Read some objects, in the order asked for.

        Parameters
        ----------
        rows : array of int, (N,)
            Row numbers of the file, none twice.
        normalisation : {"paper", "relative"}
        weights : array, (N,), optional
            How much each counts; 1 otherwise.
        """
        # HDF5 wants increasing row numbers.
        order = np.argsort(rows)
        back = np.empty_like(order)
        back[order] = np.arange(len(rows))
        ordered = rows[order]
        redshift = self.redshift[rows]
        return make_batch(
            self._image[ordered][back],
            self._flux[ordered][back],
            self._ivar[ordered][back],
            redshift,
            np.ones(len(rows)) if weights is None else weights,
            np.full(len(rows), np.nan, np.float32) if self.ebv is None else self.ebv[rows],
            self.psf_fwhm[rows],
            self.kind[rows],
            normalisation,
        )

    def _read_psf_fwhm(self, band: str) -> NDArray[np.float32]:
        """Width of the PSF in a band, (N,), from the first place that has it."""
        for name in (f"HSC_metadata/{band}_psf_fwhm", f"simulation/{band}_psf_fwhm"):
            values = self.column(name)
            if values is not None:
                if values.dtype.kind not in "fiu":
                    raise InputError(f"{self.path}: {name!r} holds {values.dtype}, not numbers")
                return usable_fwhm(values)
        return np.full(len(self), np.nan, np.float32)

    def _text(self, name: str) -> NDArray[np.str_] | None:
        """Read a dataset of texts, (N,); None where there is none."""
        texts = self.column(name)
        return None if texts is None else np.char.decode(texts.astype("S"), "utf-8", "replace")

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
