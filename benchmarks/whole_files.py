"""One object, or one file of several, in every layout that is read: mock ones and real ones."""

import gzip
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from mutations import CARD, Files
from survey_files import BANDS, LAYOUTS, SCALE, make_object

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.shard_write import shard_writer
from photoz_mmae.cutouts.source import Source


def whole_files(shared: Path | None) -> dict[str, Files]:
    """Make an object in every layout; `shared` has real files, read where it is there."""
    found: dict[str, Files] = {}
    with tempfile.TemporaryDirectory() as name:
        for layout in ("cube", "one HDU per band", "five files", "Rice"):
            found[layout] = _written(Path(name), partial(LAYOUTS[layout], made=_MADE))
        for layout, make in (_BY_ASTROPY | _OF_SEVERAL | COADDS).items():
            found[layout] = _written(Path(name), make)
    for layout in ("cube", "one HDU per band"):
        for file, content in found[layout].items():
            found[f"{layout}, gzip"] = {f"{file}.gz": gzip.compress(content, 6, mtime=0)}
    if shared is not None:
        for layout, pattern in _REAL.items():
            path = min(shared.glob(pattern))
            found[layout] = {path.name: path.read_bytes()}
    return found


_MADE = make_object(2026)
# Checksums hold the time of writing; files are to be the same every day.
_DATED = re.compile(rb"(CHECKSUM|DATASUM )= .{70}")
_UNDATED = rb"\1= '0               '".ljust(CARD - 8 + 2)
_REAL = {
    "real HSC cube": "hsc_cubes/*.fits",
    "real HSC cutout service": "hsc_das_cutouts/2-cutout-*.fits",
    "simulated HSC stamp": "hsc_like_sim/cutouts/*.fits",
    "LSST exposure": "lsst_exposure/*.fits",
    "DESI spectra": "desi/zall*.fits",
}


def _written(folder: Path, write: Callable[[Path], Any]) -> Files:
    inside = folder / "one"
    inside.mkdir()
    write(inside)
    files = {path.name: _DATED.sub(_UNDATED, path.read_bytes()) for path in inside.iterdir()}
    shutil.rmtree(inside)
    return files


def _planes() -> np.ndarray:
    return _MADE[1][:, 16:48, 16:48]


def _header() -> fits.Header:
    """Make the header of an image of `_planes`."""
    header = fits.Header()
    for card in _MADE[2] + _MADE[3]:
        header[card["name"] if len(card["name"]) <= 8 else f"HIERARCH {card['name']}"] = card[
            "value"
        ]
    header["CRPIX1"] -= 16
    header["CRPIX2"] -= 16
    return header


def _scaled(folder: Path) -> None:
    unit = fits.PrimaryHDU(_planes(), _header())
    unit.scale("int16", bscale=0.01, bzero=1.0)
    unit.header["BLANK"] = -32768
    unit.writeto(folder / "7.fits")


def _bands_last(folder: Path) -> None:
    data = np.ascontiguousarray(_planes().transpose(1, 2, 0)).astype(float)
    fits.PrimaryHDU(data, _header()).writeto(folder / "7.fits")


