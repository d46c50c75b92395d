"""Names of what is being written, by which the leftovers of a killed writer are known."""

import re
import shutil
import uuid
from pathlib import Path


def temporary_path(path: Path) -> Path:
    """Return a new unique name for what will become `path`; see `remove_temporaries`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def temporaries(path: Path) -> list[Path]:
    """List what writers of `path` left behind that were killed."""
    mine = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]+\.tmp")
    return [file for file in path.parent.iterdir() if mine.fullmatch(file.name)]


def remove_temporaries(path: Path) -> None:
    """Remove what killed writers of `path` left behind."""
    for leftover in temporaries(path):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
