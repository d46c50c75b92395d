"""Coadded images of patches of sky: which there are, and which objects lie on which.

A coadd is a FITS file with one image of one band and a celestial WCS; masks, variances and tables
beside it do not count. Its band is that of its header (FILTER, BAND, EXTNAME), else a token of
its name or, from the inside out, of its folders' (`deepCoadd-results/HSC-I/9813/4,5/`), by the rule
of `photoz_mmae.cutouts.bands`. Images of one shape and one WCS are the bands of one patch.

Tract and patch are known by TRACT and PATCH in the header, and by numbers that follow each other
in the path: `9813/4,5`, `9813-4,5`, `9813_42`. HSC's tables write patch 4,5 as 405.
"""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import band_of, bands_in_name, natural_key
from photoz_mmae.cutouts.headers import Damaged, Header, open_regular, reader, walk_headers
from photoz_mmae.cutouts.ids import fits_stem, is_fits_name, printable
from photoz_mmae.cutouts.sky import directions
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.wcs import Wcs, read_wcs
from photoz_mmae.errors import InputError

_WCS_KEYS = re.compile(rb"(CRVAL|CRPIX|CDELT|CROTA)[12]|(CD|PC)[12]_[12]|LONPOLE|(A|B)_\d+_\d+")
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


def _files_below(folder: str) -> list[str]:
    """Return the files below a folder in natural order."""
    found, visited = [], set()
    for path, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        found += [os.path.join(path, name) for name in names]  # noqa: PTH118
    return sorted(found, key=natural_key)


def _look(path: str, folder: str) -> _Image | None:
    """Look at the headers of a file; None where it is no coadd of one band."""
    primary, science = None, []
    descriptor = open_regular(path)
    try:
        about = os.fstat(descriptor)
        for header in walk_headers(reader(descriptor)):
            primary = primary or header
            if is_coadd_image(header):
                science.append(header)
    except Damaged:
        if not science:  # else the pixels are damaged, and the objects on them will say so
            raise
    finally:
        os.close(descriptor)
    if len(science) != 1 or primary is None:
        return None
    header = science[0]
    wcs = read_wcs(header)
    inside = os.path.relpath(path, folder)
    band = _band(header, primary, inside)
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


def is_coadd_image(header: Header) -> bool:
    """Whether a unit is the sky itself in one band."""
    return header.is_science and len(header.plain_shape) == 2


def _band(header: Header, primary: Header, path: str) -> str | None:
    for source in (header, primary):
        for key in ("FILTER", "BAND", "LSST BUTLER DATAID BAND", "EXTNAME"):
            if band := band_of(source.text(key)):
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


class CoaddObjects(Sequence[Source]):
    """The objects of a table as sources: patch by patch, upwards in each, those on none last.

    Made one by one when they are asked for, as there may be millions.

    Parameters
    ----------
    coadds : Coadds
    ids : pyarrow string array, (N,)
    ra, dec : ndarray (N,)
        deg; NaN where unknown.
    named : list of (str or None, str or None), optional
        Tract and patch of each object where a table says them; an object that lies on several
        patches is taken from that one. Others are taken from where they are farthest from the
        edge.

    Attributes
    ----------
    uncovered : int
        Number of objects that lie on no patch.
    """

    def __init__(
        self,
        coadds: Coadds,
        ids: pa.Array,
        ra: NDArray[np.float64],
        dec: NDArray[np.float64],
        named: "TractPatch | None" = None,
    ) -> None:
        self._coadds = coadds
        patch, height = assign(coadds.patches, ra, dec, named)
        place = np.where(patch < 0, len(coadds.patches), patch)
        order = np.lexsort((height, place))
        self._patch = patch[order].astype(np.int32)
        self._ra, self._dec = ra[order], dec[order]
        self._ids = ids.take(pa.array(order))
        self.uncovered = int(np.count_nonzero(patch < 0))

    def __len__(self) -> int:
        return len(self._patch)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        about = {
            "kind": "coadd",
            "object_id": self._ids[int(index)].as_py(),
            "ra": float(self._ra[index]),
            "dec": float(self._dec[index]),
        }
        number = self._patch[index]
        if number < 0:
            return Source((self._coadds.folder,), 0, 0, **about)
        patch = self._coadds.patches[number]
        return Source(patch.files, patch.size, patch.mtime_ns, bands=patch.bands, **about)


@dataclass(frozen=True)
class TractPatch:
    """Tract and patch of N objects by a table: number `code[n]` of the pairs.

    A half of a pair is None where the table has no such column.
    """

    pairs: list[tuple[str | None, str | None]]
    code: NDArray[np.integer]

    def on(self, patch: Patch) -> list[int]:
        """Return the numbers of the pairs that may be this patch."""
        return [
            number
            for number, (tract, name) in enumerate(self.pairs)
            if any(tract in (None, t) and name in (None, p) for t, p in patch.names)
        ]


def assign(
    patches: Sequence[Patch],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    named: TractPatch | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Say on which patch each object lies.

    Parameters
    ----------
    patches : sequence of Patch
    ra, dec : ndarray (N,)
        deg; NaN where unknown.
    named : TractPatch, optional
        As the table says; decides where an object lies on several.

    Returns
    -------
    patch : ndarray (N,) of int
        -1 for an object that lies on none.
    height : ndarray (N,)
        Its y pixel there; 0 on none.
    """
    from scipy.spatial import cKDTree

    best = np.full(len(ra), -1)
    margin, height = np.full(len(ra), -1.0), np.zeros(len(ra))
    is_named = np.zeros(len(ra), bool)
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known):
        return best, height
    tree = cKDTree(directions(ra[known], dec[known]))
    for number, patch in enumerate(patches):
        centre, chord = _circle(patch)
        near = known[tree.query_ball_point(centre, chord)]
        x, y = patch.wcs.to_pixels(ra[near], dec[near])
        rows, columns = patch.shape
        edge = np.minimum(
            np.minimum(x + 0.5, columns - 0.5 - x), np.minimum(y + 0.5, rows - 0.5 - y)
        )
        this = np.zeros(len(near), bool)
        if named is not None:
            this = np.isin(named.code[near], named.on(patch))
        better = (this & ~is_named[near]) | ((this == is_named[near]) & (edge > margin[near]))
        better &= edge >= 0
        chosen = near[better]
        best[chosen], margin[chosen], height[chosen] = number, edge[better], y[better]
        is_named[chosen] = this[better]
    return best, height


def _circle(patch: Patch) -> tuple[NDArray[np.float64], float]:
    """Return a patch's centre as a unit vector, and a chord that reaches beyond its corners."""
    height, width = patch.shape
    corners = [(x, y) for x in (-1.0, float(width)) for y in (-1.0, float(height))]
    sky = [patch.wcs.to_sky((width - 1) / 2, (height - 1) / 2)]
    sky += [patch.wcs.to_sky(*corner) for corner in corners]
    centre, *others = directions(*np.array(sky).T)
    return centre, 1.01 * max(math.dist(centre, other) for other in others)