def _compressed(method: str, kind: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        units: list[Any] = [fits.PrimaryHDU()]
        for band, plane in zip(BANDS, _planes(), strict=True):
            data = (plane * 50).astype(kind) if kind != "f4" else plane
            keys = {"name": f"HSC-{band.upper()}", "compression_type": method}
            units.append(fits.CompImageHDU(np.maximum(data, 0), _header(), **keys))
        fits.HDUList(units).writeto(folder / "7.fits")

    return write


def _with_masks(folder: Path) -> None:
    """Write a file per band as the HSC cutout service does: image, mask, variance."""
    mask = np.zeros((32, 32), np.int32)
    mask[3:5, 3:9] = 1 << 3
    planes = {f"MP_{name}": bit for bit, name in enumerate(("BAD", "SAT", "INTRP", "CR", "EDGE"))}
    for line, (band, plane) in enumerate(zip(BANDS, _planes(), strict=True), start=2):
        primary = fits.Header({"FILTER": band, "FLUXMAG0": 63095734448.0})
        units: list[Any] = [fits.PrimaryHDU(header=primary)]
        kinds = {"IMAGE": plane, "MASK": mask, "VARIANCE": plane * 0 + 1}
        for kind, data in kinds.items():
            units.append(fits.ImageHDU(data, _header()))
            units[-1].header.update({"EXTTYPE": kind} | (planes if kind == "MASK" else {}))
        name = f"{line}-cutout-HSC-{band.upper()}-8279-pdr2_wide.fits"
        fits.HDUList(units).writeto(folder / name)


def _with_variances(folder: Path) -> None:
    units: list[Any] = [fits.PrimaryHDU()]
    for band, plane in zip(BANDS, _planes(), strict=True):
        units.append(fits.ImageHDU(plane, _header(), name=f"HSC-{band.upper()}"))
        units.append(fits.ImageHDU(plane * 0 + 1, name=f"HSC-{band.upper()}-VAR"))
    column = fits.Column("a", "K", array=np.arange(40))
    units.insert(2, fits.BinTableHDU.from_columns([column]))
    fits.HDUList(units).writeto(folder / "7.fits")


_BY_ASTROPY: dict[str, Callable[[Path], None]] = {
    "scaled integers": _scaled,
    "bands fastest": _bands_last,
    "with variances": _with_variances,
    "with masks": _with_masks,
    "Rice, integers": _compressed("RICE_1", "i2"),
    "GZIP_1 tiles": _compressed("GZIP_1", "f4"),
    "GZIP_2 tiles": _compressed("GZIP_2", "i4"),
    "HCOMPRESS": _compressed("HCOMPRESS_1", "i4"),
    "PLIO": _compressed("PLIO_1", "i2"),
}


def _images_of(number: int) -> np.ndarray:
    return make_object(number)[1]


def _shard(*write: Callable[[Path], Any], size: int, double: bool) -> Callable[[Path], None]:
    """Pack what is written, an object each, and one that is truncated at the end."""

    def pack(folder: Path) -> None:
        sources = []
        for number, write_one in enumerate(write):
            inside = folder / str(number)
            inside.mkdir()
            write_one(inside)
            (path,) = inside.iterdir()
            sources.append(Source((str(path),), 1, 1))
        short = path.with_name("short.fits")
        short.write_bytes(path.read_bytes()[:9000])
        sources.append(Source((str(short),), 1, 1))
        batch = read_batch(sources, Wanted(BANDS, size, SCALE, raw=True))
        measure_batch(batch, BANDS)
        # The same whatever the folder is called.
        batch.reason[:] = [reason.replace(str(folder), ".") for reason in batch.reason]
        names = [Source((f"{number}.fits",), 1, 1) for number in range(len(sources))]
        with shard_writer(folder / "shard.fits", len(sources), BANDS, size, double) as shard:
            shard.add(batch, names)
        for number in range(len(write)):
            shutil.rmtree(folder / str(number))

    return pack


def _cube(number: int) -> Callable[[Path], None]:
    return lambda folder: LAYOUTS["cube"](folder, make_object(number))


def _galaxiesml(spectra: bool, **how: Any) -> Callable[[Path], None]:
    """Write a file as GalaxiesML, or GalaxiesML-Spectra, has it."""

    def write(folder: Path) -> None:
        with h5py.File(folder / "7.hdf5", "w") as file:
            file.create_dataset("image", data=np.stack([_images_of(n) for n in range(3)]), **how)
            if not spectra:
                file["object_id"] = np.array([41, 42, 43])
                file["ra"], file["dec"] = np.array([150.0, 150.1, 150.2]), np.full(3, -2.0)
                return
            file["object_id"] = np.array([b"39627841", b"b", b"39627843"])
            file["DESI_fibermap/TARGET_RA"] = np.array([10.0, 20.0, 30.0])
            file["DESI_fibermap/TARGET_DEC"] = np.array([1.0, 2.0, 3.0])
            file["spectrum/flux"] = np.zeros((3, 40), np.float32)
            file.attrs["bands"], file.attrs["pixel_scale"] = "grizy", SCALE

    return write


_OF_SEVERAL: dict[str, Callable[[Path], None]] = {
    "shard": _shard(_cube(13), _with_variances, _cube(57), size=64, double=False),
    "shard, float64": _shard(_scaled, _cube(3), size=32, double=True),
    "GalaxiesML": _galaxiesml(spectra=False),
    "GalaxiesML-Spectra, gzip": _galaxiesml(True, chunks=(1, 5, 64, 64), compression="gzip"),
}

_COADD = (150, 120)
"""Height and width, pixels."""


def _coadd_header() -> fits.Header:
    header = _header()
    for key in ("RA_TARG", "DEC_TARG", "OBJECT_ID", "DATE-AVG", "MJD-AVG"):
        del header[key]
    return header


PLACES = WCS(_coadd_header()).all_pix2world([[60.2, 70.1], [3.0, 4.0], [80.0, 75.0], [70, 148]], 0)
"""RA and Dec of objects on the coadds, deg, (4, 2): two of them close to an edge."""


def _coadds(unit: Callable[..., Any]) -> Callable[[Path], None]:
    """Write a patch: a file per band with image, mask and variance."""

    def write(folder: Path) -> None:
        rng = np.random.default_rng(5)
        for band in BANDS:
            image = rng.normal(0, 1, _COADD).astype(np.float32)
            image[60:80, 50:70] += 20
            mask = np.where(rng.random(_COADD) < 0.01, 1 << rng.integers(0, 5), 0).astype(np.int32)
            planes = fits.Header({"MP_BAD": 0, "MP_SAT": 1, "MP_INTRP": 2, "MP_EDGE": 4})
            units = [
                fits.PrimaryHDU(header=fits.Header({"FILTER": f"HSC-{band.upper()}"})),
                unit(image, _coadd_header(), name="IMAGE"),
                unit(mask, planes, name="MASK"),
                unit(image * 0 + 1, name="VARIANCE"),
            ]
            fits.HDUList(units).writeto(folder / f"calexp-HSC-{band.upper()}-9813-4,5.fits")

    return write


COADDS: dict[str, Callable[[Path], None]] = {
    "coadds": _coadds(fits.ImageHDU),
    "coadds, Rice": _coadds(partial(fits.CompImageHDU, compression_type="RICE_1")),
}
