"""What every file of a catalogue says of itself: schema, metadata, VOTable header."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from photoz_mmae.catalog.schema import Column, arrow_schema
from photoz_mmae.catalog.votable import votable_metadata


@dataclass(frozen=True)
class Header:
    """A catalogue without its rows.

    Attributes
    ----------
    columns : tuple of Column
        As they are in the files.
    rows : int
        Of the whole catalogue.
    metadata : mapping of str to str
        `photoz_mmae.*`, of the whole catalogue.
    lengths : mapping of str to int
        Length of the longest text of each column of strings.
    description : str
        What the table is.
    """

    columns: tuple[Column, ...]
    rows: int
    metadata: Mapping[str, str]
    lengths: Mapping[str, int]
    description: str

    def schema(self, rows: int) -> pa.Schema:
        """Return the schema of a file that holds so many of the rows, with all its metadata."""
        said = votable_metadata(self.columns, rows, self.lengths, self.description)
        return arrow_schema(self.columns).with_metadata({**self.metadata, **said})
