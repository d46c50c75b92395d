"""Objects with files of their own to rows of a batch: read ahead, opened, put in place.

What goes wrong with one object becomes its flags, and costs no other its row.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from photoz_mmae.cutouts.bands import BLUE_TO_RED
from photoz_mmae.cutouts.batch import CutoutBatch, Positions, Wanted
from photoz_mmae.cutouts.fill_row import fill_row
from photoz_mmae.cutouts.fits import Cutout, name_id, read_cutout
from photoz_mmae.cutouts.pixels import Unusable
from photoz_mmae.cutouts.read_ahead import Content, read_ahead
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag

POSITIONS_AT_ONCE = 32
"""Objects whose positions are looked up together."""


def fill_from_files(
    batch: CutoutBatch,
    rows: Sequence[int],
    sources: Sequence[Source],
    wanted: Wanted,
    positions: Positions | None,
) -> None:
    """Read objects that have files of their own into rows of a batch.

    Parameters
    ----------
    batch : CutoutBatch
        Filled in place.
    rows : sequence of int
        Where each source belongs.
    sources : sequence of Source
        Of kind `cutout`.
    wanted : Wanted
    positions : callable or None
    """
    contents = read_ahead(path for source in sources for path in source.files)
    # Few files at once, so that what was read is still in the processor's cache when it is used;
    # but whoever tells positions is asked for many.
    block = 4 if positions is None else POSITIONS_AT_ONCE
    waiting = iter(zip(rows, sources, strict=True))
    with np.errstate(over="ignore", invalid="ignore"):
        while some := list(itertools.islice(waiting, block)):
            opened = [_open(batch, row, source, contents, wanted) for row, source in some]
            sky = _given_positions(batch, some, positions)
            for (row, _), cutout, place in zip(some, opened, sky, strict=True):
                if place is not None:
                    # It is known whatever becomes of the image.
                    batch.ra[row], batch.dec[row] = place
                if cutout is not None:
                    _attempt(batch, row, fill_row, batch, row, cutout, wanted, place)


def read_file_id(source: Source) -> str:
    """Return the id that an object has, from its headers alone."""
    cutout = Cutout()
    if source.object_id is not None:
        return source.object_id
    with suppress(Exception):  # whatever is wrong with it, it has an id
        read_cutout(source, list(read_ahead(source.files)), (), cutout)
    return cutout.object_id or name_id(source)


def read_file_bands(source: Source) -> str:
    """Return the bands of ugrizy that an object's files hold; '' where they do not tell."""
    cutout = Cutout()
    with suppress(Exception):  # its row will say what is wrong with it
        read_cutout(source, list(read_ahead(source.files)), BLUE_TO_RED, cutout)
    return "".join(
        BLUE_TO_RED[planes.first + k] for planes in cutout.planes for k in range(len(planes.data))
    )


def _open(
    batch: CutoutBatch, row: int, source: Source, contents: Iterator[Content], wanted: Wanted
) -> Cutout | None:
    """Read an object's images as they are in its files; None, and flags, where that failed."""
    given = list(itertools.islice(contents, len(source.files)))
    cutout = Cutout()
    usable = _attempt(batch, row, read_cutout, source, given, wanted.bands, cutout)
    batch.object_id[row] = source.object_id or cutout.object_id or name_id(source)
    return cutout if usable else None


def _attempt(batch: CutoutBatch, row: int, function: Callable[..., None], *given: Any) -> bool:
    """Call a function; what goes wrong becomes flags of one object, and costs no other its row."""
    try:
        function(*given)
    except Unusable as error:
        batch.flags[row] |= error.flag
        batch.reason[row] = error.reason
        if not batch.bands_used[row]:
            batch.images[row], batch.missing[row] = 0, True
    except Exception as error:
        batch.images[row], batch.missing[row] = 0, True
        batch.flags[row] = Flag.READ_ERROR
        batch.reason[row] = f"{batch.source[row]}: {type(error).__name__}: {error}"
    else:
        return True
    return False


def _given_positions(
    batch: CutoutBatch, some: Sequence[tuple[int, Source]], positions: Positions | None
) -> list[tuple[float, float] | None]:
    """Return where the targets are by their sources, else by `positions`; None where unknown."""
    if positions is None:
        return [(s.ra, s.dec) if s.ra == s.ra and s.dec == s.dec else None for _, s in some]
    ra, dec = positions([batch.object_id[row] for row, _ in some])
    given = _given_positions(batch, some, None)
    known = np.isfinite(ra) & np.isfinite(dec)
    return [
        own or ((float(ra[n]), float(dec[n])) if known[n] else None) for n, own in enumerate(given)
    ]
