"""Where the target is in an image, and the image around it in the model's size and units."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.companions import variance_of, where
from photoz_mmae.cutouts.fits import Planes
from photoz_mmae.cutouts.lsst import stencil_centre
from photoz_mmae.cutouts.wcs import Wcs, read_position

MAX_FLUX = 1e12
"""A pixel beyond this, at zero point 27, is no measurement: AB magnitude -3."""


class Target(NamedTuple):
    """The target in one image: 0-based position, and (ra, dec) in deg where it is known."""

    x: float
    y: float
    sky: tuple[float, float] | None

    def is_on(self, data: NDArray[Any]) -> bool:
        """Whether the target lies on the images (..., H, W); false for NaN."""
        height, width = data.shape[-2:]
        return bool(-0.5 <= self.x <= width - 0.5 and -0.5 <= self.y <= height - 0.5)

    def off_centre(self, plane: Planes) -> float:
        """Distance from the array's centre, pixels."""
        x, y = _centre(plane)
        return math.hypot(self.x - x, self.y - y)


def find_target(plane: Planes, wcs: Wcs | None, sky: tuple[float, float] | None = None) -> Target:
    """Return the target in an image.

    It is at `sky` where that is given, else at RA_TARG and DEC_TARG, else in the middle of the
    region that an LSST cutout was asked for, else at RA and DEC, else at the array's centre. RA and
    DEC count only where they fall on the image: they may be the telescope's.
    """
    if sky:
        return Target(*(wcs.to_pixel(*sky) if wcs else _centre(plane)), sky)
    header, primary = plane.header, plane.primary
    headers = (header,) if header is primary else (header, primary)
    for each in headers:
        sky = read_position(each, "RA_TARG", "DEC_TARG")
        if sky:
            return Target(*(wcs.to_pixel(*sky) if wcs else _centre(plane)), sky)
    if sky := stencil_centre(primary):
        return Target(*(wcs.to_pixel(*sky) if wcs else _centre(plane)), sky)
    for each in headers:
        sky = read_position(each, "RA", "DEC")
        if sky:
            target = Target(*(wcs.to_pixel(*sky) if wcs else _centre(plane)), sky)
            if target.is_on(plane.data):
                return target
    x, y = _centre(plane)
    return Target(x, y, wcs.to_sky(x, y) if wcs else None)


def same_target(
    plane: Planes, wcs: Wcs | None, target: Target, leader: Planes, leader_wcs: Wcs | None
) -> Target:
    """Return where a target that was found in the image `leader` is in another band's image."""
    if plane.header is leader.header:
        return target
    if target.sky:
        if wcs and not (wcs == leader_wcs and plane.size == leader.size):
            return Target(*wcs.to_pixel(*target.sky), target.sky)
        if wcs:
            return target
    if plane.size == leader.size:
        return target
    return Target(*_centre(plane), target.sky)


def corner(position: float, size: int) -> int:
    """Return the file pixel that becomes the model's pixel 0 along one axis.

    The target comes to size/2 - 0.5 or as near as whole pixels allow, and to the lower side where
    two are as near. The small margin keeps coordinates that differ by rounding together.
    """
    return math.floor(position - (size - 1) / 2 + 0.51)


def corners(positions: NDArray[np.float64], size: int) -> NDArray[np.intp]:
    """Do as `corner` with n positions; those far from any image come no farther than 1e9."""
    return np.floor(positions - (size - 1) / 2 + 0.51).clip(-1e9, 1e9).astype(np.intp)


