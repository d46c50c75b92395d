"""Damaged files, by the thousand: no crash, no hang, no huge allocation, and always a row.

    python benchmarks/damage.py [--mutations 20000] [--first 0] [--save DIR]

Cutouts in every layout, packed shards, HDF5 files and coadds (mock ones, and the real cutouts of
../shared/data where that is there) are damaged as `mutations.py` says, mutation k always in the
same way; each is listed by `discover` (`find_coadds`), read by `read_batch` after and before whole
objects, and measured, in a child process. What holds several objects is also read as if it had
been damaged after it was listed. A mutation
fails when that process dies, takes over a second of processor time, 20 s of any or 1 GB, raises,
or leaves an object without an orderly row; when whole objects come out differently beside it; or
when it comes out differently alone, with no layout remembered, into fresh memory, than in memory
used before, after a whole file of its layout and, every other time, read ahead by several threads.
`--first K` goes on at mutation K or, with `--mutations 1`, repeats one; the files of those that
fail are written to DIR.
"""

import argparse
import dataclasses
import json
import math
import random
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
from mutations import Files, damage
from whole_files import COADDS, PLACES, whole_files

from photoz_mmae.cutouts import fits as reader
from photoz_mmae.cutouts import read_ahead
from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.coadd_objects import CoaddObjects
from photoz_mmae.cutouts.coadds import find_coadds
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.layout import Layouts
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError
from photoz_mmae.flags import DESCRIPTIONS, NO_REDSHIFT

WANTED = Wanted(("g", "r", "i", "z", "y"), 64, 0.168)
WANTED_OF = {
    layout: Wanted(("i",), 64, 0.168) for layout in ("real HSC cutout service", "LSST exposure")
}
"""What is read of layouts that hold one band."""

MAX_SECONDS = 1.0
"""Of processor time: others may keep the machine busy."""
MAX_BYTES = 1 << 30
GIVE_UP = 20.0
"""Seconds of any kind after which the child is killed."""

COMPARED = (
    "images",
    "missing",
    "saturated",
    "variance",
    "x",
    "y",
    "scale",
    "object_id",
    "ra",
    "dec",
)
COMPARED += ("flags", "bands_used", "reason")

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def mutation(whole: dict[str, Files], number: int) -> tuple[str, Files, str]:
    """Return layout, damaged files, and what was done to them."""
    layout = sorted(whole)[number % len(whole)]
    return layout, *damage(whole[layout], random.Random(number))


def write(folder: Path, files: Files) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def child() -> None:
    """Read the mutations whose numbers come on standard input, and say how it went."""
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))  # the machine's own safety
    whole = whole_files(SHARED if SHARED.is_dir() else None)
    with tempfile.TemporaryDirectory() as name:
        beside = {}
        for layout in whole:
            (Path(name) / layout).mkdir()
            write(Path(name) / layout, whole[layout])
            beside[layout] = listed(Path(name) / layout, layout)[0]
        bad = Path(name) / "bad"
        bad.mkdir()
        write(bad, whole["cube"])
        read_one(bad, beside["cube"], [], "cube")  # imports what is imported late
        for line in sys.stdin:
            number = int(line)
            layout, files, _ = mutation(whole, number)
            write(bad, files)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            seconds = 0.0
            with mock.patch.object(read_ahead, "SLOW", math.inf if number % 2 else 0.0):
                try:
                    good = beside[layout] + beside["cube"] * read_ahead.TIMED
                    before = as_if_in(bad, beside[layout])
                    outcome, seconds = read_one(bad, good, before, layout)
                except Exception as error:
                    outcome = f"FAILED {type(error).__name__}: {error}"
            answer = {"outcome": outcome, "seconds": seconds, "peak": peak_bytes()}
            print(json.dumps(answer), flush=True)


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def listed(folder: Path, layout: str) -> tuple[list[Source], bool]:
    """Return the sources in a folder, and whether there are any for `discover`."""
    try:
        if layout in COADDS:
            coadds = find_coadds(str(folder), WANTED.bands)
            ids = pa.array([str(number) for number in range(len(PLACES))])
            return list(CoaddObjects(coadds, ids, *PLACES.T)), True
        return list(discover([str(folder)]).sources), True
    except InputError:  # nothing but tables: such a file is no object, unless it was one before
        files = tuple(sorted(str(path) for path in folder.iterdir()))
        return [Source(files, 0, 0)] if files and layout not in COADDS else [], False


def as_if_in(folder: Path, sources: list[Source]) -> list[Source]:
    """Return the sources of files with several objects as if the files were in a folder."""
    return [
        dataclasses.replace(one, files=tuple(str(folder / Path(file).name) for file in one.files))
        for one in sources
        if one.kind != "cutout"
    ]


def read_one(
    folder: Path, beside: list[Source], before: list[Source], layout: str
) -> tuple[str, float]:
    """List and read what is in a folder, and what was in it `before`.

    Returns
    -------
    outcome : str
        How it went, or what is wrong with a row.
    seconds : float
        Of processor time, for listing and reading.
    """
    wanted = WANTED_OF.get(layout, WANTED)
    # Memory with pixels of other objects in it.
    dirty = read_batch([*beside[-1:], *beside] * 3, wanted)
    start = time.process_time()
    sources, found = listed(folder, layout)
    sources += before
    together = [*beside, *sources, *beside]
    batch = read_batch(together, wanted, reuse=dirty)
    seconds = time.process_time() - start
    return _outcome(batch, sources, beside, wanted, found), seconds


