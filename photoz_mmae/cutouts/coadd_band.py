"""The coadd of one band of a patch: what its headers say, and its rows."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.coadds import coadd_images
from photoz_mmae.cutouts.companions import MaskBits, mask_bits
from photoz_mmae.cutouts.headers import Damaged, Header, ReadAt, walk_headers
from photoz_mmae.cutouts.lsst import photo_calib_zero_point
from photoz_mmae.cutouts.pixels import read_rows
from photoz_mmae.cutouts.units import flux_factor, saturation, zero_point


@dataclass(frozen=True)
class CoaddBand:
    """The image of one band of a patch, in an open file, with its mask and variance.

    Attributes
    ----------
    header, mask, variance : Header, and Header or None
        Of the image; of a mask that says something; of a variance.
    bits : MaskBits
    power : int
        As in `photoz_mmae.cutouts.companions.Companions`.
    factor : float
        Brings pixels to flux at zero point 27.
    has_zero_point : bool
        Whether anybody tells it; if not, the factor is 1.
    saturation : float
        Flux there from which on pixels are saturated; infinite where nobody says it.
    read_at : callable
        Reads the file.
    """

    header: Header
    mask: Header | None
    variance: Header | None
    bits: MaskBits
    power: int
    factor: float
    has_zero_point: bool
    saturation: float
    read_at: ReadAt

    @classmethod
    def find(cls, read_at: ReadAt) -> Self:
        """Find the image in a file.

        Raises
        ------
        Damaged
            There is none, it is truncated, or its unit is no flux.
        """
        headers: list[Header] = []
        try:
            headers.extend(walk_headers(read_at))
        except Damaged:
            if not coadd_images(headers):
                raise
        found = coadd_images(headers)
        if not found:
            raise Damaged("no image in the file any more")
        unit, beside = next(iter(found.items()))
        header, primary = headers[unit], headers[0]
        bits = MaskBits() if beside.mask is None else mask_bits(headers[beside.mask])
        mask = None if beside.mask is None or bits == MaskBits() else headers[beside.mask]
        variance = None if beside.variance is None else headers[beside.variance]
        for each in (header, mask, variance):
            if each is not None and not read_at(each.data_start + each.data_size - 1, 1):
                raise Damaged(f"truncated: the image of HDU {each.index} is not all there")
        archive = None
        if zero_point(header, primary) is None and primary.number("PHOTOCALIB_ID") is not None:
            archive = photo_calib_zero_point(headers, read_at)
        told = flux_factor(header, primary, archive)
        factor = 1.0 if told is None else told
        level = saturation(header, primary)
        limit = np.inf if level is None else level * factor
        return cls(
            *(header, mask, variance, bits, beside.power, factor, told is not None, limit, read_at)
        )

    def rows(self, header: Header, first: int, last: int) -> NDArray[Any]:
        """Read rows from the first to the last (exclusive) of image, mask or variance."""
        if first == last:
            return np.zeros((0, header.plain_shape[1]), np.float32)
        return read_rows(header, slice(first, last), self.read_at)
