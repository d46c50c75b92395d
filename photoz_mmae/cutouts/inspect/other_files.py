"""What a file is that is no FITS file, by its content: a word on it, and what it holds."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from photoz_mmae.cutouts.inspect.facts import UnitFacts
from photoz_mmae.errors import InputError
from photoz_mmae.tables import TableFile

_HEAD = 4096
_MAX_JSON = 16 << 20
_MOST = 200

Content = tuple[str, list[UnitFacts]]
"""What the file is, and what it holds."""


def describe_other(path: Path) -> Content:
    """Say what a file is that does not begin as FITS does.

    Raises
    ------
    InputError
        It looks like something that it is not: damaged.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise InputError("empty file")
    try:
        if head.startswith(b"\x89HDF\r\n\x1a\n"):
            return _hdf5(path)
        if head.startswith(b"PK\x03\x04"):
            return _archive(path)
        if head.startswith(b"\x93NUMPY"):
            return "NumPy array: not a cutout", [_array("", path.open("rb"))]
        if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < path.stat().st_size:
            return _safetensors(path)
        if head.startswith(b"PAR1"):
            return _table(path, "Parquet table")
        if b"\0" not in head and _is_text(head):
            return _text(path, head)
    except InputError:
        raise
    except Exception as error:  # damaged files make these libraries raise anything
        raise InputError(next(iter(str(error).splitlines()), type(error).__name__)) from error
    return "neither FITS, HDF5, Parquet, NumPy, safetensors nor text: not a cutout", []


def _hdf5(path: Path) -> Content:
    import h5py

    from photoz_mmae.cutouts.hdf5 import shortened

    shapes = {}
    inside = []
    try:
        with h5py.File(path, locking=False) as file:
            for name, item in islice(_datasets(file, ""), _MOST):
                shapes[name] = item.shape
                inside.append(UnitFacts(name, "dataset", _by(item.shape), str(item.dtype)))
    except Exception as error:
        raise InputError(str(shortened(error))) from error
    image = shapes.get("image", ())
    if len(image) != 4:
        return "HDF5 file without images: not a cutout", inside
    kind = "GalaxiesML-Spectra" if "spectrum/flux" in shapes else "GalaxiesML"
    return f"{kind} HDF5, {image[0]} objects with images of {_by(image[1:])}", inside


def _datasets(group: Any, prefix: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    import h5py

    for name in group:
        # A link to another file is not followed.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Dataset):
            yield prefix + name, item
        elif isinstance(item, h5py.Group) and depth < 5:
            yield from _datasets(item, f"{prefix}{name}/", depth + 1)


def _archive(path: Path) -> Content:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not names or not all(name.endswith(".npy") for name in names):
            return "ZIP archive: not a cutout", [UnitFacts(name, "file") for name in names[:_MOST]]
        inside = [_array(name[:-4], archive.open(name)) for name in names[:_MOST]]
    return f"NumPy archive of {len(names)} arrays: not a cutout", inside


def _array(name: str, file: Any) -> UnitFacts:
    from numpy.lib import format as npy

    with file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    return UnitFacts(name, "array", _by(shape), str(dtype))


def _safetensors(path: Path) -> Content:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        names = list(file.keys())
        inside = []
        for name in names[:_MOST]:
            tensor = file.get_slice(name)
            inside.append(UnitFacts(name, "tensor", _by(tensor.get_shape()), tensor.get_dtype()))
    return f"safetensors, {len(names)} tensors, weights of a network: not a cutout", inside


def _text(path: Path, head: bytes) -> Content:
    if head.lstrip()[:1] in (b"{", b"[") and path.stat().st_size <= _MAX_JSON:
        try:
            value = json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"no sound JSON: {error}") from error
        if isinstance(value, dict):
            keys = [UnitFacts(str(key), type(value[key]).__name__) for key in list(value)[:_MOST]]
            return "JSON object: not a cutout", keys
        return f"JSON, a list of {len(value)}: not a cutout", []
    first = head.split(b"\n", 1)[0]
    if b"," in first or b"\t" in first:
        with suppress(InputError):  # a text with commas
            return _table(path, "CSV table")
    return "text: not a cutout", []


def _table(path: Path, kind: str) -> Content:
    table = TableFile(path)
    held = UnitFacts("", "table", f"{len(table)} rows", columns=table.names)
    return f"{kind}, {len(table)} rows, {len(table.names)} columns: not a cutout", [held]


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A letter of several bytes may be cut off at the end of what was read.
        return error.start > len(head) - 4
    return True


def _by(shape: Any) -> str:
    return " x ".join(str(length) for length in shape)