def overlap(
    shape: tuple[int, ...], left: int, bottom: int, size: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return which pixels of a file's image are in the model's, and where they are there.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the file's image.
    left, bottom : int
        The file's pixel that becomes pixel (0, 0); may lie outside.
    size : int
        Side of the model's image.
    """
    inside = tuple(
        slice(min(max(0, first), length), max(0, min(length, first + size)))
        for first, length in zip((bottom, left), shape, strict=True)
    )
    box = tuple(
        slice(part.start - first, part.stop - first)
        for part, first in zip(inside, (bottom, left), strict=True)
    )
    return (inside[0], inside[1]), (box[0], box[1])


class Placed(NamedTuple):
    """What was found while images were put in place.

    Attributes
    ----------
    padded : bool
        Part of them lies outside the file's images.
    nonfinite : bool
        A pixel of the part that lies inside is NaN, infinite or absurdly large.
    dead : bool
        In one of them nothing was measured.
    highest : float
        Of all pixels.
    """

    padded: bool
    nonfinite: bool
    dead: bool
    highest: float


def place(
    data: NDArray[Any],
    left: int,
    bottom: int,
    factor: float,
    images: NDArray[np.float32],
    missing: NDArray[np.bool_],
) -> Placed:
    """Put the part of a file's images that begins at (left, bottom) into `images`.

    Parameters
    ----------
    data : ndarray (K, H, W)
        Of any number type and byte order.
    left, bottom : int
        The file's pixel that becomes pixel (0, 0); may lie outside.
    factor : float
        Brings the pixels to flux at zero point 27.
    images, missing : ndarray (K, S, S)
        Filled in place; `missing` is all False before. An image without a finite pixel there, or
        with one value only, is dead: nothing was measured.

    Returns
    -------
    Placed
    """
    count, size, _ = images.shape
    _, height, width = data.shape
    if left >= 0 and bottom >= 0 and left + size <= width and bottom + size <= height:
        if size != width or size != height:
            data = data[:, bottom : bottom + size, left : left + size]
        _scale_into(images, data, factor)
        flat = images.reshape(count, size * size)
        lowest = np.minimum.reduce(flat, axis=1).tolist()
        highest = np.maximum.reduce(flat, axis=1).tolist()
        for low, high in zip(lowest, highest, strict=True):
            # NaN where a pixel is NaN, and no comparison with it holds.
            if not -MAX_FLUX <= low < high <= MAX_FLUX:
                break
        else:
            return Placed(False, False, False, max(highest))
        left = bottom = 0
        height = width = size
    images[...] = 0
    missing[...] = True
    inside, box = overlap((height, width), left, bottom, size)
    some = data[:, *inside]
    if not some.size:
        return Placed(True, False, True, 0.0)
    pixels = np.empty(some.shape, np.float32)
    _scale_into(pixels, some, factor)
    finite = np.abs(pixels) <= MAX_FLUX
    for k, (image, measured) in enumerate(zip(pixels, finite, strict=True)):
        values = image[measured]
        if values.size and values.min() < values.max():
            images[k, *box] = np.where(measured, image, 0)
            missing[k, *box] = ~measured
    dead = bool(missing.all(axis=(1, 2)).any())
    whole = pixels.shape == images.shape
    return Placed(not whole, not finite.all(), dead, float(images.max()))


def place_companions(
    planes: Planes,
    k: int,
    left: int,
    bottom: int,
    factor: float,
    image: NDArray[np.float32],
    missing: NDArray[np.bool_],
    saturated: NDArray[np.bool_],
    variance: NDArray[np.float32],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Bring an image's mask and variance to a band that `place` has filled.

    Parameters
    ----------
    planes : Planes
    k : int
        Number of the band in it.
    left, bottom, factor
        As given to `place`.
    image, missing, saturated, variance : ndarray (S, S)
        Filled in place.

    Returns
    -------
    unmeasured, caution : ndarray (S, S) of bool
        Pixels of which the mask says that they were not measured, or that caution is needed.
    """
    size = image.shape[0]
    inside, box = overlap(planes.size, left, bottom, size)
    unmeasured, caution = np.zeros((2, size, size), bool)
    place = planes.places[k]
    if planes.masks is not None:
        pixels = planes.masks[k][inside]
        unmeasured[box] = where(pixels, place.bits.missing)
        caution[box] = where(pixels, place.bits.caution)
        saturated[box] |= where(pixels, place.bits.saturated)
    missing |= unmeasured
    if planes.variances is not None:
        values, infinite = variance_of(planes.variances[k], place.power, factor)
        variance[box] = values[inside]
        missing[box] |= infinite[inside]
    image[missing] = 0
    variance[missing] = 0
    return unmeasured, caution


def _scale_into(images: NDArray[np.float32], pixels: NDArray[Any], factor: float) -> None:
    """Fill images with pixels times a factor: float32 stays so, others are scaled in float64."""
    if pixels.dtype.kind == "f" and (factor == 1 or pixels.dtype.itemsize == 4):
        images[...] = pixels
        if factor != 1:
            images *= np.float32(factor)
    else:
        images[...] = pixels * np.float64(factor)


def file_pixel_scale(plane: Planes, wcs: Wcs | None) -> float | None:
    """Return arcsec per pixel from the WCS, else PIXSCALE, else None; also where it is absurd."""
    scale = wcs.pixel_scale if wcs else plane.number("PIXSCALE")
    return scale if scale and is_pixel_scale(scale) else None


def is_pixel_scale(scale: float) -> bool:
    """Whether an image can have pixels of so many arcsec."""
    return 1e-3 < scale < 1e3


def _centre(plane: Planes) -> tuple[float, float]:
    height, width = plane.size
    return (width - 1) / 2, (height - 1) / 2
