"""What the files of one survey have in common is found out once.

Cutouts of a survey differ in a few header values and in their pixels. So what the first file's
headers decide (where each band's image is, of which shape and type) is kept together with
every card that was looked at to decide it. A later file of the same length, with the same
keywords in the same places and the same values in those cards, is laid out alike, and nothing but
its own values is read. Any other file is looked at in full, and remembered as well.
"""

import itertools
import math
import re
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.companions import MaskBits
from photoz_mmae.cutouts.headers import BLOCK, CARD, Header
from photoz_mmae.cutouts.pixels import is_scaled, stored_dtype
from photoz_mmae.cutouts.units import ZERO_POINT_KEYS
from photoz_mmae.cutouts.wcs import Projection

REMEMBERED = 64
"""Lengths of files of which layouts are kept."""

ALIKE = 8
"""Layouts kept of files of one length."""

_PLACING = re.compile(
    rb"(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA)\d|(CD|PC)(\d_\d|\d{6})|LONPOLE|LATPOLE|(PV|A_|B_|AP_|BP_).*"
    rb"|RA_TARG|DEC_TARG|RA|DEC|PIXSCALE|BUNIT|BSOFTEN|PHOTSYS|SATURATE|%s"
    % "|".join(ZERO_POINT_KEYS).encode()
)

Stack = tuple[int, tuple[int, ...], tuple[int, ...], np.dtype[Any]]
_Fixed = tuple[int, NDArray[np.uint8], bytes]

_COMMENTS = (b"COMMENT ", b"HISTORY ", b"CONTINUE", b"        ")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file the image of one band is.

    Attributes
    ----------
    unit : int
        Number of its header-data unit.
    axis, plane : int or None, int
        In a cube, the axis along which the bands are (0 or 2), and the band's place on it.
    mask, variance : int or None
        Units of its mask, where that names its planes, and its variance.
    bits, power
        What they mean, as `photoz_mmae.cutouts.companions` says it.
    projection : str
        Of its WCS, as `read_projection` says it.
    cards : tuple of (int, int)
        Where in the file are the cards that tell position and flux of its pixels.
    linear : tuple of (int, int)
        Where in the file the numbers of a TAN projection are, as `tangent_numbers` says it.
    """

    unit: int
    axis: int | None = None
    plane: int = 0
    projection: Projection = "none"
    cards: tuple[tuple[int, int], ...] = ()
    linear: tuple[tuple[int, int], ...] = ()
    mask: int | None = None
    variance: int | None = None
    bits: MaskBits = field(default_factory=MaskBits)
    power: int = 1

    @property
    def x_axis(self) -> int:
        """FITS number of the image's x axis."""
        return 2 if self.axis == 2 else 1


class Run(NamedTuple):
    """Bands that follow each other among the model's and in `places`, of one header.

    Attributes
    ----------
    band, start, length : int
        Number of the first among the model's bands and in `places`; how many there are.
    """

    band: int
    start: int
    length: int


@dataclass(slots=True)
class Layout:
    """How a file is laid out.

    Attributes
    ----------
    headers : list of Header
    places : list of Place
        Of the wanted bands that are there, in their order.
    runs : list of Run
        The bands that can be treated together.
    stack : tuple or None
        Offset, shape (K, H, W), strides and type under which the images of `places`, in order, are
        one array over the file's bytes; None where they are not.
    has_companions : bool
        Whether there is a mask, a variance, or an archive that may tell a zero point.
    """

    headers: list[Header]
    places: list[Place]
    runs: list[Run]
    stack: Stack | None
    has_companions: bool


def find_runs(numbers: Sequence[int], places: Sequence[Place]) -> list[Run]:
    """Put bands together that can be treated together; `numbers` are theirs among the model's."""
    runs: list[Run] = []
    for index, (number, place) in enumerate(zip(numbers, places, strict=True)):
        band, start, length = runs[-1] if runs else (0, 0, 0)
        if runs and number == band + length and place.unit == places[start].unit:
            runs[-1] = Run(band, start, length + 1)
        else:
            runs.append(Run(number, index, 1))
    return runs


