"""The run folder `NAME.run/` beside the output, and whose it is.

::

    catalog.parquet      or catalog/, a folder (`catalog.layouts`)
    catalog.run/
        run.json         the settings that decide the values; how the last command went
        plan.jsonl       which object is in which part
        journal.jsonl    which parts are finished
        table-SHA/       ids, E(B-V) and positions of the table given as --catalog
        kept/            its columns that --keep passes through
        parts/           one Parquet file per part
        hats/            while a HATS catalogue is made: what is needed for it
        problems.jsonl   what could not be read, and why
        outputs.jsonl    checksums of the catalogues that were written
        failures/        tracebacks of parts that failed
        jobs/            logs of SLURM jobs
        scratch/         while local workers are there: what Dask has them write
        lock, holder.json

It stays after the run: bringing the catalogue up to date starts from it.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from photoz_mmae.catalog.atomic_folder import remove_folder
from photoz_mmae.catalog.layouts import checksum, is_parquet, read_metadata, size, strange_entry
from photoz_mmae.cutouts.ids import is_utf8, printable
from photoz_mmae.errors import OutputError, UsageError
from photoz_mmae.lock import HOLDER_FILE, LOCK_FILE, run_lock
from photoz_mmae.survey_run import records
from photoz_mmae.survey_run.run_record import RunRecord
from photoz_mmae.temporaries import remove_temporaries

SETTINGS_KEY = "photoz_mmae.settings"
"""Key of the catalogue's metadata that holds the same settings as `run.json`."""

_TABLE = re.compile(r"table-[0-9a-f]{16}|\.table-[0-9a-f]{16}\.[0-9a-f]{32}\.tmp")


_OTHER_KINDS = (
    *(".fits", ".fits.gz", ".fits.fz", ".csv", ".ecsv", ".txt", ".hdf5", ".h5", ".vot", ".xml"),
    *(".json", ".toml", ".pq", ".arrow", ".feather", ".zip", ".tar", ".gz", ".run", ".parquet"),
)
"""Ends of names that nobody gives a folder of a catalogue."""


