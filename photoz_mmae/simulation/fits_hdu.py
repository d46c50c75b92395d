"""FITS files of small images, written out by hand: a library takes 2 ms for each of thousands."""

from typing import Any

from numpy.typing import NDArray

from photoz_mmae.simulation.skymap import Tract

BLOCK = 2880

Cards = dict[str, str | int | float | bool]

_BITPIX = {">f4": -32, ">i4": 32, "|u1": 8}

PRIMARY: Cards = {"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True}
"""Start of a primary header without an image."""


def image_hdu(cards: Cards, data: NDArray[Any], primary: bool = False) -> bytes:
    """Encode an image, big-endian already, with its header.

    Parameters
    ----------
    cards : Cards
        What the header has beside the image's size and type.
    data : array
        Slowest axis first.
    primary : bool
        It is the first HDU of its file, else an extension.
    """
    start: Cards = {"SIMPLE": True} if primary else {"XTENSION": "IMAGE"}
    start |= {"BITPIX": _BITPIX[data.dtype.str], "NAXIS": data.ndim}
    start |= {f"NAXIS{axis + 1}": size for axis, size in enumerate(data.shape[::-1])}
    if not primary:
        start |= {"PCOUNT": 0, "GCOUNT": 1}
    return header(start | cards) + padded(data.tobytes())


def header(cards: Cards) -> bytes:
    """Encode a header, END included, padded to whole blocks."""
    lines = []
    for key, value in cards.items():
        if isinstance(value, bool):
            text = f"{'T' if value else 'F':>20}"
        elif isinstance(value, str):
            text = f"'{value:<8}'"
        elif isinstance(value, float):
            text = f"{value!r:>20}".replace("e", "E")
        else:
            text = f"{value:>20}"
        # A name longer than the standard's eight letters takes the HIERARCH convention.
        start = f"{key:<8}= " if len(key) <= 8 else f"HIERARCH {key} = "
        lines.append((start + text).ljust(80))
    return padded("".join([*lines, "END".ljust(80)]).encode("ascii"), b" ")


def padded(content: bytes, filling: bytes = b"\0") -> bytes:
    """Fill up to whole blocks."""
    return content + filling * (-len(content) % BLOCK)


def wcs_at_target(ra: float, dec: float, x: float, y: float, pixel_scale: float) -> Cards:
    """Gnomonic projection whose reference point is the target, at (x, y) from 0."""
    return _tangent_plane(ra, dec, x + 1.0, y + 1.0, pixel_scale)


def wcs_in_tract(
    tract: Tract, ra: float, dec: float, x: float, y: float, pixel_scale: float
) -> Cards:
    """Gnomonic projection about a tract's centre, as cutouts of coadds have it.

    The target is at (x, y) from 0, which no card says. LTV and the alternate projection A give the
    first pixel's place in the tract, to a whole pixel: stamps of the mock are on grids of their
    own.
    """
    dx, dy = tract.place(ra, dec, pixel_scale)
    crpix = (x + 1.0 - dx, y + 1.0 - dy)
    first = tuple(round(18000.0 - value) for value in crpix)
    cards = _tangent_plane(tract.ra, tract.dec, *crpix, pixel_scale)
    cards |= {"LTV1": float(-first[0]), "LTV2": float(-first[1])}
    cards |= {"CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", "CRPIX1A": 1.0, "CRPIX2A": 1.0}
    cards |= {"CRVAL1A": float(first[0]), "CRVAL2A": float(first[1])}
    return cards | {"CUNIT1A": "PIXEL", "CUNIT2A": "PIXEL"}


def _tangent_plane(ra: float, dec: float, x: float, y: float, pixel_scale: float) -> Cards:
    return {
        "WCSAXES": 2,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": x,
        "CRPIX2": y,
        "CRVAL1": ra,
        "CRVAL2": dec,
        "CD1_1": -pixel_scale / 3600.0,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": pixel_scale / 3600.0,
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "RADESYS": "ICRS",
    }
