"""The mock survey as FITS cutouts, one file per object, and their truth beside them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from photoz_mmae import __version__
from photoz_mmae.errors import OutputError
from photoz_mmae.simulation.observe import MockChunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.render import STAMP
from photoz_mmae.surveys import ZERO_POINT, Survey

TRUTH = "truth.parquet"
_KIND = (b"photoz_mmae.kind", b"mock cutouts")
_BLOCK = 2880

Cards = dict[str, str | int | float | bool]


class CutoutFolder:
    """Writes chunks as files `OBJECT_ID.fits` into `path`, and `truth.parquet` beside them.

    The files appear in `path` when all are written. Used as a context: leaving it after an
    exception removes what was written.

    Parameters
    ----------
    path : Path
        Created where it is missing.
    layout : {"cube", "mef"}
        A primary HDU (bands, 64, 64), or one image extension per band.
    recipe : Recipe
        Recorded in the truth's metadata.
    overwrite : bool
        Replace the cutouts that an earlier call wrote into `path`, and no other file.

    Raises
    ------
    OutputError
        The folder holds something, or cannot be written.
    """

    def __init__(
        self, path: Path, layout: Literal["cube", "mef"], recipe: Recipe, overwrite: bool
    ) -> None:
        self._path = path
        self._old = _files_to_replace(path, overwrite)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._encode = _encode_cube if layout == "cube" else _encode_extensions
        self._survey = survey = recipe.survey
        kinds = [("object_id", pa.int64()), ("ra", pa.float64()), ("dec", pa.float64())]
        kinds += [("redshift", pa.float64())]
        kinds += [(f"mag_{band}", pa.float64()) for band in survey.bands]
        kinds += [("class", pa.string()), ("ebv", pa.float64())]
        about = {
            _KIND[0]: _KIND[1],
            b"photoz_mmae.title": b"Mock data: the truth of simulated cutouts",
            b"photoz_mmae.version": __version__.encode(),
            b"photoz_mmae.seed": str(recipe.seed).encode(),
            b"photoz_mmae.survey": survey.name.encode(),
        }
        with self._reporting():
            self._temporary.mkdir(parents=True)
            schema = pa.schema(kinds, metadata=about)
            self._truth = pq.ParquetWriter(self._temporary / TRUTH, schema)

    def add(self, chunk: MockChunk) -> None:
        """Write a chunk."""
        values = {
            "object_id": chunk.object_id,
            "ra": chunk.ra,
            "dec": chunk.dec,
            "redshift": chunk.redshift,
            **{f"mag_{band}": chunk.mag[:, k] for k, band in enumerate(self._survey.bands)},
            "class": chunk.kind,
            "ebv": chunk.ebv,
        }
        pixels = chunk.images.astype(">f4")
        with self._reporting():
            self._truth.write_table(pa.table(values, schema=self._truth.schema))
            for row, number in enumerate(chunk.object_id):
                content = self._encode(chunk, row, pixels[row], self._survey)
                (self._temporary / f"{number}.fits").write_bytes(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._reporting():
                self._truth.close()
                if kind is None:
                    self._publish()
        except OutputError:
            if kind is None:
                raise
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _publish(self) -> None:
        for file in self._old:
            file.unlink(missing_ok=True)
        self._path.mkdir(exist_ok=True)
        new = sorted(self._temporary.iterdir())
        taken = next((file.name for file in new if (self._path / file.name).exists()), None)
        if taken:
            raise OutputError(f"{self._path / taken}: exists and was not written by simulate")
        for file in new:
            file.rename(self._path / file.name)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"{self._path}: cannot be written ({reason})") from error


def _files_to_replace(path: Path, overwrite: bool) -> list[Path]:
    """List what may be removed from `path`; OutputError where it holds anything and may not."""
    if not path.exists():
        return []
    if not path.is_dir():
        raise OutputError(f"{path}: exists and is no folder; choose another name")
    if not any(path.iterdir()):
        return []
    if not overwrite:
        raise OutputError(f"{path}: is not empty; choose another folder or give --overwrite")
    try:
        truth = pq.read_table(path / TRUTH, columns=["object_id"])
    except (OSError, KeyError, pa.ArrowException):
        truth = None
    if truth is None or (truth.schema.metadata or {}).get(_KIND[0]) != _KIND[1]:
        raise OutputError(
            f"{path}: holds files but no {TRUTH} of a mock survey, so nothing there is replaced; "
            "choose another folder"
        )
    return [path / TRUTH, *(path / f"{number}.fits" for number in truth["object_id"].to_pylist())]


def _encode_cube(chunk: MockChunk, row: int, pixels: NDArray[np.float32], survey: Survey) -> bytes:
    """Encode one primary HDU of (B, 64, 64)."""
    cards: Cards = {"SIMPLE": True, "BITPIX": -32, "NAXIS": 3}
    cards |= {"NAXIS1": STAMP, "NAXIS2": STAMP, "NAXIS3": len(survey.bands)}
    return _hdu(cards | _identity(chunk, row, survey) | _wcs(chunk, row, survey), pixels)


def _encode_extensions(
    chunk: MockChunk, row: int, pixels: NDArray[np.float32], survey: Survey
) -> bytes:
    """Encode an empty primary HDU, then one image extension per band, such as HSC-G."""
    primary: Cards = {"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True}
    parts = [_hdu(primary | _identity(chunk, row, survey), None)]
    wcs = _wcs(chunk, row, survey)
    for band, plane in zip(survey.bands, pixels, strict=True):
        cards: Cards = {"XTENSION": "IMAGE", "BITPIX": -32, "NAXIS": 2}
        cards |= {"NAXIS1": STAMP, "NAXIS2": STAMP, "PCOUNT": 0, "GCOUNT": 1}
        cards |= {"EXTNAME": f"{survey.name.split('-')[0].upper()}-{band.upper()}"}
        parts.append(_hdu(cards | {"MAGZERO": ZERO_POINT} | wcs, plane))
    return b"".join(parts)


def _identity(chunk: MockChunk, row: int, survey: Survey) -> Cards:
    number = int(chunk.object_id[row])
    return {
        "OBJECT": str(number),
        "OBJECT_ID": number,
        "RA_TARG": float(chunk.ra[row]),
        "DEC_TARG": float(chunk.dec[row]),
        "MAGZERO": ZERO_POINT,
        "BANDS": "".join(survey.bands),
        "MOCK": True,
    }


def _wcs(chunk: MockChunk, row: int, survey: Survey) -> Cards:
    """Gnomonic projection whose reference pixel is the target, up to half a pixel off centre."""
    centre = (STAMP + 1) / 2.0
    return {
        "WCSAXES": 2,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": centre + float(chunk.offset[row, 0]),
        "CRPIX2": centre + float(chunk.offset[row, 1]),
        "CRVAL1": float(chunk.ra[row]),
        "CRVAL2": float(chunk.dec[row]),
        "CD1_1": -survey.pixel_scale / 3600.0,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": survey.pixel_scale / 3600.0,
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "RADESYS": "ICRS",
    }


def _hdu(cards: Cards, data: NDArray[np.float32] | None) -> bytes:
    """Header and data (big-endian already) of one HDU, each padded to whole blocks.

    Written out here because a library takes 2 ms for each of thousands of small files.
    """
    lines = []
    for key, value in cards.items():
        if isinstance(value, bool):
            text = f"{'T' if value else 'F':>20}"
        elif isinstance(value, str):
            text = f"'{value:<8}'"
        elif isinstance(value, float):
            text = f"{value!r:>20}".replace("e", "E")
        else:
            text = f"{value:>20}"
        # A name longer than the standard's eight letters takes the HIERARCH convention.
        start = f"{key:<8}= " if len(key) <= 8 else f"HIERARCH {key} = "
        lines.append((start + text).ljust(80))
    header = "".join([*lines, "END".ljust(80)]).encode("ascii")
    header += b" " * (-len(header) % _BLOCK)
    if data is None:
        return header
    content = data.tobytes()
    return header + content + bytes(-len(content) % _BLOCK)
