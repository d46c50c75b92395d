"""Kill -9 at random moments, and the same command again: is anything lost, doubled, done twice?

    python benchmarks/chaos.py -o chaos [--rounds 200]

Each round begins a `photoz-mmae predict --reproducible` over the same mock cutouts, kills its
client, one of its workers, its scheduler, or all of them at once, at a random moment, and gives the
same command again until it ends well. The catalogue must equal that of an undisturbed run byte for
byte; parts that were in the journal when the killer struck must not be computed again, and their
files keep inode and time. The network is a tiny one with random weights: what is tested is the run.

A round that is done stands in `chaos/rounds.jsonl`: the same command goes on with those that do
not, and prints the table of all. Exit 1 when one of them failed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

PROGRAM = Path(sys.executable).parent / "photoz-mmae"
TARGETS = ("client", "worker", "scheduler", "everything")
STOPPED = 75
NO_INPUT = 4
PATIENCE = 600
"""Seconds after which a process hangs."""


@dataclass(frozen=True)
class Round:
    """How a round went.

    Attributes
    ----------
    number : int
    target : str
        What was killed.
    moment : float
        Seconds after the start.
    finished, parts : int
        Parts in the journal when the killer struck, of how many.
    exit_codes : list of int
        Of the command that was struck (-9: killed), and of the same command after it.
    problem : str or None
    """

    number: int
    target: str
    moment: float
    finished: int
    parts: int
    exit_codes: list[int]
    problem: str | None


class Chaos:
    """A folder with cutouts, a model, the catalogue of an undisturbed run, and a run to be hit."""

    def __init__(self, folder: Path, objects: int, part_size: int, workers: int = 2) -> None:
        self.folder = folder.absolute()
        self.part_size, self.workers = part_size, workers
        self.parts = -(-objects // part_size)
        self.cutouts, self.model = self.folder / "cutouts", self.folder / "tiny"
        self.calm, self.hit = self.folder / "calm.parquet", self.folder / "hit.parquet"
        if not self.cutouts.exists():
            simulate = [PROGRAM, "simulate", "-n", objects, "--cutouts", self.cutouts]
            _check(_start(simulate, self.folder).wait(PATIENCE))
        if not self.model.exists():
            save_tiny_model(self.model)
        start = time.monotonic()
        if not self.calm.exists():
            _check(_start(self.command(self.calm), self.folder).wait(PATIENCE))
            (self.folder / "seconds").write_text(str(time.monotonic() - start))
        self.seconds = float((self.folder / "seconds").read_text())
        self.bytes = self.calm.read_bytes()

    def command(self, output: Path, *more: str) -> list[object]:
        words = [PROGRAM, "predict", self.cutouts, "-o", output, "--model", self.model]
        words += ["--part-size", self.part_size, "--batch-size", 8, "--masks", 1]
        return [*words, "--reproducible", *(more or ("--workers", str(self.workers)))]

    def round(self, number: int) -> Round:
        """Do a round; its number decides what is killed, and when."""
        rng = random.Random(number)
        target = TARGETS[number % len(TARGETS)]
        # The start is most of such a short run: half of the moments are after it.
        moment = rng.uniform(0.0, self.seconds) if rng.random() < 0.5 else -1.0
        after = rng.randrange(self.parts)
        self.hit.unlink(missing_ok=True)
        shutil.rmtree(self.hit.with_suffix(".run"), ignore_errors=True)
        if target == "scheduler":
            with _cluster(self.folder, self.workers) as (address, scheduler):
                process = _start(self.command(self.hit, "--scheduler", address), self.folder)
                waited = self._wait(process, moment, after)
                before = self._finished()
                scheduler.kill()
                codes = [process.wait(PATIENCE)]
        else:
            process = _start(self.command(self.hit), self.folder)
            waited = self._wait(process, moment, after)
            before = self._finished()
            family = _family(process)
            if target == "everything":
                os.killpg(process.pid, signal.SIGKILL)
            elif target == "client":
                process.kill()
            elif workers := [each for each in family[1:] if _is_worker(each)]:
                rng.choice(workers).kill()
            codes = [process.wait(PATIENCE)]
            _, left = psutil.wait_procs(family, timeout=60)
        problem = None
        if target != "scheduler" and left:
            problem = f"{len(left)} processes are left"
        # After a kill of a scheduler the command asks for workers of its own.
        codes.append(_start(self.command(self.hit), self.folder).wait(PATIENCE))
        problem = problem or self._problem(target, codes, before)
        return Round(number, target, round(waited, 2), len(before), self.parts, codes, problem)

    def _wait(self, process: subprocess.Popen[bytes], moment: float, after: int) -> float:
        """Wait for the moment, or for so many finished parts."""
        start = time.monotonic()
        while process.poll() is None:
            waited = time.monotonic() - start
            if (0 <= moment < waited) or (moment < 0 and len(self._finished()) >= after):
                break
            time.sleep(0.005)
        return time.monotonic() - start

    def _finished(self) -> dict[str, tuple[int, int]]:
        """Inode and time of the files of the parts that are in the journal."""
        run = self.hit.with_suffix(".run")
        try:
            lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        files = [json.loads(line)["file"] for line in lines if line.endswith(b"\n")]
        stats = {file: (run / "parts" / file).stat() for file in files}
        return {file: (about.st_ino, about.st_mtime_ns) for file, about in stats.items()}

    def _problem(
        self, target: str, codes: list[int], before: dict[str, tuple[int, int]]
    ) -> str | None:
        expected = {
            "client": (-signal.SIGKILL, 0),
            "everything": (-signal.SIGKILL, 0),
            "worker": (0,),
            # Gone before the command asked for it, it is none at all.
            "scheduler": (STOPPED, 0) if before else (STOPPED, 0, NO_INPUT),
        }
        if codes[0] not in expected[target]:
            return f"the command that was struck ended with {codes[0]}"
        if codes[1] != 0:
            return f"the same command again ended with {codes[1]}"
        if self.hit.read_bytes() != self.bytes:
            return "the catalogue differs from the undisturbed one"
        after = self._finished()
        if touched := [file for file, about in before.items() if after.get(file) != about]:
            return f"{touched[0]} was finished, and was touched"
        if len(after) != self.parts:
            return f"{len(after)} records in the journal, of {self.parts} parts"
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--objects", type=int, default=240)
    parser.add_argument("--part-size", type=int, default=8)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    chaos = Chaos(options.output, options.objects, options.part_size)
    log = options.output / "rounds.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    rounds = [Round(**json.loads(line)) for line in lines]
    done = {each.number for each in rounds}
    for number in (number for number in range(options.rounds) if number not in done):
        rounds.append(chaos.round(number))
        with log.open("a") as file:
            file.write(json.dumps(asdict(rounds[-1])) + "\n")
        print(f"round {number}: {rounds[-1].target}, {rounds[-1].problem or 'well'}", flush=True)
    print(f"{options.objects} objects in {chaos.parts} parts; {chaos.seconds:.1f} s undisturbed")
    print("| killed | rounds | before any part, between, after the last | equal catalogues |")
    print("|---|---|---|---|")
    for target in TARGETS:
        some = [each for each in rounds if each.target == target]
        early = sum(each.finished == 0 for each in some)
        late = sum(each.finished == each.parts for each in some)
        well = sum(each.problem is None for each in some)
        between = len(some) - early - late
        print(f"| {target} | {len(some)} | {early}, {between}, {late} | {well} of {len(some)} |")
    for each in rounds:
        if each.problem:
            print(each)
    sys.exit(any(each.problem for each in rounds))


def save_tiny_model(folder: Path) -> None:
    """Save a model of a tiny network with random weights."""
    import torch

    from photoz_mmae.model.info import ModelInfo, TrainingRecord
    from photoz_mmae.model.presets import MMAENetwork
    from photoz_mmae.model.weights import TrainedModel, build_network, save_model

    network = MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20)
    record = TrainingRecord(
        data="none",
        data_sha256="0" * 64,
        data_description="random weights",
        objects_training=0,
        objects_validation=0,
        seed=1,
        epochs=0,
        best_epoch=0,
        seconds=0.0,
        package_version="0",
        torch_version=torch.__version__,
        validation={},
    )
    info = ModelInfo(
        name="tiny",
        preset="small",
        survey="hsc-wide",
        bands=tuple("grizy"),
        image_size=64,
        pixel_scale=0.168,
        zero_point=27.0,
        dust="none",
        z_edges=tuple(np.linspace(0, np.log(7), 21).tolist()),
        wave=tuple(3612.0 + 24 * i for i in range(259)),
        network=network,
        weights_sha256="",
        training=record,
    )
    torch.manual_seed(1)
    save_model(folder, TrainedModel(build_network(network), info), lambda _: "# Random weights\n")


@contextmanager
def _cluster(folder: Path, workers: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler and workers as processes of their own."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    dask = PROGRAM.with_name("dask")
    options = ["--scheduler-file", file, "--no-dashboard"]
    scheduler = _start([dask, "scheduler", *options, "--port", 0], folder)
    worker = [dask, "worker", *options, "--nthreads", 1, "--no-nanny", "--death-timeout", 30]
    processes = [scheduler, *(_start(worker, folder) for _ in range(workers))]
    try:
        while not file.exists() or not file.read_text().strip().endswith("}"):
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"], scheduler
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(command: list[object], folder: Path) -> subprocess.Popen[bytes]:
    log = (folder / "log").open("ab")
    words = [os.fspath(w) if isinstance(w, Path) else str(w) for w in command]
    return subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, start_new_session=True)


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _check(code: int) -> None:
    if code:
        raise SystemExit(f"preparing failed with exit {code}; see the file log")


if __name__ == "__main__":
    main()
