"""Bands, pixels, units and positions of a FITS file's images."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import band_of, bands_in
from photoz_mmae.cutouts.companions import Companions, mask_planes, variance_of, where
from photoz_mmae.cutouts.headers import Damaged, Header, ReadAt
from photoz_mmae.cutouts.inspect.facts import BandFacts, Inspection, Point
from photoz_mmae.cutouts.lsst import (
    butler_band,
    filter_band,
    photo_calib_zero_point,
    stencil_centre,
)
from photoz_mmae.cutouts.pixels import Unusable, read_pixels
from photoz_mmae.cutouts.placing import MAX_FLUX
from photoz_mmae.cutouts.units import saturation, stated_zero_points
from photoz_mmae.cutouts.wcs import Wcs, read_position, read_wcs

_SAME_ZERO_POINT = 0.01  # mag
_SAME_PLACE = 1e-7  # deg


class _Planes(NamedTuple):
    """The bands of an image's planes, and in a cube the axis along which they are."""

    bands: list[str]
    axis: int | None

    @property
    def x_axis(self) -> int:
        """FITS number of the image's x axis."""
        return 2 if self.axis == 2 else 1

    def of(self, image: NDArray[Any], header: Header) -> NDArray[Any]:
        """Return an image as (planes, H, W)."""
        image = image.reshape(header.plain_shape)
        return image[None] if self.axis is None else np.moveaxis(image, self.axis, 0)


def look_at_images(
    headers: Sequence[Header],
    companions: dict[int, Companions],
    read_at: ReadAt,
    model_bands: Sequence[str],
    found: Inspection,
) -> None:
    """Add the bands, the centre of the image, and what is wrong with them, to `found`.

    Parameters
    ----------
    headers : sequence of Header
        All of the file.
    companions : dict of int to Companions
        Its images of the sky.
    read_at : callable
        Reads the file.
    model_bands : sequence of str
        What the planes of a cube are that does not say it.
    found : Inspection
    """
    images = [headers[index] for index in companions if len(headers[index].plain_shape) in (2, 3)]
    said = (butler_band(headers[0]) or filter_band(headers, read_at)) if len(images) == 1 else ""
    for header in images:
        planes = _name_planes(header, headers[0], len(images) == 1, said, model_bands)
        try:
            found.bands += _look_at_planes(headers, header, companions, planes, read_at)
            _check_zero_points(header, headers[0], found)
        except (Damaged, Unusable) as error:
            text = str(error)
            found.wrong.append(text if text.startswith("HDU") else f"HDU {header.index}: {text}")
        if read_wcs(header, planes.x_axis) is None and header.text("CTYPE1"):
            found.wrong.append(f"HDU {header.index}: its WCS is none that works")
    if any(band.band == "?" for band in found.bands):
        others = [said, *(source.text("FILTER") for source in (headers[0], *images))]
        if name := next((text for text in others if text), ""):
            found.notes.append(f"its band {name!r} is none of u, g, r, i, z, y")
        else:
            found.notes.append("no header says its band; of one file per band the names may")
    for band in found.bands:
        if band.dead:
            why = "no pixel is finite" if band.lowest is None else "all finite pixels are equal"
            found.wrong.append(f"band {band.band} (HDU {band.unit}): {why}")
    if len({(band.height, band.width) for band in found.bands}) > 1:
        found.notes.append("its images have different sizes")
    if found.bands and not any(band.zero_point for band in found.bands):
        found.notes.append("no zero point is stated: predict takes it to be 27.0")
    leader = leading(found.bands)
    if leader is not None:
        wcs = _wcs_of(headers, leader)
        x, y = (leader.width - 1) / 2, (leader.height - 1) / 2
        ra, dec = wcs.to_sky(x, y) if wcs else (None, None)
        found.centre = Point(x, y, ra, dec, "")
        if wcs is None:
            found.notes.append("no WCS: nothing says which place on the sky a pixel is")


def locate_target(
    headers: Sequence[Header], sky: tuple[float, float] | None, found: Inspection
) -> None:
    """Add where the target is, which the readers have found at `sky` (ra, dec), to `found`."""
    leader, centre = leading(found.bands), found.centre
    if leader is None or centre is None:
        return
    if sky is None:
        found.target = Point(centre.x, centre.y, None, None, "the array's centre")
        return
    wcs = _wcs_of(headers, leader)
    x, y = wcs.to_pixel(*sky) if wcs else (centre.x, centre.y)
    found.target = Point(x, y, *sky, _who_says(headers, leader, sky))
    if not (-0.5 <= x <= leader.width - 0.5 and -0.5 <= y <= leader.height - 0.5):
        found.wrong.append("the target lies outside the image")


