"""How surveys spell a band, in headers and in file names.

A band is one letter of `ugrizy`. In a header it may stand as `g`, `G`, `HSC-G`, `HSC-R2` (which
is r), `lsst_g`, `g_band`, `SCI_G`, `r_03`, `g DECam SDSS c0001 4720.0 1520.0`.

In a file name a band is a token between the delimiters `-`, `_`, `.` or the ends of the name:
`g`, `R2`, `HSC-G`, `lsst_g`, `g_band`, in any case. Files of one folder whose names are the same
once one such token is taken out, and whose tokens are different bands, are one object's
(`12_g.fits`, `12_r.fits`; `2-cutout-HSC-I-8279.fits`, `2-cutout-HSC-Z-8279.fits`; or, one folder
per object, `g.fits`, `r.fits`). The id such an object has from its name is the name without the
token, or the folder's name where nothing is left. Where two names say the same band (`HSC-R` and
`HSC-R2`) the first in natural order belongs to the object and the other stays an object of its
own: nothing is lost, and it shows. Names that differ in their extension never go together.
"""

import re
from collections.abc import Iterable

from photoz_mmae.cutouts.ids import fits_stem

_SURVEYS = "hsc|lsst|lsstcam|comcam|lsstcomcam|decam|des|sdss|ps1|cfht|megacam|kids|sim"
_IN_HEADER = re.compile(
    r"(?:[a-z]{2,10}[0-9]?[-_ ])?([ugrizy])(?:[0-9]|[._][0-9]+|prime)?"
    r"(?:[-_ ]?(?:band|sci|image|img|flux|coadd|decam .*))?",
    re.IGNORECASE,
)
_IN_NAME = re.compile(
    rf"(?<![^-_.])(?:(?:{_SURVEYS})[-_])?([ugrizy])2?(?:[-_]?band)?(?![^-_.])", re.IGNORECASE
)


def band_of(text: str) -> str | None:
    """Return the band that a header's EXTNAME, FILTER or BAND names, or None."""
    match = _IN_HEADER.fullmatch(text.strip())
    return match[1].lower() if match else None


def bands_in(text: str) -> list[str]:
    """Return the bands of a cube's planes from its BANDS keyword, in order.

    `grizy`, `g,r,i,z,y`, `g r i z y` and `HSC-G,HSC-R,...` are understood; what is no band keeps
    its place as it is written.
    """
    parts = [part for part in re.split(r"[\s,;|]+", text.strip()) if part]
    if len(parts) == 1 and band_of(parts[0]) is None:
        parts = list(parts[0])
    return [band_of(part) or part for part in parts]


def bands_in_name(stem: str) -> list[str]:
    """Return the bands that tokens of a file's or a folder's name say."""
    return [token[1].lower() for token in _IN_NAME.finditer(stem)]


def natural_key(text: str) -> tuple[str, str]:
    """Sort key under which "2-x" comes before "10-x"; equal only for equal texts."""
    digits = re.sub(
        "[0-9]+", lambda run: f"0{chr(len(run[0].lstrip('0')))}{run[0].lstrip('0')}", text
    )
    return digits, text


def group_by_band(names: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """Find the file names of one folder that are one object's bands, by the rule above.

    Parameters
    ----------
    names : iterable of str
        File names without their folder.

    Returns
    -------
    groups : list of (stem, dict of band to name)
        The stem is that without the token ('' where nothing is left), the bands go from blue to
        red. Only groups of two and more; a name is in one group at most.
    """
    # A name with several tokens may belong to several groups: it goes to the largest.
    candidates: dict[tuple[str, str, str], dict[str, str]] = {}
    keys: dict[str, list[tuple[str, str, str]]] = {}
    for name in sorted(names, key=natural_key):
        stem = fits_stem(name)
        for token in _IN_NAME.finditer(stem):
            key = (stem[: token.start()], stem[token.end() :], name[len(stem) :].lower())
            if candidates.setdefault(key, {}).setdefault(token[1].lower(), name) == name:
                keys.setdefault(name, []).append(key)
    chosen: dict[tuple[str, str, str], dict[str, str]] = {}
    for name, options in keys.items():
        best = max(options, key=lambda key: (len(candidates[key]), key))
        band = next(band for band, other in candidates[best].items() if other == name)
        chosen.setdefault(best, {})[band] = name
    return [
        (_joined(before, after), {band: members[band] for band in "ugrizy" if band in members})
        for (before, after, _), members in chosen.items()
        if len(members) >= 2
    ]


def _joined(before: str, after: str) -> str:
    """Put a stem together again without the token, and with one delimiter fewer."""
    if before and after:
        return before[:-1] + after
    return before[:-1] if before else after[1:]
