"""Paths as programs like `find` hand them over."""

import os
from typing import BinaryIO


def read_paths(stream: BinaryIO) -> list[str]:
    """Read paths: separated by NUL where there is one, else one a line; empty ones left out.

    Bytes that are no UTF-8 are kept as `os.fsdecode` gives them.
    """
    data = stream.read()
    separator = b"\0" if b"\0" in data else b"\n"
    return [os.fsdecode(path) for path in data.split(separator) if path]