class RunFolder:
    """Paths of a run, and the questions whether it may be begun, gone on with, or begun anew."""

    def __init__(self, output: Path) -> None:
        # Absolute: workers elsewhere get these paths.
        self.output = output.absolute()
        self.is_file = self.output.suffix == ".parquet"
        stem = self.output.stem if self.is_file else self.output.name
        self.path = self.output.with_name(f"{stem}.run")
        self.record = RunRecord(self.path / "run.json", self.output.name)
        self.outputs = self.path / "outputs.jsonl"
        self.output_sha256: str | None = None
        self.plan = self.path / "plan.jsonl"
        self.journal = self.path / "journal.jsonl"
        self.parts = self.path / "parts"
        self.hats = self.path / "hats"
        self.kept = self.path / "kept"
        self.problems = self.path / "problems.jsonl"
        self.failures = self.path / "failures"
        self.jobs = self.path / "jobs"
        self.scratch = self.path / "scratch"

    def check_place(self) -> None:
        """Raise at once when the output cannot be written where it is to be.

        Raises
        ------
        UsageError
            The name is that of a file of another kind: it might be that of a cutout. Or it is
            not UTF-8.
        OutputError
            The folder that it is to be in is missing, not writable or cannot be reached; something
            else has the output's name; its run folder is that of another output.
        """
        if not is_utf8(str(self.output)):
            raise UsageError(
                f"{printable(str(self.output))}: no UTF-8, which no program could open as Parquet; "
                "choose another name"
            )
        if not self.is_file and self.output.name.lower().endswith(_OTHER_KINDS):
            stem = self.output.name.split(".")[0] or "catalog"
            raise UsageError(
                f"{self.output.name}: the catalogue is Parquet; name it {stem}.parquet, or {stem} "
                "for a folder of files"
            )
        try:
            self._check_what_is_there()
        except OSError as error:
            raise OutputError(f"{error.filename}: cannot be reached ({error.strerror})") from error

    def _check_what_is_there(self) -> None:
        folder = self.output.parent
        if not folder.is_dir():
            raise OutputError(f"{folder}: no such folder for the output; make it first")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{folder}: the output's folder is not writable")
        if self.is_file and self.output.is_dir():
            raise OutputError(f"{self.output} is a folder; give the name of a file")
        if self.is_file and self.output.exists():
            self._check_file()
        if not self.is_file and self.output.exists():
            if not self.output.is_dir():
                raise OutputError(f"{self.output} is a file; a name without .parquet is a folder's")
            self._check_folder()
        sibling = self.output.with_name(
            self.path.stem if self.is_file else f"{self.path.stem}.parquet"
        )
        if self.record.path.exists() and not self._is_there() and read_metadata(sibling):
            raise OutputError(f"{self.path} is the run folder of {sibling}; choose another name")
        if self.path.exists() and not self._is_ours():
            raise OutputError(
                f"{self.path} is there and is no run folder of this program; "
                "choose another output name, or move it away"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run folder, made if need be; one that nothing was begun in goes away again.

        Raises
        ------
        OutputError
            It cannot be made.
        LockedError
            Another run holds it.
        """
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be made ({error})") from error
        with run_lock(self.path):
            try:
                yield
            finally:
                if not self.record.path.exists():
                    with suppress(OSError):
                        (self.path / HOLDER_FILE).unlink()
                        (self.path / LOCK_FILE).unlink()
                        self.path.rmdir()

    def check_ours(self, settings: dict[str, Any]) -> str | None:
        """Raise OutputError when what is there is not ours, or was made with other settings.

        Returns what the output was made from (`publishing`), None where there is none.
        """
        stored = self.record.read().get("settings")
        if stored is None:
            if self._is_there():
                raise OutputError(
                    f"{self.output} exists and its run folder {self.path.name}/ does not; "
                    "choose another name, or --overwrite to start anew"
                )
            return None
        names = sorted(stored.keys() | settings.keys())
        if stored.get("content") != settings.get("content"):
            names = ["content"]  # all else follows from that
        differences = [
            _difference(name, stored.get(name), settings.get(name))
            for name in names
            if stored.get(name) != settings.get(name)
        ]
        if differences:
            raise OutputError(
                f"{self.output} was made with other settings ({'; '.join(differences)}); "
                "choose another name, or --overwrite to start anew"
            )
        state = self._output_state()
        if self._is_there() and state is None:
            raise OutputError(
                f"{self.output} exists and is not what this run wrote by {self.outputs} (something "
                "else, changed, or damaged); move it away, and the same command makes it anew "
                "from the parts that are there; --overwrite computes them anew, too"
            )
        return state

    def _check_file(self) -> None:
        """Raise OutputError when the output is a file that is no catalogue, so not ours to replace.

        Beside a run's folder what cannot be read as a table is a damaged one.
        """
        is_damaged = self.record.path.exists() and not is_parquet(self.output)
        if not is_damaged and SETTINGS_KEY not in read_metadata(self.output):
            raise OutputError(
                f"{self.output} exists and is no catalogue of this program; "
                "choose another name, or move it away"
            )

    def _check_folder(self) -> None:
        """Raise OutputError when the output is a folder that holds anything but a catalogue."""
        if strange := strange_entry(self.output):
            raise OutputError(
                f"{self.output} is a folder that holds {strange}, which this program did not "
                "write; choose another name, or move it away"
            )

    def begin(self, settings: dict[str, Any], overwrite: bool) -> None:
        """Write the settings down where there are none; with `overwrite` remove all of before.

        Only this run's own files are removed: the output, and what the run folder holds of ours.
        """
        try:
            if overwrite:
                self._clear()
            self.parts.mkdir(exist_ok=True)
            for file in (self.output, self.problems, self.record.path):
                remove_temporaries(file)
            shutil.rmtree(self.hats, ignore_errors=True)
            self.record.begin(settings)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error})") from error

    def table(self, sha256: str) -> Path:
        """Return where the table of objects of this checksum is kept."""
        return self.path / f"table-{sha256[:16]}"

    def remove_tables(self, keep: Path | None = None) -> None:
        """Remove the tables of earlier runs, and what a killed writer left of one."""
        for folder in self.path.iterdir():
            if _TABLE.fullmatch(folder.name) and folder != keep:
                shutil.rmtree(folder, ignore_errors=True)

    def remove_kept(self) -> None:
        """Remove the columns that an earlier run passed through."""
        for file in self.kept.glob("*.arrow"):
            file.unlink(missing_ok=True)

    def publishing(self, new: Path, state: str) -> None:
        """Note the checksum of a file or folder that is about to become the output.

        A kill before or after that leaves an output that is known.
        """
        self.output_sha256 = checksum(new)
        record = {"state": state, "size": size(new), "sha256": self.output_sha256}
        records.append(self.outputs, record)

    def output_metadata(self) -> dict[str, str]:
        """Return the metadata of the output; empty when there is none, or it is damaged."""
        return read_metadata(self.output)

    def _is_there(self) -> bool:
        """Whether there is an output; an empty folder is none."""
        return self.output.exists() and (self.is_file or any(self.output.iterdir()))

    def _is_ours(self) -> bool:
        """Whether it is a run folder, or has nothing in it that a run does not leave there."""
        if not self.path.is_dir():
            return False
        names = {entry.name for entry in self.path.iterdir() if not entry.name.endswith(".tmp")}
        begun = {LOCK_FILE, HOLDER_FILE, self.parts.name}
        return self.record.path.name in names or names <= begun

    def _output_state(self) -> str | None:
        """Return what was told to `publishing` of the output; None if it is none of ours."""
        if not self._is_there():
            return None
        known = [line.record for line in records.read_lines(self.outputs)]
        about = size(self.output)
        if about not in {record["size"] for record in known}:
            return None
        self.output_sha256 = checksum(self.output)
        states = [r["state"] for r in known if r["sha256"] == self.output_sha256]
        return str(states[-1]) if states else None

    def _clear(self) -> None:
        if self.is_file:
            self.output.unlink(missing_ok=True)
        elif self.output.exists():
            self._check_folder()
            remove_folder(self.output)
        for folder, pattern in (
            (self.parts, "*part-*"),
            (self.failures, "part-*.log"),
            (self.jobs, "photoz-mmae-*"),
        ):
            for file in folder.glob(pattern):
                file.unlink()
        self.remove_tables()
        self.remove_kept()
        # The record, by which the folder is known as ours, is replaced.
        for file in (self.journal, self.plan, self.problems, self.outputs):
            file.unlink(missing_ok=True)


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "content":
        return f"it holds {before or 'redshifts'}, not {now or 'redshifts'}"
    if name == "naming":
        return f"naming was {before or 'standard'}, is {now or 'standard'}"
    if name in ("catalog", "list") and (before is None or now is None):
        return f"made {'with' if before else 'without'} --{name}"
    if name == "catalog":
        return f"the table given as --catalog had {before}, has {now}"
    if name == "objects":
        return f"objects were those of {before or 'CUTOUTS'}, are those of {now or 'CUTOUTS'}"
    return f"{name} was {before}, is {now}"
