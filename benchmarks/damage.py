"""Damaged files, by the thousand: no crash, no hang, no huge allocation, and always a row.

    python benchmarks/damage.py [--mutations 20000] [--first 0] [--save DIR]

Cutouts in every layout (mock ones, and the real ones of ../shared/data where that is there) are
damaged as `mutations.py` says, mutation k always in the same way; each is listed by `discover`,
read by `read_batch` with a whole object beside it, and measured, in a child process. A mutation
fails when that process dies, takes over a second of processor time, 20 s of any or 1 GB, raises,
or leaves an object without an orderly row, or the object beside it with other pixels. `--first K`
goes on at mutation K or, with `--mutations 1`, repeats one; the files of those that fail are
written to DIR.
"""

import argparse
import json
import random
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from mutations import Files, damage, whole_files

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError
from photoz_mmae.flags import NO_REDSHIFT

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
        good, bad = Path(name) / "good", Path(name) / "bad"
        good.mkdir()
        bad.mkdir()
        write(good, whole["cube"])
        beside = discover([str(good)]).sources
        read_one(bad, beside, WANTED)  # imports what is imported late
        for line in sys.stdin:
            layout, files, _ = mutation(whole, int(line))
            write(bad, files)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            start = time.process_time()
            try:
                outcome = read_one(bad, beside, WANTED_OF.get(layout, WANTED))
            except Exception as error:
                outcome = f"FAILED {type(error).__name__}: {error}"
            seconds = time.process_time() - start
            answer = {"outcome": outcome, "seconds": seconds, "peak": peak_bytes()}
            print(json.dumps(answer), flush=True)


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def read_one(folder: Path, beside: list[Source], wanted: Wanted) -> str:
    """List and read what is in a folder; return how it went, or what is wrong with a row."""
    files = sorted(str(path) for path in folder.iterdir())
    passed_over = False
    try:
        sources = discover([str(folder)]).sources
    except InputError:  # nothing but tables: such a file is no object, unless it was one before
        sources = [Source(tuple(files), 0, 0)] if files else []
        passed_over = True
    batch = read_batch([*sources, *beside], wanted)
    measure_batch(batch, wanted.bands)
    for row in range(len(sources)):
        if problem := _problem(batch, row):
            return f"FAILED {problem}"
    if batch.reason[-1] or not np.array_equal(batch.images[-1:], read_batch(beside, wanted).images):
        return "FAILED the object beside it"
    if passed_over:
        return "tables only"
    lost = [row for row in range(len(sources)) if batch.flags[row] & NO_REDSHIFT]
    return "no redshift" if len(lost) == len(sources) else "read"


def _problem(batch, row: int) -> str:
    images, missing = batch.images[row], batch.missing[row]
    if not np.isfinite(images).all() or np.abs(images).max() > 1e12:
        return "pixels that are none"
    if images[missing].any():
        return "missing pixels with a value"
    if not batch.object_id[row] or not batch.object_id[row].isprintable():
        return f"object_id {batch.object_id[row]!r}"
    if bool(batch.reason[row]) is not bool(batch.flags[row] & NO_REDSHIFT):
        return f"flags {batch.flags[row]}, reason {batch.reason[row]!r}"
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
    reader = Reader()
    for number in range(options.first, options.first + options.mutations):
        layout, files, what = mutation(whole, number)
        answer = reader.ask(number)
        outcome = answer["outcome"]
        if not outcome.startswith("FAILED"):
            if answer["seconds"] > MAX_SECONDS:
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
    reader.close()
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
