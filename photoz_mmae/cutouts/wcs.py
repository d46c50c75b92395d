"""Sky coordinates of a cutout's pixels.

The gnomonic (TAN) projection, which nearly every survey serves its cutouts in, is computed by
hand (Calabretta & Greisen 2002, equations 54-55 with theta_0 = 90 deg), since astropy takes a
millisecond per object; every other projection goes to astropy. Pixel positions are 0-based (x, y)
with whole numbers at the pixels' centres.
"""

import math
import warnings
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.headers import Header

Projection = Literal["TAN", "other", "none"]
Array = NDArray[np.float64]


class Wcs(Protocol):
    """What a cutout's WCS can do."""

    @property
    def pixel_scale(self) -> float:
        """Side of a square pixel of the same area, arcsec."""

    def to_sky(self, x: float, y: float) -> tuple[float, float]:
        """Return (ra, dec) in deg."""

    def to_pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return 0-based (x, y); NaN where the position has none."""

    def to_pixels(self, ra: Array, dec: Array) -> tuple[Array, Array]:
        """Do the same with n positions."""


class TangentPlane(NamedTuple):
    """TAN projection with the linear part `cd` in deg per pixel."""

    ra: float
    dec: float
    crpix: tuple[float, float]
    cd: tuple[float, float, float, float]

    @property
    def pixel_scale(self) -> float:
        """Side of a square pixel of the same area, arcsec."""
        return 3600 * math.sqrt(abs(self.cd[0] * self.cd[3] - self.cd[1] * self.cd[2]))

    def to_sky(self, x: float, y: float) -> tuple[float, float]:
        dx, dy = x + 1 - self.crpix[0], y + 1 - self.crpix[1]
        xi = math.radians(self.cd[0] * dx + self.cd[1] * dy)
        eta = math.radians(self.cd[2] * dx + self.cd[3] * dy)
        dec0 = math.radians(self.dec)
        height = math.cos(dec0) - eta * math.sin(dec0)
        ra = self.ra + math.degrees(math.atan2(xi, height))
        dec = math.atan2(math.sin(dec0) + eta * math.cos(dec0), math.hypot(xi, height))
        return ra % 360.0, math.degrees(dec)

    def to_pixel(self, ra: float, dec: float) -> tuple[float, float]:
        dec0, dec1, turn = map(math.radians, (self.dec, dec, ra - self.ra))
        depth = math.sin(dec0) * math.sin(dec1) + math.cos(dec0) * math.cos(dec1) * math.cos(turn)
        if depth <= 0:  # on the far side of the sky
            return math.nan, math.nan
        xi = math.degrees(math.cos(dec1) * math.sin(turn) / depth)
        eta = math.degrees(
            (math.cos(dec0) * math.sin(dec1) - math.sin(dec0) * math.cos(dec1) * math.cos(turn))
            / depth
        )
        a, b, c, d = self.cd
        area = a * d - b * c
        x = self.crpix[0] - 1 + (d * xi - b * eta) / area
        y = self.crpix[1] - 1 + (a * eta - c * xi) / area
        return x, y

    def to_pixels(self, ra: Array, dec: Array) -> tuple[Array, Array]:
        dec0, dec1, turn = math.radians(self.dec), np.radians(dec), np.radians(ra - self.ra)
        north, east = np.cos(dec1) * np.cos(turn), np.cos(dec1) * np.sin(turn)
        depth = math.sin(dec0) * np.sin(dec1) + math.cos(dec0) * north
        depth = np.where(depth > 0, depth, np.nan)  # on the far side of the sky
        xi = np.degrees(east / depth)
        eta = np.degrees((math.cos(dec0) * np.sin(dec1) - math.sin(dec0) * north) / depth)
        a, b, c, d = self.cd
        area = a * d - b * c
        x = self.crpix[0] - 1 + (d * xi - b * eta) / area
        y = self.crpix[1] - 1 + (a * eta - c * xi) / area
        return x, y


class AstropyWcs:
    """Any other celestial projection, distortions included, through astropy."""

    def __init__(self, wcs: Any) -> None:
        from astropy.wcs.utils import proj_plane_pixel_area

        self._wcs = wcs
        self._pixel_scale = 3600 * math.sqrt(float(proj_plane_pixel_area(wcs)))

    @property
    def pixel_scale(self) -> float:
        return self._pixel_scale

    def to_sky(self, x: float, y: float) -> tuple[float, float]:
        ra, dec = self._wcs.all_pix2world([[x, y]], 0, ra_dec_order=True)[0]
        return float(ra) % 360.0, float(dec)

    def to_pixel(self, ra: float, dec: float) -> tuple[float, float]:
        try:
            x, y = self._wcs.all_world2pix([[ra, dec]], 0, ra_dec_order=True)[0]
        except self._wcs_errors:
            return math.nan, math.nan
        return float(x), float(y)

    def to_pixels(self, ra: Array, dec: Array) -> tuple[Array, Array]:
        if not len(ra):
            return np.zeros(0), np.zeros(0)
        x, y = self._wcs.all_world2pix(ra, dec, 0, quiet=True, ra_dec_order=True)
        return x, y

    @property
    def _wcs_errors(self) -> tuple[type[Exception], ...]:
        from astropy.wcs import NoConvergence, WcsError

        return (NoConvergence, WcsError)


class _TanKeys(NamedTuple):
    """Keywords of the linear part for axes i and j."""

    point: tuple[str, ...]
    cd: tuple[str, ...]
    step: tuple[str, ...]
    pc: tuple[str, ...]

    @classmethod
    def of(cls, i: int, j: int) -> Self:
        pairs = [f"{one}_{two}" for one in (i, j) for two in (i, j)]
        return cls(
            (f"CRVAL{i}", f"CRVAL{j}", f"CRPIX{i}", f"CRPIX{j}"),
            tuple(f"CD{pair}" for pair in pairs),
            (f"CDELT{i}", f"CDELT{j}"),
            tuple(f"PC{pair}" for pair in pairs),
        )


_TAN_KEYS = {axis: _TanKeys.of(axis, axis + 1) for axis in (1, 2)}


def read_position(header: Header, ra_key: str, dec_key: str) -> tuple[float, float] | None:
    """Return (ra, dec) in deg from two keywords; None unless both hold a position."""
    ra = header.number(ra_key)
    dec = None if ra is None else header.number(dec_key)
    if ra is None or dec is None or not -360 <= ra <= 360 or not -90 <= dec <= 90:
        return None
    return ra % 360.0, dec


def tangent_numbers(header: Header, x_axis: int) -> tuple[tuple[int, int], ...]:
    """Return where in `header.raw` the numbers of a TAN projection with a CD matrix are.

    Those are CRVAL, CRPIX and CD, in the order of `TangentPlane`; (0, 0) for one of CD that is not
    there. Empty where one of the others is not there, or no CD.
    """
    keys = _TAN_KEYS[x_axis]
    names = [key.encode() for key in (*keys.point, *keys.cd)]
    there = [name in header.cards for name in names]
    if not all(there[:4]) or not any(there[4:]):
        return ()
    return tuple(header.number_span(name) if name in header.cards else (0, 0) for name in names)


def read_wcs(
    header: Header,
    x_axis: int = 1,
    projection: Projection | None = None,
    linear: tuple[tuple[int, int], ...] = (),
) -> Wcs | None:
    """Return the equatorial WCS of an image, or None where its header has none that works.

    Parameters
    ----------
    header : Header
    x_axis : int
        FITS number of the image's x axis, y being the next: 1, or 2 for a cube with bands fastest.
    projection : str, optional
        What `read_projection` says of it, where that is known.
    linear : tuple of (int, int)
        What `tangent_numbers` says of it, where that is known.
    """
    if linear:
        raw = header.raw
        try:
            ra, dec, x, y, a, b, c, d = [
                float(raw[start:stop]) if stop else 0.0 for start, stop in linear
            ]
        except ValueError:
            pass  # other spellings of a number are read below
        else:
            # At a pole the meaning depends on LONPOLE, which is read below.
            if -90 < dec < 90 and 0 < abs(a * d - b * c) < 1 and math.isfinite(ra + x + y):
                return TangentPlane(ra, dec, (x, y), (a, b, c, d))
    kind = read_projection(header, x_axis) if projection is None else projection
    if kind == "TAN":
        return _tangent_plane(header, x_axis)
    return _astropy_wcs(header) if kind == "other" else None


def read_projection(header: Header, x_axis: int = 1) -> Projection:
    """Say whether an image's WCS is TAN and simple enough for us, another one, or none."""
    axes = (x_axis, x_axis + 1)
    types = [header.text(f"CTYPE{axis}") for axis in axes]
    if types == ["RA---TAN", "DEC--TAN"] and _is_simple(header, axes):
        return "TAN"
    return "other" if {kind[:4].rstrip("-") for kind in types} == {"RA", "DEC"} else "none"


