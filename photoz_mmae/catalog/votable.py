"""A VOTable header for the catalogue's Parquet file (IVOA "VOParquet").

Two keys of the file's metadata hold the version and a VOTable document without data, from which
`astropy.table.Table.read(file, format="parquet.votable")` takes units, descriptions and UCDs.
"""

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import pyarrow as pa

from photoz_mmae.catalog.schema import Column

_NAMESPACE = "http://www.ivoa.net/xml/VOTable/v1.3"

CONTENT_KEY = "IVOA.VOTable-Parquet.content"
LENGTH_KEY = "table::len::"
"""Keys of the file's metadata; the second is followed by a column's name."""

_DATATYPES = {
    pa.uint8(): "unsignedByte",
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
}


def votable_metadata(
    columns: Sequence[Column], rows: int, lengths: Mapping[str, int], description: str
) -> dict[str, str]:
    """Return the keys of the file's metadata that make a Parquet file a VOParquet file.

    Parameters
    ----------
    columns : sequence of Column
        As they are in the file.
    rows : int
        Number of rows in the file.
    lengths : mapping of str to int
        Length of the longest text of each column of strings.
    description : str
        What the table is.
    """
    root = ElementTree.Element("VOTABLE", version="1.4", xmlns=_NAMESPACE)
    resource = ElementTree.SubElement(root, "RESOURCE", type="results")
    table = ElementTree.SubElement(resource, "TABLE", name="catalogue", nrows=str(rows))
    ElementTree.SubElement(table, "DESCRIPTION").text = description
    for column in columns:
        attributes = {"name": column.name, **votable_type(column, lengths)}
        attributes |= {"ucd": column.ucd} if column.ucd else {}
        attributes |= {"unit": column.unit} if column.unit else {}
        field = ElementTree.SubElement(table, "FIELD", attributes)
        ElementTree.SubElement(field, "DESCRIPTION").text = column.description
    return {
        "IVOA.VOTable-Parquet.version": "1.0",
        CONTENT_KEY: ElementTree.tostring(root, encoding="unicode", xml_declaration=True),
        # astropy warns, and guesses, without these.
        **{f"{LENGTH_KEY}{name}": str(max(length, 1)) for name, length in lengths.items()},
    }


def votable_type(column: Column, lengths: Mapping[str, int]) -> dict[str, str]:
    """Return the attributes `datatype` and, where it has one, `arraysize` of a column's FIELD."""
    if pa.types.is_string(column.type):
        # astropy cannot join a length of "*" with the data; "char" would lose letters.
        return {"datatype": "unicodeChar", "arraysize": str(max(lengths[column.name], 1))}
    if pa.types.is_fixed_size_list(column.type):
        return {
            "datatype": _DATATYPES[column.type.value_type],
            "arraysize": str(column.type.list_size),
        }
    return {"datatype": _DATATYPES[column.type]}
