"""Objects with files of their own to images of the model's size, with flags.

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

Units. Pixels are brought to AB zero point 27 from MAGZERO, FLUXMAG0, ZP or BUNIT, in that order,
of the image's header, then the primary one; without any they are taken to be there already.
"""

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted
from photoz_mmae.cutouts.fits import Cutout, read_cutout
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.pixels import Unusable
from photoz_mmae.cutouts.placing import (
    corner,
    file_pixel_scale,
    find_target,
    flux_factor,
    overlap,
    place,
    same_target,
)
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.wcs import read_wcs
from photoz_mmae.flags import Flag

OFF_CENTRE_PIXELS = 1.5
SCALE_TOLERANCE = 0.02


def fill_from_files(
    batch: CutoutBatch,
    rows: Sequence[int],
    sources: Sequence[Source],
    wanted: Wanted,
    positions: Positions | None,
) -> None:
    """Read objects that have files of their own into rows of a batch.

    Parameters
    ----------
    batch : CutoutBatch
        Filled in place.
    rows : sequence of int
        Where each source belongs.
    sources : sequence of Source
        Of kind `cutout`.
    wanted : Wanted
    positions : callable or None
    """
    for row, source in zip(rows, sources, strict=True):
        cutout = Cutout(object_id="")
        batch.missing[row] = True
        try:
            read_cutout(source.files, wanted.bands, cutout)
            _fill_row(batch, row, cutout, wanted)
        except Unusable as error:
            batch.flags[row] |= error.flag
            batch.reason[row] = error.reason
        except Exception as error:  # one object's oddity must never cost the others their rows
            batch.images[row] = 0
            batch.missing[row] = True
            batch.bands_used[row] = 0
            batch.flags[row] = Flag.READ_ERROR
            batch.reason[row] = f"{batch.source[row]}: {type(error).__name__}: {error}"
        batch.object_id[row] = cutout.object_id or printable(source.files[0])


def _fill_row(batch: CutoutBatch, row: int, cutout: Cutout, wanted: Wanted) -> None:
    """Place an object's planes in the batch; raises Unusable at the end."""
    planes, bands = cutout.planes, wanted.bands
    if not planes:
        raise Unusable(Flag.MISSING_BAND, f"no image says that it is of a band {', '.join(bands)}")
    leader = planes["i"] if "i" in planes else next(iter(planes.values()))
    wcs = read_wcs(leader.header, leader.x_axis)
    target = find_target(leader, wcs)
    if target.sky:
        batch.ra[row], batch.dec[row] = target.sky
    flags = Flag(0)
    if not target.off_centre(leader) <= OFF_CENTRE_PIXELS:
        flags |= Flag.OFF_CENTRE
    scale = file_pixel_scale(leader, wcs)
    if batch.raw is not None:
        batch.raw.scale[row] = scale or np.nan
    if scale and abs(scale / wanted.pixel_scale - 1) > SCALE_TOLERANCE:
        flags |= Flag.OTHER_PIXEL_SCALE
        batch.scale[row] = scale

    images = batch.images[row]
    missing = batch.missing[row]
    for k, band in enumerate(bands):
        if band in planes:
            plane = planes[band]
            factor = flux_factor(plane)
            if batch.raw is not None:
                batch.raw.factor[row, k] = factor
                batch.raw.single[row, k] = plane.data.dtype.char == "f"
            there = same_target(plane, target, leader)
            if not there.is_inside(plane):
                flags |= Flag.PADDED
                continue
            left, bottom = corner(there.x, wanted.size), corner(there.y, wanted.size)
            padded, nonfinite = place(plane.data, left, bottom, factor, images[k], missing[k])
            if batch.raw is not None:
                inside, box = overlap(plane.data.shape, left, bottom, wanted.size)
                batch.raw.pixels[row, k][box] = plane.data[inside]
            flags |= Flag.PADDED * padded | Flag.NONFINITE_PIXELS * nonfinite
    batch.flags[row] = flags
    alive = np.array([not band.all() for band in missing])
    batch.bands_used[row] = sum(1 << k for k in np.flatnonzero(alive))
    if target.is_inside(leader):
        batch.x[row] = target.x - corner(target.x, wanted.size)
        batch.y[row] = target.y - corner(target.y, wanted.size)
    require_bands(bands, planes, alive)


def require_bands(bands: Sequence[str], there: Container[str], alive: NDArray[np.bool_]) -> None:
    """Raise Unusable unless every band of the model is there and alive.

    Parameters
    ----------
    bands : sequence of str
        The model's.
    there : container of str
        Those that the object has.
    alive : ndarray (B,) of bool
        Which of the model's hold an image.
    """
    absent = [band for band in bands if band not in there]
    dead = [band for band, is_alive in zip(bands, alive, strict=True) if not is_alive]
    if absent:
        raise Unusable(Flag.MISSING_BAND, f"no band {', '.join(absent)}")
    if len(dead) == len(bands):
        raise Unusable(
            Flag.NO_FINITE_PIXELS,
            "no finite pixels that differ from each other where the target should be",
        )
    if dead:
        raise Unusable(Flag.MISSING_BAND, f"no finite pixels that differ in band {', '.join(dead)}")
