"""The folder that `pack` writes to, and whose its files are.

::

    shards/
        shard-000000.fits  ...
        pack.run/
            run.json         the settings that decide the shards' content
            plan.jsonl       which object is in which shard, in which row
            journal.jsonl    which shards are finished
            lock, holder.json

`pack.run/` stays: bringing the shards up to date starts from it. Reading them does not need it.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photoz_mmae.catalog.writer import sync_folder
from photoz_mmae.cutouts.containers import rows_in
from photoz_mmae.cutouts.shard_write import has_right_checksums
from photoz_mmae.errors import OutputError
from photoz_mmae.lock import HOLDER_FILE, LOCK_FILE, run_lock
from photoz_mmae.survey_run import records
from photoz_mmae.temporaries import temporary_path

_SHARD = re.compile(r"shard-\d{6,}\.fits", re.IGNORECASE)
_TEMPORARY = re.compile(r"\.shard-\d{6,}\.fits\.[0-9a-f]{32}\.tmp")


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard.

    Attributes
    ----------
    shard : int
    sources : str
        Fingerprint of the files it was made from, as in the plan.
    rows, bad : int
        Number of objects, and of those that can have no redshift.
    flags : dict of str to int
        How many of these have each of the flags of NO_REDSHIFT.
    examples : list of (str, str)
        Source and reason of the first few of them.
    file : str
    size, mtime_ns : int
        Of the file.
    version : str
        Of this package.
    """

    shard: int
    sources: str
    rows: int
    bad: int
    flags: dict[str, int]
    examples: list[list[str]]
    file: str
    size: int
    mtime_ns: int
    version: str


class PackFolder:
    """Paths of a packing, and the questions whether it may be begun, gone on with, begun anew."""

    def __init__(self, output: Path) -> None:
        self.output = output.absolute()
        self.path = self.output / "pack.run"
        self.settings_file = self.path / "run.json"
        self.plan = self.path / "plan.jsonl"
        self.journal = self.path / "journal.jsonl"

    def shard(self, number: int) -> Path:
        """Return where a shard is."""
        return self.output / f"shard-{number:06d}.fits"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, made if need be; one that nothing was begun in goes away again.

        Raises
        ------
        OutputError
            It cannot be made.
        LockedError
            Another run holds it.
        """
        try:
            self.output.mkdir(exist_ok=True)
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.output}: the folder cannot be made ({error.strerror})"
            ) from error
        with run_lock(self.path):
            try:
                yield
            finally:
                if not self.settings_file.exists():
                    with suppress(OSError):
                        (self.path / HOLDER_FILE).unlink()
                        (self.path / LOCK_FILE).unlink()
                        self.path.rmdir()
                        self.output.rmdir()

    def begin(self, settings: dict[str, Any], overwrite: bool) -> None:
        """Write the settings down where there are none; with `overwrite` remove all of before.

        Raises
        ------
        OutputError
            What is there was not packed by this program, or with other settings.
        """
        stored = self._stored_settings()
        shards = [file for file in self.output.iterdir() if _SHARD.fullmatch(file.name)]
        written = {record.file for record in self._journal().values()}
        foreign = [
            file
            for file in shards
            if stored is None or not (file.name in written or _is_shard(file))
        ]
        if foreign:
            raise OutputError(
                f"{min(foreign)} is there and is no shard of this run; "
                "choose another folder, or move it away"
            )
        if stored is not None and stored != settings and not overwrite:
            names = sorted(stored.keys() | settings.keys())
            differences = [
                f"{name} was {stored.get(name)}, is {settings.get(name)}"
                for name in names
                if stored.get(name) != settings.get(name)
            ]
            raise OutputError(
                f"{self.output} was packed with other settings ({'; '.join(differences)}); "
                "choose another folder, or --overwrite to start anew"
            )
        try:
            if overwrite:
                # The settings go last: until then the shards are known to be ours.
                for file in (*shards, self.journal, self.plan, self.settings_file):
                    file.unlink(missing_ok=True)
            for file in self.output.iterdir():
                if _TEMPORARY.fullmatch(file.name):
                    file.unlink(missing_ok=True)
            if overwrite or stored is None:
                temporary = temporary_path(self.settings_file)
                temporary.write_text(json.dumps(settings, indent=1) + "\n")
                temporary.replace(self.settings_file)
                sync_folder(self.path)
        except OSError as error:
            raise OutputError(f"{self.output}: cannot be written ({error})") from error

    def finished(self) -> dict[int, ShardRecord]:
        """Return the records of the shards that are there and sound."""
        return {number: r for number, r in self._journal().items() if self._is_sound(r)}

    def write_down(self, record: ShardRecord) -> None:
        """Journal that a shard is finished; raises OutputError."""
        records.append(self.journal, dataclasses.asdict(record))

    def _journal(self) -> dict[int, ShardRecord]:
        """Return the last record of each shard; a torn or strange line is as if not there."""
        names = {field.name for field in dataclasses.fields(ShardRecord)}
        journal = {}
        for line in records.read_lines(self.journal):
            if line.record.keys() == names:
                record = ShardRecord(**line.record)
                journal[record.shard] = record
        return journal

    def _is_sound(self, record: ShardRecord) -> bool:
        """Whether the file is the one that was written; of one with another time, by checksums."""
        file = self.output / record.file
        try:
            about = file.stat()
        except OSError:
            return False
        same = about.st_size == record.size
        return same and (about.st_mtime_ns == record.mtime_ns or has_right_checksums(file))

    def _stored_settings(self) -> dict[str, Any] | None:
        try:
            stored = json.loads(self.settings_file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.settings_file}: damaged ({error}); remove it") from error
        if not isinstance(stored, dict):
            raise OutputError(f"{self.settings_file}: damaged; remove it")
        return stored


def count_flags(found: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add counts of flags up."""
    total: dict[str, int] = {}
    for flags in found:
        for name, number in flags.items():
            total[name] = total.get(name, 0) + number
    return total


def _is_shard(file: Path) -> bool:
    container = rows_in(str(file))
    return container is not None and container[0] == "shard"
