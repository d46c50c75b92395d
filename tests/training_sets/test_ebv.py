"""E(B-V) of a training file: found wherever surveys put it, missing where it is no number."""

import h5py
import numpy as np
import pytest

from photoz_mmae.errors import InputError
from photoz_mmae.surveys import HSC_WIDE
from photoz_mmae.training_sets.ebv import read_ebv

PLACES = ["HSC_metadata/ebv", "DESI_fibermap/EBV", "HSC_metadata/a_g", "ebv", "simulation/ebv"]


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        yield file


def test_the_first_that_is_there_counts(file):
    for rank, name in reversed(list(enumerate(PLACES))):
        scale = HSC_WIDE.extinction[0] if name.endswith("a_g") else 1.0
        file[name] = np.full(3, 0.1 * (rank + 1) * scale)
        np.testing.assert_allclose(read_ebv(file, 3, HSC_WIDE), 0.1 * (rank + 1), rtol=1e-6)


def test_bad_values_are_missing(file):
    file["ebv"] = np.array([0.1, np.nan, -99, 99, 0])
    found = read_ebv(file, 5, HSC_WIDE)
    np.testing.assert_allclose(found, [0.1, np.nan, np.nan, np.nan, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "looked for HSC_metadata/ebv, DESI_fibermap/EBV, HSC_metadata/a_g, ebv"),
        (np.full(4, 0.1), r"'ebv' has shape \(4,\)"),
        (np.full((3, 2), 0.1), r"'ebv' has shape \(3, 2\)"),
        (np.array([b"a", b"b", b"c"]), "type |S1"),
        (np.full(3, np.nan), "no usable"),
    ],
)
def test_none_and_nonsense_are_told(file, values, message):
    if values is not None:
        file["ebv"] = values
    with pytest.raises(InputError, match=message) as error:
        read_ebv(file, 3, HSC_WIDE)
    assert "--dust none" in str(error.value)
