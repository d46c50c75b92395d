"""What a run over a million objects costs: processor time per object, memory, planning, merging.

    python benchmarks/million.py -o million [--sizes 10000,100000,1000000] [--copied 1000000]

The objects are hard links to 4,000 mock cutouts without id of their own: each has that of its
name. `photoz-mmae predict --workers 2` goes over each number of them with a tiny network of random
weights (what is measured is the run, not the network), then over the largest with 2,000 files
more, then over that once more. Processor time is that of the command and all its workers, as the
kernel counts it; memory the peak of the resident set of each process, of pages of files too.
`start` is a run over 512 objects: what starting costs.

Where computing a million takes too long: with --copied the largest run's folder is filled up to
that many objects with copies of its rows under the other objects' names, and the command goes on
from there; planning, merging and the memory of both are then those of so many objects.

What is measured stands in `million/measured.jsonl`; the same command goes on from there. Linux.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from chaos import save_tiny_model

from photoz_mmae.catalog.writer import atomic_parquet
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.source import source_names
from photoz_mmae.provenance import file_sha256, fingerprint
from photoz_mmae.survey_run.journal import append_record, read_journal
from photoz_mmae.survey_run.plan import read_sources, update_plan

PROGRAM = Path(sys.executable).parent / "photoz-mmae"
MOCKS = 4000
FOLDER = 10_000
"""Objects in a folder: on ext4 a file has at most 65,000 names."""
START = 512
NEW = 2000
FIRST_ID = 36_411_452_835_238_206
EVERY = 0.25


@dataclass(frozen=True)
class Measured:
    """What a command cost.

    Attributes
    ----------
    step : str
    objects, computed : int
        Objects of the catalogue, and those that were computed.
    parts, parts_computed : int
    seconds, cpu : float
        Of the clock; of all processors, by the command and its workers.
    planned, planning_cpu : float
        From the start to the finished plan: seconds, and processor time.
    merging, merging_cpu : float
        From the last finished part to the finished catalogue.
    client, worker : float
        MiB at most, of the command and of its largest worker.
    load : float
        Average number of processes that wanted a core, after it.
    """

    step: str
    objects: int
    computed: int
    parts: int
    parts_computed: int
    seconds: float
    cpu: float
    planned: float
    planning_cpu: float
    merging: float
    merging_cpu: float
    client: float
    worker: float
    load: float


class Million:
    """A folder with objects, a model, and what was measured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.objects, self.log = self.folder / "objects", self.folder / "measured.jsonl"
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.measured = [Measured(**json.loads(line)) for line in lines]
        if not (self.folder / "mocks").exists():
            _make_mocks(self.folder / "mocks.part")
            (self.folder / "mocks.part").rename(self.folder / "mocks")
        self.mocks = sorted((self.folder / "mocks").glob("*.fits"))
        if not (self.folder / "tiny").exists():
            save_tiny_model(self.folder / "tiny")

    def link(self, first: int, last: int, folder: str | None = None) -> None:
        """Make the objects of these numbers, in folders of theirs or in the one named."""
        for number in range(first, last):
            place = self.objects / (folder or f"{number // FOLDER:04d}")
            path = place / f"{FIRST_ID + 7919 * number}.fits"
            if not path.exists():
                place.mkdir(parents=True, exist_ok=True)
                path.hardlink_to(self.mocks[number % len(self.mocks)])

    def command(self, folders: list[Path], output: Path) -> list[str]:
        words = [PROGRAM, "predict", *folders, "-o", output, "--model", self.folder / "tiny"]
        return [*map(str, words), "--workers", "2", "--masks", "0", "--log-json"]

    def measure(self, step: str, folders: list[Path], output: Path) -> None:
        """Run the command; what was measured before is not measured again."""
        measured = _measure(step, self.command(folders, output))
        self.measured.append(measured)
        with self.log.open("a") as file:
            file.write(json.dumps(dataclasses.asdict(measured)) + "\n")
        print(_line(measured, self.measured[0]), flush=True)

    def is_done(self, step: str) -> bool:
        return any(each.step == step for each in self.measured)

    def go(self, sizes: list[int], copied: int | None) -> None:
        if not self.is_done("start"):
            self.link(0, START, "start")
            self.measure("start", [self.objects / "start"], self._output("start"))
            _remove(self._output("start"))
        for size in sizes:
            if self.is_done(f"{size:,}"):
                continue
            self.link(0, size)
            _remove(self._output(str(size)))
            self.measure(f"{size:,}", self._folders(size), self._output(str(size)))
            if size != sizes[-1]:
                _remove(self._output(str(size)))
        largest = sizes[-1]
        output = self._output(str(largest))
        if copied is not None:
            largest = copied
            name = f"{largest:,}, {largest - sizes[-1]:,} of them copied"
            if not self.is_done(name):
                self.link(0, largest)
                self.copy_rows(output, self._folders(largest))
                self.measure(name, self._folders(largest), output)
        folders = self._folders(largest)
        name = f"{largest:,} and {NEW:,} new"
        if not self.is_done(name):
            before = _parts(output)
            self.link(largest, largest + NEW, folders[-1].name)
            self.measure(name, folders, output)
            after = _parts(output)
            if touched := [file for file, about in before.items() if after.get(file) != about]:
                raise SystemExit(f"{touched[0]} was finished, and was touched")
            print(f"{len(after) - len(before)} part files more, {len(before)} untouched")
        if not self.is_done("the same again"):
            stamp = output.stat().st_ino, output.stat().st_mtime_ns
            self.measure("the same again", folders, output)
            if stamp != (output.stat().st_ino, output.stat().st_mtime_ns):
                raise SystemExit("nothing was new, and the catalogue was touched")

    def copy_rows(self, output: Path, folders: list[Path]) -> None:
        """Make parts of the objects that are not computed, of the rows of those that are."""
        run = output.with_suffix(".run")
        sources = discover(list(map(str, folders))).sources
        journal = read_journal(run / "journal.jsonl")
        records = [journal[number] for number in sorted(journal)]
        for part in update_plan(run / "plan.jsonl", sources, records[0].rows):
            if part.number in journal:
                continue
            record = records[part.number % (len(records) - 1)]  # the last may be short
            given, _ = read_sources(run / "plan.jsonl", part.offset, part.length)
            table = pq.read_table(run / "parts" / record.file)[: part.rows]
            names = source_names(given)
            ids = [Path(name).stem for name in names]
            for column, values in (("object_id", ids), ("source", names)):
                place = table.schema.get_field_index(column)
                table = table.set_column(place, table.schema.field(place), pa.array(values))
            file = run / "parts" / f"part-{part.number:06d}-copied.parquet"
            with atomic_parquet(file, table.schema) as writer:
                writer.write(table)
            copied = dataclasses.replace(
                record,
                part=part.number,
                sources=part.sources,
                rows=part.rows,
                file=file.name,
                size=file.stat().st_size,
                sha256=file_sha256(file),
                ids=fingerprint(ids),
            )
            append_record(run / "journal.jsonl", copied)

    def _folders(self, size: int) -> list[Path]:
        return [self.objects / f"{k:04d}" for k in range(-(-size // FOLDER))]

    def _output(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--copied", type=int, metavar="N")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    sizes = sorted(map(int, options.sizes.split(",")))
    million = Million(options.output)
    million.go(sizes, options.copied)
    start, by_step = million.measured[0], {each.step: each for each in million.measured}
    print("\nA tiny network with random weights; hard links to mock cutouts.\n")
    print(
        "| | computed | parts | CPU-s per 1,000, with the start | planned after, s (CPU) ", end=""
    )
    print("| merged in, s (CPU) | client, worker at most, MiB | s | load |")
    print("|---|---|---|---|---|---|---|---|---|")
    for each in million.measured:
        print(_line(each, start))
    least, most = by_step[f"{sizes[0]:,}"], by_step[f"{sizes[-1]:,}"]
    print(
        f"\nCPU-seconds per object, {most.step} over {least.step}: "
        f"{_per_object(most, start) / _per_object(least, start):.3f} without the start, "
        f"{most.cpu / most.computed / (least.cpu / least.computed):.3f} with it"
    )


def _per_object(measured: Measured, start: Measured) -> float:
    """CPU-seconds without those of the start."""
    return (measured.cpu - start.cpu) / (measured.computed - start.computed)


def _line(measured: Measured, start: Measured) -> str:
    cost = ""
    if measured.computed > NEW:
        cost = f"{1000 * _per_object(measured, start):.3f}, "
        cost += f"{1000 * measured.cpu / measured.computed:.3f}"
    return (
        f"| {measured.step} | {measured.computed:,} | {measured.parts_computed} of "
        f"{measured.parts} | {cost or f'({measured.cpu:.1f} CPU-s)'} "
        f"| {measured.planned:.1f} ({measured.planning_cpu:.1f}) "
        f"| {measured.merging:.1f} ({measured.merging_cpu:.1f}) "
        f"| {measured.client:,.0f}, {measured.worker:,.0f} | {measured.seconds:.0f} "
        f"| {measured.load:.1f} |"
    )


def _measure(step: str, command: list[str]) -> Measured:
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    client = psutil.Process(process.pid)
    events: dict[str, tuple[dict[str, Any], float, float]] = {}

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            spent = client.cpu_times()
            when = time.monotonic() - began
            events[event["event"]] = event, when, spent.user + spent.system

    listener = threading.Thread(target=listen)
    listener.start()
    peaks: dict[int, float] = {}
    while listener.is_alive():
        for each in [client, *client.children(recursive=True)]:
            peaks[each.pid] = max(peaks.get(each.pid, 0), _peak(each.pid))
        listener.join(EVERY)
    _, status, used = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code not in (0, 3):
        raise SystemExit(f"{' '.join(command)}\nended with exit code {code}")
    begins, planned, planning_cpu = events["begins"]
    done, ended, ending_cpu = events["done"]
    _, computed, computing_cpu = events.get("progress", events["begins"])
    client_peak = peaks.pop(process.pid)
    return Measured(
        step=step,
        objects=done["rows"],
        computed=done["rows_computed"],
        parts=begins["parts"],
        parts_computed=begins["parts_to_do"],
        seconds=time.monotonic() - began,
        cpu=used.ru_utime + used.ru_stime,
        planned=planned,
        planning_cpu=planning_cpu,
        merging=ended - computed,
        merging_cpu=ending_cpu - computing_cpu,
        client=client_peak,
        worker=max(peaks.values(), default=0.0),
        load=os.getloadavg()[0],
    )


def _peak(pid: int) -> float:
    """MiB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(sizes[0]) / 1024 if sizes else 0.0


def _parts(output: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the part files."""
    stats = {file.name: file.stat() for file in (output.with_suffix(".run") / "parts").iterdir()}
    return {name: (about.st_ino, about.st_mtime_ns) for name, about in stats.items()}


def _remove(output: Path) -> None:
    output.unlink(missing_ok=True)
    shutil.rmtree(output.with_suffix(".run"), ignore_errors=True)


def _make_mocks(folder: Path) -> None:
    """Simulate cutouts, and take their ids out of their headers: the names of links are theirs."""
    simulate = [PROGRAM, "simulate", "-n", str(MOCKS), "--seed", "7", "--cutouts", folder]
    subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL)
    for file in folder.glob("*.fits"):
        header, data = file.read_bytes()[:5760], file.read_bytes()[5760:]
        header = header.replace(b"OBJECT  =", b"MOCK_OF =").replace(b"OBJECT_ID=", b"MOCK_ID  =")
        file.write_bytes(header + data)


if __name__ == "__main__":
    main()
