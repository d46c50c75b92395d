"""What a pixel's value means: the zero point and the saturation level that a header states.

A file's flux is value * 10^(-0.4 zero_point) in units of 3631 Jy (AB). It is taken, in this
order, from the image's header and then the primary one:

- FLUXMAG0, the flux of magnitude zero (HSC, and LSST's pipelines before 2019, whose MAGZERO is of
  counts per second);
- MAGZERO (Legacy Surveys, DES, Euclid);
- PHOTZP (CFHT's MegaPipe, ESO's products), MAGZPT, ZP, ZEROPT;
- BUNIT, a unit of flux density per pixel: Jy (zero point 8.9) and maggy (0), with a prefix or a
  number, as in nJy, 'uJy', 'nanomaggies', '1e-9 Jy', '10**-6 Jy', '3.631 uJy/pixel'.

A keyword of zero, or one that is no zero point of a survey (5 to 50), counts as not filled in.
Of LSST exposures without any of these the archive tells it (`photoz_mmae.cutouts.lsst`).
A BUNIT of magnitudes or of surface brightness, and pixels scaled as asinh magnitudes (BSOFTEN, as
Pan-STARRS' skycells are), are refused: such pixels are no fluxes; so is PHOTSYS VEGA. Counts and
electrons say nothing; without anything that does, pixels are taken to be at zero point 27, and the
object is flagged NO_ZERO_POINT.
"""

import math
import re
from collections.abc import Iterator

from photoz_mmae.cutouts.headers import Damaged, Header
from photoz_mmae.surveys import ZERO_POINT

ZERO_POINT_KEYS = ("FLUXMAG0", "MAGZERO", "PHOTZP", "MAGZPT", "ZP", "ZEROPT")
_STATING = [(key.encode(), key) for key in ZERO_POINT_KEYS]
_PREFIXES = {"": 0, "n": -9, "nano": -9, "u": -6, "µ": -6, "μ": -6, "micro": -6}
_PREFIXES |= {"m": -3, "milli": -3}
_FLUX = re.compile(
    r"(?P<number>[0-9.]+(?:[eE][-+]?[0-9]+)?|10(?:\*\*|\^)?\(?[-+][0-9]+\)?)?[\s*]*"
    r"(?P<prefix>nano|micro|milli|[nuµμm])?(?P<unit>jy|jansky|janskys|maggy|maggies|mgy)"
    r"(?:\s*(?:/\s*pix(?:el)?|pix(?:el)?(?:\*\*|\^)?-1))?",
    re.IGNORECASE,
)
_NO_FLUX = re.compile(r"mag\b|/\s*sr|sr-1|/\s*(?:arcsec|beam)|(?:arcsec|beam)(?:\*\*|\^)?-", re.I)


def zero_point(header: Header, primary: Header) -> float | None:
    """Return the AB zero point of an image's pixels, or None where the headers do not tell it.

    Parameters
    ----------
    header, primary : Header
        Of the image, and the primary one of its file.

    Raises
    ------
    Damaged
        Its unit is no flux, or its magnitudes are not AB.
    """
    return next((value for value, _ in stated_zero_points(header, primary)), None)


def stated_zero_points(header: Header, primary: Header) -> Iterator[tuple[float, str]]:
    """Yield each zero point that is stated, and the keyword; the first is the one that counts."""
    for source in (header,) if header is primary else (header, primary):
        # Most headers have none of these: to look for a card is faster than to ask for its value.
        cards = source.cards
        if b"BSOFTEN" in cards:
            raise Damaged("BSOFTEN: its pixels are asinh magnitudes, no fluxes")
        if b"PHOTSYS" in cards and source.text("PHOTSYS").upper() == "VEGA":
            raise Damaged("PHOTSYS VEGA: its zero points are not AB")
        # Whatever else is stated, a unit that is no flux is none.
        unit = source.text("BUNIT") if b"BUNIT" in cards else ""
        by_unit = unit_zero_point(unit) if unit else None
        for name, key in _STATING:
            if name in cards and (value := _stated(source, key)) is not None:
                yield value, key
        if by_unit is not None:
            yield by_unit, f"BUNIT {unit}"


def _stated(header: Header, key: str) -> float | None:
    value = header.number(key)
    if value is not None and key == "FLUXMAG0":
        value = 2.5 * math.log10(value) if value > 0 else None
    # Zero and the like mean that nobody filled it in.
    return value if value is not None and 5 < value < 50 else None


def unit_zero_point(unit: str) -> float | None:
    """Return the AB zero point of a unit; None for one that is not known, such as counts.

    Raises
    ------
    Damaged
        Magnitudes, or surface brightness.
    """
    match = _FLUX.fullmatch(unit.strip())
    if match is None:
        if _NO_FLUX.search(unit):
            raise Damaged(f"BUNIT {unit!r}: its pixels are no fluxes")
        return None
    prefix = match["prefix"] or ""
    if prefix == "M":
        # MJy: mega. All in capitals nobody can tell whether it is.
        return None
    zero_point = 8.9 if match["unit"][0] in "jJ" else 0.0
    return zero_point - 2.5 * (_logarithm(match["number"]) + _PREFIXES[prefix.lower()])


def _logarithm(number: str | None) -> float:
    """Return log10 of 1e-9, 10**-9, 10^(-9), 10-9 or 3.631."""
    if number is None:
        return 0.0
    power = re.fullmatch(r"10(?:\*\*|\^)?\(?([-+][0-9]+)\)?", number)
    if power:
        return float(power[1])
    try:
        return math.log10(float(number))
    except ValueError as error:
        raise Damaged(f"BUNIT {number!r} is no number") from error


def flux_factor(header: Header, primary: Header, archive: float | None = None) -> float | None:
    """Return what brings an image's pixels to AB zero point 27, or None where nobody tells.

    Parameters
    ----------
    header, primary : Header
        Of the image, and the primary one of its file.
    archive : float, optional
        Zero point for an image whose headers state none.

    Raises
    ------
    Damaged
        Its unit is no flux.
    """
    value = zero_point(header, primary)
    if value is None:
        value = archive
    if value is None:
        return None
    return 1.0 if value == ZERO_POINT else float(10 ** (0.4 * (ZERO_POINT - value)))


def saturation(header: Header, primary: Header) -> float | None:
    """Return SATURATE, the value from which the file's own pixels are saturated, or None."""
    for source in (header, primary):
        level = source.number("SATURATE")
        if level is not None and level > 0:
            return level
    return None