def _outcome(
    batch: CutoutBatch, sources: list[Source], beside: list[Source], wanted: Wanted, found: bool
) -> str:
    rows = range(len(beside), len(beside) + len(sources))
    for row in rows:
        if problem := _problem(batch, row):
            return f"FAILED {problem}"
    for some, first in ((beside, 0), (sources, len(beside)), (beside, rows.stop)):
        with mock.patch.object(reader, "_LAYOUTS", Layouts()):
            alone = read_batch(some, wanted)
        for name in COMPARED:
            one, two = getattr(alone, name), getattr(batch, name)[first : first + len(some)]
            if not (one == two if isinstance(one, list) else np.array_equal(one, two, True)):
                return f"FAILED {'whole' if some is beside else 'damaged'} object: other {name}"
    measure_batch(batch, wanted.bands)
    if not found:
        return "tables only"
    lost = [row for row in rows if batch.flags[row] & NO_REDSHIFT]
    return "no redshift" if len(lost) == len(sources) else "read"


def _problem(batch: CutoutBatch, row: int) -> str:
    images, missing = batch.images[row], batch.missing[row]
    if not np.isfinite(images).all() or np.abs(images).max() > 1e12:
        return "pixels that are none"
    if images[missing].any():
        return "missing pixels with a value"
    for name, text in (("object_id", batch.object_id[row]), ("reason", batch.reason[row])):
        if not text.isprintable() or (name == "object_id" and not text):
            return f"{name} {text!r}"
    flags = int(batch.flags[row])
    if flags & ~sum(DESCRIPTIONS) or (flags & NO_REDSHIFT).bit_count() > 1:
        return f"flags {flags}"
    if bool(batch.reason[row]) is not bool(flags & NO_REDSHIFT):
        return f"flags {flags}, reason {batch.reason[row]!r}"
    if (batch.bands_used[row] >> np.arange(len(images)) & 1 == 0)[~missing.all(axis=(1, 2))].any():
        return f"bands_used {batch.bands_used[row]}, but others have pixels"
    if not (flags & NO_REDSHIFT or batch.bands_used[row]):
        return "no band and no flag"
    if not (flags & NO_REDSHIFT or math.isfinite(batch.x[row] + batch.y[row])):
        return "no position on the image"
    sky = batch.ra[row], batch.dec[row]
    if not (np.isnan(sky).all() or (0 <= sky[0] <= 360 and abs(sky[1]) <= 90)):
        return f"position {sky}"
    if not (np.isfinite(batch.variance[row]).all() and (batch.variance[row] >= 0).all()):
        return "a variance that is none"
    if "MemoryError" in batch.reason[row] or "nable to allocate" in batch.reason[row]:
        return f"an allocation: {batch.reason[row]}"
    return ""


class Reader:
    """The child process, started again when it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, number: int) -> dict:
        """Let it read mutation `number`; return outcome, seconds and peak memory in bytes."""
        if self._process is None:
            command = [sys.executable, __file__, "--child"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._process = subprocess.Popen(command, **pipes)
        process = self._process
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], GIVE_UP)
        answer = process.stdout.readline() if ready else ""
        if answer:
            return json.loads(answer)
        self.close()
        outcome = f"FAILED crash: exit status {process.returncode}"
        if not ready:
            outcome = f"FAILED hang: over {GIVE_UP:.0f} s"
        return {"outcome": outcome, "seconds": 0.0, "peak": 0}

    def close(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=MAX_SECONDS, help="one may take, CPU")
    parser.add_argument("--save", type=Path, help="where the files of failures go")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child()
        return
    whole = whole_files(SHARED if SHARED.is_dir() else None)
    outcomes: dict[str, Counter[str]] = {layout: Counter() for layout in sorted(whole)}
    slowest: Counter[str] = Counter()
    largest: Counter[str] = Counter()
    failures = 0
    process = Reader()
    for number in range(options.first, options.first + options.mutations):
        layout, files, what = mutation(whole, number)
        answer = process.ask(number)
        outcome = answer["outcome"]
        if not outcome.startswith("FAILED"):
            if answer["seconds"] > options.seconds:
                outcome = f"FAILED {answer['seconds']:.1f} s"
            elif answer["peak"] > MAX_BYTES:
                outcome = f"FAILED {answer['peak'] >> 20} MiB"
        slowest[layout] = max(slowest[layout], answer["seconds"])
        largest[layout] = max(largest[layout], answer["peak"])
        if outcome.startswith("FAILED"):
            failures += 1
            print(f"mutation {number}, {layout}, {what}: {outcome}", flush=True)
            if options.save:
                folder = options.save / str(number)
                folder.mkdir(parents=True, exist_ok=True)
                write(folder, files)
        outcomes[layout][outcome.split()[0] if outcome.startswith("FAILED") else outcome] += 1
    process.close()
    columns = ("read", "no redshift", "tables only", "FAILED")
    print(f"| layout | {' | '.join(columns)} | slowest, CPU s | peak, MiB |")
    print("|---|" + "---|" * (len(columns) + 2))
    for layout, counts in outcomes.items():
        cells = " | ".join(str(counts[column]) for column in columns)
        print(f"| {layout} | {cells} | {slowest[layout]:.2f} | {largest[layout] >> 20} |")
    print(f"\n{options.mutations} mutations from number {options.first}, {failures} failed")
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
