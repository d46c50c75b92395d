"""How surveys lay out cutouts: the files of one object, by the name of the layout.

What `hsc-das` and `lsst` hold beyond what is known of those services is said in their functions.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.errors import UsageError
from photoz_mmae.simulation.defects import MASK_PLANES, mask_bit
from photoz_mmae.simulation.exposure import electrons_per_flux
from photoz_mmae.simulation.fits_hdu import (
    PRIMARY,
    Cards,
    header,
    image_hdu,
    wcs_at_target,
    wcs_in_tract,
)
from photoz_mmae.simulation.observe import MockChunk
from photoz_mmae.simulation.render import STAMP
from photoz_mmae.simulation.request_list import (
    LINE_OF_FIRST,
    RERUN,
    ObjectTable,
    RequestList,
)
from photoz_mmae.simulation.skymap import tract_of
from photoz_mmae.surveys import NJY_PER_FLUX, ZERO_POINT, Survey

_DETECTED = 5.0  # signal to noise of a pixel that counts as detected

File = tuple[str, bytes]


@dataclass
class Stamp:
    """One object as it is written.

    Attributes
    ----------
    number : int
        The object's id.
    index : int
        How many objects come before it in the folder.
    ra, dec : float
        Of the target, deg.
    x, y : float
        Of the target in the image, pixels from 0.
    images : (B, H, W) big-endian float32 array
        Flux at AB zero point 27.
    mask : (B, H, W) int32 array
        Bits numbered by `MASK_PLANES`.
    sky_noise : (B,) array
    missing : int or None
        Number of the band without an image.
    """

    number: int
    index: int
    ra: float
    dec: float
    x: float
    y: float
    images: NDArray[np.float32]
    mask: NDArray[np.int32]
    sky_noise: NDArray[np.float64]
    missing: int | None

    def planes(self, survey: Survey) -> Iterator[tuple[int, str, NDArray[np.float32]]]:
        """Yield number, name and image of every band that has one."""
        for number, band in enumerate(survey.bands):
            if number != self.missing:
                yield number, band, self.images[number]

    @property
    def offset(self) -> tuple[float, float]:
        """Where the target is, x and y in pixels from the centre of the image."""
        height, width = self.images.shape[1:]
        return self.x - (width - 1) / 2.0, self.y - (height - 1) / 2.0


def stamps(chunk: MockChunk, first: int) -> Iterator[Stamp]:
    """Yield the objects of a chunk, the first of which is number `first` of the folder."""
    big_endian = chunk.images.astype(">f4")
    no_mask = np.zeros(chunk.images.shape[1:], dtype=np.int32)
    for row, number in enumerate(chunk.object_id):
        damage = chunk.damage.get(row)
        rows, columns = damage.box if damage else (slice(0, STAMP), slice(0, STAMP))
        x, y = (STAMP - 1) / 2.0 + chunk.offset[row]
        yield Stamp(
            number=int(number),
            index=first + row,
            ra=float(chunk.ra[row]),
            dec=float(chunk.dec[row]),
            x=float(x) - columns.start,
            y=float(y) - rows.start,
            images=big_endian[row, :, rows, columns],
            mask=(damage.mask if damage else no_mask)[:, rows, columns],
            sky_noise=chunk.sky_noise[row],
            missing=damage.missing if damage else None,
        )


def _cube(stamp: Stamp, survey: Survey) -> Iterator[File]:
    """Lay out one primary HDU (B, H, W); a missing band is a plane of NaN."""
    cards = _identity(stamp) | {"BANDS": "".join(survey.bands)} | _wcs(stamp, survey)
    yield f"{stamp.number}.fits", image_hdu(cards, stamp.images, primary=True)


def _extensions(stamp: Stamp, survey: Survey) -> Iterator[File]:
    """Lay out an empty primary HDU, then one image extension per band, such as HSC-G."""
    parts = [header(PRIMARY | _identity(stamp))]
    wcs = _wcs(stamp, survey)
    for _, band, plane in stamp.planes(survey):
        cards: Cards = {"EXTNAME": _filter(survey, band), "MAGZERO": ZERO_POINT}
        parts.append(image_hdu(cards | wcs, plane))
    yield f"{stamp.number}.fits", b"".join(parts)


def _per_band(stamp: Stamp, survey: Survey) -> Iterator[File]:
    """Lay out one file per band with its image in the primary HDU."""
    cards = _identity(stamp) | _wcs(stamp, survey)
    for _, band, plane in stamp.planes(survey):
        content = image_hdu(cards | {"FILTER": _filter(survey, band)}, plane, primary=True)
        yield f"{stamp.number}_{band}.fits", content


def _hsc_das(stamp: Stamp, survey: Survey) -> Iterator[File]:
    """Lay out what the cutout service of the HSC archive sends for coadds with mask and variance.

    Known from real files of PDR2: names (line of the request, filter, tract, rerun), a primary
    header with FILTER and FLUXMAG0, then image, mask and variance; the WCS is the tract's; neither
    object nor target is named. Those files were asked for without mask and variance: that the mask
    names its planes by MP_* is how LSST's pipelines write it. Real files have more cards and,
    behind the images, tables that nobody needs here; stamps there have an odd number of pixels.
    """
    tract = tract_of(stamp.ra, stamp.dec)
    wcs = wcs_in_tract(tract, stamp.ra, stamp.dec, stamp.x, stamp.y, survey.pixel_scale)
    planes: Cards = {f"MP_{name}": number for number, name in enumerate(MASK_PLANES)}
    photons = electrons_per_flux(survey)
    for number, band, plane in stamp.planes(survey):
        line = LINE_OF_FIRST + stamp.index * len(survey.bands) + number
        flux = plane.astype(np.float32)
        variance = stamp.sky_noise[number] ** 2 + np.maximum(flux, 0.0) / photons[number]
        mask = stamp.mask[number] | (flux > _DETECTED * np.sqrt(variance)) * mask_bit("DETECTED")
        about: Cards = {"MOCK": True, "FILTER": band, "FLUXMAG0": 10 ** (0.4 * ZERO_POINT)}
        content = header(PRIMARY | about)
        content += image_hdu(wcs | {"EXTTYPE": "IMAGE"}, plane)
        content += image_hdu(wcs | {"EXTTYPE": "MASK"} | planes, mask.astype(">i4"))
        content += image_hdu(wcs | {"EXTTYPE": "VARIANCE"}, variance.astype(">f4"))
        yield f"{line}-cutout-{_filter(survey, band)}-{tract.number}-{RERUN}.fits", content


def _lsst(stamp: Stamp, survey: Survey) -> Iterator[File]:
    """Lay out what the cutout service of Rubin's science platform sends by default: the image only.

    Known from the service's public source (lsst/dax_images_cutout): the primary header names the
    coadd (BTLR*) and the region asked for (ST_*). Known of DP1's coadds: unit nJy, the tract's
    WCS. Not known: the name of the image's extension, any other card. The service gives files
    random names; those here are what a user may call them.
    """
    tract = tract_of(stamp.ra, stamp.dec)
    wcs = wcs_in_tract(tract, stamp.ra, stamp.dec, stamp.x, stamp.y, survey.pixel_scale)
    region: Cards = {"ST_TYPE": "CIRCLE", "ST_RA": stamp.ra, "ST_DEC": stamp.dec}
    region |= {"ST_RAD": STAMP / 2.0 * survey.pixel_scale / 3600.0}
    for _, band, plane in stamp.planes(survey):
        about: Cards = {"MOCK": True, "BTLRNAME": "deep_coadd"}
        about |= {"BTLRUUID": uuid.uuid5(uuid.NAMESPACE_OID, f"{tract.number}/{band}").hex}
        about |= {"BTLRK000": "band", "BTLRV000": band}
        about |= {"BTLRK001": "skymap", "BTLRV001": "lsst_cells_v1"}
        about |= {"BTLRK002": "tract", "BTLRV002": tract.number}
        pixels = (plane * np.float32(NJY_PER_FLUX)).astype(">f4")
        content = header(PRIMARY | about | region)
        content += image_hdu(wcs | {"EXTNAME": "IMAGE", "BUNIT": "nJy"}, pixels)
        yield f"{stamp.number}_{band}.fits", content


@dataclass(frozen=True)
class Layout:
    """A way to lay out cutouts.

    Attributes
    ----------
    files : callable
        Yields names and contents of one object's files.
    tables : callable or None
        Makes what writes the files that stand beside the cutouts.
    table_names : tuple of str
        Names of those.
    of_survey : str
        Surveys that serve their cutouts so: the start of their names.
    """

    files: Callable[[Stamp, Survey], Iterator[File]]
    tables: Callable[[Path, Survey], RequestList | ObjectTable] | None = None
    table_names: tuple[str, ...] = ()
    of_survey: str = ""


_LAYOUTS = {
    "cube": Layout(_cube),
    "mef": Layout(_extensions),
    "per-band": Layout(_per_band),
    "hsc-das": Layout(_hsc_das, RequestList, RequestList.names, "hsc-"),
    "lsst": Layout(_lsst, ObjectTable, ObjectTable.names, "lsst-"),
}


def get_layout(name: str, survey: Survey) -> Layout:
    """Return a layout; raises UsageError where `survey` is not served so."""
    layout = _LAYOUTS[name]
    if not survey.name.startswith(layout.of_survey):
        raise UsageError(
            f"--layout {name} is how another survey serves its cutouts than {survey.name}: "
            "take cube, mef or per-band, or another --survey"
        )
    return layout


def _identity(stamp: Stamp) -> Cards:
    return {
        "OBJECT": str(stamp.number),
        "OBJECT_ID": stamp.number,
        "RA_TARG": stamp.ra,
        "DEC_TARG": stamp.dec,
        "MAGZERO": ZERO_POINT,
        "MOCK": True,
    }


def _wcs(stamp: Stamp, survey: Survey) -> Cards:
    return wcs_at_target(stamp.ra, stamp.dec, stamp.x, stamp.y, survey.pixel_scale)


def _filter(survey: Survey, band: str) -> str:
    return f"{survey.name.split('-')[0].upper()}-{band.upper()}"
