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

import itertools
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLUE_TO_RED = "ugrizy"
"""Every band there is, one letter each."""

_SUFFIX = re.compile(r"\.fits(\.gz|\.fz)?$", re.IGNORECASE)
_DIGITS = re.compile("[0-9]+")
_SURVEYS = "hsc|lsst|lsstcam|comcam|lsstcomcam|decam|des|sdss|ps1|cfht|megacam|kids|sim"
# Y of the near infrared is another band; and what is said of a band is no image of it.
_OTHERS = (
    "nir|nisp|vista|vircam|viking|wfcam|ukidss|chi2|depth|galdepth|psfsize|wt|resid|nobs|exptime"
)
_IN_HEADER = re.compile(
    rf"(?!(?:{_OTHERS})[-_ ])"
    r"(?:[a-z]{2,10}[0-9]?[-_ ])?([ugrizy])(?:[0-9]|[._][0-9]+|prime)?"
    r"(?:[-_ ]?(?:band|sci|image|img|flux|coadd|decam .*))?",
    re.IGNORECASE,
)
_IN_NAME = re.compile(
    rf"(?<![^-_.])(?:(?:{_SURVEYS})[-_])?([ugrizy])2?(?:[-_]?band)?(?![^-_.])", re.IGNORECASE
)

# What every such token ends with: found faster, in names that have none.
_MAY_BE_IN_NAME = re.compile(r"[ugrizy]2?(?:[-_]?band)?(?:[-_.]|$)", re.IGNORECASE)


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


def natural_key(text: str) -> str:
    """Sort key under which "2-x" comes before "10-x"; equal only for equal texts."""
    return f"{_DIGITS.sub(_padded, text)}\0{text}"


def _padded(run: re.Match[str]) -> str:
    digits = run[0].lstrip("0")
    return f"0{chr(len(digits))}{digits}"


@dataclass(frozen=True)
class BandGroups:
    """Objects with one file per band, by their names, in the order of their first files.

    Attributes
    ----------
    files : ndarray (f,) of int64
        Numbers of the names, group after group, from blue to red.
    counts : ndarray (n,) of int64
        Names of each group, two at least.
    bands : list of str, (n,)
        Of each group's names, one letter each.
    """

    files: NDArray[np.int64]
    counts: NDArray[np.int64]
    bands: list[str]


def band_groups(names: Sequence[str], folders: NDArray[np.int32]) -> BandGroups:
    """Find the file names that are one object's bands, by the rule above.

    Parameters
    ----------
    names : sequence of str, (N,)
        File names without their folder; those of a folder each once, in natural order. There may
        be millions; a name is in one group at most.
    folders : ndarray (N,) of int
        Which folder each is in.
    """
    # One entry per token: the name without it, as a hash, whose name it is, and where it stands.
    stem, number, band = array("q"), array("q"), array("b")
    start, end = array("q"), array("q")
    for index, (name, folder) in enumerate(zip(names, folders, strict=True)):
        if _MAY_BE_IN_NAME.search(name) is None:
            continue
        for token in _IN_NAME.finditer(name):
            stem.append(hash((int(folder), *_without(name, *token.span()))))
            number.append(index)
            band.append(BLUE_TO_RED.index(token[1].lower()))
            start.append(token.start())
            end.append(token.end())
    stems, numbers, bands = (np.array(each, np.int64) for each in (stem, number, band))
    # Of two names that say the same band the first counts.
    order = np.lexsort((numbers, bands, stems))
    order = order[_begins(stems[order], bands[order])]
    size = _sizes(stems[order])
    # A name with several tokens goes to its largest group, by its first token among equals.
    choice = np.lexsort((order, -size, numbers[order]))
    order = order[choice[_begins(numbers[order[choice]])]]
    order = order[np.lexsort((bands[order], stems[order]))]
    order = order[_sizes(stems[order]) >= 2]
    # Equal hashes are equal names, but for very bad luck: such files stay alone.
    same = np.ones(len(order), bool)
    ends = np.flatnonzero(np.append(_begins(stems[order]), True)).tolist()
    for first, last in itertools.pairwise(ends):
        texts = {
            (int(folders[number[k]]), *_without(names[number[k]], start[k], end[k]))
            for k in order[first:last].tolist()
        }
        same[first:last] = len(texts) == 1
    order = order[same]
    starts = np.flatnonzero(_begins(stems[order]))
    counts = np.diff(np.append(starts, len(order)))
    # From groups in the order of their hashes to groups in the order of their first files.
    groups = np.argsort(numbers[order[starts]])
    rank = np.empty_like(groups)
    rank[groups] = np.arange(len(groups))
    order = order[np.argsort(np.repeat(rank, counts), kind="stable")]
    said = np.bitwise_or.reduceat(1 << bands[order], np.cumsum(counts[groups]) - counts[groups])
    labels = [_letters(bits) for bits in range(1 << len(BLUE_TO_RED))]
    return BandGroups(numbers[order], counts[groups], [labels[bits] for bits in said])


def group_by_band(names: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """Find the same as `band_groups`, as a list of (stem, dict of band to name).

    The stem is the name without its token; '' where nothing is left.
    """
    names = sorted(names, key=natural_key)
    groups = band_groups(names, np.zeros(len(names), np.int32))
    ends = np.cumsum(groups.counts)
    members = [
        [names[k] for k in groups.files[end - count : end]]
        for end, count in zip(ends, groups.counts, strict=True)
    ]
    return [
        (group_stem(files) or "", dict(zip(bands, files, strict=True)))
        for files, bands in zip(members, groups.bands, strict=True)
    ]


def group_stem(names: Sequence[str]) -> str | None:
    """Return what the names of one object's bands have in common: a name without its token.

    Parameters
    ----------
    names : sequence of str
        Two at least.

    Returns
    -------
    str or None
        '' where nothing is left; None for names that are no group.
    """
    others = {_without(names[1], *token.span()) for token in _IN_NAME.finditer(names[1])}
    for token in _IN_NAME.finditer(names[0]):
        if (common := _without(names[0], *token.span())) in others:
            before, after = common
            return _joined(before, _SUFFIX.sub("", after))
    return None


def _without(name: str, start: int, end: int) -> tuple[str, str]:
    """Return what stands before and behind a token, the file name's suffix in lower case."""
    after = name[end:]
    if not after.endswith(".fits"):
        after = _SUFFIX.sub(lambda suffix: suffix[0].lower(), after)
    return name[:start], after


def _begins(*columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say where a run of equal rows begins, (n,)."""
    begins = np.ones(len(columns[0]), bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return begins


def _sizes(column: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each entry, the number of neighbours that equal it, itself included, (n,)."""
    starts = np.flatnonzero(_begins(column))
    counts = np.diff(np.append(starts, len(column)))
    return np.repeat(counts, counts)


def _letters(bits: int) -> str:
    return "".join(band for k, band in enumerate(BLUE_TO_RED) if bits >> k & 1)


def _joined(before: str, after: str) -> str:
    """Put a stem together again without the token, and with one delimiter fewer."""
    if before and after:
        return before[:-1] + after
    return before[:-1] if before else after[1:]
