"""A look at files, whatever they are: none raises, and what is wrong is said."""

import math
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.binary_table import columns
from photoz_mmae.cutouts.companions import Companions, find_companions
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.headers import BLOCK, MAX_FILE, Damaged, Header, ReadAt, walk_headers
from photoz_mmae.cutouts.ids import is_fits_name, is_hdf5_name, printable
from photoz_mmae.cutouts.inspect.checksums import wrong_checksums
from photoz_mmae.cutouts.inspect.containers import look_at_objects
from photoz_mmae.cutouts.inspect.facts import Inspection, Prediction, UnitFacts
from photoz_mmae.cutouts.inspect.images import locate_target, look_at_images
from photoz_mmae.cutouts.inspect.kinds import name_kind
from photoz_mmae.cutouts.inspect.other_files import describe_other
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.pixels import Unusable
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.read_ahead import open_large
from photoz_mmae.cutouts.shard_file import objects_in
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError
from photoz_mmae.flags import NO_REDSHIFT, Flag

MAX_UNITS = 200
"""Header-data units of a file that are looked at."""

_POWERS = {1: "variance", -1: "inverse variance", 2: "sigma"}


def inspect_files(paths: Sequence[str], wanted: Wanted) -> Iterator[Inspection]:
    """Look at files, one after the other.

    Parameters
    ----------
    paths : sequence of str
        Those of them that are one object's bands are read together, as `predict` does.
    wanted : Wanted
        What the model takes, for what `predict` would say.

    Yields
    ------
    Inspection
    """
    sources = _sources(paths)
    for path in paths:
        found = Inspection(printable(path))
        try:
            source = sources.get(os.path.normpath(path)) or Source((path,), 0, 0)
            _look_at(path, source, wanted, found)
        except Unusable as error:
            found.wrong.append(error.reason)
        except (InputError, Damaged) as error:
            found.wrong.append(str(error).removeprefix(f"{path}: "))
        except OSError as error:
            found.wrong.append(f"cannot be read: {error.strerror or error}")
        except Exception as error:  # a file that nobody thought of is to be told of, too
            found.wrong.append(f"{type(error).__name__}: {error}")
        yield found


def _sources(paths: Sequence[str]) -> dict[str, Source]:
    """Return which object each file belongs to."""
    # Not Path.is_file, which raises for what is out of reach.
    names = [path for path in paths if is_fits_name(path) and os.path.isfile(path)]  # noqa: PTH113
    try:
        sources = discover(names).sources
        return {os.path.normpath(file): source for source in sources for file in source.files}
    except InputError:  # none of them holds images
        return {}


def _look_at(path: str, source: Source, wanted: Wanted, found: Inspection) -> None:
    about = Path(path).stat()
    found.size = about.st_size
    if not stat.S_ISREG(about.st_mode):
        is_folder = stat.S_ISDIR(about.st_mode)
        found.what = "folder" if is_folder else "no regular file"
        found.wrong.append("a folder: name files in it" if is_folder else "not a regular file")
        return
    with open_large(path) as read_at:
        if read_at(0, 9) == b"SIMPLE  =":
            headers = _look_at_fits(read_at, wanted, found)
            if found.what.startswith("packed shard"):
                look_at_objects(path, wanted, found)
            elif find_companions(headers):
                _predict(source, headers, wanted, found)
            return
    if is_fits_name(path):
        found.wrong.append("its name says FITS, its content does not")
    found.what, found.units = describe_other(Path(path))
    if is_hdf5_name(path):
        look_at_objects(path, wanted, found)


