"""Mock cutouts as surveys write them: 5 x 64 x 64 float32 in five layouts, for the benchmarks.

Headers have 40-70 cards: a WCS on its tract's grid, MAGZERO, SATURATE, OBJECT_ID, RA_TARG,
DEC_TARG, DATE, CHECKSUM and what pipelines add. No two files share a header: ids, grids, targets
(up to 0.4 pixels from the image's centre) and dates differ. One object in 50 has a NaN pixel, one
in 100 a saturated one.
"""

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
from numpy.typing import NDArray

BANDS = ("g", "r", "i", "z", "y")
SIZE = 64
SCALE = 0.168
SATURATE = 20_000.0

Cards = list[dict[str, Any]]
Object = tuple[int, NDArray[np.float32], Cards, Cards]
"""Number, planes (5, 64, 64), cards of the object, cards of an image."""


def make_object(number: int) -> Object:
    """Make one mock object: the same for the same number."""
    rng = np.random.default_rng(number)
    dx, dy = rng.uniform(-0.4, 0.4, 2)
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    blob = rng.uniform(2, 20) * np.exp(-((rows - dy) ** 2 + (columns - dx) ** 2) / 20)
    planes = (blob + rng.normal(0, 0.05, (5, SIZE, SIZE))).astype(np.float32)
    if number % 50 == 7:
        planes[rng.integers(5), 3, 60] = np.nan
    if number % 100 == 13:
        planes[rng.integers(5), 40, 41] = 1.5 * SATURATE
    ra0, dec0 = 150.0 + 1.4 * (number % 7), -2.0 + 1.4 * (number % 5)
    corner = rng.integers(-17_000, 17_000, 2)
    crpix = 0.5 - corner  # the image's pixel (0, 0) is the grid's pixel `corner`
    x, y = (SIZE - 1) / 2 + dx, (SIZE - 1) / 2 + dy
    ra, dec = _to_sky(-(x + 1 - crpix[0]) * SCALE, (y + 1 - crpix[1]) * SCALE, ra0, dec0)
    date = f"2026-0{1 + number % 9}-1{number % 10}T0{number % 10}:2{number % 7}:31.{number:06d}"
    target = _cards(
        ("OBJECT_ID", str(40_000_000_000_000_000 + 7919 * number), "identifier of the target"),
        ("RA_TARG", ra, "[deg] right ascension of the target"),
        ("DEC_TARG", dec, "[deg] declination of the target"),
        ("TELESCOP", "Subaru", "telescope"),
        ("INSTRUME", "Hyper Suprime-Cam", "instrument"),
        ("ORIGIN", "mock", "these are mock data"),
        ("SURVEY", "mock-wide", "survey and layer"),
        ("TRACT", 8000 + number % 35, "tract"),
        ("PATCH", f"{number % 9},{number % 8}", "patch"),
        ("RERUN", "mock_wide_2026", "processing"),
        ("PIPELINE", "mockPipe 8.5.3", "software that made the coadd"),
        ("CUTVERS", "1.12.0", "software that cut it"),
        ("DATE", date, "file creation date"),
        ("EQUINOX", 2000.0, "[yr]"),
    )
    image = _cards(
        ("WCSAXES", 2, "number of axes of the WCS"),
        ("RADESYS", "ICRS", "celestial system"),
        ("CTYPE1", "RA---TAN", "gnomonic projection"),
        ("CTYPE2", "DEC--TAN", "gnomonic projection"),
        ("CUNIT1", "deg", "unit of axis 1"),
        ("CUNIT2", "deg", "unit of axis 2"),
        ("CRPIX1", float(crpix[0]), "[pixel] reference point"),
        ("CRPIX2", float(crpix[1]), "[pixel] reference point"),
        ("CRVAL1", ra0, "[deg] centre of the tract"),
        ("CRVAL2", dec0, "[deg] centre of the tract"),
        ("CD1_1", -SCALE / 3600, "[deg] per pixel"),
        ("CD1_2", 0.0, "[deg] per pixel"),
        ("CD2_1", 0.0, "[deg] per pixel"),
        ("CD2_2", SCALE / 3600, "[deg] per pixel"),
        ("LONPOLE", 180.0, "[deg] native longitude of the pole"),
        ("LATPOLE", dec0, "[deg] native latitude of the pole"),
        ("MAGZERO", 27.0, "[mag] AB magnitude of one count"),
        ("SATURATE", SATURATE, "[count] saturation level"),
        ("GAIN", 3.0, "[electron/count]"),
        ("EXPTIME", 600.0 + 150 * (number % 9), "[s] exposure time"),
        ("DATE-AVG", date, "mean date of the exposures"),
        ("MJD-AVG", 57_000 + number / 7, "[day] mean date of the exposures"),
        ("AIRMASS", 1.1 + number % 70 / 100, "mean airmass"),
        ("SEEING", 0.5 + number % 60 / 100, "[arcsec] FWHM of the PSF"),
        ("NCOMBINE", 4 + number % 9, "exposures in the coadd"),
        ("SKYLEVEL", 0.0, "[count] sky that is left"),
        ("SKYSIGMA", 0.05, "[count] scatter of the sky"),
        ("LTV1", -float(corner[0]), "offset of the image on the tract"),
        ("LTV2", -float(corner[1]), "offset of the image on the tract"),
    )
    return number, planes, target, image


