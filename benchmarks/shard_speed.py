"""Packed shards, rows in order: how fast beside a copy of as many bytes in memory.

    OMP_NUM_THREADS=1 python benchmarks/shard_speed.py

Warm cache, one thread. `read_batch` is what `predict` calls: pixels in the network's batch, ids,
positions, zero point, flags, what is missing; a chunk at a time, into the memory of the chunk
before. The copy is of the same images, into memory that is used again as well. In turn with them: a
new mapping of the file for each batch, pixels alone; and the same objects from files of their own.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import fitsio
import numpy as np

from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.shard_file import open_shard
from photoz_mmae.cutouts.source import Source
from photoz_mmae.survey_run.pack import pack_survey
from photoz_mmae.survey_run.part import CHUNK
from photoz_mmae.survey_runs import PackRun

BANDS = ("g", "r", "i", "z", "y")
WANTED = Wanted(BANDS, 64, 0.168)


class Silent:
    def found(self, *_: object) -> None: ...

    def begins(self, *_: object) -> None: ...

    def packed(self, *_: object) -> None: ...


def write(folder: Path, count: int) -> None:
    """Write `count` noisy blobs, a cube each."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64] - 31.5
    blob = 5 * np.exp(-(rows**2 + columns**2) / 20)
    folder.mkdir()
    for n in range(count):
        image = (blob + rng.normal(0, 0.05, (5, 64, 64))).astype(np.float32)
        header = {"BANDS": "grizy", "RA": 150.0, "DEC": 2.0, "PIXSCALE": 0.168}
        fitsio.write(str(folder / f"{n:06d}.fits"), image, header=header)


def rates(ways: dict[str, Callable[[slice], None]], count: int, rounds: int) -> dict[str, float]:
    """Return objects per second of each way, the median over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        start = turn * CHUNK % (count - CHUNK + 1)
        for name, way in ways.items():
            begin = time.perf_counter()
            way(slice(start, start + CHUNK))
            times[name].append(time.perf_counter() - begin)
    return {name: CHUNK / median(spent) for name, spent in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "cutouts", options.objects)
        run = PackRun(cutouts=(str(folder / "cutouts"),), output=folder / "shards")
        summary = pack_survey(run, Silent())
        print(f"packed {summary.rows / summary.seconds:,.0f} objects/s (checksums included)")
        files, rows = (
            list(discover([str(folder / part)]).sources) for part in ("cutouts", "shards")
        )
        first = folder / "shards/shard-000000.fits"
        about = first.stat()
        memory = read_batch(rows, WANTED).images

        again = np.zeros((CHUNK, *memory.shape[1:]), np.float32)

        def copy(some: slice) -> None:
            again[...] = memory[some]

        def newly_mapped(some: slice) -> None:
            shard = open_shard.__wrapped__(str(first), about.st_mtime_ns, about.st_size)
            shard.require(some.start, some.stop)
            again[...] = shard.pixels["IMAGE"][some]

        def read(sources: list[Source]) -> Callable[[slice], None]:
            batch: CutoutBatch | None = None

            def chunk(some: slice) -> None:
                nonlocal batch
                batch = read_batch(sources[some], WANTED, reuse=batch)

            return chunk

        ways = {
            "copy in memory": copy,
            "shard, read_batch": read(rows),
            "shard newly opened and mapped, pixels alone": newly_mapped,
            "cubes, read_batch": read(files),
        }
        found = rates(ways, options.objects, options.rounds)
        print(f"{'':45s} {'objects/s':>10s} {'of a copy':>10s}")
        for way, rate in found.items():
            print(f"{way:45s} {rate:10,.0f} {rate / found['copy in memory']:10.2f}")


if __name__ == "__main__":
    main()
