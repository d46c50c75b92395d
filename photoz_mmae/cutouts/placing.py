"""Where the target is in an image, and the image around it in the model's size and units."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.fits import Plane
from photoz_mmae.cutouts.headers import Header
from photoz_mmae.cutouts.wcs import Wcs, read_wcs
from photoz_mmae.surveys import ZERO_POINT

MAX_FLUX = 1e12
"""A pixel beyond this, at zero point 27, is no measurement: AB magnitude -3."""

_UNIT_ZERO_POINTS = {
    "NJY": 31.4,
    "UJY": 23.9,
    "MICROJY": 23.9,
    "MJY": 16.4,
    "JY": 8.9,
    "NANOMAGGY": 22.5,
    "NANOMAGGIES": 22.5,
    "NMGY": 22.5,
}


@dataclass(frozen=True)
class Target:
    """The target in one image: 0-based position, and (ra, dec) in deg where it is known."""

    x: float
    y: float
    sky: tuple[float, float] | None

    def is_inside(self, plane: Plane) -> bool:
        """Whether the target lies on the image; false for NaN."""
        height, width = plane.size
        return -0.5 <= self.x <= width - 0.5 and -0.5 <= self.y <= height - 0.5

    def off_centre(self, plane: Plane) -> float:
        """Distance from the array's centre, pixels."""
        x, y = _centre(plane)
        return math.hypot(self.x - x, self.y - y)


def find_target(plane: Plane, wcs: Wcs | None) -> Target:
    """Return the target by RA_TARG and DEC_TARG, by RA and DEC, or at the array's centre.

    RA and DEC count only where they fall on the image: they may be the telescope's.
    """
    x, y = _centre(plane)
    for suffix in ("_TARG", ""):
        for header in (plane.header, plane.primary):
            sky = _sky(header, f"RA{suffix}", f"DEC{suffix}")
            if sky and wcs is None:
                return Target(x, y, sky)
            if sky and wcs is not None:
                target = Target(*wcs.to_pixel(*sky), sky)
                if suffix or target.is_inside(plane):
                    return target
    return Target(x, y, wcs.to_sky(x, y) if wcs else None)


def same_target(plane: Plane, target: Target, leader: Plane) -> Target:
    """Return where a target that was found in the image `leader` is in another band's image."""
    if plane.header is leader.header:
        return target
    wcs = read_wcs(plane.header, plane.x_axis)
    if target.sky and wcs:
        return Target(*wcs.to_pixel(*target.sky), target.sky)
    if plane.size == leader.size:
        return target
    return Target(*_centre(plane), target.sky)


def corner(position: float, size: int) -> int:
    """Return the file pixel that becomes the model's pixel 0 along one axis.

    The target comes to size/2 - 0.5 or as near as whole pixels allow, and to the lower side where
    two are as near. The small margin keeps coordinates that differ by rounding together.
    """
    return math.floor(position - (size - 1) / 2 + 0.51)


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


def place(
    data: NDArray[Any],
    left: int,
    bottom: int,
    factor: float,
    image: NDArray[np.float32],
    missing: NDArray[np.bool_],
) -> tuple[bool, bool]:
    """Put the part of a file's image that begins at (left, bottom) into `image`.

    Parameters
    ----------
    data : ndarray (H, W)
        Of any number type and byte order.
    left, bottom : int
        The file's pixel that becomes pixel (0, 0); may lie outside.
    factor : float
        Brings the pixels to flux at zero point 27.
    image, missing : ndarray (S, S)
        Filled in place: all zero and all True before, and left so where nothing was measured. An
        image without a finite pixel there, or with one value only, is dead: nothing was measured.

    Returns
    -------
    padded : bool
        Part of the image lies outside the file's.
    nonfinite : bool
        A pixel of that part is NaN, infinite or absurdly large.
    """
    inside, box = overlap(data.shape, left, bottom, image.shape[0])
    pixels = data[inside]
    if not pixels.size:
        return True, False
    with np.errstate(over="ignore", invalid="ignore"):
        if factor != 1 or pixels.dtype.kind != "f":
            # float32 stays float32; integers and float64 are scaled in float64.
            kind = np.float32 if pixels.dtype.itemsize == 4 and pixels.dtype.kind == "f" else float
            pixels = pixels * np.asarray(factor, kind)
        low, high = float(pixels.min()), float(pixels.max())  # NaN where a pixel is NaN
        whole = low >= -MAX_FLUX and high <= MAX_FLUX
        finite = np.True_ if whole else np.abs(pixels) <= MAX_FLUX
    if not whole:
        measured = pixels[finite]
        low, high = (measured.min(), measured.max()) if measured.size else (0.0, 0.0)
    if low < high:
        image[box] = pixels if whole else np.where(finite, pixels, 0)
        missing[box] = ~finite
    return pixels.shape != image.shape, not whole


def file_pixel_scale(plane: Plane, wcs: Wcs | None) -> float | None:
    """Return arcsec per pixel from the WCS, else PIXSCALE, else None."""
    scale = wcs.pixel_scale if wcs else plane.number("PIXSCALE")
    return scale if scale and scale > 0 else None


def _centre(plane: Plane) -> tuple[float, float]:
    height, width = plane.size
    return (width - 1) / 2, (height - 1) / 2


def _sky(header: Header, ra_key: str, dec_key: str) -> tuple[float, float] | None:
    ra, dec = header.number(ra_key), header.number(dec_key)
    if ra is None or dec is None or not -360 <= ra <= 360 or not -90 <= dec <= 90:
        return None
    return ra % 360.0, dec


def flux_factor(plane: Plane) -> float:
    """Return what brings the file's pixels to AB zero point 27."""
    for header in (plane.header, plane.primary):
        zero_point = _zero_point(header)
        if zero_point is not None:
            return 10 ** (0.4 * (ZERO_POINT - zero_point))
    return 1.0


def _zero_point(header: Header) -> float | None:
    fluxmag0 = header.number("FLUXMAG0")
    candidates = (
        header.number("MAGZERO"),
        2.5 * math.log10(fluxmag0) if fluxmag0 and fluxmag0 > 0 else None,
        header.number("ZP"),
        _UNIT_ZERO_POINTS.get(header.text("BUNIT").upper()),
    )
    # Zero and the like mean that nobody filled it in.
    return next((value for value in candidates if value is not None and 5 < value < 50), None)
