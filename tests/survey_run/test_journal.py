"""A part is finished when its file checks out, and only then."""

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from photoz_mmae.provenance import file_sha256
from photoz_mmae.survey_run.journal import (
    PartRecord,
    append_record,
    checks_out,
    read_journal,
    remove_strays,
)


@pytest.fixture
def record(tmp_path):
    """The record of a part file of three rows."""
    file = tmp_path / "part-000001-ab.parquet"
    pq.write_table(pa.table({"object_id": ["a", "b", "c"]}), file)
    return PartRecord(
        part=1,
        sources="s",
        rows=3,
        bad=0,
        flags={},
        deadly=[],
        file=file.name,
        size=file.stat().st_size,
        sha256=file_sha256(file),
        ids="i",
        model="m",
        settings="t",
        device="cpu",
        version="0",
        seconds=1.0,
        finished="2026-01-01T00:00:00+00:00",
    )


def test_the_last_record_of_a_part_counts(tmp_path, record):
    newer = dataclasses.replace(record, bad=2)
    for each in (record, dataclasses.replace(record, part=0), newer):
        append_record(tmp_path / "journal", each)
    # A record with other fields is none.
    with (tmp_path / "journal").open("a") as file:
        file.write('{"part": 0, "rows": 3}\n')
    journal = read_journal(tmp_path / "journal")
    assert journal == {0: dataclasses.replace(record, part=0), 1: newer}


def test_checks_out(tmp_path, record):
    assert checks_out(record, tmp_path)
    assert not checks_out(dataclasses.replace(record, rows=4), tmp_path)
    file = tmp_path / record.file
    content = file.read_bytes()
    for damage in (content[:-1], content + b"x", b"\x00" + content[1:], b""):
        file.write_bytes(damage)
        assert not checks_out(record, tmp_path)
    file.write_bytes(content)
    assert checks_out(record, tmp_path)
    file.unlink()
    assert not checks_out(record, tmp_path)
    # A file that is as it was written, and yet no Parquet file.
    file.write_bytes(b"rubbish")
    odd = dataclasses.replace(record, size=7, sha256=file_sha256(file))
    assert not checks_out(odd, tmp_path)


def test_strays_go_and_nothing_else(tmp_path, record):
    for name in ("part-000001-cd.parquet", ".part-000002-ef.parquet.12.tmp", "note.txt"):
        (tmp_path / name).touch()
    remove_strays(tmp_path, [record])
    assert {file.name for file in tmp_path.iterdir()} == {record.file, "note.txt"}
