"""Files of records, one JSON text a line, only ever appended to.

A killed process can leave one torn line, the last. Such a line never counted: whoever writes
syncs a line before acting on it. Opening for appending cuts it off.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photoz_mmae.errors import OutputError


@dataclass(frozen=True)
class Line:
    """A record, and where its line stands in the file: `offset` and `length` in bytes."""

    record: dict[str, Any]
    offset: int
    length: int


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the records of a file in order; lines that are no whole JSON object are left out."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        offset = 0
        for text in file:
            record = _parse(text)
            if record is not None:
                yield Line(record, offset, len(text))
            offset += len(text)


def read_line(path: Path, offset: int, length: int) -> dict[str, Any]:
    """Read one record from where `read_lines` or `append` said that it stands."""
    with path.open("rb") as file:
        file.seek(offset)
        record = _parse(file.read(length))
    if record is None:
        raise OutputError(f"{path}: damaged while the run was using it")
    return record


def append(path: Path, record: dict[str, Any]) -> Line:
    """Append a record and sync it to the disk.

    Raises
    ------
    OutputError
        The disk is full, or the file cannot be written.
    """
    # Undecodable bytes of file names are lone surrogates: JSON escapes carry them.
    text = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    try:
        with path.open("ab") as file:
            offset = _cut_torn_line(path, file.tell())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
    return Line(record, offset, len(text))


def _parse(text: bytes) -> dict[str, Any] | None:
    if not text.endswith(b"\n"):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _cut_torn_line(path: Path, size: int) -> int:
    """Cut off what follows the last newline; returns the size that is left."""
    with path.open("r+b") as file:
        end = size
        while end > 0:
            start = max(end - 65536, 0)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
    return end
