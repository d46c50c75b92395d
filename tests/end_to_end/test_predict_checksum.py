"""`predict --checksum`: changed files are told by their content, not by size and time."""

import json
import os

import pyarrow.parquet as pq
import pytest


@pytest.fixture
def some(write_cube, tmp_path):
    """A folder of four cutouts of one's own."""
    for i in range(4):
        write_cube(tmp_path / f"in/{i}.fits", seed=i)
    return tmp_path / "in"


@pytest.fixture
def again(predict, some):
    """Run the same command, in parts of two; returns what it says."""

    def run(*more, cutouts=some):
        code, out, err = predict(cutouts, "--part-size", "2", "--masks", "0", *more)
        assert code == 0, out + err
        return out

    return run


def touch(file):
    about = file.stat()
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns + 10**9))


def change(file):
    """Change a pixel, and neither size nor time."""
    about = file.stat()
    content = bytearray(file.read_bytes())
    content[2880 + 4 * 2080] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)


def checksums(tmp_path):
    """Return the checksums in the plan's last line of each part, row by row."""
    lines = map(json.loads, (tmp_path / "c.run/plan.jsonl").read_text().splitlines())
    latest = {line["part"]: line["sources"] for line in lines}
    rows = [row for number in sorted(latest) for row in latest[number]]
    return [row[-1]["sha256"] if isinstance(row[-1], dict) else None for row in rows]


def test_a_touched_file_is_not_computed_again(again, some, tmp_path):
    again("--checksum")
    before = (tmp_path / "c.parquet").stat()
    touch(some / "2.fits")
    assert "nothing new" in again("--checksum")
    after = (tmp_path / "c.parquet").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    # Its new time is known now, to a command that goes by times as well.
    assert "nothing new" in again()
    touch(some / "2.fits")
    assert "2 objects in 1 of 2 parts" in again()


def test_changed_content_is_computed_again_whatever_the_time(again, some, tmp_path):
    again("--checksum")
    first = pq.read_table(tmp_path / "c.parquet").to_pylist()
    change(some / "1.fits")
    assert "nothing new" in again()
    assert "2 objects in 1 of 2 parts" in again("--checksum")
    rows = pq.read_table(tmp_path / "c.parquet").to_pylist()
    changed = [repr(old) != repr(new) for old, new in zip(first, rows, strict=True)]
    assert changed == [False, True, False, False]
    assert "nothing new" in again("--checksum")


def test_asked_for_later_it_computes_nothing_again(again, write_cube, some, tmp_path):
    again()
    assert checksums(tmp_path) == [None] * 4
    lines = (tmp_path / "c.run/plan.jsonl").read_bytes()
    assert "nothing new" in again("--checksum")
    assert all(checksums(tmp_path))
    assert (tmp_path / "c.run/plan.jsonl").read_bytes().startswith(lines)
    change(some / "3.fits")
    touch(some / "0.fits")
    assert "2 objects in 1 of 2 parts" in again("--checksum")
    # New files, and one that changed while nobody looked at contents.
    write_cube(some / "4.fits", seed=4)
    write_cube(some / "0.fits", seed=5)
    touch(some / "0.fits")
    assert "3 objects in 2 of 3 parts" in again()
    assert [text is None for text in checksums(tmp_path)] == [True, False, False, False, True]
    assert "nothing new" in again("--checksum")
    assert all(checksums(tmp_path))


def test_a_run_that_was_stopped_still_computes_what_changed(again, some, tmp_path):
    again("--checksum")
    change(some / "1.fits")
    journal = tmp_path / "c.run/journal.jsonl"
    finished = journal.read_bytes()
    again("--checksum")
    journal.write_bytes(finished)  # as after a kill between the plan and the part
    touch(some / "1.fits")
    assert "2 objects in 1 of 2 parts" in again("--checksum")


def test_files_of_one_band_and_shards(again, photoz, some, tmp_path, write_cube):
    for name in ("7", "8"):
        for band in "grizy":
            write_cube(tmp_path / f"bands/{name}_{band}.fits", seed=ord(band), bands=1)
    assert photoz("pack", some, "-o", tmp_path / "bands/shards")[0] == 0
    [shard] = (tmp_path / "bands/shards").glob("*.fits")
    assert "6 objects in 3 of 3 parts" in again("--checksum", cutouts=tmp_path / "bands")
    touch(shard)
    touch(tmp_path / "bands/7_r.fits")
    assert "nothing new" in again("--checksum", cutouts=tmp_path / "bands")
    assert "nothing new" in again(cutouts=tmp_path / "bands")
    change(tmp_path / "bands/7_r.fits")
    assert "2 objects in 1 of 3 parts" in again("--checksum", cutouts=tmp_path / "bands")
    change(shard)
    # Its own checksum does not fit any more, or that of a row.
    out = again("--checksum", "--max-bad", "4", cutouts=tmp_path / "bands")
    assert "4 objects in 2 of 3 parts" in out


def test_verify_knows_a_plan_with_checksums(again, photoz, some, tiny_model, tmp_path):
    again("--checksum")
    touch(some / "2.fits")
    again("--checksum")
    options = ("--against", some, "--model", tiny_model)
    code, out, err = photoz("verify", tmp_path / "c.parquet", *options)
    assert code == 0, out + err
    assert "FAILED" not in out
