"""`predict` again on the same output: resume, bring up to date, refuse, start anew."""

import json
import os
from pathlib import Path

import fitsio
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from photoz_mmae.cutouts.discover import discover
from photoz_mmae.flags import Flag
from photoz_mmae.survey_run.plan import update_plan


@pytest.fixture
def some(write_cube, tmp_path):
    """A folder of six cutouts of one's own."""
    for i in range(6):
        write_cube(tmp_path / f"in/{i}.fits", seed=i)
    return tmp_path / "in"


@pytest.fixture
def again(predict, some):
    """Run the same command: parts of two, three passes; more options may follow."""
    return lambda *more: predict(some, "--part-size", "2", "--masks", "3", *more)


def _stamps(folder):
    """What identifies files that were not touched."""
    stats = {file.name: file.stat() for file in folder.iterdir()}
    return {name: (s.st_ino, s.st_mtime_ns, s.st_size) for name, s in stats.items()}


def _rows(tmp_path):
    return pq.read_table(tmp_path / "c.parquet").to_pylist()


def _journal(tmp_path):
    return [json.loads(line) for line in (tmp_path / "c.run/journal.jsonl").open()]


def test_nothing_new_touches_nothing(again, tmp_path):
    assert again()[0] == 0
    before = _stamps(tmp_path), _stamps(tmp_path / "c.run/parts")
    # These options change no value, so they may be others.
    code, out, _ = again("--max-bad", "3", "--batch-size", "8", "--part-size", "4")
    assert code == 0
    assert "nothing new" in out
    assert _stamps(tmp_path)["c.parquet"] == before[0]["c.parquet"]
    assert _stamps(tmp_path / "c.run/parts") == before[1]


def test_an_output_that_was_lost_is_merged_again(again, tmp_path):
    assert again()[0] == 0
    first, parts = _rows(tmp_path), _stamps(tmp_path / "c.run/parts")
    (tmp_path / "c.parquet").unlink()
    assert again()[0] == 0
    assert repr(_rows(tmp_path)) == repr(first)
    assert _stamps(tmp_path / "c.run/parts") == parts


def test_new_cutouts_become_new_parts(again, write_cube, some, tmp_path):
    assert again()[0] == 0
    first, parts = _rows(tmp_path), _stamps(tmp_path / "c.run/parts")
    for i in (10, 11, 12):
        write_cube(some / f"{i}.fits", seed=i)
    # This one comes first by name, and all the same last in the catalogue.
    write_cube(some / "0a.fits", seed=20)
    code, out, _ = again()
    assert code == 0
    assert "4 objects in 2 of 5 parts" in out
    rows = _rows(tmp_path)
    assert [row["object_id"] for row in rows] == [*"012345", "0a", "10", "11", "12"]
    assert repr([row["z_best"] for row in rows[:6]]) == repr([row["z_best"] for row in first])
    after = _stamps(tmp_path / "c.run/parts")
    assert parts.items() <= after.items()
    assert len(after) == 5


def test_a_changed_cutout_redoes_its_part(again, write_cube, some, tmp_path):
    assert again()[0] == 0
    first, parts = _rows(tmp_path), _stamps(tmp_path / "c.run/parts")
    write_cube(some / "3.fits", seed=33)
    code, out, _ = again()
    assert code == 0
    assert "2 objects in 1 of 3 parts" in out
    rows = _rows(tmp_path)
    changed = [old != new for old, new in zip(map(repr, first), map(repr, rows), strict=True)]
    assert changed == [False, False, False, True, False, False]
    kept = _stamps(tmp_path / "c.run/parts").items() & parts.items()
    assert len(kept) == 2
    assert len(_stamps(tmp_path / "c.run/parts")) == 3
    assert "nothing new" in again()[1]


