"""Per-object quality flags: one documented, stable bit each."""

from enum import IntFlag
from typing import Any


class Flag(IntFlag):
    """What was wrong with an object, in the catalogue's `flags` column (int32)."""

    # No redshift.
    READ_ERROR = 1 << 0
    MISSING_BAND = 1 << 1
    WRONG_SIZE = 1 << 2
    NO_FINITE_PIXELS = 1 << 3
    # Caution.
    NONFINITE_PIXELS = 1 << 4
    MASKED_PIXELS = 1 << 5
    SATURATED = 1 << 6
    PADDED = 1 << 7
    OFF_CENTRE = 1 << 8
    OTHER_PIXEL_SCALE = 1 << 9
    RESAMPLED = 1 << 10
    TRUNCATED = 1 << 11
    BLENDED = 1 << 12
    LOW_SNR = 1 << 13
    NO_EBV = 1 << 14
    NOVEL = 1 << 15
    Z_AT_EDGE = 1 << 16
    MULTI_PEAK = 1 << 17
    WIDE_PDF = 1 << 18
    UNCALIBRATED = 1 << 19
    DUPLICATE_ID = 1 << 20
    DUPLICATE_SKY = 1 << 21
    SOURCE_GONE = 1 << 22
    FEWER_BANDS = 1 << 23
    NO_ZERO_POINT = 1 << 24


NO_REDSHIFT = Flag.READ_ERROR | Flag.MISSING_BAND | Flag.WRONG_SIZE | Flag.NO_FINITE_PIXELS
"""Any of these bits: the row has no redshift."""

CAUTION = Flag(sum(Flag)) & ~NO_REDSHIFT
"""Any of these bits: there is a redshift, and something to know about it."""

CLEAN_CUT = (
    NO_REDSHIFT
    | Flag.NONFINITE_PIXELS
    | Flag.OTHER_PIXEL_SCALE
    | Flag.LOW_SNR
    | Flag.Z_AT_EDGE
    | Flag.WIDE_PDF
    | Flag.DUPLICATE_ID
)
"""The recommended cut: rows with none of these bits and `z_risk_best` below 0.25."""

DESCRIPTIONS: dict[Flag, str] = {
    Flag.READ_ERROR: "the file could not be read",
    Flag.MISSING_BAND: "a band the model cannot do without is missing",
    Flag.WRONG_SIZE: "the image is not two-dimensional per band, or too small",
    Flag.NO_FINITE_PIXELS: (
        "no band has an image of the target: no pixel is finite, or all finite ones are equal"
    ),
    Flag.NONFINITE_PIXELS: "some pixels are NaN or infinite; they count as missing",
    Flag.MASKED_PIXELS: "some pixels are masked by the survey",
    Flag.SATURATED: "a saturated pixel in the aperture, of any band",
    Flag.PADDED: "the cutout was smaller than the model's field and was padded",
    Flag.OFF_CENTRE: "the target is not at the centre of the file's image",
    Flag.OTHER_PIXEL_SCALE: "the pixel scale differs from the model's by more than 2 per cent",
    Flag.RESAMPLED: "the image was resampled to the model's pixel scale",
    Flag.TRUNCATED: "the object is larger than the stamp: its light reaches the edges",
    Flag.BLENDED: "light of a neighbour is in the aperture, or close to it",
    Flag.LOW_SNR: "signal to noise in the i-band aperture is below 5",
    Flag.NO_EBV: "the model wants E(B-V) and none was given",
    Flag.NOVEL: "the object is unlike those the model was trained on",
    Flag.Z_AT_EDGE: "z_best lies at the edge of the model's redshift range",
    Flag.MULTI_PEAK: "p(z) has more than one significant peak",
    Flag.WIDE_PDF: "the 68 per cent interval is wider than 0.3 (1 + z_best)",
    Flag.UNCALIBRATED: "p(z) comes straight from the network, not recalibrated",
    Flag.DUPLICATE_ID: "another cutout has the same object_id",
    Flag.DUPLICATE_SKY: 'a cutout of another object_id lies within 0.5"',
    Flag.SOURCE_GONE: "the cutout was there in an earlier run and is not any more",
    Flag.FEWER_BANDS: "a band is missing; the model was trained to do without",
    Flag.NO_ZERO_POINT: "the files state no zero point; pixels are taken to be at 27",
}


def count_flags(bits: Any) -> dict[str, int]:
    """Count the rows of `bits`, integers (N,), with each flag that any has, by name."""
    counts = {str(flag.name): int(((bits & int(flag)) != 0).sum()) for flag in Flag}
    return {name: number for name, number in counts.items() if number}
