"""One object's files to one image per band, as they are in the file, with their headers.

Layouts are recognised by content, never by the file's name:

- a cube (B, H, W) or (H, W, B); its planes are named by BANDS in its header or the primary one,
  and with exactly the model's number of planes and no BANDS they are in the model's order;
- one image HDU per band, named by EXTNAME, FILTER or BAND; variances, masks and the like
  (`HSC-G-VAR`) are passed over; where two are the same band the first counts;
- one file per band, named as `photoz_mmae.cutouts.bands` says.

Bands that are not wanted are not read.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import band_of, group_by_band, group_stem
from photoz_mmae.cutouts.companions import find_companions
from photoz_mmae.cutouts.find_bands import complete_place, find_bands, single_place
from photoz_mmae.cutouts.headers import Damaged, Header, ReadAt, walk_headers
from photoz_mmae.cutouts.ids import fits_stem, printable
from photoz_mmae.cutouts.layout import (
    Layout,
    Layouts,
    Place,
    Run,
    find_runs,
    find_stack,
)
from photoz_mmae.cutouts.lsst import (
    butler_band,
    filter_band,
    is_band_in_data,
    photo_calib_zero_point,
)
from photoz_mmae.cutouts.pixels import Unusable, read_images
from photoz_mmae.cutouts.read_ahead import Content, open_large
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.units import zero_point
from photoz_mmae.cutouts.wcs import Wcs, read_wcs
from photoz_mmae.flags import Flag

_LAYOUTS = Layouts()


@dataclass(slots=True)
class Planes:
    """Images of one shape and one header: of one band, or of the bands of a cube.

    Attributes
    ----------
    first : int
        Number of the first band; the others follow.
    data : ndarray (K, H, W)
        In the file's own units, number type and byte order.
    header, primary : Header
        Of the HDU, and the primary one of the file.
    x_axis : int
        FITS number of the axis along W.
    places : sequence of Place
        Where each of them is, with the projection of the WCS and what mask and variance mean.
    cards : tuple of bytes
        All that the headers say of position and flux; empty where that was not looked for.
    masks, variances : list of ndarray (H, W), or None
        As they are in the file.
    archive : float or None
        Zero point from an LSST exposure's archive, where the headers state none.
    """

    first: int
    data: NDArray[Any]
    header: Header
    primary: Header
    places: Sequence[Place]
    cards: tuple[bytes, ...] = ()
    masks: list[NDArray[Any]] | None = None
    variances: list[NDArray[Any]] | None = None
    archive: float | None = None

    def wcs(self) -> Wcs | None:
        """Return the WCS, or None where there is none that works."""
        place = self.places[0]
        return read_wcs(self.header, place.x_axis, place.projection, place.linear)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.data.shape[1], self.data.shape[2]

    def number(self, key: str) -> float | None:
        """Return a number from the image's header, else from the primary one."""
        value = self.header.number(key)
        return self.primary.number(key) if value is None else value


@dataclass(slots=True)
class Cutout:
    """What was read of one object.

    Attributes
    ----------
    object_id : str
        Header OBJECT_ID, else OBJECT; empty where there is none.
    planes : list of Planes
        The wanted bands that are there.
    stack : ndarray (B, H, W) or None
        All wanted bands in their order as one array, where they are that.
    """

    object_id: str = ""
    planes: list[Planes] = field(default_factory=list)
    stack: NDArray[Any] | None = None


def read_cutout(
    source: Source, contents: Sequence[Content], bands: Sequence[str], cutout: Cutout
) -> None:
    """Read the wanted bands of an object into `cutout`, whose id is set as soon as it is known.

    Parameters
    ----------
    source : Source
        Of kind `cutout`.
    contents : sequence of Content
        Of its files.
    bands : sequence of str
        The model's, in its order.
    cutout : Cutout
        Filled in place, so that the id of an object with damaged pixels is not lost.

    Raises
    ------
    Unusable
        READ_ERROR: a file is gone, forbidden, no FITS, damaged or truncated.
        WRONG_SIZE: no image with two axes per band, or one that is too small.
        An absent band is no error here: it is not among the planes.
    """
    names: Sequence[str] = ("",)
    if len(source.files) > 1:
        names = source.bands or _bands_by_name(source.files)
    # What is wrong with a band that the model does not take costs nobody a redshift.
    has_wanted = len(names) > 1 and not set(bands).isdisjoint(names)
    for path, content, name_band in zip(source.files, contents, names, strict=True):
        if has_wanted and name_band not in bands:
            continue
        try:
            if isinstance(content, Exception):
                raise content
            if content is None:
                with open_large(path) as read_at:
                    layout = _learn(read_at, name_band, bands, cutout)
                    _add_images(layout, layout.headers, read_at, cutout)
            else:
                _read_small(content, name_band, bands, cutout)
        except (OSError, Damaged) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unusable(Flag.READ_ERROR, f"{printable(path)}: {printable(reason)}") from error


def name_id(source: Source) -> str:
    """Return the id that an object's file names give it."""
    folder, name = os.path.split(source.files[0])
    stem = fits_stem(name)
    if len(source.files) > 1:
        names = [os.path.basename(path) for path in source.files]  # noqa: PTH119
        common = group_stem(names)
        if common is not None:
            stem = common or os.path.basename(folder) or stem  # noqa: PTH119
    return printable(stem)


def _bands_by_name(files: Sequence[str]) -> list[str]:
    names = [os.path.basename(path) for path in files]  # noqa: PTH119
    for _, bands in group_by_band(names):
        if len(bands) == len(files):
            band_of_name = {name: band for band, name in bands.items()}
            return [band_of_name[name] for name in names]
    raise Unusable(Flag.READ_ERROR, f"{printable(files[0])}: not one file per band by their names")