def test_a_vanished_cutout_keeps_its_row(again, write_cube, some, tmp_path):
    assert again()[0] == 0
    first = _rows(tmp_path)
    content = (some / "2.fits").read_bytes()
    stat = (some / "2.fits").stat()
    (some / "2.fits").unlink()
    code, out, _ = again()
    assert code == 0
    assert "0 objects in 0 of 3 parts" in out
    assert "gone      1 cutout (their rows stay, SOURCE_GONE)\n" in out
    rows = _rows(tmp_path)
    assert rows[2].pop("flags") == first[2]["flags"] | Flag.SOURCE_GONE
    assert rows[2]["z_best"] == first[2]["z_best"]
    assert "nothing new" in again()[1]
    # Its neighbour in the part changes: the row that cannot be made again is still kept.
    write_cube(some / "3.fits", seed=33)
    assert again()[0] == 0
    rows = _rows(tmp_path)
    assert rows[2]["z_best"] == first[2]["z_best"]
    assert rows[2]["flags"] & Flag.SOURCE_GONE
    assert rows[3]["flux_i"] != first[3]["flux_i"]
    # It is back as it was: only the flag goes.
    (some / "2.fits").write_bytes(content)
    os.utime(some / "2.fits", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "0 objects in 0 of 3 parts" in again()[1]
    assert repr(_rows(tmp_path)[2]) == repr(first[2])


@pytest.mark.parametrize("kind", ["shard", "hdf5"])
def test_what_a_shorter_file_holds_no_more_is_gone(
    predict, photoz, some, tiny_model, tmp_path, kind
):
    packed = tmp_path / f"packed.{'fits' if kind == 'shard' else 'hdf5'}"

    def write(count):
        files = [some / f"{n}.fits" for n in range(count)]
        if kind == "shard":
            assert photoz("pack", *files, "-o", tmp_path / f"shards{count}")[0] == 0
            (tmp_path / f"shards{count}/shard-000000.fits").replace(packed)
            return
        with h5py.File(packed, "w") as file:
            file["image"] = np.stack([fitsio.read(file) for file in files])
            file["object_id"] = np.arange(count)

    write(6)
    assert predict(packed, "--part-size", "2")[0] == 0
    first = _rows(tmp_path)
    write(3)  # one part as before, one of which half is left, one of which nothing is
    code, out, _ = predict(packed)
    assert code == 0
    assert "gone      3 cutouts (their rows stay, SOURCE_GONE)\n" in out
    rows = _rows(tmp_path)
    assert [bool(row["flags"] & Flag.SOURCE_GONE) for row in rows] == [False] * 3 + [True] * 3
    assert [row["z_best"] for row in rows] == [row["z_best"] for row in first]
    assert "nothing new" in predict(packed)[1]
    options = ("--model", tiny_model, "--against", packed)
    code, out, _ = photoz("verify", tmp_path / "c.parquet", *options)
    assert code == 0, out
    write(6)
    assert predict(packed)[0] == 0
    assert repr(_rows(tmp_path)) == repr(first)


def test_bad_rows_count_as_long_as_their_cutouts_are_there(again, some, tmp_path):
    (some / "x.fits").write_text("no image")
    (some / "y.fits").write_text("no image")
    assert again()[0] == 3
    # Nothing new, and nothing better either: a cron job must not turn green by itself.
    code, out, _ = again()
    assert (code, "nothing new" in out, "READ_ERROR 2" in out) == (3, True, True)
    assert again("--max-bad", "2")[0] == 0
    (some / "x.fits").unlink()
    assert again("--max-bad", "1")[0] == 0
    (some / "y.fits").unlink()
    code, out, _ = again()
    assert code == 0
    assert "gone      2 cutouts (their rows stay, SOURCE_GONE), 2 of them without redshift" in out
    assert [bool(row["flags"] & Flag.SOURCE_GONE) for row in _rows(tmp_path)] == [False] * 6 + [
        True,
        True,
    ]


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text('{"torn')])
def test_a_lost_list_of_problems_is_made_again(again, some, tmp_path, damage):
    (some / "x.fits").write_text("no image")
    assert again()[0] == 3
    before = (tmp_path / "c.run/problems.jsonl").read_text()
    damage(tmp_path / "c.run/problems.jsonl")
    assert again()[0] == 3
    assert (tmp_path / "c.run/problems.jsonl").read_text() == before


def test_mixed_folders_and_changed_ids_are_said(predict, write_cube, some, tmp_path):
    assert predict(some)[0] == 0
    assert pq.read_schema(tmp_path / "c.parquet").field("object_id").type == "int64"
    for name in ("3", "other"):
        write_cube(tmp_path / f"more/{name}.fits", seed=3)
    code, out, _ = predict(tmp_path / "more")
    assert code == 0
    assert "others    6 cutouts of earlier runs, not given this time" in out
    assert "repeated  2 rows share their id (DUPLICATE_ID)" in out
    assert "ids       object_id is text now" in out
    assert "object_id is text now" not in predict(tmp_path / "more")[1]


def test_a_renamed_cutout_is_no_duplicate_of_what_is_gone(
    predict, some, photoz, tiny_model, tmp_path
):
    (some / "more").mkdir()
    assert predict(some)[0] == 0
    (some / "0.fits").rename(some / "more/0.fits")
    code, out, _ = predict(some)
    assert code == 0
    assert "gone      1 cutout" in out
    assert "DUPLICATE" not in out
    rows = [row for row in _rows(tmp_path) if row["object_id"] == 0]
    gone = [bool(row["flags"] & Flag.SOURCE_GONE) for row in rows]
    assert sorted(gone) == [False, True]
    assert not any(row["flags"] & (Flag.DUPLICATE_ID | Flag.DUPLICATE_SKY) for row in rows)
    # As counted, as verified.
    counts = json.loads((tmp_path / "c.run/run.json").read_text())["flags"]
    assert counts["SOURCE_GONE"] == 1
    code, out, _ = photoz("verify", tmp_path / "c.parquet", "--model", tiny_model, "--sample", 0)
    assert code == 0, out


