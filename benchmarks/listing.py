"""Listing, planning and reading where there are millions of cutouts: rates and memory.

    python benchmarks/listing.py [--objects 1000000] [--files 10000] [--layout cube|bands|folders]

A temporary folder gets hard links to files with noise, so that a million objects take no disk.
The listing stands beside `os.scandir` and `stat` of the same files, the least that can be done: in
turns, medians of processor time (one thread, warm cache), which other work on the machine changes
less than the clock. A process of its own then lists, plans and reads; the memory is its peak.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
from astropy.io import fits

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.survey_run.plan import read_sources, update_plan

BANDS = "grizy"
SIZE = 64
READ = 20_000
CHUNK = 512
ROUNDS = 3
Result = TypeVar("Result")
FIRST_ID = 36_411_452_835_238_206


def write(folder: Path, objects: int, files: int, layout: str) -> None:
    """Make `objects` objects of `files` files and hard links to them."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((len(BANDS), SIZE, SIZE)).astype(np.float32)
    cards = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0})
    cards.update({"CRVAL2": 2.0, "CRPIX1": 32.5, "CRPIX2": 32.5, "MAGZERO": 27.0})
    cards.update({"CD1_1": -0.168 / 3600, "CD2_2": 0.168 / 3600})
    for n in range(objects):
        name = FIRST_ID + n * 7919
        if layout == "cube":
            paths = [folder / f"{name}.fits"]
        elif layout == "bands":
            paths = [folder / f"{name}_{band}.fits" for band in BANDS]
        else:
            paths = [folder / str(name) / f"{band}.fits" for band in BANDS]
            paths[0].parent.mkdir()
        for k, path in enumerate(paths):
            if n * len(paths) < files:
                fits.PrimaryHDU(images if layout == "cube" else images[k], cards).writeto(path)
            else:
                original = (n % -(-files // len(paths))) * 7919 + FIRST_ID
                path.hardlink_to(str(path).replace(str(name), str(original)))


def floor(folder: str) -> int:
    """Count the files with their sizes and times, as bare as Python allows."""
    found = 0
    for path, _, _ in os.walk(folder):
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    about = entry.stat()
                    found += about.st_size > 0 and about.st_mtime_ns > 0
    return found


def seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def step(name: str, count: int, action: Callable[[], Result]) -> Result:
    """Do it, and print its rate and the peak of memory after it."""
    start = time.process_time()
    result = action()
    taken = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {name} | {count:,} | {count / taken:,.0f} | {peak:,.0f} |", flush=True)
    return result


def child(folder: str, total: int) -> None:
    """List, plan, plan again, read."""
    sources = step("list", total, lambda: discover([folder])).sources
    assert len(sources) == total
    with tempfile.TemporaryDirectory() as other:
        plan = Path(other) / "plan.jsonl"
        step("plan", total, lambda: update_plan(plan, sources, 8192))
        again = "plan again, nothing new"
        parts = step(again, total, lambda: update_plan(plan, sources, 8192))
        wanted = Wanted(tuple(BANDS), SIZE, 0.168)

        def read() -> None:
            left = READ
            for part in parts:
                some, _ = read_sources(plan, part.offset, part.length)
                for start in range(0, min(len(some), left), CHUNK):
                    read_batch(some[start : start + CHUNK], wanted)
                left -= len(some)
                if left <= 0:
                    return

        step("read", min(READ, total), read)


def main() -> None:
    parser = argparse.ArgumentParser(description="Rates and memory of listing.")
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--layout", choices=["cube", "bands", "folders"], default="cube")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.objects)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), given.objects, given.files, given.layout)
        floors, listings = [], []
        for _ in range(ROUNDS):
            floors.append(seconds(lambda: floor(folder)))
            listings.append(seconds(lambda: discover([folder])))
        rates = [given.objects / median(taken) for taken in (floors, listings)]
        print(f"{given.objects:,} objects ({given.layout}), objects/s")
        print(f"scandir and stat alone {rates[0]:,.0f}, discover {rates[1]:,.0f}, ", end="")
        print(f"ratio {rates[1] / rates[0]:.2f}\n")
        print(
            "| step | objects | objects/s | peak memory so far, MiB |\n|---|---|---|---|",
            flush=True,
        )
        again = ["--child", folder, "--objects", str(given.objects)]
        subprocess.run([sys.executable, __file__, *again], check=True)


if __name__ == "__main__":
    main()
