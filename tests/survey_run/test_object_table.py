"""The table of objects: every id finds its own value, whatever ids look like."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.survey_run.object_table import (
    LONGEST_ID,
    CatalogFile,
    ObjectTable,
    read_objects,
)
from photoz_mmae.survey_runs import PredictRun


def read(folder, ids, ebv, **columns):
    path = folder / "t.parquet"
    pq.write_table(pa.table({"object_id": ids, "ebv": ebv, **columns}), path)
    rows = read_objects(CatalogFile(PredictRun(output=path, catalog=path, cutouts=("in",))))
    return rows.objects, rows.repeated


# Ids that begin alike, are of any length and alphabet, or are numbers.
_IDS = (
    st.one_of(
        st.text("ab0 Ü", min_size=1, max_size=4),
        st.integers(-(2**63), 2**63 - 1).map(str),
        st.integers(LONGEST_ID - 3, LONGEST_ID + 3).map(lambda n: "x" * n),
        st.text("yz", min_size=LONGEST_ID + 1, max_size=LONGEST_ID + 20),
    )
    .map(str.strip)
    .filter(bool)
)


@given(known=st.lists(_IDS, min_size=1, max_size=20), asked=st.lists(_IDS, max_size=20))
def test_lookups_are_those_of_a_dictionary(tmp_path_factory, known, asked):
    folder = tmp_path_factory.mktemp("t")
    ebv = [0.01 * i for i in range(len(known))]
    first = {}
    for name, value in zip(known, ebv, strict=True):
        first.setdefault(name, value)
    table, repeated = read(folder, known, ebv)
    assert repeated == len(known) - len(first)
    table.save(folder / "saved")
    for each in (table, ObjectTable.open(folder / "saved")):
        found = each.ebv_of(asked + known)
        wanted = [first.get(name, np.nan) for name in asked + known]
        np.testing.assert_array_equal(found, np.array(wanted, np.float32))


def test_numbers_and_their_text_are_one_id(tmp_path):
    whole, _ = read(tmp_path, [7, 2**62, -3], [0.1, 0.2, 0.3])
    text, _ = read(tmp_path, ["7", str(2**62), " -3 "], [0.1, 0.2, 0.3])
    asked = ["-3", str(2**62), "7", "007", "70", ""]
    expected = np.array([0.3, 0.2, 0.1, *[np.nan] * 3], np.float32)
    for table in (whole, text):
        np.testing.assert_array_equal(table.ebv_of(asked), expected)
    assert whole.sha256 == text.sha256


def test_rows_without_id_and_values_that_are_none(tmp_path):
    table, repeated = read(tmp_path, ["a", None, "", "b", "c"], [None, 0.1, 0.1, -99.0, 0.2])
    assert repeated == 0
    assert table.ids.tolist() == [b"a", b"b", b"c"]
    np.testing.assert_array_equal(table.ebv, np.array([np.nan, np.nan, 0.2], np.float32))
    with pytest.raises(InputError, match="holds no id"):
        read(tmp_path, pa.array([None, ""], pa.string()), [0.1, 0.1])


def test_checksum_follows_content_not_order(tmp_path):
    a, _ = read(tmp_path, ["a", "b"], [0.1, 0.2])
    b, _ = read(tmp_path, ["b", "a"], [0.2, 0.1])
    c, _ = read(tmp_path, ["b", "a"], [0.2, 0.3])
    assert a.sha256 == b.sha256 != c.sha256


def test_a_damaged_copy_is_told(tmp_path):
    table, _ = read(tmp_path, ["a"], [0.1])
    table.save(tmp_path / "saved")
    (tmp_path / "saved/ids.npy").write_bytes(b"torn")
    with pytest.raises(OutputError, match="damaged"):
        ObjectTable.open(tmp_path / "saved")


def test_positions_are_part_of_the_content(tmp_path):
    ra, dec = [-10.0, 10.0, 999.0], [1.0, -91.0, 2.0]
    table, _ = read(tmp_path, ["c", "a", "b"], [0.1] * 3, coord_ra=ra, coord_dec=dec)
    table.save(tmp_path / "saved")
    for each in (table, ObjectTable.open(tmp_path / "saved")):
        found_ra, found_dec = each.positions_of(["a", "b", "c", "d"])
        np.testing.assert_array_equal(found_ra, [np.nan, np.nan, 350.0, np.nan])
        np.testing.assert_array_equal(found_dec, [np.nan, np.nan, 1.0, np.nan])
    without, _ = read(tmp_path, ["c", "a", "b"], [0.1] * 3)
    assert table.sha256 != without.sha256
    assert np.isnan(without.positions_of(["a"])[0]).all()
