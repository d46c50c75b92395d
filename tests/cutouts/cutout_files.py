"""FITS cutouts written by astropy, the reference, for the tests of this folder."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.headers import Header, open_regular, reader, walk_headers
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.units import ZERO_POINT_KEYS

BANDS = ("g", "r", "i", "z", "y")
SCALE = 0.168


def galaxy(
    shape: tuple[int, int] = (24, 24),
    bands: int = 5,
    seed: int = 0,
    x: float | None = None,
    y: float | None = None,
) -> NDArray[np.float32]:
    """Noise (sigma 0.05) with a Gaussian of sigma 2 pixels and total flux 100 (k + 1) in band k."""
    height, width = shape
    x = (width - 1) / 2 if x is None else x
    y = (height - 1) / 2 if y is None else y
    rows, columns = np.mgrid[:height, :width]
    profile = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8) / (8 * np.pi)
    noise = np.random.default_rng(seed).normal(0, 0.05, (bands, height, width))
    return (noise + 100 * np.arange(1, bands + 1)[:, None, None] * profile).astype(np.float32)


def header(shape: tuple[int, int] = (24, 24), first_axis: int = 1, **cards: Any) -> fits.Header:
    """A TAN WCS with the centre at (150, 2) deg, and more cards; MAGZERO 27 unless they say."""
    made = fits.Header()
    one, two = first_axis, first_axis + 1
    made[f"CTYPE{one}"], made[f"CTYPE{two}"] = "RA---TAN", "DEC--TAN"
    made[f"CRPIX{one}"], made[f"CRPIX{two}"] = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    made[f"CRVAL{one}"], made[f"CRVAL{two}"] = 150.0, 2.0
    made[f"CD{one}_{one}"], made[f"CD{two}_{two}"] = -SCALE / 3600, SCALE / 3600
    if not {*ZERO_POINT_KEYS, "BUNIT"} & set(cards):
        made["MAGZERO"] = 27.0
    for key, value in cards.items():
        if value is not None:
            made[key] = value
    return made


def write_cube(path: Path, data: NDArray[Any], head: fits.Header | None = None) -> Source:
    fits.PrimaryHDU(data, head).writeto(path)
    return source(path)


def write_mef(
    path: Path,
    planes: Mapping[str, NDArray[Any]],
    head: fits.Header | None = None,
    primary: fits.Header | None = None,
    compression: str | None = None,
) -> Source:
    """One image HDU per entry, named by its key."""
    units: list[Any] = [fits.PrimaryHDU(header=primary)]
    for name, data in planes.items():
        if compression:
            units.append(fits.CompImageHDU(data, head, name=name, compression_type=compression))
        else:
            units.append(fits.ImageHDU(data, head, name=name))
    fits.HDUList(units).writeto(path)
    return source(path)


def source(*paths: Path | str) -> Source:
    """The source that these files are, in the given order."""
    sizes = [Path(path).stat().st_size for path in paths if Path(path).exists()]
    return Source(tuple(str(path) for path in paths), sum(sizes), 0)


def hsc_names(bands: Sequence[str] = BANDS) -> list[str]:
    return [f"HSC-{band.upper()}" for band in bands]


def read_measured(
    sources: Sequence[Source], bands: Sequence[str], size: int, scale: float = SCALE
) -> CutoutBatch:
    """Read objects and measure them, as `predict` does."""
    batch = read_batch(sources, Wanted(tuple(bands), size, scale))
    measure_batch(batch, bands)
    return batch


def headers_of(path: Path | str) -> list[Header]:
    """All headers of a file, as the readers see them."""
    descriptor = open_regular(str(path))
    try:
        return list(walk_headers(reader(descriptor)))
    finally:
        os.close(descriptor)


def header_of(**cards: Any) -> Header:
    """The header of a primary unit with these cards."""
    content = fits.PrimaryHDU(header=fits.Header(cards)).header.tostring().encode()
    return next(walk_headers(lambda start, length: content[start : start + length]))


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def without_rights() -> Iterator[None]:
    """Be nobody for a while where this is root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
