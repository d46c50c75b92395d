"""The bytes of files, one after the other; several at a time where each takes long to open.

Threads help against latency (a network file system) and against nothing else: on a local disk
one thread is fastest. So the first few files are timed, and a pool reads ahead only where they
took long.
"""

import gzip
import itertools
import os
import stat
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

from photoz_mmae.cutouts.headers import Damaged, ReadAt, is_gzip
from photoz_mmae.cutouts.pixels import MAX_BYTES, Unusable
from photoz_mmae.flags import Flag

SMALL = 2 << 20
"""Bytes: files up to this size are read whole."""

INFLATED = 32 << 20
"""Bytes: gzip files that inflate to more are inflated when their turn comes, one at a time."""

MEMBERS = 1000
"""A gzip file of more pieces counts as large, too: each costs a copy of what is behind it."""

THREADS = 64
"""At most as many files are read at once."""

PER_TASK = 4
"""Files that one thread reads after the other: to hand over each takes as long as to read it."""

TIMED = 4
"""Files that are timed before it is decided whether to read ahead."""

BELIEVED = 16
"""Calls after which files that were slow are timed again."""

SLOW = 5e-4
"""Seconds per file from which on reading ahead is worth its cost."""

Content = bytes | None | Exception
"""A whole file, inflated; None for one that is larger than is read whole; or why it cannot be."""


@dataclass
class _Pace:
    """What the files of the last calls were like, and for how many more that is believed."""

    slow: bool = False
    believed: int = 0


_PACE = _Pace()


def read_ahead(paths: Iterable[str]) -> Iterator[Content]:
    """Yield the content of each file, in order, inflated where it is gzip."""
    waiting = iter(paths)
    if _PACE.believed:
        _PACE.believed -= 1
    else:
        seconds = []
        for path in itertools.islice(waiting, TIMED):
            start = time.perf_counter()
            content = _fetch(path)
            seconds.append(time.perf_counter() - start)
            yield content
        _PACE.slow = bool(seconds) and median(seconds) >= SLOW
        _PACE.believed = BELIEVED if _PACE.slow else 0
    if not _PACE.slow:
        yield from map(_fetch, waiting)
        return
    pool = _pool()
    tasks = iter(lambda: list(itertools.islice(waiting, PER_TASK)), [])
    window: deque[Future[list[Content]]] = deque(
        pool.submit(_fetch_all, some) for some in itertools.islice(tasks, THREADS)
    )
    while window:
        contents = window.popleft().result()
        window.extend(pool.submit(_fetch_all, some) for some in itertools.islice(tasks, 1))
        yield from contents


def forget() -> None:
    """Time the next files again, whatever the last ones were like."""
    _PACE.believed, _PACE.slow = 0, False


@contextmanager
def open_large(path: str) -> Iterator[ReadAt]:
    """Open a file that is not read whole, inflated into memory where it is gzip.

    Raises
    ------
    OSError
    Damaged
        No regular file, or no sound gzip.
    Unusable
        WRONG_SIZE: too large once inflated.
    """
    descriptor = open_file(path)
    try:
        _require_regular(os.fstat(descriptor))
        if is_gzip(descriptor):
            inflated = os.memfd_create("cutout", os.MFD_CLOEXEC)
            try:
                _inflate_file(descriptor, inflated)
            except BaseException:
                os.close(inflated)
                raise
            os.close(descriptor)
            descriptor = inflated
        yield lambda offset, length: os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


def open_file(path: str) -> int:
    """Open for reading; what is no regular file must not block."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="read-ahead")


def _fetch_all(paths: list[str]) -> list[Content]:
    return [_fetch(path) for path in paths]


def _fetch(path: str) -> Content:
    try:
        descriptor = open_file(path)
        try:
            about = os.fstat(descriptor)
            _require_regular(about)
            if about.st_size > SMALL:
                return None
            content = os.read(descriptor, about.st_size)
            while len(content) < about.st_size:
                # A signal or a network file system cut it short, or the file shrank.
                piece = os.read(descriptor, about.st_size - len(content))
                if not piece:
                    break
                content += piece
        finally:
            os.close(descriptor)
        return _inflated(content) if content.startswith(b"\x1f\x8b") else content
    except Exception as error:  # for whoever wants this file
        return error


def _require_regular(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise Damaged("not a regular file")


def _inflated(content: bytes) -> bytes | None:
    """Inflate a gzip file, of several members perhaps; None where that makes it large."""
    pieces, total = [], 0
    while content.startswith(b"\x1f\x8b"):
        stream = zlib.decompressobj(wbits=31)
        try:
            pieces.append(stream.decompress(content, INFLATED + 1 - total))
        except zlib.error as error:
            raise Damaged(f"gzip: {error}") from error
        total += len(pieces[-1])
        if total > INFLATED or len(pieces) > MEMBERS:
            return None
        if not stream.eof:
            raise Damaged("gzip: the file ends before its data do")
        content = stream.unused_data
    return b"".join(pieces)


def _inflate_file(source: int, target: int) -> None:
    total = 0
    try:
        with gzip.GzipFile(fileobj=os.fdopen(source, "rb", closefd=False)) as stream:
            while piece := stream.read(1 << 20):
                total += len(piece)
                if total > MAX_BYTES:
                    raise Unusable(Flag.WRONG_SIZE, "too large for a cutout once decompressed")
                os.write(target, piece)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"gzip: {error}") from error
