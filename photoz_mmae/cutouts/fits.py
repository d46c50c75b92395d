"""One object's files to one image per band, as they are in the file, with their headers.

Layouts are recognised by content, never by the file's name:

- a cube (B, H, W) or (H, W, B); its planes are named by BANDS in its header or the primary one,
  and with exactly the model's number of planes and no BANDS they are in the model's order;
- one image HDU per band, named by EXTNAME, FILTER or BAND; variances, masks and the like
  (`HSC-G-VAR`) are passed over; where two are the same band the first counts;
- one file per band, named as `photoz_mmae.cutouts.bands` says.

Bands that are not wanted are not read, and gzip files are inflated first, in memory.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import band_of, bands_in, group_by_band
from photoz_mmae.cutouts.headers import Damaged, Header, reader, walk_headers
from photoz_mmae.cutouts.ids import fits_stem, printable
from photoz_mmae.cutouts.pixels import Unusable, opened, read_pixels
from photoz_mmae.flags import Flag

MIN_SIDE = 8
"""Pixels: anything smaller is no image of a galaxy."""


@dataclass
class Plane:
    """The image of one band.

    Attributes
    ----------
    data : ndarray (H, W)
        In the file's own units and number type.
    header, primary : Header
        Of its HDU, and the primary one of its file.
    x_axis : int
        FITS number of the axis along W.
    """

    data: NDArray[Any]
    header: Header
    primary: Header
    x_axis: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.data.shape
        return height, width

    def number(self, key: str) -> float | None:
        """Return a number from the image's header, else from the primary one."""
        value = self.header.number(key)
        return self.primary.number(key) if value is None else value


@dataclass
class Cutout:
    """What was read of one object.

    Attributes
    ----------
    object_id : str
        Header OBJECT_ID, else OBJECT, else from the file's name.
    planes : dict of str to Plane
        The wanted bands that are there.
    """

    object_id: str
    planes: dict[str, Plane] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where in a file a band is: an HDU and, in a cube, the axis and index of its plane."""

    header: Header
    axis: int | None = None
    index: int = 0


def read_cutout(
    files: Sequence[str], bands: Sequence[str], cutout: Cutout, named: str = ""
) -> None:
    """Read the wanted bands of an object into `cutout`, whose id is set as soon as it is known.

    Parameters
    ----------
    files : sequence of str
        One file, or one per band.
    bands : sequence of str
        The model's, in its order.
    cutout : Cutout
        Filled in place, so that the id of an object with damaged pixels is not lost.
    named : str
        The bands of the files, one letter each, where they are known beforehand.

    Raises
    ------
    Unusable
        READ_ERROR: a file is gone, forbidden, no FITS, damaged or truncated.
        WRONG_SIZE: no image with two axes per band, or one smaller than `MIN_SIDE`.
        An absent band is no error here: it is not among the planes.
    """
    bands_of = dict(zip(files, named, strict=True)) if named else {}
    if not named:
        cutout.object_id = name_id(files)
    if len(files) > 1 and not named:
        names = {name: band for band, name in _band_group(files)[1].items()}
        bands_of = {path: names[os.path.basename(path)] for path in files}  # noqa: PTH119
    for path in files:
        try:
            with opened(path) as descriptor:
                _read_file(descriptor, bands_of.get(path), bands, cutout)
        except (OSError, Damaged) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unusable(Flag.READ_ERROR, f"{printable(path)}: {printable(reason)}") from error


def name_id(files: Sequence[str]) -> str:
    """Return the id that an object's file names give it."""
    folder, name = os.path.split(files[0])
    stem = fits_stem(name)
    if len(files) > 1:
        stem = _band_group(files)[0] or os.path.basename(folder) or stem  # noqa: PTH119
    return printable(stem)


def _band_group(files: Sequence[str]) -> tuple[str, dict[str, str]]:
    names = [os.path.basename(path) for path in files]  # noqa: PTH119
    for stem, bands in group_by_band(names):
        if len(bands) == len(files):
            return stem, bands
    raise Unusable(Flag.READ_ERROR, f"{printable(files[0])}: not one file per band by their names")


