"""Folders that are either whole or not there, as `writer.atomic_parquet` makes files."""

import ctypes
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from photoz_mmae.catalog.writer import sync_folder
from photoz_mmae.errors import OutputError
from photoz_mmae.temporaries import temporary_path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that cannot exchange two names."""


@contextmanager
def atomic_folder(path: Path, publishing: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Fill a new folder that takes the place of `path` at the end, all at once.

    It is made beside `path`, in a temporary folder of a unique name, and synced. Where there is a
    `path` already, the two exchange their names in one step of the file system (on one that has no
    such step, in two: for a moment there is none). The old one is removed then. Whatever happens
    before leaves it untouched.

    `publishing` is called with the finished folder just before it takes its name.

    Yields
    ------
    Path
        The new folder, empty, named like `path` but for letters other than A-Z, a-z, 0-9, ._-.

    Raises
    ------
    OutputError
        It cannot be written: disk, permission.
    """
    temporary = temporary_path(path)
    try:
        new = temporary / re.sub(r"[^A-Za-z0-9._-]", "_", path.name)
        new.mkdir(parents=True)
        yield new
        _sync(new)
        if publishing is not None:
            publishing(new)
        if path.exists():
            _exchange(new, path)
        else:
            new.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder so that nobody sees a part of it."""
    temporary = temporary_path(path)
    path.rename(temporary)
    shutil.rmtree(temporary)


def _exchange(new: Path, old: Path) -> None:
    """Let two folders exchange their names, where the system can without any moment between."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        names = os.fsencode(new), os.fsencode(old)
        if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NO_EXCHANGE:
            raise OSError(number, os.strerror(number), str(old))
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise


def _sync(folder: Path) -> None:
    """Make all files below a folder, and their names, survive a power cut."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            with Path(place, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))