def test_a_renamed_run_goes_on(predict, some, tmp_path, photoz, tiny_model):
    assert predict(some)[0] == 0
    (tmp_path / "c.parquet").rename(tmp_path / "d.parquet")
    (tmp_path / "c.run").rename(tmp_path / "d.run")
    options = ("--model", tiny_model, "-o", tmp_path / "d.parquet")
    code, out, _ = photoz("predict", some, *options)
    assert (code, "nothing new" in out) == (0, True)


def test_cutouts_not_asked_for_are_not_gone(predict, some, tmp_path):
    assert predict(some / "0.fits", some / "1.fits")[0] == 0
    code, out, _ = predict(some / "1.fits", some / "2.fits")
    assert code == 0
    assert "1 object in 1 of 2 parts" in out
    rows = _rows(tmp_path)
    assert [row["object_id"] for row in rows] == [0, 1, 2]
    assert not any(row["flags"] & Flag.SOURCE_GONE for row in rows)


def test_the_same_cutouts_from_another_folder(again, predict, some, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert predict("in")[0] == 0
    assert _rows(tmp_path)[0]["source"] == "in/0.fits"
    monkeypatch.chdir(some)
    assert "nothing new" in predict(".")[1]


def test_a_shard_that_could_not_be_read_once(predict, photoz, some, tmp_path):
    shards = tmp_path / "shards"
    assert photoz("pack", some, "-o", shards, "--size", "3")[0] == 0
    assert predict(shards)[0] == 0
    before = _rows(tmp_path)
    shard = shards / "shard-000001.fits"
    content, stat = shard.read_bytes(), shard.stat()
    shard.write_bytes(content[:1000])
    assert predict(shards)[0] == 3
    assert [row["z_best"] for row in _rows(tmp_path)[:6]] == [row["z_best"] for row in before]
    shard.write_bytes(content)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    code, out, _ = predict(shards)
    assert (code, "gone      1 cutout" in out) == (0, True), out
    rows = _rows(tmp_path)
    assert [row["z_best"] for row in rows[:6]] == [row["z_best"] for row in before]
    assert [bool(row["flags"] & Flag.SOURCE_GONE) for row in rows] == [False] * 6 + [True]
    assert "nothing new" in predict(shards)[1]


def test_a_release_that_moved_and_left_a_link(predict, some, tmp_path, monkeypatch):
    release = tmp_path / "data"
    release.mkdir()
    some.rename(release / "in")
    monkeypatch.chdir(release)
    assert predict("in", output=tmp_path / "c.parquet")[0] == 0
    monkeypatch.chdir(tmp_path)
    release.rename(tmp_path / "archive")
    release.symlink_to(tmp_path / "archive")
    monkeypatch.chdir(release)
    code, out, err = predict("in", output=tmp_path / "c.parquet")
    assert (code, "nothing new" in out) == (0, True), out + err
    assert len(_rows(tmp_path)) == 6


def test_a_damaged_part_is_redone(again, tmp_path):
    assert again()[0] == 0
    first = _rows(tmp_path)
    parts = tmp_path / "c.run/parts"
    damaged = parts / _journal(tmp_path)[1]["file"]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 3] ^= 1
    damaged.write_bytes(content)
    before = _stamps(parts)
    code, out, _ = again()
    assert code == 0
    assert "2 objects in 1 of 3 parts" in out
    after = _stamps(parts)
    assert len(before.items() & after.items()) == 2
    assert damaged.name not in after
    assert repr(_rows(tmp_path)) == repr(first)


def test_a_torn_journal_and_strays_of_a_killed_run(again, tmp_path):
    assert again()[0] == 0
    first = _rows(tmp_path)
    journal = tmp_path / "c.run/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    torn_part = _journal_before_the_tear(journal)
    strays = [
        tmp_path / "c.run/parts/.part-000009-0123.parquet.77.tmp",
        tmp_path / "c.run/.problems.jsonl.0123.tmp",
        tmp_path / "c.run/.run.json.0123.tmp",
        tmp_path / ".c.parquet.0123.tmp",
    ]
    for stray in strays:
        stray.write_bytes(b"half")
    code, out, _ = again()
    assert code == 0
    assert "2 objects in 1 of 3 parts" in out
    assert not any(stray.exists() for stray in strays)
    assert torn_part not in _stamps(tmp_path / "c.run/parts")
    assert repr(_rows(tmp_path)) == repr(first)
    assert len(_journal(tmp_path)) == 3  # the torn line was cut off before the new one