def find_stack(headers: Sequence[Header], places: Sequence[Place]) -> Stack | None:
    """Say how the images at these places are one array, if they are."""
    if not places:
        return None
    offsets, kinds = [], set()
    for place in places:
        header = headers[place.unit]
        if header.is_compressed or is_scaled(header):
            return None
        dtype = stored_dtype(header)
        shape = header.plain_shape
        steps = [dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        offset = header.data_start
        if place.axis is not None:
            offset += place.plane * steps.pop(place.axis)
            shape = shape[: place.axis] + shape[place.axis + 1 :]
        offsets.append(offset)
        kinds.add((dtype, shape, tuple(steps)))
    step = offsets[1] - offsets[0] if len(offsets) > 1 else 0
    if len(kinds) > 1 or any(two - one != step for one, two in itertools.pairwise(offsets)):
        return None
    ((dtype, plane, strides),) = kinds
    return offsets[0], (len(offsets), *plane), (step, *strides), dtype


def placing_cards(header: Header, primary: Header) -> tuple[tuple[int, int], ...]:
    """Return where the cards are that tell position and flux of an image's pixels.

    Images of two bands with the same text there lie alike on the sky, in the same unit.
    """
    runs: list[tuple[int, int]] = []
    for source in (header,) if header is primary else (primary, header):
        for key, (start, stop) in source.cards.items():
            if _PLACING.fullmatch(key):
                start -= start % CARD  # with its name
                if runs and runs[-1][1] == start:
                    start = runs.pop()[0]
                runs.append((start, stop))
    return tuple(runs)


class Layouts:
    """The layouts met so far."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, list[tuple[Layout, list[_Fixed]]]] = OrderedDict()

    def find(self, file: bytes, key: Hashable) -> tuple[Layout, list[Header]] | None:
        """Return the layout of a file like one remembered under the same `key`, and its headers."""
        for layout, fixed in self._known.get((len(file), key), ()):
            for start, mask, text in fixed:
                header = np.frombuffer(file, np.uint8, len(text), start)
                if (header & mask).tobytes() != text:
                    break
            else:
                return layout, [header.of(file) for header in layout.headers]
        return None

    def remember(self, layout: Layout, file: bytes, key: Hashable) -> None:
        """Remember the layout of a file, unless it has no such use for others.

        `key` is what the layout depends on beside the file.
        """
        last = layout.headers[-1]
        # Something behind the last unit may be one in another file.
        if last.data_start + -(-last.data_size // BLOCK) * BLOCK < len(file):
            return
        if any(header.is_compressed for header in layout.headers):
            return  # no two are of the same length
        fixed = [_fixed(header) for header in layout.headers]
        known = self._known.setdefault((len(file), key), [])
        # The file itself is let go.
        headers = [replace(header, raw=b"", asked=None) for header in layout.headers]
        known.insert(0, (replace(layout, headers=headers), fixed))
        del known[ALIKE:]
        self._known.move_to_end((len(file), key))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _fixed(header: Header) -> _Fixed:
    """Return where a header begins, which of its bytes decide, and what these are."""
    begin, end = header.span
    end += CARD  # END is there, too
    mask = np.zeros(end - begin, np.uint8)
    for card in range(begin, end, CARD):
        name = 8 if header.raw.startswith(_COMMENTS, card) else 10
        if header.raw.startswith(b"END     ", card):
            name = CARD  # the end, or not, by all of it
        mask[card - begin : card - begin + name] = 0xFF
        if header.raw.startswith(b"HIERARCH ", card):
            equals = header.raw.find(b"=", card, card + CARD)
            mask[card - begin : (equals + 1 if equals >= 0 else card + CARD) - begin] = 0xFF
    for key, (one, two) in header.cards.items():
        if key in (header.asked or ()):
            mask[one - begin : two - begin] = 0xFF
        elif _PLACING.fullmatch(key):
            comment = header.number_span(key)[1]
            mask[comment - begin : min(comment + 2, two) - begin] = 0xFF
    text = np.frombuffer(header.raw, np.uint8, end - begin, begin) & mask
    return begin, mask, text.tobytes()