def _is_simple(header: Header, axes: tuple[int, int]) -> bool:
    units = all(header.text(f"CUNIT{axis}").lower() in ("", "deg", "degree") for axis in axes)
    rotated = any(header.number(f"CROTA{axis}") for axis in axes)
    # Aliases of LONPOLE and LATPOLE, as lsst/images writes them; the latter means nothing to TAN.
    aliases = [f"PV{axes[0]}_{n}" for n in (3, 4)]
    poles = {header.number("LONPOLE"), header.number(aliases[0])}
    # PC001001 is what PC1_1 was called once, as Pan-STARRS still does.
    special = [
        key
        for key in header.cards
        if key[:2] in (b"PV", b"A_", b"B_") or key[:3] in (b"PC0", b"CD0")
    ]
    distorted = any(key.decode("ascii", "replace") not in aliases for key in special)
    return units and not rotated and not distorted and poles <= {None, 180.0}


def _tangent_plane(header: Header, x_axis: int) -> TangentPlane | None:
    number = header.number
    keys = _TAN_KEYS[x_axis]
    ra, dec, x, y = (number(key) for key in keys.point)
    if ra is None or dec is None or x is None or y is None or abs(dec) > 90:
        return None
    a, b, c, d = (number(key) or 0.0 for key in keys.cd)
    if not (a or b or c or d):
        step_x, step_y = (number(key) for key in keys.step)
        if step_x is None or step_y is None:
            return None
        pc = [number(key) for key in keys.pc]
        a, b, c, d = (
            default if value is None else value
            for value, default in zip(pc, (1.0, 0.0, 0.0, 1.0), strict=True)
        )
        a, b, c, d = step_x * a, step_x * b, step_y * c, step_y * d
    if not 0 < abs(a * d - b * c) < 1:  # singular, or pixels larger than a degree: not filled in
        return None
    if dec == 90 and number("LONPOLE") is None:  # where its default is 0, and 180 elsewhere
        a, b, c, d = -a, -b, -c, -d
    return TangentPlane(ra, dec, (x, y), (a, b, c, d))


def _astropy_wcs(header: Header) -> AstropyWcs | None:
    from astropy.io import fits
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text = header.all_cards.decode("ascii", "replace")
            return AstropyWcs(WCS(fits.Header.fromstring(text)).celestial)
        except Exception:  # astropy raises many kinds on a broken header: no WCS then
            return None
