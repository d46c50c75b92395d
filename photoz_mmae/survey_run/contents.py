"""What is in the files of objects, and what that says of a row of the plan (`--checksum`)."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from photoz_mmae.cutouts.source import Source
from photoz_mmae.provenance import file_sha256, fingerprint

THREADS = 8
"""File servers answer several requests at once; hashing and reading let each other be."""

_AT_ONCE = 4096
_UNKNOWN = bytes(32)


class Contents:
    """SHA-256 of the files of N objects, read when this is made; 32 bytes of memory each."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._digests = bytearray()
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(sources), _AT_ONCE):
                some = sources[start : start + _AT_ONCE]
                # Objects of one shard or patch follow each other: their files are read once.
                runs = [
                    (files, len(list(group)))
                    for files, group in itertools.groupby(
                        () if source.is_absent else source.files for source in some
                    )
                ]
                for digest, (_, count) in zip(
                    pool.map(_sha256, [files for files, _ in runs]), runs, strict=True
                ):
                    self._digests += digest * count

    def __getitem__(self, index: int) -> str | None:
        """Return it in hexadecimal; None where there are no files, or one cannot be read."""
        digest = self._digests[32 * index : 32 * index + 32]
        return None if digest == _UNKNOWN else digest.hex()


def brought_up_to_date(before: Source, found: Source) -> tuple[Source, bool]:
    """Return a row as it is now, and whether its object has to be computed again.

    Content decides where it is known of both; else size and time do.

    Parameters
    ----------
    before : Source
        As it is planned.
    found : Source
        With the same files.
    """
    if found == before:
        return before, False
    same_stamp = (found.size, found.mtime_ns) == (before.size, before.mtime_ns)
    if found.sha256 is None and same_stamp:
        found = replace(found, sha256=before.sha256)  # nobody looked
    as_before = found
    if before.sha256 is None:
        as_before = replace(found, sha256=None)
    elif found.sha256 is not None:
        as_before = replace(found, size=before.size, mtime_ns=before.mtime_ns)
    return found, as_before != before


def _sha256(files: Sequence[str]) -> bytes:
    """Return the digest of one file, or of the digests of several."""
    try:
        digests = [file_sha256(file) for file in files]
    except OSError:
        return _UNKNOWN
    if len(digests) > 1:
        return bytes.fromhex(fingerprint(digests))
    return bytes.fromhex(digests[0]) if digests else _UNKNOWN
