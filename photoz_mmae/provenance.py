"""Where a result comes from: checksums, fingerprints and the time."""

import hashlib
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:  # noqa: PTH123 (takes both kinds of path)
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(lines: Iterable[str]) -> str:
    """Return a checksum of a sequence of texts that depends on their order.

    Each text is preceded by its length, so that no two sequences look alike; bytes that are no
    UTF-8 (surrogate escapes, as in file names) count as they are.
    """
    digest = hashlib.sha256()
    for line in lines:
        data = line.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def settings_sha256(settings: dict[str, Any]) -> str:
    """Return a checksum of settings that does not depend on the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