def leading(bands: Sequence[BandFacts]) -> BandFacts | None:
    """Return the band that the readers take the position from: i, else the first."""
    return next((band for band in bands if band.band == "i"), next(iter(bands), None))


def _who_says(headers: Sequence[Header], leader: BandFacts, sky: tuple[float, float]) -> str:
    for keys in (("RA_TARG", "DEC_TARG"), ("RA", "DEC")):
        for header in (headers[leader.unit], headers[0]):
            if _is_same(read_position(header, *keys), sky):
                return ", ".join(keys)
    if _is_same(stencil_centre(headers[0]), sky):
        return "the region that was asked for, ST_*"
    wcs = _wcs_of(headers, leader)
    x, y = (leader.width - 1) / 2, (leader.height - 1) / 2
    if wcs and _is_same(wcs.to_sky(x, y), sky):
        return "the array's centre"
    return "another file of the object"


def _is_same(one: tuple[float, float] | None, two: tuple[float, float]) -> bool:
    return one is not None and all(abs(a - b) < _SAME_PLACE for a, b in zip(one, two, strict=True))


def _wcs_of(headers: Sequence[Header], band: BandFacts) -> Wcs | None:
    header = headers[band.unit]
    is_last = band.plane is not None and header.plain_shape[:2] == (band.height, band.width)
    return read_wcs(header, 2 if is_last else 1)


def _name_planes(
    header: Header, primary: Header, alone: bool, said: str, model_bands: Sequence[str]
) -> _Planes:
    shape = header.plain_shape
    if len(shape) == 2:
        sources = [header, primary] if alone else [header]
        texts = [source.text(key) for source in sources for key in ("EXTNAME", "FILTER", "BAND")]
        band = next((band for text in [*texts, said] if (band := band_of(text))), "?")
        return _Planes([band], None)
    named = bands_in(header.text("BANDS") or primary.text("BANDS")) or list(model_bands)
    for axis in (0, 2):
        if shape[axis] == len(named):
            return _Planes(named, axis)
    axis = 0 if shape[0] <= shape[2] else 2
    return _Planes(["?"] * shape[axis], axis)


def _look_at_planes(
    headers: Sequence[Header],
    header: Header,
    companions: dict[int, Companions],
    planes: _Planes,
    read_at: ReadAt,
) -> Iterator[BandFacts]:
    """Yield what the pixels of an image are like, plane by plane."""
    own = companions[header.index]
    image = planes.of(read_pixels(header, read_at), header)
    names: dict[str, int] = {}
    mask = variance = None
    if own.mask is not None:
        names = mask_planes(headers[own.mask])
        mask = planes.of(read_pixels(headers[own.mask], read_at), header)
    if own.variance is not None:
        variance = planes.of(read_pixels(headers[own.variance], read_at), header)
    zero_point, by = next(stated_zero_points(header, headers[0]), (None, ""))
    if zero_point is None:
        zero_point = photo_calib_zero_point(headers, read_at)
        by = "" if zero_point is None else "its PhotoCalib"
    wcs = read_wcs(header, planes.x_axis)
    scale = wcs.pixel_scale if wcs else header.number("PIXSCALE") or headers[0].number("PIXSCALE")
    level = saturation(header, headers[0])
    for n, band in enumerate(planes.bands):
        with np.errstate(invalid="ignore"):
            finite = np.abs(image[n]) <= MAX_FLUX
        pixels = image[n][finite]
        lowest, highest = (pixels.min(), pixels.max()) if pixels.size else (None, None)
        facts = BandFacts(
            band=band,
            unit=header.index,
            plane=None if planes.axis is None else n,
            height=image.shape[1],
            width=image.shape[2],
            nonfinite=int((~finite).sum()),
            saturated=0 if level is None else int((pixels >= level).sum()),
            lowest=None if lowest is None else float(lowest),
            highest=None if highest is None else float(highest),
            dead=bool(lowest == highest),
            pixel_scale=scale,
            zero_point=zero_point,
            zero_point_from=by,
        )
        if mask is not None:
            facts.mask = {name: float(where(mask[n], bit).mean()) for name, bit in names.items()}
        if variance is not None:
            values = variance_of(variance[n], own.power)[0]
            known = values[values > 0]
            facts.sigma = float(np.sqrt(np.median(known))) if known.size else None
        yield facts


def _check_zero_points(header: Header, primary: Header, found: Inspection) -> None:
    (first, key), *others = [*stated_zero_points(header, primary)] or [(0.0, "")]
    for value, other in others:
        if abs(value - first) > _SAME_ZERO_POINT:
            found.wrong.append(
                f"HDU {header.index}: zero point {first:.3f} by {key}, {value:.3f} by {other}; the "
                "first counts"
            )
