"""A host goes silent in the middle of a run: how long until that is noticed, and what is lost.

A scheduler and two workers, each in a network namespace of its own as on three hosts, and
`photoz-mmae predict --scheduler` outside of them. In mid-run the link of one worker's host is cut,
without a word to anybody. The run has to end with the rows of an undisturbed one. Needs root and
`ip` (iproute2); files are shared, as they must be on a cluster.

    python benchmarks/two_hosts.py [--timeouts 30,15]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
from distributed import Client

NETWORK = "10.199.87"
HOSTS = {"scheduler": 2, "one": 3, "two": 4}
PROGRAM = Path(sys.executable).parent / "photoz-mmae"
PER_PART = 8


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Hosts:
    """Three hosts on a switch, to which this one is connected, too."""

    def __init__(self) -> None:
        self.prefix = f"pz{os.getpid() % 100000}"

    def __enter__(self) -> "Hosts":
        self.stack = ExitStack()
        try:
            ip("link", "add", self.prefix, "type", "bridge")
            self.stack.callback(ip, "link", "del", self.prefix)
            ip("addr", "add", f"{NETWORK}.1/24", "dev", self.prefix)
            ip("link", "set", self.prefix, "up")
            for host, number in HOSTS.items():
                space, cable = self.space(host), self.cable(host)
                ip("netns", "add", space)
                self.stack.callback(ip, "netns", "del", space)
                ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
                ip("link", "set", cable, "master", self.prefix, "up")
                ip("-n", space, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
                ip("-n", space, "link", "set", "eth0", "up")
                ip("-n", space, "link", "set", "lo", "up")
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        self.stack.close()

    def space(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def cable(self, host: str) -> str:
        return f"{self.prefix}{HOSTS[host]}"

    def start(self, host: str, module: str, *words: str, timeout: int) -> "subprocess.Popen[bytes]":
        command = ["ip", "netns", "exec", self.space(host), sys.executable, "-m", module, *words]
        setting = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{timeout}s"}
        return subprocess.Popen(
            [*command, "--no-dashboard"], env={**os.environ, **setting}, stderr=subprocess.DEVNULL
        )


def predict(folder: Path, output: str, *words: str) -> "subprocess.Popen[bytes]":
    command = [PROGRAM, "predict", folder / "cutouts", "-o", folder / output, *words]
    command += ["--part-size", PER_PART, "--batch-size", PER_PART, "--masks", 0]
    command += ["--catalog", folder / "cutouts/truth.parquet"]
    return subprocess.Popen(list(map(str, command)), stdout=(folder / f"{output}.log").open("w"))


def finished(folder: Path) -> int:
    journal = folder / "cut.run/journal.jsonl"
    return len(journal.read_text().splitlines()) if journal.exists() else 0


def run_with_a_cut(folder: Path, timeout: int) -> dict[str, float | bool | int]:
    """Run once on three hosts, cut one off, and say what came of it."""
    address = f"tcp://{NETWORK}.{HOSTS['scheduler']}:8786"
    with Hosts() as hosts, ExitStack() as stack:
        local = ("--local-directory", str(folder))

        def start(host: str, module: str, *words: str) -> None:
            process = hosts.start(host, module, *words, timeout=timeout)
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start("scheduler", "distributed.cli.dask_scheduler", "--host", address)
        for host in ("one", "two"):
            options = ("--nthreads", "1", "--memory-limit", "0", "--name", host, *local)
            start(host, "distributed.cli.dask_worker", address, *options)
        client = stack.enter_context(Client(address, timeout=60))
        client.wait_for_workers(2, timeout=120)
        begin = time.monotonic()
        process = predict(folder, "cut.parquet", "--scheduler", address)
        while finished(folder) < 6:
            if process.poll() is not None:
                raise SystemExit("the run ended before a host could be cut off")
            time.sleep(0.02)
        before = finished(folder)
        ip("link", "set", hosts.cable("two"), "down")
        cut = time.monotonic()
        while len(client.nthreads()) > 1:
            time.sleep(0.1)
        noticed = time.monotonic() - cut
        code = process.wait()
        took = time.monotonic() - begin
        # The lost host's processes never hear that it is over.
        ip("link", "set", hosts.cable("two"), "up")
    calm = pq.read_table(folder / "calm.parquet")
    table = pq.read_table(folder / "cut.parquet") if code in (0, 3) else calm.slice(0, 0)
    journal = [json.loads(line) for line in (folder / "cut.run/journal.jsonl").open()]
    result = {
        "tcp timeout, s": timeout,
        "parts done before": before,
        "noticed after, s": round(noticed, 1),
        "run, s": round(took, 1),
        "exit code": code,
        "rows": table.num_rows,
        "ids": len(set(table["object_id"].to_pylist())),
        "parts journaled twice": len(journal) - len({line["part"] for line in journal}),
        "same rows as undisturbed": table.equals(calm),
    }
    shutil.rmtree(folder / "cut.run")
    (folder / "cut.parquet").unlink(missing_ok=True)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeouts", default="30,15", help="distributed.comm.timeouts.tcp, s")
    parser.add_argument("-n", type=int, default=400, help="mock objects")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("network namespaces need root and ip (iproute2)")
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate = [PROGRAM, "simulate", "-n", str(arguments.n), "--seed", "8"]
        subprocess.run(
            [*map(str, simulate), "--cutouts", str(folder / "cutouts")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        if predict(folder, "calm.parquet", "--workers", "1").wait() not in (0, 3):
            raise SystemExit((folder / "calm.parquet.log").read_text())
        results = [run_with_a_cut(folder, int(t)) for t in arguments.timeouts.split(",")]
    print(f"| {' | '.join(results[0])} |")
    print("|---" * len(results[0]) + "|")
    for result in results:
        print(f"| {' | '.join(map(str, result.values()))} |")
    sound = all(
        result["same rows as undisturbed"]
        and result["exit code"] in (0, 3)
        and result["rows"] == result["ids"] == arguments.n
        and result["parts journaled twice"] == 0
        for result in results
    )
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
