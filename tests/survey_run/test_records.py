"""Files of records survive being torn at any byte."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.errors import OutputError
from photoz_mmae.survey_run.records import append, read_line, read_lines

RECORDS = [{"part": 0, "name": "a"}, {"part": 1, "name": "\udcff\n"}, {"part": 2, "name": "é"}]


def write(path, records):
    return [append(path, record) for record in records]


def test_what_is_appended_is_read(tmp_path):
    lines = write(tmp_path / "r", RECORDS)
    assert [line.record for line in read_lines(tmp_path / "r")] == RECORDS
    assert list(read_lines(tmp_path / "r")) == lines
    assert [read_line(tmp_path / "r", x.offset, x.length) for x in lines] == RECORDS
    assert list(read_lines(tmp_path / "missing")) == []


@given(st.integers(0, 1000))
def test_torn_anywhere(cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r"
        lines = write(path, RECORDS)
        content = path.read_bytes()
        path.write_bytes(content[: cut % len(content)])
        whole = [x.record for x in lines if x.offset + x.length <= cut % len(content)]
        assert [line.record for line in read_lines(path)] == whole
        added = append(path, {"part": 9})
        assert [line.record for line in read_lines(path)] == [*whole, {"part": 9}]
        assert read_line(path, added.offset, added.length) == {"part": 9}


def test_strange_lines_are_left_out(tmp_path):
    (tmp_path / "r").write_bytes(b'{"a":1}\nrubbish\n[1]\n\xff\xfe\n{"a":2}\n')
    assert [line.record for line in read_lines(tmp_path / "r")] == [{"a": 1}, {"a": 2}]


def test_a_line_that_changed_under_our_hands(tmp_path):
    line = append(tmp_path / "r", {"a": 1})
    (tmp_path / "r").write_bytes(b"x" * line.length)
    with pytest.raises(OutputError, match="damaged"):
        read_line(tmp_path / "r", line.offset, line.length)
