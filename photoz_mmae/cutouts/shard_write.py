"""Writing a shard: chunk by chunk, under a name of its own until it is whole."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fitsio
import numpy as np

from photoz_mmae import __version__
from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.headers import Damaged
from photoz_mmae.cutouts.shard_file import COLUMNS, FORMAT, VERSION, escaped, open_shard
from photoz_mmae.cutouts.source import Source


class NeedsFloat64(Exception):
    """A source holds what float32 cannot: the shard has to be begun anew, in float64."""


class ShardWriter:
    """A shard that is being written; chunks of objects are added in order.

    Parameters
    ----------
    file : fitsio.FITS
        Empty.
    count : int
        Objects that will come.
    bands : sequence of str
    size : int
        Side of the stamps, pixels.
    double : bool
        Whether pixels are float64.
    """

    def __init__(
        self, file: Any, count: int, bands: Sequence[str], size: int, double: bool
    ) -> None:
        self._file = file
        self._shape = (count, len(bands), size, size)
        self._bands = "".join(bands)
        self._double = double
        self._row = 0
        self._rows: list[dict[str, Any]] = []
        file.write(None)
        self._create("IMAGE", "f8" if double else "f4")
        self._extra: set[str] = set()

    def add(self, batch: CutoutBatch, sources: Sequence[Source]) -> None:
        """Add objects that were read with `Wanted.raw` and measured.

        Parameters
        ----------
        batch : CutoutBatch
        sources : sequence of Source
            What the table names as theirs.

        Raises
        ------
        NeedsFloat64
        """
        raw = batch.raw
        assert raw is not None
        used = (batch.bands_used[:, None] >> np.arange(self._shape[1])) & 1 == 1
        if not self._double and not raw.single[used].all():
            raise NeedsFloat64
        blank = batch.missing | ~used[:, :, None, None]
        pixels = np.where(blank, np.nan, raw.pixels)
        self._put("IMAGE", pixels if self._double else pixels.astype(np.float32))
        if batch.variance.any():
            self._put("VARIANCE", batch.variance)
        if batch.saturated.any():
            self._put("SATURATED", batch.saturated.astype(np.uint8))
        self._rows.append(
            {
                "object_id": [escaped(text) for text in batch.object_id],
                "ra": batch.ra,
                "dec": batch.dec,
                "x": batch.x,
                "y": batch.y,
                "pixel_scale": raw.scale,
                "factor": raw.factor,
                "float32": raw.single,
                "flags": batch.flags,
                "bands_used": batch.bands_used,
                "flux": batch.flux,
                "flux_err": batch.flux_err,
                "reason": [escaped(text) for text in batch.reason],
                "files": [_files(source) for source in sources],
                "size": [source.size for source in sources],
                "mtime_ns": [source.mtime_ns for source in sources],
            }
        )
        self._row += len(sources)

    def finish(self) -> None:
        """Write the table, the primary header and the checksums."""
        columns = {
            column.name: np.concatenate([np.asarray(rows[column.name]) for rows in self._rows])
            for column in COLUMNS
        }
        kinds: list[Any] = []
        for column in COLUMNS:
            values = columns[column.name]
            # A text of width 0 is no column of FITS.
            kind = f"S{max(values.itemsize, 1)}" if column.kind == "S" else column.kind
            kinds.append((column.name, kind, values.shape[1:]))
        table = np.empty(self._row, kinds)
        for name, values in columns.items():
            table[name] = values
        meanings = [
            {"name": f"TCOMM{n}", "value": column.meaning} for n, column in enumerate(COLUMNS, 1)
        ]
        units = [column.unit for column in COLUMNS]
        self._file.write(table, extname="OBJECTS", units=units, header=meanings)
        facts = {
            "FORMAT": FORMAT,
            "FORMATV": VERSION,
            "BANDS": self._bands,
            "NOBJECTS": self._row,
            "CREATOR": f"photoz-mmae {__version__}",
        }
        scales = np.unique(columns["pixel_scale"])
        if len(scales) == 1 and np.isfinite(scales[0]):
            facts["PIXSCALE"] = float(scales[0])
        self._file[0].write_keys([{"name": key, "value": value} for key, value in facts.items()])
        for unit in self._file:
            unit.write_checksum()

    def _create(self, name: str, kind: str) -> None:
        self._file.create_image_hdu(dims=self._shape, dtype=kind, extname=name)
        self._file[name].write_key("BANDS", self._bands)

    def _put(self, name: str, pixels: Any) -> None:
        if name != "IMAGE" and name not in self._extra:
            # Rows before the first that has any stay zero.
            self._create(name, pixels.dtype.str[1:])
            self._extra.add(name)
        self._file[name].write(np.ascontiguousarray(pixels), start=[self._row, 0, 0, 0])


def _files(source: Source) -> bytes:
    row = "" if source.row < 0 else f"#{source.row}"
    return json.dumps([f"{file}{row}" for file in source.files]).encode()


@contextmanager
def shard_writer(
    path: Path, count: int, bands: Sequence[str], size: int, double: bool
) -> Iterator[ShardWriter]:
    """Write a shard to `path`, a temporary name: whole and synced at the end, or not there.

    Raises
    ------
    OSError
        It cannot be written, or what arrived on the disk is not what was written.
    """
    # By the folder's descriptor: cfitsio takes brackets and the like in a path for orders.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with fitsio.FITS(f"/proc/self/fd/{folder}/{path.name}", "rw") as file:
            writer = ShardWriter(file, count, bands, size, double)
            yield writer
            writer.finish()
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if not has_right_checksums(path):
            raise OSError("what arrived on the disk is not what was written")
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(folder)


def has_right_checksums(path: Path) -> bool:
    """Whether a shard is whole and all of its units have the DATASUM and CHECKSUM they say."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        about = path.stat()
        open_shard(str(path), about.st_mtime_ns, about.st_size)
        with fitsio.FITS(f"/proc/self/fd/{folder}/{path.name}") as file:
            for unit in file:
                unit.verify_checksum()
    except (OSError, Damaged, ValueError):
        return False
    finally:
        os.close(folder)
    return True
