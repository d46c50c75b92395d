"""A training file for all tests of training."""

import pytest
from blobs import blobs, write


@pytest.fixture(scope="session")
def training_file(tmp_path_factory):
    """60 galaxies that are Gaussian blobs, redder and fainter with redshift."""
    return write(tmp_path_factory.mktemp("data") / "blobs.hdf5", blobs())
