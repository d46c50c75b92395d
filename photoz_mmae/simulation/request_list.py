"""Tables that stand beside cutouts: they alone say which object a file is of, and where it is."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.simulation.fits_hdu import BLOCK, PRIMARY, Cards, header
from photoz_mmae.simulation.observe import MockChunk
from photoz_mmae.simulation.render import STAMP
from photoz_mmae.simulation.skymap import tract_of
from photoz_mmae.surveys import Survey

RERUN = "pdr2_wide"
"""Name of the processing that cutouts are asked of, and are named after."""

LINE_OF_FIRST = 2
"""Line of a request list that the first cutout is asked for in; the header is the first."""


class RequestList:
    """What was asked of HSC's cutout service: one line per object and band, twice.

    `request.txt` is the list as the service takes it, `request.fits` a table with the columns
    `# object_id`, `ira`, `idec`, `tract`. A file named `N-cutout-...` answers line N of the list,
    row N - 2 of the table, counted from 0.

    Parameters
    ----------
    folder : Path
    survey : Survey
    """

    names: ClassVar[tuple[str, ...]] = ("request.txt", "request.fits")
    _row = np.dtype([("object_id", ">i8"), ("ira", ">f8"), ("idec", ">f8"), ("tract", ">i8")])

    def __init__(self, folder: Path, survey: Survey) -> None:
        self._survey = survey
        self._count = 0
        self._text = (folder / self.names[0]).open("w", encoding="ascii")
        self._table = (folder / self.names[1]).open("wb")
        self._text.write("#? rerun filter ra dec sw sh image mask variance type\n")
        self._table.write(header(PRIMARY) + self._header())

    def add(self, chunk: MockChunk) -> None:
        """Append the objects of a chunk."""
        bands = self._survey.bands
        half = f"{STAMP / 2.0 * self._survey.pixel_scale:.3f}asec"
        for ra, dec in zip(chunk.ra, chunk.dec, strict=True):
            for band in bands:
                self._text.write(
                    f"  {RERUN} HSC-{band.upper()} {ra:.8f} {dec:.8f} {half} {half} "
                    "true true true coadd\n"
                )
        rows = np.empty((len(chunk), len(bands)), dtype=self._row)
        rows["object_id"] = chunk.object_id[:, None]
        rows["ira"], rows["idec"] = chunk.ra[:, None], chunk.dec[:, None]
        tracts = [tract_of(ra, dec).number for ra, dec in zip(chunk.ra, chunk.dec, strict=True)]
        rows["tract"] = np.array(tracts)[:, None]
        self._table.write(rows.tobytes())
        self._count += rows.size

    def close(self) -> None:
        """Finish both files: only now is the number of rows known."""
        with self._text, self._table:
            self._table.write(bytes(-self._count * self._row.itemsize % BLOCK))
            self._table.seek(len(header(PRIMARY)))
            self._table.write(self._header())

    def _header(self) -> bytes:
        cards: Cards = {"XTENSION": "BINTABLE", "BITPIX": 8, "NAXIS": 2}
        cards |= {"NAXIS1": self._row.itemsize, "NAXIS2": self._count, "PCOUNT": 0, "GCOUNT": 1}
        names = ["# object_id", *(self._row.names or ())[1:]]
        cards["TFIELDS"] = len(names)
        for number, name in enumerate(names, start=1):
            cards[f"TTYPE{number}"] = name
            cards[f"TFORM{number}"] = "K" if self._row[number - 1].kind == "i" else "D"
        return header(cards)


class ObjectTable:
    """`objects.parquet`: what an LSST user has of the Object table, one row per object.

    Columns objectId, coord_ra, coord_dec (deg), ebv, tract.

    Parameters
    ----------
    folder : Path
    survey : Survey
    """

    names: ClassVar[tuple[str, ...]] = ("objects.parquet",)
    _schema = pa.schema(
        [
            ("objectId", pa.int64()),
            ("coord_ra", pa.float64()),
            ("coord_dec", pa.float64()),
            ("ebv", pa.float64()),
            ("tract", pa.int64()),
        ],
        metadata={b"photoz_mmae.title": b"Mock data: the objects of simulated cutouts"},
    )

    def __init__(self, folder: Path, survey: Survey) -> None:
        self._writer = pq.ParquetWriter(folder / self.names[0], self._schema)

    def add(self, chunk: MockChunk) -> None:
        """Append the objects of a chunk."""
        places = zip(chunk.ra, chunk.dec, strict=True)
        values = [chunk.object_id, chunk.ra, chunk.dec, chunk.ebv]
        values.append(np.array([tract_of(ra, dec).number for ra, dec in places]))
        self._writer.write_table(pa.table(values, schema=self._schema))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
