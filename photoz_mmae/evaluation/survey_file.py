"""A training file as the describing side reads it: whatever of it is there, block by block."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from photoz_mmae.errors import InputError
from photoz_mmae.surveys import HSC_WIDE, SURVEYS

Floats = NDArray[np.float64]

REDSHIFT = "DESI_fibermap/DESI_redshift"
_BEYOND_REDSHIFT, _BEYOND_MAGNITUDE = 20.0, 99.0  # of no galaxy; files say 99 for none
_BLOCK = 256  # images at once: 21 MB


class SurveyFile:
    """A file in the layout of GalaxiesML-Spectra, real or mock, complete or not.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    n : int
        Objects.
    mock : bool
        The file says that it is mock data.
    title, survey, selection : str
        As the file says; a file that says nothing is taken for the real one.
    seed : int or None
    bands : tuple of str
    pixel_scale : float
        arcsec.
    extinction : tuple of float or None
        A_band / E(B-V); None for a survey that is not known.

    Raises
    ------
    InputError
        The file is missing, not HDF5, has neither images nor redshifts, no object, or datasets of
        different lengths.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise InputError(f"{path}: not a readable HDF5 file ({error})") from error
        attributes = self._file.attrs
        self.mock = bool(attributes.get("mock", False))
        self.title = str(attributes.get("title", ""))
        self.survey = str(attributes.get("survey", HSC_WIDE.name))
        self.selection = str(attributes.get("selection", "desi"))
        self.seed = int(attributes["seed"]) if "seed" in attributes else None
        known = SURVEYS.get(self.survey)
        self.bands = tuple(attributes.get("bands", known.bands if known else ""))
        self.pixel_scale = float(
            attributes.get("pixel_scale", known.pixel_scale if known else np.nan)
        )
        self.extinction = known.extinction if known and known.bands == self.bands else None
        self._check()

    def _check(self) -> None:
        """Raise InputError for a file that makes no sense; sets `n`."""
        lengths = {
            name: len(self._file[name])
            for name in ("image", REDSHIFT)
            if isinstance(self._file.get(name), h5py.Dataset) and self._file[name].ndim
        }
        if not lengths:
            raise InputError(
                f"{self.path}: no training file, it has neither 'image' nor {REDSHIFT!r}; "
                "GalaxiesML-Spectra (or `photoz-mmae simulate -o`) has them"
            )
        if len(set(lengths.values())) > 1:
            raise InputError(f"{self.path}: datasets of different lengths: {lengths}")
        self.n = next(iter(lengths.values()))
        if self.n == 0:
            raise InputError(f"{self.path}: no objects in it")
        if "image" in lengths:
            shape = self._file["image"].shape
            if len(shape) != 4 or shape[1] != len(self.bands):
                raise InputError(
                    f"{self.path}: 'image' has shape {shape}; ({self.n}, {len(self.bands)}, size, "
                    f"size) was expected for the bands {''.join(self.bands)}"
                )

    def __contains__(self, name: str) -> bool:
        return isinstance(self._file.get(name), h5py.Dataset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def column(self, name: str) -> NDArray[Any] | None:
        """Return a dataset of one value per object, (N,); None where the file has none."""
        if name not in self:
            return None
        dataset = self._file[name]
        if dataset.shape != (self.n,):
            raise InputError(
                f"{self.path}: {name!r} has shape {dataset.shape}; ({self.n},) was expected"
            )
        return self._read(name, slice(None))

    def numbers(self, name: str) -> Floats | None:
        """Return a column as numbers, (N,) float64."""
        values = self.column(name)
        if values is not None and values.dtype.kind not in "fiub":
            raise InputError(f"{self.path}: {name!r} holds no numbers")
        return None if values is None else values.astype(np.float64)

    def redshifts(self) -> Floats | None:
        """Return the redshifts, (N,); NaN where they are not finite or absurd."""
        z = self.numbers(REDSHIFT)
        return None if z is None else np.where(np.abs(z) < _BEYOND_REDSHIFT, z, np.nan)

    def magnitudes(self, bands: str, dereddened: bool) -> Floats | None:
        """Measured magnitudes (N, len(bands)); NaN where they are not finite or absurd.

        Parameters
        ----------
        bands : str
        dereddened : bool
            Take off the Galaxy's dust, by E(B-V) in `simulation/ebv` and the survey's coefficients.

        Returns
        -------
        None where a band, or what the correction needs, is not in the file.
        """
        columns = [self.numbers(f"HSC_metadata/{band}_cmodel_mag") for band in bands]
        found = [column for column in columns if column is not None]
        if len(found) < len(bands):
            return None
        mag = np.stack(found, axis=1)
        mag = np.where(np.abs(mag) < _BEYOND_MAGNITUDE, mag, np.nan)
        if dereddened:
            ebv = self.numbers("simulation/ebv")
            if ebv is None or self.extinction is None:
                return None
            coefficients = [self.extinction[self.bands.index(band)] for band in bands]
            mag -= ebv[:, None] * np.array(coefficients)
        return mag

    def classes(self) -> NDArray[np.str_] | None:
        """Classes of the objects as the simulation names them, (N,)."""
        kind = self.column("simulation/class")
        return None if kind is None else kind.astype(str)

    def images(self, step: int = 1) -> Iterator[NDArray[np.float32]]:
        """Yield the images of every `step`-th object in blocks (n, B, S, S), in order."""
        for first in range(0, self.n, _BLOCK * step):
            yield self._read("image", slice(first, first + _BLOCK * step, step))

    def stamps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the images (n, B, S, S) of a few objects."""
        return np.stack([self._read("image", row) for row in rows])

    def spectra(self, rows: NDArray[np.int64]) -> tuple[Floats, Floats, Floats] | None:
        """Return wavelength (P,), flux (n, P) and inverse variance (n, P) of a few objects."""
        names = ("spectrum/wave", "spectrum/flux", "spectrum/ivar")
        if any(name not in self for name in names):
            return None
        # One for all objects, or one each.
        wave = self._read(names[0], slice(None) if self._file[names[0]].ndim == 1 else rows[0])
        flux, ivar = (
            np.stack([self._read(name, row) for row in rows]).astype(np.float64)
            for name in names[1:]
        )
        return wave.astype(np.float64), flux, ivar

    def _read(self, name: str, rows: int | slice) -> NDArray[Any]:
        try:
            return np.asarray(self._file[name][rows])
        except OSError as error:
            raise InputError(f"{self.path}: {name!r} cannot be read ({error})") from error
