"""Pixels of one open file: inflated, decoded, checked against what the header promises."""

import contextlib
import gzip
import math
import os
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import fitsio
import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.headers import Damaged, Header, is_gzip, open_regular, reader
from photoz_mmae.cutouts.tiles import check_tiles
from photoz_mmae.flags import Flag

MAX_BYTES = 256 << 20
"""Decompressed bytes of one image: a cutout is smaller, a damaged header may promise anything."""


class Unusable(Exception):
    """An object that gets no redshift: the flag that says so, and why in words."""

    def __init__(self, flag: Flag, reason: str) -> None:
        super().__init__(reason)
        self.flag = flag
        self.reason = reason


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a file; a gzip file is inflated into memory first, within `MAX_BYTES`."""
    descriptor = open_regular(path)
    try:
        if is_gzip(descriptor):
            inflated = os.memfd_create("cutout", os.MFD_CLOEXEC)
            try:
                _inflate(descriptor, inflated)
            except BaseException:
                os.close(inflated)
                raise
            os.close(descriptor)
            descriptor = inflated
        yield descriptor
    finally:
        os.close(descriptor)


def _inflate(source: int, target: int) -> None:
    total = 0
    try:
        with gzip.GzipFile(fileobj=os.fdopen(source, "rb", closefd=False)) as stream:
            while piece := stream.read(1 << 20):
                total += len(piece)
                if total > MAX_BYTES:
                    raise Unusable(Flag.WRONG_SIZE, "too large for a cutout once decompressed")
                os.write(target, piece)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"gzip: {error}") from error


class Pixels:
    """Pixels of the HDUs of one open file, through fitsio, else astropy."""

    def __init__(self, descriptor: int) -> None:
        # cfitsio would take brackets, plus signs and more in a name for its own syntax.
        self._descriptor = descriptor
        self._path = f"/proc/self/fd/{descriptor}"
        self._file: Any = None

    def read(self, header: Header) -> NDArray[Any]:
        """Read one image as numbers in native byte order, blank integers as NaN."""
        if math.prod(header.shape) * 8 > MAX_BYTES:
            raise Unusable(Flag.WRONG_SIZE, f"an image with axes {header.shape} is no cutout")
        if header.is_compressed:
            check_tiles(header, reader(self._descriptor))
        try:
            if self._file is None:
                self._file = fitsio.FITS(self._path)
            data: NDArray[Any] = self._file[header.index].read()
        except Exception as error:  # fitsio raises many kinds: all mean refused
            if header.is_compressed:
                # The last status is this one's; cfitsio repeats what went wrong before.
                status = [line for line in str(error).splitlines() if "status" in line]
                reason = status[-1] if status else f"{type(error).__name__}: {error}"
                raise Damaged(f"HDU {header.index}: {reason}") from error
            data = self._read_with_astropy(header)
        if data is None or data.shape != header.shape or data.dtype.kind not in "iuf":
            raise Damaged(f"HDU {header.index} is not the image that its header promises")
        return _blank_to_nan(data, header)

    def _read_with_astropy(self, header: Header) -> NDArray[Any]:
        from astropy.io import fits

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with fits.open(self._path, memmap=False) as file:
                    return np.asarray(file[header.index].data)
            except Exception as error:  # whatever astropy makes of a broken file, it is the reason
                raise Damaged(f"HDU {header.index}: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _blank_to_nan(data: NDArray[Any], header: Header) -> NDArray[Any]:
    blank = header.number("BLANK") if header.integer("BITPIX") > 0 else None
    if blank is None:
        return data
    scale, zero = header.number("BSCALE"), header.number("BZERO")
    scale, zero = 1.0 if scale is None else scale, zero or 0.0
    hit = np.abs(data - (blank * scale + zero)) < 0.5 * abs(scale)
    return np.where(hit, np.nan, data) if hit.any() else data
