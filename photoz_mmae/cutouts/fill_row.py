"""What was read of one object to images of the model's size, with flags.

What becomes of an object, in this order; the first that applies decides, and one of the four
flags without redshift is set at most:

1. READ_ERROR: a file is gone, forbidden, no FITS, damaged, truncated or without an image.
2. WRONG_SIZE: no two axes per band, a side below 8 pixels, or far too large for a cutout.
3. MISSING_BAND: a band of the model is not there; or some bands, not all, are dead: without a
   finite pixel, or constant. The bands that are there keep their pixels and fluxes.
4. NO_FINITE_PIXELS: every band that is there is dead, or the target lies outside the image.

Position. The target is where the header says (RA_TARG and DEC_TARG, else numeric RA and DEC, of
the image or the primary header; RA and DEC only where they fall on the image, as they may be the
telescope's), else at the array's centre. The image is shifted by whole pixels so that the
target's 0-based position is nearest to S/2 - 0.5 in both axes, and at S/2 - 1 where two are as
near: an odd image in an even size. What lies outside the model's size is cut off, what is
missing is zero (PADDED). OFF_CENTRE: the target is more than 1.5 pixels from the array's centre.

Pixel scale. An image whose scale differs from the model's by more than 2 per cent is taken as it is
(OTHER_PIXEL_SCALE), or on request resampled with its target in the very middle (RESAMPLED).

Units. Pixels are brought to AB zero point 27 (`photoz_mmae.cutouts.units`); those of a file that
states no zero point are taken to be there (NO_ZERO_POINT).

Masks and variances (`photoz_mmae.cutouts.companions`). What they say was not measured is missing.
MASKED_PIXELS: the mask says so of a pixel of the image, or wants caution within 1" of the target.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.fits import Cutout, Planes
from photoz_mmae.cutouts.pixels import Unusable
from photoz_mmae.cutouts.placing import (
    Target,
    corner,
    file_pixel_scale,
    find_target,
    overlap,
    place,
    place_companions,
    same_target,
)
from photoz_mmae.cutouts.resample import MAX_RATIO, Canvas, canvas_size, reaches_beyond
from photoz_mmae.cutouts.units import flux_factor, saturation
from photoz_mmae.cutouts.wcs import Wcs
from photoz_mmae.flags import Flag

OFF_CENTRE_PIXELS = 1.5
SCALE_TOLERANCE = 0.02

CAUTION_RADIUS = 1.0
"""arcsec: that of the aperture."""

_DEAD = "no pixel is finite, or all finite ones are equal"

# Arithmetic with members of an enumeration takes microseconds.
_OFF_CENTRE, _OTHER_PIXEL_SCALE = int(Flag.OFF_CENTRE), int(Flag.OTHER_PIXEL_SCALE)
_MASKED_PIXELS, _RESAMPLED = int(Flag.MASKED_PIXELS), int(Flag.RESAMPLED)
_FEWER_BANDS, _NO_ZERO_POINT = int(Flag.FEWER_BANDS), int(Flag.NO_ZERO_POINT)
_PADDED, _NONFINITE_PIXELS = int(Flag.PADDED), int(Flag.NONFINITE_PIXELS)


def fill_row(
    batch: CutoutBatch,
    row: int,
    cutout: Cutout,
    wanted: Wanted,
    sky: tuple[float, float] | None,
) -> None:
    """Place an object's planes in the batch; raises Unusable at the end."""
    planes, bands, size = cutout.planes, wanted.bands, wanted.size
    if not planes:
        raise Unusable(Flag.MISSING_BAND, f"no image says that it is of a band {', '.join(bands)}")
    leader = _leader(planes, bands)
    wcs = leader.wcs()
    target = find_target(leader, wcs, sky)
    if target.sky:
        batch.ra[row], batch.dec[row] = target.sky
    if sky and not target.is_on(leader.data):
        where = f"RA {sky[0]:.5f}, Dec {sky[1]:.5f}"
        raise Unusable(Flag.NO_FINITE_PIXELS, f"the position given, {where}, is not on its image")
    flags = 0
    if not target.off_centre(leader) <= OFF_CENTRE_PIXELS:
        flags |= _OFF_CENTRE
    scale = file_pixel_scale(leader, wcs)
    if batch.raw is not None:
        batch.raw.scale[row] = scale or np.nan
    ratio = 1.0
    if scale and abs(scale / wanted.pixel_scale - 1) > SCALE_TOLERANCE:
        if wanted.resample and 1 / MAX_RATIO < wanted.pixel_scale / scale < MAX_RATIO:
            flags |= _RESAMPLED
            ratio = wanted.pixel_scale / scale
        else:
            flags |= _OTHER_PIXEL_SCALE
            batch.scale[row] = scale
    own = Canvas.of(batch, row)
    canvas = own if ratio == 1 else Canvas.empty(len(bands), canvas_size(size, ratio))
    arcsec = scale or wanted.pixel_scale

    complete = True
    count = sum([len(plane.data) for plane in planes])
    if count < len(bands):
        there_is = {plane.first + k for plane in planes for k in range(len(plane.data))}
        for k in set(range(len(bands))) - there_is:
            canvas.images[k], canvas.missing[k] = 0, True
    alive = True
    for some, data, there, its_scale, factor in _pieces(cutout, leader, target, wcs, scale):
        first, last = some[0].first, some[0].first + len(data)
        if its_scale and abs(its_scale / arcsec - 1) > SCALE_TOLERANCE:
            flags |= _OTHER_PIXEL_SCALE
        if factor is None:
            flags |= _NO_ZERO_POINT
            factor = 1.0
        if batch.raw is not None:
            batch.raw.factor[row, first:last] = factor
            batch.raw.single[row, first:last] = data.dtype.char == "f"
        images, missing = canvas.images[first:last], canvas.missing[first:last]
        if not there.is_on(data):
            images[...], missing[...] = 0, True
            alive = False
            flags |= _PADDED
            continue
        left, bottom = corner(there.x, canvas.size), corner(there.y, canvas.size)
        placed = place(data, left, bottom, factor, images, missing)
        if batch.raw is not None:
            inside, box = overlap(data.shape[1:], left, bottom, size)
            batch.raw.pixels[row, first:last][:, *box] = data[:, *inside]
        alive &= not placed.dead
        flags |= _NONFINITE_PIXELS * placed.nonfinite
        level = saturation(some[0].header, some[0].primary)
        if level is not None and placed.highest >= level * factor:
            canvas.saturated[first:last] = images >= np.float32(level * factor)
            complete = False
        for these in some:
            if these.masks is not None or these.variances is not None:
                near = around(there.x - left, there.y - bottom, CAUTION_RADIUS / arcsec)
                flags |= _place_beside(canvas, these, left, bottom, factor, near)
                alive &= not missing.all(axis=(1, 2)).any()
                complete = False
        if ratio == 1:
            flags |= _PADDED * placed.padded
        else:
            x, y = there.x - left, there.y - bottom
            canvas.resample_into(own, range(first, last), x, y, ratio)
            flags |= _PADDED * reaches_beyond(data.shape[1:], there.x, there.y, ratio, size)
    batch.flags[row] = flags
    if ratio == 1 and target.is_on(leader.data):
        batch.x[row] = target.x - corner(target.x, size)
        batch.y[row] = target.y - corner(target.y, size)
    elif target.is_on(leader.data):
        batch.x[row] = batch.y[row] = (size - 1) / 2
    if alive and count == len(bands) and ratio == 1:
        batch.bands_used[row] = (1 << len(bands)) - 1
        batch.written[row] = not complete or flags & (_PADDED | _NONFINITE_PIXELS) != 0
        return
    if ratio != 1:
        absent = canvas.missing.all(axis=(1, 2))
        own.images[absent], own.missing[absent] = 0, True
    measured = np.asarray(~own.missing.all(axis=(1, 2)))
    batch.bands_used[row] = sum(1 << k for k in np.flatnonzero(measured))
    present = {bands[plane.first + k] for plane in planes for k in range(len(plane.data))}
    batch.flags[row] |= require_bands(wanted, present, measured)