def _journal_before_the_tear(journal):
    return journal.read_text().splitlines()[-1].split('"file":"')[1].split('"')[0]


def test_a_lost_journal_costs_time_and_nothing_else(again, tmp_path):
    assert again()[0] == 0
    first = _rows(tmp_path)
    (tmp_path / "c.run/journal.jsonl").unlink()
    (tmp_path / "c.run/plan.jsonl").write_bytes(
        (tmp_path / "c.run/plan.jsonl").read_bytes()[:-10]  # and the plan's last line is torn
    )
    assert again()[0] == 0
    assert repr(_rows(tmp_path)) == repr(first)


@pytest.mark.parametrize("option", [("--masks", "5"), ("--pdf", "grid")])
def test_other_settings_are_refused(again, option, tmp_path):
    assert again()[0] == 0
    before = _stamps(tmp_path)["c.parquet"]
    code, _, err = again(*option)
    assert code == 6
    assert f"{option[0][2:]} was" in err
    assert _stamps(tmp_path)["c.parquet"] == before


def test_another_model_is_refused_and_overwrite_starts_anew(
    again, predict, some, tiny_point_model, tmp_path
):
    assert again()[0] == 0
    (tmp_path / "c.run/note.txt").write_text("somebody's")
    code, _, err = predict(some, model=tiny_point_model)
    assert code == 6
    assert "model was tiny, is point" in err
    assert predict(some, "--overwrite", model=tiny_point_model)[0] == 0
    assert "z_median" not in pq.read_schema(tmp_path / "c.parquet").names
    assert len(_journal(tmp_path)) == 1
    assert (tmp_path / "c.run/note.txt").exists()


def test_an_output_that_was_replaced_is_refused(again, tmp_path):
    assert again()[0] == 0
    output = tmp_path / "c.parquet"
    for content in (b"something else", output.read_bytes()[:-100]):
        output.write_bytes(content)
        code, _, err = again()
        assert code == 6
        assert "not what this run wrote" in err
        assert output.read_bytes() == content
    # Nor is a catalogue of ours taken for this run's when its run folder is gone.
    assert again("--overwrite")[0] == 0
    (tmp_path / "c.run").rename(tmp_path / "elsewhere")
    assert again()[0] == 6


def test_a_second_run_is_told_who_holds_the_lock(again, tmp_path):
    from photoz_mmae.lock import run_lock

    assert again()[0] == 0
    with run_lock(tmp_path / "c.run"):
        code, _, err = again()
        assert code == 7
        assert f"process {os.getpid()} on {os.uname().nodename}" in err
    assert again()[0] == 0


def test_ids_become_text_when_one_is_no_integer(again, write_cube, some, tmp_path):
    assert again()[0] == 0
    assert np.asarray(pq.read_table(tmp_path / "c.parquet")["object_id"]).dtype == np.int64
    write_cube(some / "x.fits")
    assert again()[0] == 0
    table = pq.read_table(tmp_path / "c.parquet")
    assert table["object_id"].to_pylist() == [*"012345", "x"]
    assert table.schema.metadata[b"photoz_mmae.object_id_type"] == b"string"


@pytest.mark.parametrize("meanwhile", ["not given", "gone"])
def test_what_a_stopped_run_had_planned_is_computed_when_it_is_asked_for(
    predict, write_cube, tmp_path, meanwhile
):
    """The plan knows of the new file, and no part was made of it yet."""
    night, other = tmp_path / "night0", tmp_path / "night1"
    for n in range(3):
        write_cube(night / f"{n}.fits", seed=n)
    write_cube(other / "9.fits", seed=9)
    assert predict(night)[0] == 0
    before = _rows(tmp_path)
    write_cube(night / "1.fits", seed=50)
    update_plan(tmp_path / "c.run/plan.jsonl", discover([str(night)]).sources, 8192)
    if meanwhile == "gone":
        (night / "1.fits").rename(tmp_path / "away")
        assert predict(night, other)[0] == 0
        assert _rows(tmp_path)[1]["flags"] & Flag.SOURCE_GONE
        assert "nothing new" in predict(night, other)[1]
        (tmp_path / "away").rename(night / "1.fits")
    else:
        assert predict(other)[0] == 0
    assert predict(night, other)[0] == 0
    rows = _rows(tmp_path)
    assert rows[1]["flux_i"] != before[1]["flux_i"]
    assert predict(night, output=tmp_path / "anew.parquet")[0] == 0
    anew = pq.read_table(tmp_path / "anew.parquet").to_pylist()
    assert repr(rows[:3]) == repr(anew)
