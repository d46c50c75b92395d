"""Masks and variances: which HDU belongs to which image, and what a mask's bits mean.

HDUs belong together by their names, EXTNAME or else EXTTYPE: `HSC-G` with `HSC-G-VAR`, `G_MASK`
or `IVAR_G`; `IMAGE` with `MASK` and `VARIANCE` (HSC's cutout service, exposures and cell coadds
of LSST); where several images have one name, as in image, mask, variance, image, mask,
variance, the one in front. Without names the order image, mask, variance counts, where the mask's
header names its planes. A companion has the shape of its image, or it is none.

Mask planes are known by their names alone: MP_NAME = number of the bit (lsst/afw, HSC), or MSKNnnnn
= name with MSKMnnnn = value of the bit (lsst/images). A mask that does not name them says nothing.

- Nothing was measured: NO_DATA; BAD, which on a coadd means that no good input was left;
  UNMASKEDNAN.
- Saturated: SAT, SATURATED.
- Caution: the pixel has a value that is not quite a measurement. Interpolated (INTRP, CR), hit by
  a star's light (BRIGHT_OBJECT, SPIKE, CROSSTALK, ...), close to the edge of the patch (EDGE). On a
  deep coadd some pixel of any stamp is such, so it matters close to the target only.
- No reason for anything: what was found there (DETECTED, NOT_DEBLENDED), and that some input was
  left out, so that the PSF is not quite the model's (REJECTED, INEXACT_PSF, SENSOR_EDGE).

Planes as the data releases describe them: dp1.lsst.io, products/images/deep_coadd_mask_planes, and
the descriptions in the masks of lsst/images.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.bands import band_of
from photoz_mmae.cutouts.headers import Header

_MISSING = ("NO_DATA", "BAD", "UNMASKEDNAN", "UNMASKED_NAN")
_SATURATED = ("SAT", "SATURATED")
_CAUTION = (
    *("INTRP", "INTERPOLATED", "CR", "COSMIC_RAY", "SUSPECT", "CROSSTALK", "CLIPPED"),
    *("EDGE", "DETECTION_EDGE", "VIGNETTED", "PARTLY_VIGNETTED"),
    *("BRIGHT_OBJECT", "STREAK", "SPIKE", "ITL_DIP"),
)

Kind = Literal["mask", "variance", "inverse variance", "sigma"]
_KINDS: dict[str, Kind] = dict.fromkeys(("MASK", "MSK", "BITMASK", "DQ", "FLAGS"), "mask")
_KINDS |= dict.fromkeys(("VAR", "VARIANCE"), "variance")
_KINDS |= dict.fromkeys(("IVAR", "INVVAR"), "inverse variance")
_KINDS |= dict.fromkeys(("SIGMA", "STD", "RMS", "ERR", "ERROR", "UNC"), "sigma")
_POWERS = {"variance": 1, "inverse variance": -1, "sigma": 2}
_WORD = re.compile(rf"(?<![A-Z])({'|'.join(_KINDS)})(?![A-Z])")
_IMAGE_WORD = re.compile(r"(?<![A-Z])(?:IMAGE|SCI|IMG|FLUX|DATA)(?![A-Z])")


@dataclass(frozen=True, slots=True)
class Companions:
    """What belongs to an image.

    Attributes
    ----------
    mask, variance : int or None
        Number of the HDU.
    power : int
        What makes a variance of the values there: 1, -1 for an inverse variance, 2 for a standard
        deviation.
    """

    mask: int | None = None
    variance: int | None = None
    power: int = 1


@dataclass(frozen=True, slots=True)
class MaskBits:
    """Bits of a mask, summed up by what they mean for a pixel."""

    missing: int = 0
    saturated: int = 0
    caution: int = 0


def find_companions(headers: Sequence[Header]) -> dict[int, Companions]:
    """Say which images of a file are of the sky, and which mask and variance each of them has.

    Parameters
    ----------
    headers : sequence of Header
        All of a file.

    Returns
    -------
    dict of int to Companions
        By the number of the image's HDU, in their order.
    """
    kinds: dict[int, Kind] = {}
    images: list[Header] = []
    for before, header in zip([None, *headers], headers, strict=False):
        kind = _kind(header, before if before and kinds.get(before.index) == "mask" else None)
        if kind:
            kinds[header.index] = kind
        elif header.is_science:
            images.append(header)
    if not kinds or not images:
        return {image.index: Companions() for image in images}
    keys = {index: _key(headers[index]) for index in kinds}
    found = {}
    ends = [image.index for image in images[1:]] + [len(headers)]
    for image, end in zip(images, ends, strict=True):
        key = _key(image)
        fitting = [index for index in kinds if headers[index].shape == image.shape]
        own = [index for index in fitting if keys[index] == key and (key or len(images) == 1)]
        behind = [
            index for index in fitting if image.index < index < end and keys[index] in ("", key)
        ]
        masks = [index for index in behind + own if kinds[index] == "mask"]
        variances = [index for index in behind + own if kinds[index] != "mask"]
        mask = next(iter(masks), None)
        variance = next(iter(variances), None)
        power = 1 if variance is None else _POWERS[kinds[variance]]
        found[image.index] = Companions(mask, variance, power)
    return found


def _kind(header: Header, mask: Header | None) -> Kind | None:
    """Return what an image beside the sky's is, or None; `mask` is the one right in front of it."""
    if not header.shape:
        return None
    names = header.kind_words.upper()
    if word := _WORD.search(names):
        return _KINDS[word[1]]
    if mask_planes(header):
        return "mask"
    if mask is not None and not names.strip() and header.shape == mask.shape:
        return "variance"
    return None


