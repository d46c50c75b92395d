"""Where the target is in an image, and the image around it in the model's size and units."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.companions import variance_of, where
from photoz_mmae.cutouts.fits import Plane
from photoz_mmae.cutouts.lsst import stencil_centre
from photoz_mmae.cutouts.wcs import Wcs, read_position, read_wcs

MAX_FLUX = 1e12
"""A pixel beyond this, at zero point 27, is no measurement: AB magnitude -3."""


Box = tuple[slice, slice]


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
    """Return the target by RA_TARG and DEC_TARG, by the region that an LSST cutout was asked for,
    by RA and DEC, or at the array's centre.

    RA and DEC count only where they fall on the image: they may be the telescope's.
    """
    x, y = _centre(plane)
    stencil = stencil_centre(plane.primary)
    for suffix in ("_TARG", ""):
        for header in (plane.header, plane.primary):
            sky = read_position(header, f"RA{suffix}", f"DEC{suffix}")
            if sky and wcs is None:
                return Target(x, y, sky)
            if sky and wcs is not None:
                target = Target(*wcs.to_pixel(*sky), sky)
                if suffix or target.is_inside(plane):
                    return target
        if stencil is not None:
            return Target(*(wcs.to_pixel(*stencil) if wcs else (x, y)), stencil)
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


def overlap(shape: tuple[int, ...], left: int, bottom: int, size: int) -> tuple[Box, Box]:
    """Return the part of a file's (H, W) pixels that falls into the image, and where in it."""
    height, width = shape
    rows = slice(max(0, bottom), max(0, min(height, bottom + size)))
    columns = slice(max(0, left), max(0, min(width, left + size)))
    return (rows, columns), (
        slice(rows.start - bottom, rows.stop - bottom),
        slice(columns.start - left, columns.stop - left),
    )


def apply_companions(
    plane: Plane,
    left: int,
    bottom: int,
    factor: float,
    image: NDArray[np.float32],
    missing: NDArray[np.bool_],
    saturated: NDArray[np.bool_],
    variance: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Bring an image's mask, variance and saturation level to a band that `place` has filled.

    Parameters
    ----------
    plane : Plane
    left, bottom, factor
        As given to `place`.
    image, missing, saturated, variance : ndarray (S, S)
        Filled in place.

    Returns
    -------
    ndarray (2, S, S) of bool
        Pixels that the mask says were not measured, and those it says are to be taken with caution.
    """
    inside, box = overlap(plane.data.shape, left, bottom, image.shape[0])
    masked = np.zeros((2, *image.shape), bool)
    if plane.saturation is not None:
        saturated[box] = plane.data[inside] >= plane.saturation
    if plane.mask is not None:
        pixels = plane.mask[inside]
        masked[0][box] = where(pixels, plane.bits.missing)
        masked[1][box] = where(pixels, plane.bits.caution)
        saturated[box] |= where(pixels, plane.bits.saturated)
    missing |= masked[0]
    if plane.variance is not None:
        values, unmeasured = variance_of(plane.variance, plane.power)
        variance[box] = values[inside] * factor**2
        missing[box] |= unmeasured[inside]
    image[missing] = 0
    variance[missing] = 0
    return masked


def file_pixel_scale(plane: Plane, wcs: Wcs | None) -> float | None:
    """Return arcsec per pixel from the WCS, else PIXSCALE, else None."""
    scale = wcs.pixel_scale if wcs else plane.number("PIXSCALE")
    return scale if scale and scale > 0 else None


def _centre(plane: Plane) -> tuple[float, float]:
    height, width = plane.size
    return (width - 1) / 2, (height - 1) / 2