def _to_sky(xi: float, eta: float, ra0: float, dec0: float) -> tuple[float, float]:
    """Deproject a gnomonic position in arcsec (Calabretta & Greisen 2002, section 5.1.3)."""
    xi, eta = math.radians(xi / 3600), math.radians(eta / 3600)
    sin0, cos0 = math.sin(math.radians(dec0)), math.cos(math.radians(dec0))
    height = cos0 - eta * sin0
    ra = ra0 + math.degrees(math.atan2(xi, height))
    dec = math.degrees(math.atan2(sin0 + eta * cos0, math.hypot(xi, height)))
    return ra % 360, dec


def _cards(*cards: tuple[str, Any, str]) -> Cards:
    return [{"name": name, "value": value, "comment": comment} for name, value, comment in cards]


def _band_cards(band: str) -> Cards:
    return _cards(("FILTER", f"HSC-{band.upper()}", "filter"), ("BUNIT", "count", "unit of pixels"))


def write_cube(folder: Path, made: Object) -> None:
    number, planes, target, image = made
    bands = _cards(("BANDS", "grizy", "planes of the cube"))
    _write(folder / f"{number}.fits", [(planes, target + bands + image, None)])


def write_gzip(folder: Path, made: Object) -> None:
    write_cube(folder, made)
    path = folder / f"{made[0]}.fits"
    path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes(), 6))
    path.unlink()


def write_mef(folder: Path, made: Object, **compression: Any) -> None:
    number, planes, target, image = made
    units = [(None, target, None)]
    units += [
        (plane, _band_cards(band) + image, f"HSC-{band.upper()}")
        for band, plane in zip(BANDS, planes, strict=True)
    ]
    _write(folder / f"{number}.fits", units, **compression)


def write_rice(folder: Path, made: Object) -> None:
    """Write what fpack makes of a file of five images: quantised with dithers, Rice."""
    write_mef(folder, made, compress="RICE", qlevel=4, qmethod="SUBTRACTIVE_DITHER_1")


def write_band_files(folder: Path, made: Object) -> None:
    number, planes, target, image = made
    for band, plane in zip(BANDS, planes, strict=True):
        path = folder / f"{number}_{band}.fits"
        _write(path, [(plane, target + _band_cards(band) + image, None)])


LAYOUTS: dict[str, Callable[[Path, Object], None]] = {
    "cube": write_cube,
    "one HDU per band": write_mef,
    "five files": write_band_files,
    "Rice": write_rice,
    "gzip": write_gzip,
}


def _write(path: Path, units: list[tuple[Any, Cards, str | None]], **compression: Any) -> None:
    with fitsio.FITS(str(path), "rw") as file:
        for data, cards, name in units:
            keys = compression if data is not None else {}
            file.write(data, header=cards, extname=name, **keys)
            file[-1].write_checksum()


def write_layouts(folder: Path, count: int) -> None:
    """Write `count` objects in every layout, into folders named after the layouts."""
    for layout, write in LAYOUTS.items():
        (folder / layout).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write(folder / layout, make_object(number))