def _read_file(
    descriptor: int, name_band: str | None, bands: Sequence[str], cutout: Cutout
) -> None:
    """Add the planes of one file to the cutout."""
    headers: list[Header] = []
    read_at = reader(descriptor)
    try:
        headers.extend(walk_headers(read_at))
    finally:
        if headers and not cutout.planes:
            cutout.object_id = _header_id(headers) or cutout.object_id
    images = [header for header in headers if header.is_science]
    if not images:
        raise Damaged("no image in the file")
    if name_band:
        places = {name_band: _single_place(images, headers[0], name_band)}
    else:
        places = _find_bands(images, headers[0], bands)
    places = {band: place for band, place in places.items() if band in bands}
    if not places:
        return
    pixels: dict[int, NDArray[Any]] = {}
    for band, place in places.items():
        header = place.header
        if header.index not in pixels:
            pixels[header.index] = read_pixels(header, read_at).reshape(header.plain_shape)
        data, x_axis = pixels[header.index], 1
        if place.axis is not None:
            data = np.moveaxis(data, place.axis, 0)[place.index]
            x_axis = 1 if place.axis == 0 else 2
        if min(data.shape) < MIN_SIDE:
            raise Unusable(Flag.WRONG_SIZE, f"{data.shape[0]} x {data.shape[1]} pixels")
        cutout.planes[band] = Plane(data, header, headers[0], x_axis)


def _header_id(headers: list[Header]) -> str:
    """Return OBJECT_ID, else OBJECT, of the primary header or the first that has one."""
    for key in ("OBJECT_ID", "OBJECT"):
        for header in headers:
            if text := header.text(key):
                return printable(text)
    return ""


def _header_band(header: Header, primary: Header, alone: bool) -> str | None:
    """Return the band an image HDU is; the primary header speaks only for a single image."""
    for source in (header, primary) if alone else (header,):
        for key in ("EXTNAME", "FILTER", "BAND"):
            if band := band_of(source.text(key)):
                return band
    return None


def _single_place(images: list[Header], primary: Header, name_band: str) -> _Place:
    flat = [header for header in images if len(header.plain_shape) == 2]
    if not flat:
        raise Unusable(Flag.WRONG_SIZE, f"an image with axes {images[0].shape}")
    band = _header_band(flat[0], primary, alone=True) or name_band
    if band != name_band:
        raise Damaged(f"the file's name says band {name_band}, its header {band}")
    return _Place(flat[0])


def _find_bands(images: list[Header], primary: Header, bands: Sequence[str]) -> dict[str, _Place]:
    """Say where each band is; empty when the planes of a cube cannot be told."""
    cubes = [header for header in images if len(header.plain_shape) == 3]
    flat = [header for header in images if len(header.plain_shape) == 2]
    for header in cubes:
        if places := _cube_planes(header, primary, bands):
            return places
    if not cubes and not flat:
        raise Unusable(Flag.WRONG_SIZE, f"an image with axes {images[0].shape}")
    places = {}
    for header in flat:
        band = _header_band(header, primary, alone=len(flat) == 1)
        if band is None and len(flat) == len(bands) == 1:
            band = bands[0]
        if band is not None:
            places.setdefault(band, _Place(header))
    return places


def _cube_planes(header: Header, primary: Header, bands: Sequence[str]) -> dict[str, _Place]:
    named = bands_in(header.text("BANDS") or primary.text("BANDS")) or list(bands)
    shape = header.plain_shape
    # (B, H, W) before (H, W, B); a side below MIN_SIDE on the wrong end decides a tie.
    axes = [axis for axis in (0, 2) if shape[axis] == len(named)]
    axes.sort(key=lambda axis: min(shape[:axis] + shape[axis + 1 :]) < MIN_SIDE)
    if not axes:
        return {}
    places: dict[str, _Place] = {}
    for index, band in enumerate(named):
        places.setdefault(band, _Place(header, axes[0], index))
    return places
