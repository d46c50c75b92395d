"""Parquet files are whole or not there, and encoded so that everybody reads them."""

import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.catalog.writer import atomic_parquet, row_groups
from photoz_mmae.errors import OutputError
from photoz_mmae.temporaries import remove_temporaries

SCHEMA = pa.schema(
    [
        ("object_id", pa.int64()),
        ("z", pa.float32()),
        ("q", pa.list_(pa.float32(), 3)),
        ("flags", pa.int32()),
    ]
)


def rows(n, start=0):
    ids = np.arange(start, start + n)
    lists = pa.FixedSizeListArray.from_arrays(
        pa.array(np.repeat(ids, 3).astype(np.float32)), type=SCHEMA.field("q").type
    )
    z = pa.array((ids / 7).astype(np.float32), mask=ids % 3 == 0)
    return pa.table([pa.array(ids), z, lists, pa.array(ids % 2, pa.int32())], schema=SCHEMA)


def test_round_trip_and_encoding(tmp_path):
    path = tmp_path / "c.parquet"
    with atomic_parquet(path, SCHEMA) as file:
        file.write(rows(100))
        file.write(rows(50, start=100))
    assert pq.read_table(path).equals(rows(150))
    assert list(tmp_path.iterdir()) == [path]
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups == 2
    for i in range(metadata.num_columns):
        column = metadata.row_group(0).column(i)
        assert column.compression == "ZSTD"
        is_float = column.path_in_schema in ("z", "q.list.element")
        assert ("BYTE_STREAM_SPLIT" in column.encodings) == is_float, column.path_in_schema
        dictionary = any("DICTIONARY" in encoding for encoding in column.encodings)
        assert dictionary == (column.path_in_schema == "flags")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "c.parquet"
    with atomic_parquet(path, SCHEMA) as file:
        file.write(rows(3))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), atomic_parquet(path, SCHEMA) as file:
        file.write(rows(5))
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_takes_nothing(tmp_path):
    with (
        pytest.raises(OutputError, match=r"c\.parquet"),
        atomic_parquet(tmp_path / "missing/c.parquet", SCHEMA),
    ):
        pass


def test_a_disk_that_takes_no_more(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with (
            pytest.raises(OutputError, match="File too large"),
            atomic_parquet(tmp_path / "c.parquet", SCHEMA) as file,
        ):
            file.write(rows(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_remains_of_killed_writers_are_removed(tmp_path):
    (tmp_path / ".c.parquet.12ab.tmp").touch()
    (tmp_path / ".other.parquet.12ab.tmp").touch()
    (tmp_path / "c.parquet.tmp").touch()
    remove_temporaries(tmp_path / "c.parquet")
    assert {f.name for f in tmp_path.iterdir()} == {".other.parquet.12ab.tmp", "c.parquet.tmp"}


@given(st.lists(st.integers(0, 12), max_size=8), st.integers(1, 10))
def test_row_groups_lose_and_move_nothing(lengths, size):
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    tables = [rows(n, start) for n, start in zip(lengths, starts, strict=False)]
    groups = list(row_groups(iter(tables), size))
    assert all(group.num_rows == size for group in groups[:-1])
    assert all(0 < group.num_rows <= size for group in groups)
    if groups:
        assert pa.concat_tables(groups).equals(rows(sum(lengths)))
    else:
        assert sum(lengths) == 0


def test_same_rows_same_bytes_however_they_came(tmp_path):
    for name, lengths in (("a", [70, 30]), ("b", [1, 2, 97])):
        starts = np.concatenate([[0], np.cumsum(lengths)])
        tables = (rows(n, start) for n, start in zip(lengths, starts, strict=False))
        with atomic_parquet(tmp_path / name, SCHEMA) as file:
            for group in row_groups(tables, 40):
                file.write(group)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
