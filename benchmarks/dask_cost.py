"""What Dask costs: a local cluster of two workers beside two processes without Dask.

    photoz-mmae simulate -n 1000 --seed 3 --cutouts c1k
    python benchmarks/dask_cost.py c1k [--pairs 9] [--part-size 128]

Both do the parts of one plan with the shipped model, as `photoz-mmae predict --workers 2` does
them, and write the same journal. The two plain processes take the parts in turn, call the function
that Dask's workers call, and send what it returns through a pipe. In pairs, one after the other,
the first of each pair by turns; `start` is until both processes have the model. Processor time is
that of all processes, the scheduler's and this one's included.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from photoz_mmae.cutouts.discover import discover
from photoz_mmae.model.info import find_model, load_info
from photoz_mmae.survey_run.cluster import dask_client
from photoz_mmae.survey_run.execute import execute
from photoz_mmae.survey_run.journal import PartRecord, append_record
from photoz_mmae.survey_run.part import PartJob, PartSettings, predict_part, try_rows
from photoz_mmae.survey_run.plan import update_plan
from photoz_mmae.survey_run.products import product_of
from photoz_mmae.survey_runs import PredictRun

WORKERS = 2

Finished = Callable[[PartRecord], None]
Do = Callable[[Finished], None]
"""Do all parts, calling for each as it is finished."""


@dataclass(frozen=True)
class Cost:
    """Of one side of a pair: seconds and processor time, of the parts alone and of everything."""

    seconds: float
    cpu: float
    seconds_in_all: float
    cpu_in_all: float


@contextmanager
def with_dask(jobs: Sequence[PartJob], settings: PartSettings) -> Iterator[Do]:
    folder = Path(settings.parts).parent
    with dask_client(None, WORKERS, folder / "scratch") as client:
        client.run(try_rows, jobs[0], settings, 0, 1)
        failures = folder / "failures"
        yield lambda finished: execute(client, jobs, settings, failures, finished)


@contextmanager
def without_dask(jobs: Sequence[PartJob], settings: PartSettings) -> Iterator[Do]:
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for number in range(WORKERS):
        here, there = spawn.Pipe()
        pipes.append(here)
        processes.append(
            spawn.Process(target=_plain, args=(jobs[number::WORKERS], settings, there))
        )
        processes[-1].start()
    for pipe in pipes:
        pipe.recv()

    def do(finished: Finished) -> None:
        for pipe in pipes:
            pipe.send("go")
        left = len(jobs)
        while left:
            for pipe in wait(pipes):
                finished(pipe.recv())
                left -= 1

    yield do
    for process in processes:
        process.join()


def _plain(jobs: Sequence[PartJob], settings: PartSettings, pipe: Connection) -> None:
    try_rows(jobs[0], settings, 0, 1)
    pipe.send("ready")
    pipe.recv()
    for job in jobs:
        pipe.send(predict_part(job, settings))


def cost(side: Callable[..., object], jobs: Sequence[PartJob], settings: PartSettings) -> Cost:
    """Do all parts once."""
    journal = Path(settings.plan).with_name("journal.jsonl")
    gc.collect()
    began, cpu_began = time.monotonic(), _reaped()
    with side(jobs, settings) as do:
        ready, cpu_ready = time.monotonic(), _running()
        do(lambda record: append_record(journal, record))
        seconds, cpu = time.monotonic() - ready, _running() - cpu_ready
    in_all = time.monotonic() - began, _reaped() - cpu_began
    files = list(Path(settings.parts).iterdir())
    if len(files) != len(jobs):
        raise SystemExit(f"{len(files)} files of {len(jobs)} parts")
    for file in files:
        file.unlink()
    return Cost(seconds, cpu, *in_all)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cutouts")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--part-size", type=int, default=128)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    (folder / "parts").mkdir()
    sources = discover([options.cutouts]).sources
    parts = update_plan(folder / "plan.jsonl", sources, options.part_size)
    jobs = [PartJob(p.number, p.rows, p.offset, p.length, p.sources) for p in parts]
    model = find_model("base").absolute()
    settings = PartSettings(
        plan=str(folder / "plan.jsonl"),
        parts=str(folder / "parts"),
        model=str(model),
        model_sha256=load_info(model).sha256,
        table=None,
        device="cpu",
        batch_size="auto",
        product=product_of(PredictRun(folder / "c.parquet", cutouts=(options.cutouts,))),
        resample=False,
        made_with="",
    )
    sides = {"Dask": with_dask, "plain": without_dask}
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    loads = []
    for number in range(options.pairs):
        for name in sorted(sides, reverse=number % 2 == 1):
            costs[name].append(cost(sides[name], jobs, settings))
        loads.append(os.getloadavg()[0])
        print(f"pair {number}: {costs['Dask'][-1]} {costs['plain'][-1]}", flush=True)
    shutil.rmtree(folder)
    print(f"\n{len(sources):,} objects in {len(jobs)} parts, {options.pairs} pairs, ", end="")
    print(f"load {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores; medians\n")
    print("| | objects/s | CPU-s per 1,000 | with the start: objects/s | CPU-s per 1,000 |")
    print("|---|---|---|---|---|")
    n = len(sources)
    for name, some in costs.items():
        rates = [n / c.seconds for c in some], [1000 * c.cpu / n for c in some]
        rates += [n / c.seconds_in_all for c in some], [1000 * c.cpu_in_all / n for c in some]
        print(
            f"| {name} | " + " | ".join(f"{statistics.median(each):.1f}" for each in rates) + " |"
        )
    pairs = list(zip(costs["Dask"], costs["plain"], strict=True))
    ratios = [
        [plain.seconds / dask.seconds for dask, plain in pairs],
        [dask.cpu / plain.cpu for dask, plain in pairs],
        [plain.seconds_in_all / dask.seconds_in_all for dask, plain in pairs],
        [dask.cpu_in_all / plain.cpu_in_all for dask, plain in pairs],
    ]
    cells = [f"{statistics.median(r):.3f} ({min(r):.3f} to {max(r):.3f})" for r in ratios]
    print(f"| Dask / plain, median of the pairs' ratios (range) | {' | '.join(cells)} |")


def _running() -> float:
    """Processor time so far of this process and of those below it, which are still there."""
    here = psutil.Process()
    times = [process.cpu_times() for process in [here, *here.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


def _reaped() -> float:
    """Processor time of this process and of all that have ended below it."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