def _look_at_fits(read_at: ReadAt, wanted: Wanted, found: Inspection) -> list[Header]:
    headers: list[Header] = []
    damaged = ""
    try:
        for header in walk_headers(read_at):
            headers.append(header)
            if len(headers) == MAX_UNITS:
                found.notes.append(f"only the first {MAX_UNITS} HDUs were looked at")
                break
    except Damaged as error:
        damaged = str(error)
    found.what = name_kind(headers)
    is_sky = "not a cutout" not in found.what
    companions = find_companions(headers)
    begin = 0
    whole = set()
    for header in headers:
        end = header.data_start + header.data_size
        if not header.data_size or (end <= MAX_FILE and read_at(end - 1, 1)):
            whole.add(header.index)
        is_whole = header.index in whole
        unit = _unit(header, companions, begin if is_whole else None, read_at, found)
        if not is_sky and unit.role in ("image", "not of the sky"):
            unit.role = ""  # of a spectrum
        found.units.append(unit)
        begin = header.data_start + -(-header.data_size // BLOCK) * BLOCK
    if damaged:
        found.wrong.append(damaged)
    elif headers:
        try:
            objects_in(headers[0])
        except Damaged as error:
            found.wrong.append(str(error))
    # Of what is cut off no more is said.
    companions = {
        image: Companions(
            own.mask if own.mask in whole else None,
            own.variance if own.variance in whole else None,
            own.power,
        )
        for image, own in companions.items()
        if image in whole
    }
    if companions and is_sky:
        look_at_images(headers, companions, read_at, wanted.bands, found)
    return headers


def _unit(
    header: Header,
    companions: dict[int, Companions],
    begin: int | None,
    read_at: ReadAt,
    found: Inspection,
) -> UnitFacts:
    """Describe a unit; `begin` is where it begins, None for one that is not whole."""
    unit = UnitFacts(header.text("EXTNAME") or header.text("EXTTYPE"))
    if header.shape:
        unit.kind = "image"
        unit.shape = " x ".join(str(length) for length in header.shape)
        bits = header.integer("ZBITPIX" if header.is_compressed else "BITPIX")
        unit.type = "uint8" if bits == 8 else f"{'float' if bits < 0 else 'int'}{abs(bits)}"
        unit.compression = header.text("ZCMPTYPE") if header.is_compressed else ""
        unit.role = _role(header, companions)
    elif header.is_table:
        unit.kind = "table"
        unit.role = header.text("AR_NAME")
        try:
            rows = header.integer("NAXIS2")
            unit.shape = f"{rows} row{'s' * (rows != 1)}"
            unit.columns = [name for name, _, _ in columns(header)]
        except Damaged as error:
            found.wrong.append(str(error))
    else:
        unit.kind = "no data" if header.index else "header"
    wrong = wrong_checksums(header, begin, read_at) if begin is not None else []
    if wrong:
        found.wrong.append(
            f"HDU {header.index}: {' and '.join(wrong)} not that of its bytes: they were changed"
        )
    if begin is not None and (header.text("DATASUM") or header.text("CHECKSUM")):
        unit.checksum = "wrong" if wrong else "right"
    return unit


def _role(header: Header, companions: dict[int, Companions]) -> str:
    index = header.index
    if header.text("EXTNAME") == "SATURATED":
        return "saturated pixels"
    if index in companions:
        return "image"
    for image, own in companions.items():
        if own.mask == index:
            return f"mask of HDU {image}"
        if own.variance == index:
            return f"{_POWERS[own.power]} of HDU {image}"
    return "not of the sky"


def _predict(source: Source, headers: Sequence[Header], wanted: Wanted, found: Inspection) -> None:
    """Add what `predict` makes of the object."""
    batch = read_batch([source], wanted)
    measure_batch(batch, wanted.bands)
    flags = Flag(int(batch.flags[0]))
    found.prediction = Prediction(
        object_id=batch.object_id[0],
        files=[printable(file) for file in source.files],
        bands=[band for bit, band in enumerate(wanted.bands) if batch.bands_used[0] >> bit & 1],
        flags=[str(flag.name) for flag in Flag if flag in flags],
        reason=batch.reason[0],
    )
    sky = float(batch.ra[0]), float(batch.dec[0])
    if not flags & NO_REDSHIFT or math.isfinite(sky[0]):
        locate_target(headers, sky if math.isfinite(sky[0]) else None, found)
    if flags & Flag.READ_ERROR and not found.wrong:
        found.wrong.append(batch.reason[0].removeprefix(f"{found.file}: "))
