"""What is said of a file."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from photoz_mmae.flags import NO_REDSHIFT


@dataclass
class UnitFacts:
    """A header-data unit, or a dataset of another format.

    Attributes
    ----------
    name, kind, shape, type, compression, role, checksum : str
        As they are shown; empty where there is none. `checksum` is `right` or `wrong`.
    columns : list of str
        Of a table.
    """

    name: str = ""
    kind: str = ""
    shape: str = ""
    type: str = ""
    compression: str = ""
    role: str = ""
    checksum: str = ""
    columns: list[str] = field(default_factory=list)


@dataclass
class BandFacts:
    """The image of one band.

    Attributes
    ----------
    band : str
        `?` where nothing says it.
    unit, plane : int, int or None
        Number of the HDU, and of its plane in a cube.
    height, width, nonfinite, saturated : int
        Pixels. What is absurdly large counts as not finite.
    lowest, highest : float or None
        Of the finite ones, in the file's unit.
    dead : bool
        No finite pixel, or all the same.
    pixel_scale : float or None
        arcsec.
    zero_point, zero_point_from : float or None, str
    sigma : float or None
        Median of the variances, as a standard deviation in the file's unit.
    mask : dict of str to float
        Share of the pixels per plane of the mask.
    """

    band: str
    unit: int
    plane: int | None
    height: int
    width: int
    nonfinite: int
    saturated: int
    lowest: float | None
    highest: float | None
    dead: bool
    pixel_scale: float | None
    zero_point: float | None
    zero_point_from: str
    sigma: float | None = None
    mask: dict[str, float] = field(default_factory=dict)


@dataclass
class Point:
    """A position in an image, pixels from 0, on the sky, deg, and what says so."""

    x: float
    y: float
    ra: float | None
    dec: float | None
    by: str


@dataclass
class Prediction:
    """What `predict` finds while it reads.

    Attributes
    ----------
    object_id : str
    files : list of str
        All that are of the object.
    bands : list of str
        Those of the model's that hold an image.
    flags : list of str
        By name.
    reason : str
        Why there is no redshift.
    """

    object_id: str
    files: list[str]
    bands: list[str]
    flags: list[str]
    reason: str


@dataclass
class Objects:
    """Objects of a shard or an HDF5 file.

    Attributes
    ----------
    count, read : int
        How many the file holds; how many of them, the first, were read.
    flags : dict of str to int
        How many of those got each flag.
    reason : str
        Why the first without redshift has none.
    """

    count: int
    read: int
    flags: dict[str, int]
    reason: str


@dataclass
class Inspection:
    """All that is said of a file; `wrong` is empty when it is fine."""

    file: str
    size: int = 0
    what: str = ""
    units: list[UnitFacts] = field(default_factory=list)
    bands: list[BandFacts] = field(default_factory=list)
    target: Point | None = None
    centre: Point | None = None
    prediction: Prediction | None = None
    objects: Objects | None = None
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def lacks_redshift(self) -> bool:
        """Whether `predict` would give an object of the file no redshift."""
        flags = set(self.prediction.flags if self.prediction else [])
        flags |= set(self.objects.flags if self.objects else {})
        return any(flag.name in flags for flag in NO_REDSHIFT)

    def as_json(self) -> dict[str, Any]:
        """All of it for JSON, which has no NaN."""
        values: dict[str, Any] = _without_nan(dataclasses.asdict(self))
        return values


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
