"""How fast cutouts are read: `read_batch`, which `predict` calls, beside astropy and fitsio.

    python benchmarks/bench_read.py [--objects 512] [--rounds 15] [--folder DIR]

5 x 64 x 64 float32 mock cutouts with headers as surveys write them (`survey_files.py`), on a warm
cache, in one process. What the rivals do is in `reading_rivals.py`; that all contenders give the
same ids, positions, pixels and masks is checked before anything is timed. They read in chunks, as
a run does, into the same memory, and take turns in every round; a rate is the median over the
rounds, a ratio the median of the rounds' ratios. `measured` is `read_batch` followed by
`measure_batch`; `fitsio pixels` opens the files and reads their pixels and nothing else, no
header. The files stay in DIR, and are used again.

The second table is of files that take 3 ms each to open, as on a network file system (a shim sleeps
before each): `read_batch` as it is, which reads ahead there, beside itself with one reader.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
from reading_rivals import (
    Answer,
    astropy_images,
    astropy_position,
    fitsio_images,
    fitsio_pixels,
    open_and_read,
    read_with,
    tangent_position,
)
from survey_files import BANDS, LAYOUTS, SCALE, SIZE, write_layouts

from photoz_mmae.cutouts import read_ahead
from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag
from photoz_mmae.survey_run.part import CHUNK

WANTED = Wanted(BANDS, SIZE, SCALE)
SLOW = 64
"""Objects per round for astropy, which would take most of the time."""

LATENCY = 3e-3
"""Seconds that a file takes longer to open in the second table."""

ONE_READER = 128
"""Objects per round for one reader of such files."""

BOUNDS = {
    "cube": (8, 1.5, 0.35),
    "one HDU per band": (12, 2, 0.2),
    "five files": (12, 2, 0.25),
    "Rice": (12, 0.9, None),
    "gzip": (None, None, None),
}
"""What is asked of the rate over that of astropy, of fitsio, and of opening and reading."""

POOL_BOUND = 15
"""What is asked of reading ahead over one reader."""


def read(sources: Sequence[Source], reuse: CutoutBatch | None = None) -> CutoutBatch:
    return read_batch(sources, WANTED, reuse=reuse)


def read_and_measure(sources: Sequence[Source], reuse: CutoutBatch | None) -> CutoutBatch:
    batch = read(sources, reuse)
    measure_batch(batch, BANDS)
    return batch


with_astropy = partial(read_with, astropy_images, astropy_position, bands=len(BANDS), size=SIZE)
with_fitsio = partial(read_with, fitsio_images, tangent_position, bands=len(BANDS), size=SIZE)


class InChunks:
    """Reads as a part of a survey run does: a chunk at a time, into the memory of the last one."""

    def __init__(self, read_chunk: Callable[..., Any]) -> None:
        self._read_chunk = read_chunk
        self._last: Any = None

    def __call__(self, sources: Sequence[Source]) -> None:
        for start in range(0, len(sources), CHUNK):
            self._last = self._read_chunk(sources[start : start + CHUNK], reuse=self._last)


CONTENDERS: dict[str, Callable[[Sequence[Source]], object]] = {
    "astropy": InChunks(with_astropy),
    "fitsio": InChunks(with_fitsio),
    "fitsio pixels": fitsio_pixels,
    "bare": open_and_read,
    "read_batch": InChunks(read),
    "measured": InChunks(read_and_measure),
}


def differences(batch: CutoutBatch, answer: Answer, exact: bool) -> list[str]:
    """Say in what two readings of the same objects differ."""
    found = [name for name in ("missing", "saturated") if not _same(batch, answer, name)]
    if batch.object_id != answer.object_id:
        found.append("object_id")
    if not np.array_equal((batch.flags & Flag.NONFINITE_PIXELS) > 0, answer.nonfinite):
        found.append("NONFINITE_PIXELS")
    for name, tolerance in (("x", 1e-6), ("y", 1e-6), ("ra", 1e-9), ("dec", 1e-9)):
        if not np.allclose(getattr(batch, name), getattr(answer, name), rtol=0, atol=tolerance):
            found.append(name)
    # Of Rice the two libraries undo the quantisation in float32 and float64.
    if not np.allclose(batch.images, answer.images, rtol=0 if exact else 1e-5, atol=0):
        found.append("images")
    return found


def _same(batch: CutoutBatch, answer: Answer, name: str) -> bool:
    return np.array_equal(getattr(batch, name), getattr(answer, name))


def time_layout(sources: Sequence[Source], rounds: int) -> dict[str, list[float]]:
    """Return objects per second of every contender in every round."""
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):
        for name, run in CONTENDERS.items():
            start = number * SLOW % len(sources)
            some = sources[start : start + SLOW] if name == "astropy" else sources
            rates[name].append(rate(run, some))
    return rates


def report(layout: str, rates: dict[str, list[float]]) -> None:
    """Print a row of the first table."""
    cells = [f"{median(rates[name]):,.0f}" for name in CONTENDERS]
    reached = True
    for name, bound in zip(("astropy", "fitsio", "bare"), BOUNDS[layout], strict=True):
        pairs = zip(rates["read_batch"], rates[name], strict=True)
        ratio = median(ours / theirs for ours, theirs in pairs)
        cell = f"{ratio:.2f}" if ratio < 3 else f"{ratio:.1f}"
        if bound is not None:
            cell += f" (>= {bound})"
            reached &= ratio >= bound
        cells.append(cell)
    print(f"| {layout} | {' | '.join(cells)} | {'yes' if reached else 'NO'} |", flush=True)


def time_latency(sources: Sequence[Source], rounds: int) -> tuple[list[float], list[float]]:
    """Return objects per second of one reader and of reading ahead where files open slowly."""
    open_file = read_ahead.open_file

    def open_slowly(path: str) -> int:
        time.sleep(LATENCY)
        return open_file(path)

    run = CONTENDERS["read_batch"]
    one, ahead = [], []
    with mock.patch.object(read_ahead, "open_file", open_slowly):
        for _ in range(rounds):
            read_ahead.forget()
            with mock.patch.object(read_ahead, "SLOW", math.inf):
                one.append(rate(run, sources[:ONE_READER]))
            ahead.append(rate(run, sources))
    return one, ahead


def report_latency(layout: str, one: list[float], ahead: list[float]) -> None:
    """Print a row of the second table."""
    ratio = median(many / single for many, single in zip(ahead, one, strict=True))
    reached = "yes" if ratio >= POOL_BOUND else "NO"
    rates = f"{median(one):,.0f} | {median(ahead):,.0f}"
    print(f"| {layout} | {rates} | {ratio:.1f} (>= {POOL_BOUND}) | {reached} |", flush=True)


def rate(run: Callable[[Sequence[Source]], object], sources: Sequence[Source]) -> float:
    """Return objects per second."""
    before = time.perf_counter()
    run(sources)
    return len(sources) / (time.perf_counter() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the files are kept")
    parser.add_argument("--layout", choices=LAYOUTS, action="append", help="this one only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)) / f"{options.objects} objects"
        if not folder.exists():
            write_layouts(folder, options.objects)
        sources = {
            layout: list(discover([str(folder / layout)]).sources)
            for layout in options.layout or LAYOUTS
        }
        equal = True
        for layout, some in sources.items():
            assert len(some) == options.objects
            exact = layout != "Rice"
            batch = read(some)
            assert not (batch.flags & ~Flag.NONFINITE_PIXELS).any(), batch.reason
            for name, answer in (("astropy", with_astropy(some)), ("fitsio", with_fitsio(some))):
                if found := differences(batch, answer, exact or name == "fitsio"):
                    print(f"{layout}: not what {name} gives: {', '.join(found)}", flush=True)
                    equal = False
        print(f"{options.objects} objects, medians of {options.rounds} rounds, objects/s\n")
        print(f"| layout | {' | '.join(CONTENDERS)} | / astropy | / fitsio | / bare | reached |")
        print("|---|" + "---|" * (len(CONTENDERS) + 4))
        for layout, some in sources.items():
            report(layout, time_layout(some, options.rounds))
        print("\n| 3 ms per file | one reader | reading ahead | ratio | reached |")
        print("|---|---|---|---|---|")
        for layout, some in sources.items():
            if layout in ("cube", "five files"):
                report_latency(layout, *time_latency(some, options.rounds // 3 + 1))
    if not equal:
        raise SystemExit("the contenders do not give the same")


if __name__ == "__main__":
    main()