def _read_small(content: bytes, name_band: str, bands: Sequence[str], cutout: Cutout) -> None:
    """Add the planes of a file that is in memory."""

    def read_at(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    key = (name_band, tuple(bands))
    found = _LAYOUTS.find(content, key)
    if found:
        layout, headers = found
        if not cutout.planes:
            cutout.object_id = _header_id(headers)
    else:
        layout = _learn(read_at, name_band, bands, cutout, content)
        headers = layout.headers
        if not is_band_in_data(headers[0]):
            _LAYOUTS.remember(layout, content, key)
    if layout.stack is None:
        _add_images(layout, headers, read_at, cutout)
        return
    offset, shape, strides, dtype = layout.stack
    stack: NDArray[Any] = np.ndarray(shape, dtype, content, offset, strides)
    if len(stack) == len(bands):
        cutout.stack = stack
    for run in layout.runs:
        planes = _planes(layout, headers, run, stack[run.start : run.start + run.length], cutout)
        cards = planes.places[0].cards
        planes.cards = tuple([content[start:stop] for start, stop in cards])
    if layout.has_companions:
        _add_companions(layout, headers, read_at, cutout)


def _learn(
    read_at: ReadAt,
    name_band: str,
    bands: Sequence[str],
    cutout: Cutout,
    content: bytes | None = None,
) -> Layout:
    """Find out how a file is laid out; sets the id, whatever is wrong with the rest."""
    headers: list[Header] = []
    try:
        headers.extend(walk_headers(read_at))
    finally:
        if headers and not cutout.planes:
            # The id decides nothing about the layout: it is asked for without being noted.
            cutout.object_id = _header_id([header.of(header.raw) for header in headers])
    if content is not None and any(header.shape and not header.is_compressed for header in headers):
        headers = [header.within(content) for header in headers]
    companions = find_companions(headers)
    images = [headers[unit] for unit in companions]
    if not images:
        raise Damaged("no image in the file")
    said = band_of(butler_band(headers[0]) or filter_band(headers, read_at))
    if name_band:
        found = {name_band: single_place(images, headers[0], name_band, said)}
    else:
        found = find_bands(images, headers[0], bands, said)
    numbers = [number for number, band in enumerate(bands) if band in found]
    places = [complete_place(found[bands[number]], headers, companions) for number in numbers]
    beside = any(place.mask is not None or place.variance is not None for place in places)
    return Layout(
        headers,
        places,
        find_runs(numbers, places),
        find_stack(headers, places),
        bool(places) and (beside or headers[0].number("PHOTOCALIB_ID") is not None),
    )


def _add_images(layout: Layout, headers: Sequence[Header], read_at: ReadAt, cutout: Cutout) -> None:
    """Add the planes of a file that are decoded or scaled, or too large to be in memory."""
    images = _read_units(headers, [place.unit for place in layout.places], read_at)
    for run in layout.runs:
        places = layout.places[run.start : run.start + run.length]
        image, axis = images[places[0].unit], places[0].axis
        if axis is None:
            data = image[None]
        else:
            data = np.moveaxis(image, axis, 0)[[place.plane for place in places]]
        _planes(layout, headers, run, data, cutout)
    if layout.has_companions:
        _add_companions(layout, headers, read_at, cutout)


def _planes(
    layout: Layout,
    headers: Sequence[Header],
    run: Run,
    data: NDArray[Any],
    cutout: Cutout,
) -> Planes:
    places = layout.places[run.start : run.start + run.length]
    planes = Planes(run.band, data, headers[places[0].unit], headers[0], places)
    cutout.planes.append(planes)
    return planes


def _add_companions(
    layout: Layout, headers: Sequence[Header], read_at: ReadAt, cutout: Cutout
) -> None:
    """Add masks and variances to the planes of this file, and the zero point of its archive."""
    has_archive = headers[0].number("PHOTOCALIB_ID") is not None
    units = [unit for place in layout.places for unit in (place.mask, place.variance)]
    beside = _read_units(headers, [unit for unit in units if unit is not None], read_at)
    for planes in cutout.planes[-len(layout.runs) :]:
        first = planes.places[0]
        if first.mask is not None:
            planes.masks = [_plane_of(beside[first.mask], place) for place in planes.places]
        if first.variance is not None:
            variances = beside[first.variance]
            planes.variances = [_plane_of(variances, place) for place in planes.places]
        if has_archive and zero_point(planes.header, planes.primary) is None:
            planes.archive = photo_calib_zero_point(headers, read_at)


def _read_units(
    headers: Sequence[Header], units: Sequence[int], read_at: ReadAt
) -> dict[int, NDArray[Any]]:
    some = [headers[unit] for unit in sorted(set(units))]
    return {
        header.index: image.reshape(header.plain_shape)
        for header, image in zip(some, read_images(some, read_at), strict=True)
    }


def _plane_of(image: NDArray[Any], place: Place) -> NDArray[Any]:
    """Return a band's plane of what may be a cube."""
    if place.axis is None:
        return image
    plane: NDArray[Any] = np.moveaxis(image, place.axis, 0)[place.plane]
    return plane


def _header_id(headers: list[Header]) -> str:
    """Return OBJECT_ID, else OBJECT, of the primary header or the first that has one."""
    for key in ("OBJECT_ID", "OBJECT"):
        for header in headers:
            if text := header.text(key):
                return printable(text)
    return ""
