"""Objects per second from FITS files of 5 x 64 x 64 float32, warm cache, one process.

    python benchmarks/reading_speed.py

`discover` finds the objects, `read_batch` makes images with flags and photometry of them,
`fitsio alone` is opening the files and reading their pixels and nothing else: the three are timed
in turn, as trust belongs to ratios inside one run.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import fitsio
import numpy as np

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source

BANDS = ("g", "r", "i", "z", "y")
SCALE = 0.168
CHUNK = 256
WCS = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRPIX1": 32.5,
    "CRPIX2": 32.5,
    "CRVAL1": 150.0,
    "CRVAL2": 2.0,
    "CD1_1": -SCALE / 3600,
    "CD2_2": SCALE / 3600,
    "MAGZERO": 27.0,
}


def write(folder: Path, count: int) -> None:
    """Write `count` noisy blobs in each layout, into folders named after the layouts."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64] - 31.5
    blob = 5 * np.exp(-(rows**2 + columns**2) / 20)
    header = [{"name": key, "value": value} for key, value in WCS.items()]
    for layout in ("cube", "mef", "band files"):
        (folder / layout).mkdir()
    for n in range(count):
        planes = (blob + rng.normal(0, 0.05, (5, 64, 64))).astype(np.float32)
        fitsio.write(str(folder / "cube" / f"{n}.fits"), planes, header=header)
        with fitsio.FITS(str(folder / "mef" / f"{n}.fits"), "rw") as file:
            file.write(None)
            for band, plane in zip(BANDS, planes, strict=True):
                file.write(plane, extname=f"HSC-{band.upper()}", header=header)
        for band, plane in zip(BANDS, planes, strict=True):
            fitsio.write(str(folder / "band files" / f"{n}_{band}.fits"), plane, header=header)


def read_all(sources: list[Source]) -> None:
    for start in range(0, len(sources), CHUNK):
        batch = read_batch(sources[start : start + CHUNK], Wanted(BANDS, 64, SCALE))
        assert not batch.flags.any(), batch.reason


def fitsio_alone(sources: list[Source]) -> None:
    for source in sources:
        for path in source.files:
            with fitsio.FITS(path) as file:
                for unit in file:
                    unit.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.objects} objects, medians of {options.rounds} interleaved rounds, objects/s")
    print("| layout | discover | read_batch | fitsio alone |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.objects)
        for layout in ("cube", "mef", "band files"):
            path = str(Path(folder) / layout)
            sources = discover([path]).sources
            assert len(sources) == options.objects
            contenders: dict[str, Callable[[], object]] = {
                "discover": lambda path=path: discover([path]),
                "read_batch": lambda sources=sources: read_all(sources),
                "fitsio alone": lambda sources=sources: fitsio_alone(sources),
            }
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(options.rounds):
                for name, run in contenders.items():
                    start = time.perf_counter()
                    run()
                    seconds[name].append(time.perf_counter() - start)
            rates = " | ".join(f"{options.objects / median(s):,.0f}" for s in seconds.values())
            print(f"| {layout} | {rates} |")


if __name__ == "__main__":
    main()
