"""Names of objects and files: ids from file names, integers among ids, printable text."""

import re

_FITS_NAME = re.compile(r"\.fits(\.gz|\.fz)?$", re.IGNORECASE)
_HDF5_NAME = re.compile(r"\.(h5|hdf5)$", re.IGNORECASE)
_CANONICAL = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)


def is_fits_name(name: str) -> bool:
    """Whether `name` ends in .fits, .fits.gz or .fits.fz, in any case."""
    return name.endswith(".fits") or _FITS_NAME.search(name) is not None


def is_hdf5_name(name: str) -> bool:
    """Whether `name` ends in .h5 or .hdf5, in any case."""
    return _HDF5_NAME.search(name) is not None


def is_input_name(name: str) -> bool:
    """Whether files of this name are looked at: FITS and HDF5."""
    return is_fits_name(name) or is_hdf5_name(name)


def fits_stem(name: str) -> str:
    """Return the file name without .fits, .fits.gz or .fits.fz (never empty)."""
    return _FITS_NAME.sub("", name) or name


def hdf5_stem(name: str) -> str:
    """Return the file name without .h5 or .hdf5 (never empty)."""
    return _HDF5_NAME.sub("", name) or name


def canonical_integer(text: str) -> int | None:
    """Return the int64 that `text` is the one usual spelling of, else None.

    "12" is an integer; "0012", "+12", "-0", "1e3" and numbers beyond int64 are not.
    """
    if len(text) > 20 or not _CANONICAL.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def is_utf8(path: str) -> bool:
    """Whether a path's bytes are UTF-8: others are lone surrogates in it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    r"""Escape what cannot be shown or stored as UTF-8: undecodable bytes as \xNN, newline as \n."""
    if text.isascii() and text.isprintable():
        return text
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