def _place_beside(
    canvas: Canvas,
    planes: Planes,
    left: int,
    bottom: int,
    factor: float,
    near: tuple[slice, slice],
) -> int:
    """Place masks and variances; returns MASKED_PIXELS where they ask for it, else 0."""
    flag = 0
    for k in range(len(planes.data)):
        band = planes.first + k
        unmeasured, caution = place_companions(
            *(planes, k, left, bottom, factor, canvas.images[band], canvas.missing[band]),
            *(canvas.saturated[band], canvas.variance[band]),
        )
        if unmeasured.any() or caution[near].any():
            flag = _MASKED_PIXELS
    return flag


def _leader(planes: Sequence[Planes], bands: Sequence[str]) -> Planes:
    """Return the image that tells where the target is: that of i, else the first."""
    if len(planes) > 1 and "i" in bands:
        number = bands.index("i")
        for plane in planes:
            if plane.first <= number < plane.first + len(plane.data):
                return plane
    return planes[0]


class _Piece(NamedTuple):
    """What can be put in place at once: of one band, or of all where they lie alike.

    Attributes
    ----------
    planes : sequence of Planes
    data : ndarray (K, H, W)
    target : Target
    scale : float or None
        arcsec per pixel, where the file tells it.
    factor : float or None
        Brings them to zero point 27; None where nobody tells it.
    """

    planes: Sequence[Planes]
    data: NDArray[Any]
    target: Target
    scale: float | None
    factor: float | None


