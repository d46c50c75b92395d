"""Files that hold many objects each: what they are, and how many objects are in them."""

import os

from photoz_mmae.cutouts.headers import Damaged, open_regular, reader, walk_headers
from photoz_mmae.cutouts.ids import is_hdf5_name
from photoz_mmae.cutouts.shard_file import objects_in
from photoz_mmae.cutouts.source import Kind


def rows_in(path: str) -> tuple[Kind, int] | None:
    """Tell whether a file holds many objects, by its headers; None for any other file.

    Parameters
    ----------
    path : str
        A FITS file, whose content decides, or one named `*.h5` or `*.hdf5`. Such a file that
        cannot be read counts as one object, which gets a row that says so; one that can be read
        and has no images is None.

    Returns
    -------
    (kind, number of objects) or None
    """
    if is_hdf5_name(path):
        from photoz_mmae.cutouts.hdf5 import count_objects

        images = count_objects(path)
        return ("hdf5", images) if images else None
    try:
        descriptor = open_regular(path)
        try:
            count = objects_in(next(walk_headers(reader(descriptor))))
        finally:
            os.close(descriptor)
    except (OSError, Damaged):
        return None
    return ("shard", count) if count else None