def _key(header: Header) -> str:
    """Return what a name has in common with those of its companions: the band, mostly, or ''."""
    names = f"{header.text('EXTNAME')} {header.text('EXTTYPE')}".upper()
    rest = _IMAGE_WORD.sub("", _WORD.sub("", names)).strip("-_. ")
    return band_of(rest) or rest


def mask_planes(header: Header) -> dict[str, int]:
    """Return the value of the bit of each plane that a mask's header names; empty without names."""
    planes: dict[str, int] = {}
    names = header.raw[slice(*header.span)]
    if b"MP_" not in names and b"MSKN" not in names:
        return planes
    for key in header.cards:
        if key.startswith(b"MP_"):
            bit = header.number(key.decode("ascii", "replace"))
            if bit is not None and bit in range(63):
                planes[key[3:].decode("ascii", "replace").upper()] = 1 << int(bit)
        elif key.startswith(b"MSKN"):
            number = key[4:].decode("ascii", "replace")
            value = header.number(f"MSKM{number}")
            name = header.text(f"MSKN{number}").upper()
            if name and value is not None and value == int(value) and 0 < value < 2**63:
                planes[name] = int(value)
    return planes


def mask_bits(header: Header) -> MaskBits:
    """Return what the bits of a mask mean; no bits where its header does not name its planes."""
    planes = mask_planes(header)
    missing, saturated, caution = (
        sum({planes[name] for name in names if name in planes})
        for names in (_MISSING, _SATURATED, _CAUTION)
    )
    return MaskBits(missing, saturated, caution)


def where(mask: NDArray[Any], bits: int) -> NDArray[np.bool_]:
    """Say of every pixel of a mask, of any shape and number type, whether one of `bits` is set."""
    if mask.dtype.kind not in "iu":
        known = np.abs(mask) < 2.0**63  # neither NaN nor beyond what has bits
        mask = np.where(known, mask, 0).astype(np.int64)
    # The sign bit is a plane like any other.
    low = bits & ((1 << 8 * mask.dtype.itemsize) - 1)
    wanted = np.array(low, f"u{mask.dtype.itemsize}").astype(mask.dtype)
    is_set: NDArray[np.bool_] = (mask & wanted) != 0
    return is_set


def variance_of(
    values: NDArray[Any], power: int, factor: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Make variances of what stands in a variance's HDU.

    Parameters
    ----------
    values : ndarray
        Of any shape and number type.
    power : int
        As in `Companions`.
    factor : float
        Brings the image's pixels to the unit in which the variance is wanted.

    Returns
    -------
    variance : ndarray of float32
        In that unit, squared; 0 where it is not known: not above zero, or missing.
    missing : ndarray of bool
        Nothing was measured: the variance is infinite or NaN, the inverse one zero. All False
        where that would be every pixel: then nobody filled the HDU in.
    """
    with np.errstate(all="ignore"):
        variance = np.asarray(values, np.float64) ** power * factor**2
    missing = ~np.isfinite(variance)
    if missing.all():
        missing = np.zeros_like(missing)
    known = np.isfinite(variance) & (variance > 0) & (variance < np.finfo(np.float32).max)
    if power == 2:
        known &= values > 0
    return np.where(known, variance, 0).astype(np.float32), missing
