"""Which header-data unit of a file is the image of which band."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from photoz_mmae.cutouts.bands import band_of, bands_in
from photoz_mmae.cutouts.companions import Companions, MaskBits, mask_bits
from photoz_mmae.cutouts.headers import Damaged, Header
from photoz_mmae.cutouts.layout import Place, placing_cards
from photoz_mmae.cutouts.pixels import Unusable
from photoz_mmae.cutouts.wcs import read_projection, tangent_numbers
from photoz_mmae.flags import Flag

MIN_SIDE = 8
"""Pixels: anything smaller is no image of a galaxy."""


def _header_band(header: Header, primary: Header, alone: bool, said: str | None) -> str | None:
    """Return the band an image HDU is; what is said of the whole file is said of a single image."""
    for source in (header, primary) if alone else (header,):
        for key in ("EXTNAME", "FILTER", "BAND"):
            if band := band_of(source.text(key)):
                return band
    return said if alone else None


def single_place(images: list[Header], primary: Header, name_band: str, said: str | None) -> Place:
    flat = [header for header in images if len(header.plain_shape) == 2]
    if not flat:
        raise Unusable(Flag.WRONG_SIZE, f"an image with axes {images[0].shape}")
    band = _header_band(flat[0], primary, True, said) or name_band
    if band != name_band:
        raise Damaged(f"the file's name says band {name_band}, its header {band}")
    return Place(flat[0].index)


def find_bands(
    images: list[Header], primary: Header, bands: Sequence[str], said: str | None
) -> dict[str, Place]:
    """Say where each band is; empty when the planes of a cube cannot be told."""
    cubes = [header for header in images if len(header.plain_shape) == 3]
    flat = [header for header in images if len(header.plain_shape) == 2]
    for header in cubes:
        if places := _cube_planes(header, primary, bands):
            return places
    if not cubes and not flat:
        raise Unusable(Flag.WRONG_SIZE, f"an image with axes {images[0].shape}")
    of_band: dict[str, Header] = {}
    for header in flat:
        band = _header_band(header, primary, len(flat) == 1, said)
        if band is None and len(flat) == len(bands) == 1:
            band = bands[0]
        if band is None:
            continue
        first = of_band.setdefault(band, header)
        # Asked only where there are two: what is asked of headers is not the same in other files,
        # which would then be looked into anew.
        if first is not header and band in bands and _lies(first) != _lies(header):
            raise Unusable(
                Flag.READ_ERROR,
                f"two images of band {band}, HDU {first.index} and {header.index}, that do not lie "
                "alike: which one holds the target is not told",
            )
    return {band: Place(header.index) for band, header in of_band.items()}


def _lies(header: Header) -> tuple[object, ...]:
    """Say where an image lies on the sky."""
    keys = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")
    return header.plain_shape, *(header.number(key) for key in keys)


def _cube_planes(header: Header, primary: Header, bands: Sequence[str]) -> dict[str, Place]:
    named = bands_in(header.text("BANDS") or primary.text("BANDS")) or list(bands)
    shape = header.plain_shape
    # (B, H, W) before (H, W, B); a side below MIN_SIDE on the wrong end decides a tie.
    axes = [axis for axis in (0, 2) if shape[axis] == len(named)]
    axes.sort(key=lambda axis: min(shape[:axis] + shape[axis + 1 :]) < MIN_SIDE)
    if not axes:
        return {}
    places: dict[str, Place] = {}
    for index, band in enumerate(named):
        places.setdefault(band, Place(header.index, axes[0], index))
    return places


def complete_place(
    place: Place, headers: Sequence[Header], companions: Mapping[int, Companions]
) -> Place:
    """Add what the headers say of an image that is wanted; raises Unusable for one too small."""
    header = headers[place.unit]
    shape = list(header.plain_shape)
    if place.axis is not None:
        del shape[place.axis]
    if min(shape) < MIN_SIDE:
        raise Unusable(Flag.WRONG_SIZE, f"{shape[0]} x {shape[1]} pixels")
    own = companions[place.unit]
    bits = MaskBits() if own.mask is None else mask_bits(headers[own.mask])
    projection = read_projection(header, place.x_axis)
    return replace(
        place,
        projection=projection,
        cards=() if header.is_compressed else placing_cards(header, headers[0]),
        linear=tangent_numbers(header, place.x_axis) if projection == "TAN" else (),
        mask=own.mask if bits != MaskBits() else None,
        variance=own.variance,
        bits=bits,
        power=own.power,
    )
