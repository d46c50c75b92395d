"""Coadded images of patches of sky: which there are below a folder.

A coadd is a FITS file with one image of one band and a celestial WCS; masks, variances and tables
beside it do not count. Its band is that of its header (FILTER, BAND, EXTNAME; what LSST's files say
elsewhere), else a token of its name or, from the inside out, of its folders'
(`deepCoadd-results/HSC-I/9813/4,5/`), by the rule of `photoz_mmae.cutouts.bands`. Images of one
shape and one WCS are the bands of one patch.

Tract and patch are known by TRACT and PATCH in the header, and by numbers that follow each other
in the path: `9813/4,5`, `9813-4,5`, `9813_42`. HSC's tables write patch 4,5 as 405.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photoz_mmae.cutouts.bands import band_of, bands_in_name, natural_key
from photoz_mmae.cutouts.companions import Companions, find_companions
from photoz_mmae.cutouts.headers import Damaged, Header, open_regular, reader, walk_headers
from photoz_mmae.cutouts.ids import fits_stem, is_fits_name, printable
from photoz_mmae.cutouts.lsst import butler_band, filter_band
from photoz_mmae.cutouts.wcs import Wcs, read_wcs
from photoz_mmae.errors import InputError

_WCS_KEYS = re.compile(
    rb"(CRVAL|CRPIX|CDELT|CROTA)[12]|(CD|PC)([12]_[12]|\d{6})|LONPOLE|(A|B)_\d+_\d+"
)
_TRACT_PATCH = re.compile(r"(?<![^-_/.])(\d+)[-_/](?=(\d+(?:,\d+)?)(?![^-_/.]))")


@dataclass(frozen=True)
class Patch:
    """The coadds of one patch of sky.

    Attributes
    ----------
    files : tuple of str
        One per band.
    bands : str
        One letter each, in the order of the files.
    size, mtime_ns : int
        Bytes, summed; time of the newest file.
    shape : tuple of int
        Height and width, pixels.
    wcs : Wcs
    names : frozenset of (str, str)
        What may be its tract and patch.
    """

    files: tuple[str, ...]
    bands: str
    size: int
    mtime_ns: int
    shape: tuple[int, int]
    wcs: Wcs
    names: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Coadds:
    """What was found in a folder.

    Attributes
    ----------
    folder : str
    patches : list of Patch
        In the natural order of their files.
    damaged : list of str
        What is wrong with files that may be coadds and cannot be placed.
    ignored : int
        Other files: no FITS, tables only, or of bands that are not wanted.
    """

    folder: str
    patches: list[Patch]
    damaged: list[str]
    ignored: int


@dataclass(frozen=True)
class _Image:
    path: str
    band: str
    size: int
    mtime_ns: int
    shape: tuple[int, int]
    wcs: Wcs
    footprint: tuple[Any, ...]
    names: frozenset[tuple[str, str]]


def find_coadds(folder: str, bands: Sequence[str]) -> Coadds:
    """Find the coadds below a folder; links are followed, loops survived. Reads headers only.

    Parameters
    ----------
    folder : str
    bands : sequence of str
        Those wanted.

    Raises
    ------
    InputError
        There is no such folder, no coadd in it, or two of the same patch and band.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 (text with any bytes)
        raise InputError(f"{printable(folder)}: no such folder of coadds")
    images: dict[tuple[Any, ...], dict[str, _Image]] = {}
    damaged: list[str] = []
    ignored = 0
    for path in _files_below(folder):
        try:
            image = _look(path, folder) if is_fits_name(path) else None
        except (OSError, Damaged) as error:
            reason = getattr(error, "strerror", None) or error
            damaged.append(f"{printable(path)}: {printable(str(reason))}")
            continue
        if image is None or image.band not in bands:
            ignored += 1
            continue
        patch = images.setdefault(image.footprint, {})
        if (other := patch.setdefault(image.band, image)) is not image:
            raise InputError(
                f"{printable(other.path)} and {printable(path)} are both the coadd of band "
                f"{image.band} of one patch; give a folder with one of them"
            )
    if not images:
        example = f"; {damaged[0]}" if damaged else ""
        raise InputError(
            f"{printable(folder)}: no coadd of a band {', '.join(bands)} with a WCS "
            f"({ignored} other files{example})"
        )
    patches = [_patch(by_band, bands) for by_band in images.values()]
    patches.sort(key=lambda patch: natural_key(patch.files[0]))
    return Coadds(folder, patches, damaged, ignored)