def _pieces(
    cutout: Cutout, leader: Planes, target: Target, wcs: Wcs | None, scale: float | None
) -> Iterator[_Piece]:
    """Yield the images of an object; target, WCS and pixel scale are those of the leader."""
    planes, factor = cutout.planes, _factor(leader)
    # All that the headers say of place, flux and saturation, without reading it.
    said, shape, archive = leader.cards, leader.data.shape[1:], leader.archive
    alike = [
        each is leader
        or (each.cards == said != () and each.data.shape[1:] == shape and each.archive == archive)
        for each in planes
    ]
    if len(planes) == 1:
        yield _Piece(planes, leader.data, target, scale, factor)
    elif cutout.stack is not None and all(alike):
        yield _Piece(planes, cutout.stack, target, scale, factor)
    else:
        for each, same in zip(planes, alike, strict=True):
            if same:
                yield _Piece([each], each.data, target, scale, factor)
            else:
                own = each.wcs()
                there = same_target(each, own, target, leader, wcs)
                its_scale = file_pixel_scale(each, own)
                yield _Piece([each], each.data, there, its_scale, _factor(each))


def _factor(planes: Planes) -> float | None:
    return flux_factor(planes.header, planes.primary, planes.archive)


def around(x: float, y: float, radius: float) -> tuple[slice, slice]:
    """Return the rows and columns of a box about a position."""
    rows, columns = (
        slice(max(0, round(at - radius)), max(0, round(at + radius) + 1)) for at in (y, x)
    )
    return rows, columns


def require_bands(wanted: Wanted, present: Collection[str], measured: NDArray[np.bool_]) -> int:
    """Raise Unusable unless every band of the model, or one at least, is there and alive.

    Parameters
    ----------
    wanted : Wanted
    present : collection of str
        Bands that the object has.
    measured : ndarray (B,) of bool
        Which of the model's hold an image.

    Returns
    -------
    int
        FEWER_BANDS where the model can do without those that are not there, else 0.
    """
    bands = wanted.bands
    if not wanted.every_band and measured.any():
        return 0 if measured.all() else _FEWER_BANDS
    absent = [band for band in bands if band not in present]
    dead = [band for band, is_alive in zip(bands, measured, strict=True) if not is_alive]
    if absent:
        raise Unusable(Flag.MISSING_BAND, f"no band {', '.join(absent)}")
    if len(dead) == len(bands):
        raise Unusable(
            Flag.NO_FINITE_PIXELS,
            f"no image where the target should be: {_DEAD}",
        )
    if dead:
        raise Unusable(Flag.MISSING_BAND, f"no image in band {', '.join(dead)}: {_DEAD}")
    return 0
