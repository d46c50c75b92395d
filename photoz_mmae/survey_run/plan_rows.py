"""Rows of the plan as they stand in its lines; `plan.py` says how."""

from collections.abc import Iterable, Sequence
from typing import Any

from photoz_mmae.cutouts.source import Source

_FIELDS = ("kind", "row", "bands", "object_id", "ra", "dec")
_DEFAULTS = {name: getattr(Source((), 0, 0), name) for name in _FIELDS}


def decode(rows: Sequence[Any]) -> list[Source]:
    sources: list[Source] = []
    for row in rows:
        if isinstance(row, dict):
            before = sources[-1]
            files, size, mtime_ns = before.files, before.size, before.mtime_ns
            more = {"sha256": before.sha256, **row}
        else:
            size, mtime_ns, *names = row
            more = names.pop() if isinstance(names[-1], dict) else {}
            files = tuple(names)
        sources.append(Source(files, size, mtime_ns, **more))
    return sources


def encode(sources: Iterable[Source]) -> list[Any]:
    rows: list[Any] = []
    before: tuple[Any, ...] = ()
    for source in sources:
        more = {
            name: value
            for name in _FIELDS
            # An unknown position, NaN, equals nothing.
            if (value := getattr(source, name)) != _DEFAULTS[name] and value == value
        }
        files = (source.size, source.mtime_ns, *source.files)
        if more and (files, source.sha256) == before:
            rows.append(more)
        else:
            if source.sha256 is not None:
                more["sha256"] = source.sha256
            rows.append([*files, more] if more else list(files))
        before = files, source.sha256
    return rows
