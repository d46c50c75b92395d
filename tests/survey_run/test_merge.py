"""The merge: all rows in order, ids of one kind, duplicates and vanished cutouts flagged."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.catalog.schema import arrow_schema, catalogue_schema
from photoz_mmae.cutouts.ids import canonical_integer
from photoz_mmae.errors import OutputError
from photoz_mmae.flags import Flag
from photoz_mmae.survey_run.merge import (
    REPEATED_KEY,
    FinishedPart,
    merge,
    read_problems,
)
from photoz_mmae.survey_run.numbered_ids import integer_ids
from photoz_mmae.survey_run.part import PROBLEM


@pytest.fixture
def columns(make_info):
    """A small catalogue: identity, one band, a point, flags."""
    return catalogue_schema(
        make_info(bands=("i",), z_edges=None, wave=None), 0, "none", 2.0, ebv=False
    )


@pytest.fixture
def write_part(tmp_path, columns):
    """Write a part file with these ids; rows whose id is in `bad` have no redshift."""

    def write(name, ids, bad=(), gone=()):
        n = len(ids)
        is_bad = np.array([i in bad for i in ids], dtype=bool)
        values = {
            "object_id": pa.array(ids, pa.string()),
            "source": pa.array([f"/in/{i}.fits" for i in ids], pa.string()),
            **dict.fromkeys(("ra", "dec"), pa.nulls(n, pa.float64())),
            "z_best": pa.array(np.full(n, 0.5, np.float32), mask=is_bad),
            "flags": pa.array(np.where(is_bad, Flag.READ_ERROR, 0), pa.int32()),
        }
        schema = arrow_schema(columns)
        arrays = [values.get(f.name, pa.array(np.zeros(n)).cast(f.type)) for f in schema]
        table = pa.table(arrays, schema=schema)
        problem = pa.array(["torn" if each else None for each in is_bad], pa.string())
        pq.write_table(table.append_column(PROBLEM, problem), tmp_path / name)
        return FinishedPart(tmp_path / name, n, gone)

    return write


@pytest.fixture
def merged(tmp_path, columns):
    """Merge parts; returns what the list of problems says and the table."""

    def run(*parts):
        output = tmp_path / "c.parquet"
        problems = tmp_path / "problems"
        merge(parts, columns, {"photoz_mmae.x": "1"}, "t", output, problems, lambda file: None)
        return read_problems(problems), pq.read_table(output)

    return run


def test_rows_flags_and_problems(write_part, merged, tmp_path):
    first = write_part("0", ["1", "2", "3", "5"], bad={"3"}, gone=(1,))
    second = write_part("1", ["4", "2", "5"], bad={"4"})
    said, table = merged(first, second)
    assert table["object_id"].type == pa.int64()
    assert table["object_id"].to_pylist() == [1, 2, 3, 5, 4, 2, 5]
    assert table["flags"].to_pylist() == [
        0,
        Flag.SOURCE_GONE,
        Flag.READ_ERROR,
        Flag.DUPLICATE_ID,
        Flag.READ_ERROR,
        0,  # the other one is gone
        Flag.DUPLICATE_ID,
    ]
    assert (said.bad, said.gone, said.flags) == (2, 0, {"READ_ERROR": 2})
    assert table.schema.metadata[REPEATED_KEY.encode()] == b"2"
    problems = [json.loads(line) for line in (tmp_path / "problems").open()]
    assert [problem["object_id"] for problem in problems] == [3, 4]
    assert problems[0] == {
        "source": "/in/3.fits",
        "object_id": 3,
        "flags": ["READ_ERROR"],
        "reason": "torn",
    }
    assert PROBLEM not in table.schema.names
    assert table.schema.metadata[b"photoz_mmae.x"] == b"1"
    assert table.schema.metadata[b"photoz_mmae.object_id_type"] == b"int64"


@pytest.mark.parametrize("odd", ["007", "", "9223372036854775808", "1e3", "+1", "é"])
def test_one_id_that_is_no_integer_makes_all_text(write_part, merged, odd):
    _, table = merged(write_part("0", ["7", "8"]), write_part("1", [odd, "7"]))
    assert table["object_id"].to_pylist() == ["7", "8", odd, "7"]
    flags = [bool(value & Flag.DUPLICATE_ID) for value in table["flags"].to_pylist()]
    assert flags == [True, False, False, True]
    length = max(len(odd), 1)
    assert table.schema.metadata[b"table::len::object_id"] == str(length).encode()


def test_row_groups_do_not_follow_the_parts(write_part, merged, tmp_path):
    parts = [write_part(str(i), [str(1000 * i + j) for j in range(900)]) for i in range(40)]
    _, table = merged(*parts)
    metadata = pq.read_metadata(tmp_path / "c.parquet")
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [32768, 36000 - 32768]
    assert table["object_id"].to_pylist() == [1000 * i + j for i in range(40) for j in range(900)]


def test_a_part_of_another_length_is_not_merged(write_part, merged, tmp_path):
    part = write_part("0", ["1", "2"])
    with pytest.raises(OutputError, match="0: 3 rows expected, 2 came"):
        merged(FinishedPart(part.file, 3, ()))
    assert {file.name for file in tmp_path.iterdir()} == {"0"}


@given(
    st.lists(
        st.one_of(st.integers(-(2**70), 2**70).map(str), st.text("0123456789-+ e.", max_size=4)),
        min_size=1,
        max_size=3,
    )
)
def test_integers_are_what_the_cutouts_call_integers(ids):
    found = integer_ids(pa.chunked_array([ids], pa.string()))
    wanted = [canonical_integer(each) for each in ids]
    assert (found is None) == (None in wanted)
    if found is not None:
        assert found.to_pylist() == wanted
