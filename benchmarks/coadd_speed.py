"""Objects per second out of coadds, against one cutout file each read through astropy.

    python benchmarks/coadd_speed.py

One patch of 4000 x 4000 pixels in five bands (noise), 3,000 objects on it; warm cache, one thread,
the contenders in turn. `coadds` is `read_batch` in pieces of 512, as `predict` calls it. `astropy`
does for one cube file per object (FITS, 5 x 64 x 64 float32) what `read_batch` does for a cutout:
id, position and scale through the WCS, zero point, cut to size, finite or not, into a batch. Its
files are fewer, as every one costs the same; their rate is what counts.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from photoz_mmae.cutouts.batch import Wanted, empty_batch
from photoz_mmae.cutouts.coadd_objects import CoaddObjects
from photoz_mmae.cutouts.coadds import find_coadds
from photoz_mmae.cutouts.read import read_batch

BANDS = ("g", "r", "i", "z", "y")
SCALE = 0.168
SIZE = 64
CHUNK = 512


def wcs_header(side: int, ra: float, dec: float) -> fits.Header:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRPIX1"] = header["CRPIX2"] = (side + 1) / 2
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CD1_1"], header["CD2_2"] = -SCALE / 3600, SCALE / 3600
    header["FLUXMAG0"] = 10 ** (0.4 * 27.0)
    return header


def write_patch(folder: Path, side: int, compressed: bool) -> None:
    """Write one coadd per band as HSC does: an empty primary HDU, then the image."""
    rng = np.random.default_rng(0)
    for band in BANDS:
        image = rng.normal(0, 0.1, (side, side)).astype(np.float32)
        header = wcs_header(side, 150.0, 2.0)
        unit = fits.CompImageHDU if compressed else fits.ImageHDU
        primary = fits.PrimaryHDU()
        primary.header["FILTER"] = f"HSC-{band.upper()}"
        path = folder / f"calexp-HSC-{band.upper()}-9813-4,5.fits"
        fits.HDUList([primary, unit(image, header)]).writeto(path)


def write_cutouts(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(1)
    paths = []
    for n in range(count):
        header = wcs_header(SIZE, 150.0, 2.0)
        header["OBJECT"], header["RA_TARG"], header["DEC_TARG"] = str(n), 150.0, 2.0
        header["BANDS"] = "grizy"
        image = rng.normal(0, 0.1, (5, SIZE, SIZE)).astype(np.float32)
        paths.append(folder / f"{n}.fits")
        fits.PrimaryHDU(image, header).writeto(paths[-1])
    return paths


def through_astropy(paths: Sequence[Path]) -> None:
    batch = empty_batch([str(path) for path in paths], Wanted(BANDS, SIZE, SCALE))
    for row, path in enumerate(paths):
        with fits.open(path, memmap=False) as file:
            header = file[0].header
            batch.object_id[row] = str(header["OBJECT"])
            batch.ra[row], batch.dec[row] = header["RA_TARG"], header["DEC_TARG"]
            wcs = WCS(header, naxis=2)
            batch.scale[row] = 3600 * np.sqrt(proj_plane_pixel_area(wcs))
            x, y = wcs.all_world2pix(batch.ra[row], batch.dec[row], 0)
            left, bottom = (int(np.floor(p - (SIZE - 1) / 2 + 0.51)) for p in (x, y))
            batch.x[row], batch.y[row] = x - left, y - bottom
            factor = 10 ** (0.4 * (27.0 - 2.5 * np.log10(header["FLUXMAG0"])))
            stamp = file[0].data[:, bottom : bottom + SIZE, left : left + SIZE]
            stamp = stamp * np.float32(factor)
            batch.missing[row] = ~(np.abs(stamp) <= 1e12)
            batch.images[row] = np.where(batch.missing[row], 0, stamp)


def out_of_coadds(objects: CoaddObjects) -> None:
    batch = None
    for start in range(0, len(objects), CHUNK):
        some = objects[start : start + CHUNK]
        batch = read_batch(some, Wanted(BANDS, SIZE, SCALE), reuse=batch)
        assert not batch.flags.any(), batch.reason


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=3000)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--side", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(2)
    half = (options.side / 2 - SIZE) * SCALE / 3600
    east, dec = rng.uniform(-half, half, (2, options.objects))
    ra = 150.0 + east / np.cos(np.radians(2.0))
    ids = pa.array([str(n) for n in range(options.objects)])
    with tempfile.TemporaryDirectory() as folder:
        contenders: dict[str, tuple[int, Callable[[], None]]] = {}
        for name in ("coadds", "coadds, Rice"):
            (Path(folder) / name).mkdir()
            write_patch(Path(folder) / name, options.side, "Rice" in name)
            coadds = find_coadds(str(Path(folder) / name), BANDS)
            objects = CoaddObjects(coadds, ids, ra, 2.0 + dec)
            assert objects.uncovered == 0
            contenders[name] = (
                options.objects,
                lambda objects=objects: out_of_coadds(objects),
            )
        (Path(folder) / "cutouts").mkdir()
        paths = write_cutouts(Path(folder) / "cutouts", options.files)
        contenders["astropy, a file each"] = (options.files, lambda: through_astropy(paths))
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, (_, run) in contenders.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    rates = {name: contenders[name][0] / median(taken) for name, taken in seconds.items()}
    print(f"{options.objects} objects, medians of {options.rounds} interleaved rounds")
    print("| | objects/s | against astropy |")
    print("|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rate / rates['astropy, a file each']:.1f} |")


if __name__ == "__main__":
    main()
