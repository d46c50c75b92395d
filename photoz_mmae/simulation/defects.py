"""What goes wrong with stamps in real surveys, planted into a mock one on purpose.

One defect per bad object. Which objects are bad, and how, follows from the recipe, from random
numbers of their own: all other objects are the same without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.simulation.exposure import electrons_per_flux
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.render import STAMP
from photoz_mmae.surveys import ZERO_POINT, Survey

if TYPE_CHECKING:
    from photoz_mmae.simulation.observe import MockChunk

Floats = NDArray[np.float64]

DEFECTS = (
    "missing_band",
    "nan_edge",
    "saturated",
    "cosmic_ray",
    "trimmed",
    "off_centre",
    "masked_strip",
)
"""
missing_band: one band has no image; nan_edge: no measurement along one side; saturated: a bright
star with a clipped core and a bleed trail; cosmic_ray: a track in one band; trimmed: the stamp is
cut off at one side; off_centre: the target is several pixels from the centre; masked_strip: a
strip without measurement in some bands.
"""

# The planes of masks as LSST's pipelines number them by default; readers go by the names.
MASK_PLANES = ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT",
               "NO_DATA")  # fmt: skip

_STREAM = 7  # tells these random numbers from those of the objects
_SHIFT = (4.0, 12.0)  # pixels
_EDGE_WIDTH, _STRIP_WIDTH, _TRIM = (3, 10), (2, 6), (6, 24)  # pixels
_STAR_MAG, _STAR_DISTANCE = (13.0, 16.5), (10.0, 24.0)  # AB in every band; pixels from the target
_SATURATION_MAG = 18.0  # a star of this magnitude just saturates in its centre
_MOFFAT_BETA = 3.0  # as `render` has it


@dataclass
class Damage:
    """What a defect did to one stamp, beyond the pixels themselves.

    Attributes
    ----------
    mask : (B, 64, 64) int32 array
        Bits numbered by `MASK_PLANES`.
    missing : int or None
        Number of the band that has no image.
    box : (slice, slice)
        Rows and columns that are left; the pixels beyond are NaN.
    """

    mask: NDArray[np.int32]
    missing: int | None = None
    box: tuple[slice, slice] = field(default=(slice(0, STAMP), slice(0, STAMP)))


def mask_bit(plane: str) -> int:
    """Return the bit of a plane of `MASK_PLANES`."""
    return 1 << MASK_PLANES.index(plane)


def draw_defects(recipe: Recipe, n: int, chunk: int) -> NDArray[np.str_]:
    """Draw what is wrong (n,) with the objects of a chunk: one of `DEFECTS`, or "" for nothing."""
    rng = np.random.default_rng([recipe.seed, chunk, _STREAM])
    kind = np.array(DEFECTS)[rng.integers(len(DEFECTS), size=n)]
    return np.where(rng.random(n) < recipe.fraction_bad, kind, "")


def draw_shifts(recipe: Recipe, defect: NDArray[np.str_], chunk: int) -> Floats:
    """Whole pixels (n, 2) by which targets are off the centre; zero but for `off_centre`."""
    shifts = np.zeros((len(defect), 2))
    for row in np.flatnonzero(defect == "off_centre"):
        rng = _rng_of(recipe, chunk, row)
        angle = rng.uniform(0.0, 2.0 * np.pi)
        shifts[row] = np.rint(rng.uniform(*_SHIFT) * np.array([np.cos(angle), np.sin(angle)]))
    return shifts


def plant(made: MockChunk, recipe: Recipe, chunk: int) -> None:
    """Spoil the images of the bad objects, in place, and fill in `made.damage`.

    Targets that are off the centre were rendered there; see `draw_shifts`.
    """
    for row in np.flatnonzero(made.defect != ""):
        spoil = _SPOILERS.get(str(made.defect[row]))
        if spoil is not None:
            damage = Damage(np.zeros(made.images.shape[1:], dtype=np.int32))
            spoil(_rng_of(recipe, chunk, row), recipe.survey, made, row, damage)
            made.damage[int(row)] = damage


def _rng_of(recipe: Recipe, chunk: int, row: np.intp) -> np.random.Generator:
    # A zero at the end would give the stream of the whole chunk again.
    return np.random.default_rng([recipe.seed, chunk, _STREAM, int(row) + 1])


def _lose_band(
    rng: np.random.Generator, survey: Survey, made: MockChunk, row: np.intp, damage: Damage
) -> None:
    damage.missing = int(rng.integers(len(survey.bands)))
    made.images[row, damage.missing] = np.nan
    damage.mask[damage.missing] = mask_bit("NO_DATA")


def _lose_edge(
    rng: np.random.Generator, survey: Survey, made: MockChunk, row: np.intp, damage: Damage
) -> None:
    side = int(rng.integers(4))
    for band in range(len(survey.bands)):
        where = (band, *_beside(side, int(rng.integers(*_EDGE_WIDTH, endpoint=True))))
        made.images[row][where] = np.nan
        damage.mask[where] = mask_bit("EDGE") | mask_bit("NO_DATA")


def _saturate(
    rng: np.random.Generator, survey: Survey, made: MockChunk, row: np.intp, damage: Damage
) -> None:
    """Put a star beside the target, clip what is too bright, let it bleed along the columns."""
    angle, distance = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(*_STAR_DISTANCE)
    centre = (STAMP - 1) / 2.0 + made.offset[row]
    x, y = np.clip(centre + distance * np.array([np.cos(angle), np.sin(angle)]), 2.0, STAMP - 3.0)
    flux = 10 ** (-0.4 * (rng.uniform(*_STAR_MAG) - ZERO_POINT))
    rows, columns = np.indices((STAMP, STAMP), dtype=np.float64)
    scale = made.psf_fwhm[row] / survey.pixel_scale
    scale = scale / (2.0 * np.sqrt(2.0 ** (1.0 / _MOFFAT_BETA) - 1.0))
    scale = scale[:, None, None]
    peak = (_MOFFAT_BETA - 1.0) / (np.pi * scale**2)  # of unit flux, (B, 1, 1)
    square = ((columns - x) ** 2 + (rows - y) ** 2) / scale**2
    star = flux * peak * (1.0 + square) ** -_MOFFAT_BETA
    photons = np.array(electrons_per_flux(survey))[:, None, None]
    star += np.sqrt(star / photons) * rng.standard_normal(star.shape)
    level = peak * 10 ** (-0.4 * (_SATURATION_MAG - ZERO_POINT))
    image = made.images[row] + star
    trail = np.abs(columns - x) <= rng.uniform(0.5, 2.0)
    trail &= np.abs(rows - y) <= rng.uniform(8.0, 40.0)
    saturated = (image > level) | trail
    made.images[row] = np.where(saturated, level, image)
    damage.mask[saturated] = mask_bit("SAT")


def _hit(
    rng: np.random.Generator, survey: Survey, made: MockChunk, row: np.intp, damage: Damage
) -> None:
    """Draw the track of a particle through one band: 30 to 300 times the noise."""
    band = int(rng.integers(len(survey.bands)))
    start, angle = rng.uniform(4.0, STAMP - 5.0, 2), rng.uniform(0.0, 2.0 * np.pi)
    along = np.arange(0.0, rng.uniform(5.0, 25.0), 0.5)
    track = np.rint(start + along[:, None] * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    track = np.unique(track[((track >= 0) & (track < STAMP)).all(axis=1)], axis=0)
    charge = rng.uniform(30.0, 300.0) * made.sky_noise[row, band]
    where = (band, track[:, 1], track[:, 0])
    made.images[row][where] += (charge * rng.uniform(0.5, 1.5, len(track))).astype(np.float32)
    damage.mask[where] = mask_bit("CR")


def _trim(
    rng: np.random.Generator, survey: Survey, made: MockChunk, row: np.intp, damage: Damage
) -> None:
    side, width = int(rng.integers(4)), int(rng.integers(*_TRIM, endpoint=True))
    made.images[(row, slice(None), *_beside(side, width))] = np.nan
    damage.mask[(slice(None), *_beside(side, width))] = mask_bit("NO_DATA")
    left = slice(0, STAMP - width) if side % 2 else slice(width, STAMP)
    damage.box = (left, slice(0, STAMP)) if side < 2 else (slice(0, STAMP), left)


def _mask_strip(
    rng: np.random.Generator, survey: Survey, made: MockChunk, row: np.intp, damage: Damage
) -> None:
    some = rng.random(len(survey.bands)) < 0.5
    some[rng.integers(len(some))] = True
    width = int(rng.integers(*_STRIP_WIDTH, endpoint=True))
    start = int(rng.integers(0, STAMP - width, endpoint=True))
    strip, whole = slice(start, start + width), slice(0, STAMP)
    where = (some, *((strip, whole) if rng.random() < 0.5 else (whole, strip)))
    made.images[row][where] = np.nan
    damage.mask[where] = mask_bit("BAD") | mask_bit("NO_DATA")


def _beside(side: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a strip along the first rows, last rows, first or last columns."""
    strip = slice(STAMP - width, STAMP) if side % 2 else slice(0, width)
    return (strip, slice(0, STAMP)) if side < 2 else (slice(0, STAMP), strip)


_SPOILERS: dict[str, Callable[[np.random.Generator, Survey, MockChunk, np.intp, Damage], None]] = {
    "missing_band": _lose_band,
    "nan_edge": _lose_edge,
    "saturated": _saturate,
    "cosmic_ray": _hit,
    "trimmed": _trim,
    "masked_strip": _mask_strip,
}