_LOST = "lost+found"
"""Of a file system, at its root; nobody but root may read it."""


def _files_below(folder: str) -> list[str]:
    """Return the files below a folder in natural order."""
    found, visited = [], set()
    for path, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(path)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name != _LOST]
        found += [os.path.join(path, name) for name in names]  # noqa: PTH118
    return sorted(found, key=natural_key)


def _refuse(error: OSError) -> None:
    raise InputError(
        f"folder {printable(error.filename)!r} cannot be read: {error.strerror}; make it readable "
        "or leave it out"
    ) from error


def _look(path: str, folder: str) -> _Image | None:
    """Look at the headers of a file; None where it is no coadd of one band."""
    headers: list[Header] = []
    said = ""
    descriptor = open_regular(path)
    try:
        about = os.fstat(descriptor)
        read_at = reader(descriptor)
        headers.extend(walk_headers(read_at))
        said = butler_band(headers[0]) or filter_band(headers, read_at)
    except Damaged:
        if not coadd_images(headers):  # else the objects on it will say what is damaged
            raise
    finally:
        os.close(descriptor)
    science = coadd_images(headers)
    if len(science) != 1:
        return None
    header, primary = headers[next(iter(science))], headers[0]
    wcs = read_wcs(header)
    inside = os.path.relpath(path, folder)
    band = _band(header, primary, said, inside)
    if wcs is None or band is None:
        return None
    height, width = header.plain_shape
    return _Image(
        path,
        band,
        about.st_size,
        about.st_mtime_ns,
        (height, width),
        wcs,
        _footprint(header),
        frozenset(_names(header, primary, inside)),
    )


def coadd_images(headers: Sequence[Header]) -> dict[int, Companions]:
    """Return the units that are the sky itself in one band, with their masks and variances."""
    return {
        unit: beside
        for unit, beside in find_companions(headers).items()
        if len(headers[unit].plain_shape) == 2
    }


def _band(header: Header, primary: Header, said: str, path: str) -> str | None:
    for source in (header, primary):
        for key in ("FILTER", "BAND", "LSST BUTLER DATAID BAND", "EXTNAME"):
            if band := band_of(source.text(key)):
                return band
    if band := band_of(said):
        return band
    *folders, name = Path(path).parts
    for part in (fits_stem(name), *reversed(folders)):
        if len(found := set(bands_in_name(part))) == 1:
            return found.pop()
    return None


def _footprint(header: Header) -> tuple[Any, ...]:
    """Return what is the same for all bands of a patch: the shape, and the numbers of the WCS."""
    keys = sorted(key.decode() for key in header.cards if _WCS_KEYS.fullmatch(key))
    numbers = [(key, f"{header.number(key) or 0:.12g}") for key in keys]
    return (header.plain_shape, header.text("CTYPE1"), *numbers)


def _names(header: Header, primary: Header, path: str) -> set[tuple[str, str]]:
    names = set(_TRACT_PATCH.findall(fits_stem(path).replace(os.sep, "/")))
    for prefix in ("", "LSST BUTLER DATAID "):
        for source in (header, primary):
            tract, patch = source.text(f"{prefix}TRACT"), source.text(f"{prefix}PATCH")
            if tract and patch:
                names.add((tract, patch))
    for tract, patch in list(names):
        x, comma, y = patch.partition(",")
        if comma:
            names.add((tract, str(100 * int(x) + int(y))))
    return names


def _patch(by_band: dict[str, _Image], bands: Sequence[str]) -> Patch:
    images = [by_band[band] for band in bands if band in by_band]
    return Patch(
        tuple(image.path for image in images),
        "".join(image.band for image in images),
        sum(image.size for image in images),
        max(image.mtime_ns for image in images),
        images[0].shape,
        images[0].wcs,
        frozenset().union(*(image.names for image in images)),
    )
