"""A training file for the tests of the comparison: that of the tests of training."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

from blobs import blobs, write


@pytest.fixture(scope="session")
def training_file(tmp_path_factory):
    """60 galaxies that are Gaussian blobs, redder and fainter with redshift."""
    return write(tmp_path_factory.mktemp("data") / "blobs.hdf5", blobs())
