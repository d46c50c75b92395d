"""The mock survey as a training file: HDF5 in the layout of GalaxiesML-Spectra."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from photoz_mmae import __version__
from photoz_mmae.errors import OutputError, UsageError
from photoz_mmae.simulation.observe import MockChunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.render import STAMP
from photoz_mmae.surveys import ZERO_POINT
from photoz_mmae.temporaries import remove_temporaries, temporary_path


class TrainingFile:
    """Writes chunks to `path`, which appears only when all `n` objects are in it.

    Used as a context: leaving it after an exception removes what was written. One writer at a
    time: each begins by removing what others left.

    Parameters
    ----------
    path : Path
    n : int
        Objects to come.
    recipe : Recipe
        Recorded in the file.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    UsageError
        The name does not end in `.hdf5` or `.h5`.
    OutputError
        The file exists, or cannot be written.
    """

    def __init__(self, path: Path, n: int, recipe: Recipe, overwrite: bool) -> None:
        try:
            is_folder, is_there = path.is_dir(), path.exists()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({_reason(error)})") from error
        if is_folder:
            raise OutputError(f"{path}: is a folder; name a file, as in {path}/mock.hdf5")
        if path.suffix not in (".hdf5", ".h5"):
            raise UsageError(f"{path}: the training file is HDF5; name it {path.stem}.hdf5")
        if is_there and not overwrite:
            raise OutputError(f"{path}: exists; choose another name or give --overwrite")
        self._path = path
        self._temporary = temporary_path(path)
        self._row = 0
        try:
            remove_temporaries(path)
            self._file = h5py.File(self._temporary, "w")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({_reason(error)})") from error
        self._file.attrs.update(
            {
                "title": "Mock data: a simulated survey, no observation",
                "mock": True,
                "survey": recipe.survey.name,
                "bands": "".join(recipe.survey.bands),
                "zero_point": ZERO_POINT,
                "pixel_scale": recipe.survey.pixel_scale,
                "seed": recipe.seed,
                "selection": recipe.selection,
                "fraction_stars": recipe.fraction_stars,
                "fraction_bad": recipe.fraction_bad,
                "photoz_mmae_version": __version__,
            }
        )
        self._create(n, recipe)

    def _create(self, n: int, recipe: Recipe) -> None:
        survey, pixels = recipe.survey, recipe.spectrum_pixels
        bands = len(survey.bands)
        layout: dict[str, tuple[tuple[int, ...], Any]] = {
            "image": ((n, bands, STAMP, STAMP), "f4"),
            "spectrum/flux": ((n, pixels), "f4"),
            "spectrum/ivar": ((n, pixels), "f4"),
            "spectrum/wave": ((n, pixels), "f4"),
            "DESI_fibermap/MORPHTYPE": ((n,), "S4"),
            "DESI_fibermap/FLUX_R": ((n,), "f4"),
            "DESI_fibermap/FLUX_W1": ((n,), "f4"),
            "DESI_fibermap/FLUX_W2": ((n,), "f4"),
            "DESI_fibermap/DESI_redshift": ((n,), "f4"),
            "DESI_fibermap/DESI_redshift_err": ((n,), "f4"),
            "HSC_metadata/specz_flag_homogeneous": ((n,), "?"),
            "object_id": ((n,), "i8"),
            "targetid": ((n,), "S20"),
            "simulation/class": ((n,), "S4"),
            "simulation/ebv": ((n,), "f4"),
            "simulation/ra": ((n,), "f8"),
            "simulation/dec": ((n,), "f8"),
            "simulation/offset_x": ((n,), "f4"),
            "simulation/offset_y": ((n,), "f4"),
            "simulation/defect": ((n,), "S12"),
        }
        for band in survey.bands:
            layout[f"HSC_metadata/{band}_cmodel_mag"] = ((n,), "f4")
            layout[f"simulation/{band}_mag"] = ((n,), "f4")
            layout[f"simulation/{band}_psf_fwhm"] = ((n,), "f4")
        for name, (shape, kind) in layout.items():
            self._file.create_dataset(name, shape, kind)
        self._bands = survey.bands

    def add(self, chunk: MockChunk) -> None:
        """Append a chunk."""
        size = len(chunk)
        values: dict[str, Any] = {
            "image": chunk.images,
            "spectrum/flux": chunk.flux,
            "spectrum/ivar": chunk.ivar,
            "spectrum/wave": np.broadcast_to(chunk.wave, chunk.flux.shape),
            "DESI_fibermap/DESI_redshift": chunk.redshift,
            "DESI_fibermap/DESI_redshift_err": 3e-5 * (1.0 + chunk.redshift),
            "DESI_fibermap/MORPHTYPE": chunk.morphtype,
            "DESI_fibermap/FLUX_R": chunk.legacy_flux[:, 0],
            "DESI_fibermap/FLUX_W1": chunk.legacy_flux[:, 1],
            "DESI_fibermap/FLUX_W2": chunk.legacy_flux[:, 2],
            "HSC_metadata/specz_flag_homogeneous": np.ones(size, dtype=bool),
            "object_id": chunk.object_id,
            "targetid": chunk.object_id.astype("S20"),
            "simulation/class": chunk.kind.astype("S4"),
            "simulation/ebv": chunk.ebv,
            "simulation/ra": chunk.ra,
            "simulation/dec": chunk.dec,
            "simulation/offset_x": chunk.offset[:, 0],
            "simulation/offset_y": chunk.offset[:, 1],
            "simulation/defect": chunk.defect.astype("S12"),
        }
        for number, band in enumerate(self._bands):
            values[f"HSC_metadata/{band}_cmodel_mag"] = chunk.cmodel_mag[:, number]
            values[f"simulation/{band}_mag"] = chunk.mag[:, number]
            values[f"simulation/{band}_psf_fwhm"] = chunk.psf_fwhm[:, number]
        try:
            for name, rows in values.items():
                self._file[name][self._row : self._row + size] = rows
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({_reason(error)})") from error
        self._row += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            # Closing flushes, which a full disk refuses a second time.
            with suppress(OSError, RuntimeError):
                self._file.close()
            self._temporary.unlink(missing_ok=True)
            return
        try:
            self._file.close()
            self._temporary.replace(self._path)
        except (OSError, RuntimeError) as error:
            self._temporary.unlink(missing_ok=True)
            raise OutputError(f"{self._path}: cannot be written ({_reason(error)})") from error


def _reason(error: OSError | RuntimeError) -> str:
    """Say what the system said, without what HDF5 adds to it."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)
