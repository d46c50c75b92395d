"""What files of LSST's pipelines say beyond the headers of their images.

Cutouts. The cutout service (lsst/dax_images_cutout) notes in the primary header which dataset a
cutout is from, as pairs BTLRKnnn = name and BTLRVnnn = value of a dimension, and the region that
was asked for: ST_TYPE 'CIRCLE' with ST_RA, ST_DEC, ST_RAD, or 'POLYGON' with ST_RAnn, ST_DECnn,
all in deg.

Exposures (lsst/afw, ExposureF). Behind image, mask and variance stands an archive of tables:
AR_HDU, counted from 1, is that of its index, and the objects in it have numbers, which the
primary header gives as PHOTOCALIB_ID, FILTER_ID and so on. A row of the index names an object's
class, the table (AR_HDU + cat.archive) and its first row. Of a PhotoCalib the column
calibrationMean counts, nJy per unit of the image (PhotoCalib.cc; in the tables without a column
`version`, of 2018 and before, it is in maggies); a calibration that varies over the image is
taken at its mean. Of a FilterLabel the column `band` counts.

Cell coadds of Data Preview 2 (lsst/images): DATAMODL in the primary header names the kind, and the
table `JSON` holds one text with all that is not an image; its `band` counts.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from photoz_mmae.cutouts.binary_table import read_rows, row_type
from photoz_mmae.cutouts.headers import Damaged, Header, ReadAt
from photoz_mmae.cutouts.wcs import read_position

_MAX_INDEX = 100_000
_MAX_TREE = 16 << 20
_NJY_ZERO_POINT = 31.4


def butler_band(primary: Header) -> str:
    """Return the band of the dataset that a cutout is from, as it is written, or ''."""
    for n in range(100):
        name = primary.text(f"BTLRK{n:03d}")
        if not name or name == "band":
            return primary.text(f"BTLRV{n:03d}") if name else ""
    return ""


def stencil_centre(primary: Header) -> tuple[float, float] | None:
    """Return (ra, dec), deg, of the centre of the region that a cutout was asked for.

    Of a polygon that is the mean of its corners' directions: a box's centre, also where the box
    went over the edge of the coadd and the image is not its whole.
    """
    kind = primary.text("ST_TYPE")
    if kind == "CIRCLE":
        return read_position(primary, "ST_RA", "ST_DEC")
    if kind != "POLYGON":
        return None
    corners = []
    for n in range(100):
        corner = read_position(primary, f"ST_RA{n:02d}", f"ST_DEC{n:02d}")
        if corner is None:
            break
        corners.append(np.radians(corner))
    if len(corners) < 3:
        return None
    ra, dec = np.transpose(corners)
    x, y, z = (
        float(part.mean())
        for part in (np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec))
    )
    if math.hypot(x, y, z) < 1e-6:
        return None
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def photo_calib_zero_point(headers: Sequence[Header], read_at: ReadAt) -> float | None:
    """Return the AB zero point that an exposure's PhotoCalib is, or None where it has none.

    Parameters
    ----------
    headers : sequence of Header
        All of the file.
    read_at : callable
        Reads it.

    Raises
    ------
    Damaged
        The header says that there is one, and it cannot be found.
    """
    row = _archived(headers, read_at, "PHOTOCALIB", "PhotoCalib")
    if row is None:
        return None
    mean = float(row["calibrationMean"])
    if not (math.isfinite(mean) and mean > 0):
        raise Damaged(f"its PhotoCalib has the calibration {mean}")
    zero_point = _NJY_ZERO_POINT if "version" in row.dtype.names else 0.0
    return zero_point - 2.5 * math.log10(mean)


def is_band_in_data(primary: Header) -> bool:
    """Whether files with the same headers may be of different bands: their tables say it."""
    return primary.number("FILTER_ID") is not None or bool(primary.text("DATAMODL"))


def filter_band(headers: Sequence[Header], read_at: ReadAt) -> str:
    """Return the band that the tables of an exposure or a cell coadd name, or ''."""
    try:
        if headers[0].text("DATAMODL"):
            return _tree_band(headers, read_at)
        row = _archived(headers, read_at, "FILTER", "FilterLabel")
    except Damaged:
        return ""  # a cutout may keep the header of its coadd without the archive
    return "" if row is None else bytes(row["band"]).rstrip(b"\0 ").decode("ascii", "replace")


def _tree_band(headers: Sequence[Header], read_at: ReadAt) -> str:
    for header in headers:
        if header.is_table and header.text("EXTNAME") == "JSON":
            length, place = (int(number) for number in read_rows(header, read_at)[0]["JSON"])
            rows = header.integer("NAXIS1") * header.integer("NAXIS2")
            if not (0 <= length <= _MAX_TREE and 0 <= place <= header.data_size):
                break
            start = header.data_start + header.integer("THEAP", rows) + place
            try:
                tree = json.loads(read_at(start, length))
            except (ValueError, RecursionError):
                break
            band = tree.get("band") if isinstance(tree, dict) else None
            return band if isinstance(band, str) else ""
    return ""


def _archived(headers: Sequence[Header], read_at: ReadAt, component: str, kind: str) -> Any:
    """Return the row of the archive's table that holds an object; None where there is none."""
    number, index = headers[0].number(f"{component}_ID"), headers[0].number("AR_HDU")
    if not number or not index:
        return None
    place = int(index) - 1
    if not 0 < place < len(headers) or headers[place].text("EXTTYPE") != "ARCHIVE_INDEX":
        raise Damaged(f"its {kind} is not in the file: the archive is missing")
    rows = headers[place].integer("NAXIS2")
    if not {"id", "name", "cat.archive", "row0"} <= set(row_type(headers[place]).names or ()):
        raise Damaged("the index of its archive has not the columns of one")
    for entry in read_rows(headers[place], read_at, 0, min(rows, _MAX_INDEX)):
        if entry["id"] == number and bytes(entry["name"]).rstrip(b"\0 ") == kind.encode():
            table = place + int(entry["cat.archive"])
            if not 0 <= table < len(headers) or not headers[table].is_table:
                break
            names = row_type(headers[table]).names
            if ("calibrationMean" if kind == "PhotoCalib" else "band") not in (names or ()):
                break
            return read_rows(headers[table], read_at, int(entry["row0"]))[0]
    raise Damaged(f"its archive has no {kind}")
