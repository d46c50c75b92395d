"""The plan: every object once, in its place for ever."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import OutputError
from photoz_mmae.survey_run.plan import read_sources, update_plan


def source(name, mtime=1, size=10):
    return Source((name,) if isinstance(name, str) else tuple(name), size, mtime)


def planned(path, parts):
    """Files of every row of every part."""
    return [[s.files for s in read_sources(path, p.offset, p.length)[0]] for p in parts]


def test_cut_in_order(tmp_path):
    path = tmp_path / "plan"
    sources = [source(f"/none/{i}.fits") for i in range(5)]
    parts = update_plan(path, sources, 2)
    assert [(part.number, part.rows) for part in parts] == [(0, 2), (1, 2), (2, 1)]
    assert [files for part in planned(path, parts) for files in part] == [s.files for s in sources]
    # Whatever the part size is next time, parts stay.
    assert update_plan(path, sources, 100) == parts


@given(st.data())
def test_rows_never_move_and_nothing_is_planned_twice(data):
    """Rounds of appearing, changing and vanishing files, against a model of what should be."""
    names = st.integers(0, 9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan"
        there: dict[int, int] = {}
        order: list[int] = []
        fingerprints: dict[int, str] = {}
        for turn in range(data.draw(st.integers(1, 4))):
            vanished = data.draw(st.sets(names)) & there.keys()
            touched = data.draw(st.sets(names))
            for name in vanished:
                there.pop(name)
                (Path(folder) / f"{name}.fits").unlink()
            changed = {name for name in touched if name in order}
            for name in touched:
                there[name] = turn + 1
                (Path(folder) / f"{name}.fits").touch()
            sources = [source(f"{folder}/{n}.fits", mtime=there[n]) for n in sorted(there)]
            order += [name for name in sorted(there) if name not in order]
            parts = update_plan(path, sources, data.draw(st.integers(1, 4)))
            rows = [row for part in planned(path, parts) for row in part]
            assert rows == [(f"{folder}/{name}.fits",) for name in order]
            start = 0
            for part in parts:
                members = order[start : start + part.rows]
                gone = tuple(i for i, name in enumerate(members) if name not in there)
                assert part.gone == gone
                if part.number in fingerprints:
                    same = part.sources == fingerprints[part.number]
                    assert same != bool(changed & set(members))
                fingerprints[part.number] = part.sources
                start += part.rows


def test_a_band_that_arrives_late_changes_its_object(tmp_path):
    path = tmp_path / "plan"
    four = [str(tmp_path / f"x-{band}.fits") for band in "grzy"]
    for file in four:
        Path(file).touch()
    (first,) = update_plan(path, [source(four)], 10)
    five = [four[0], str(tmp_path / "x-i.fits"), *four[1:]]
    (second,) = update_plan(path, [source(five, size=12)], 10)
    assert planned(path, [second]) == [[tuple(five)]]
    assert second.sources != first.sources


def test_relative_paths_mean_the_same_from_everywhere(tmp_path, monkeypatch):
    path = tmp_path / "plan"
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.fits").touch()
    monkeypatch.chdir(tmp_path)
    first = update_plan(path, [source("in/a.fits")], 10)
    monkeypatch.chdir(tmp_path / "in")
    assert update_plan(path, [source("a.fits")], 10) == first
    assert update_plan(path, [source("./a.fits")], 10) == first
    # Changed: the path stays as it was first given.
    (changed,) = update_plan(path, [source("a.fits", mtime=2)], 10)
    sources, base = read_sources(path, changed.offset, changed.length)
    assert (sources[0].files, sources[0].mtime_ns) == (("in/a.fits",), 2)
    assert base == str(tmp_path)


def test_a_torn_plan_loses_no_object(tmp_path):
    path = tmp_path / "plan"
    sources = [source(f"/none/{i}.fits") for i in range(6)]
    update_plan(path, sources, 2)
    path.write_bytes(path.read_bytes()[:-3])
    parts = update_plan(path, sources, 2)
    rows = [files for part in planned(path, parts) for files in part]
    assert rows == [s.files for s in sources]


@pytest.mark.parametrize("name", ["/none/\udcff.fits", "/none/new\nline.fits", "/none/é.fits"])
def test_any_name(tmp_path, name):
    parts = update_plan(tmp_path / "plan", [source(name)], 1)
    assert planned(tmp_path / "plan", parts) == [[(name,)]]
    assert update_plan(tmp_path / "plan", [source(name)], 1) == parts


kinds = st.one_of(
    st.builds(lambda bands: {"bands": bands}, st.sampled_from(["", "gr", "grizy"])),
    st.builds(lambda row: {"kind": "shard", "row": row}, st.integers(0, 9)),
    st.builds(
        lambda name, ra: {"kind": "coadd", "bands": "g", "object_id": name, "ra": ra, "dec": 1.5},
        st.sampled_from("abc"),
        st.floats(0, 360),
    ),
    st.builds(
        lambda name, ra: {"object_id": name, "ra": ra, "dec": -0.25},
        st.text(min_size=1, max_size=3),
        st.floats(0, 360),
    ),
)


@given(st.lists(st.tuples(st.integers(0, 3), kinds)), st.integers(1, 4))
def test_whatever_is_known_of_an_object_is_in_the_plan(things, size):
    sources = [Source((f"/none/{n}.fits",), 10 + n, 5, **known) for n, known in things]
    # One on a coadd is known by its id, whichever coadd it is.
    once = {(s.kind == "coadd" or s.files, s.identity): s for s in reversed(sources)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan"
        parts = update_plan(path, sources, size)
        rows = [s for p in parts for s in read_sources(path, p.offset, p.length)[0]]
        assert sorted(rows, key=repr) == sorted(once.values(), key=repr)
        # Nothing changed: nothing is written.
        before = path.stat().st_size if parts else 0
        assert update_plan(path, sources, size) == parts
        assert (path.stat().st_size if parts else 0) == before


def test_objects_of_one_file_do_not_repeat_its_name(tmp_path):
    shard = tmp_path / ("long-name" * 10 + ".fits")
    shard.touch()
    sources = [Source((str(shard),), 7, 7, "shard", row) for row in range(500)]
    path = tmp_path / "plan"
    (part,) = update_plan(path, sources, 8192)
    assert part.length < 500 * 40
    # Rewritten: the part changes, and every row stays where it is.
    changed = [Source((str(shard),), 8, 9, "shard", row) for row in range(600)]
    (again, more) = update_plan(path, changed, 8192)
    assert (again.rows, more.rows) == (500, 100)
    assert again.sources != part.sources
    assert read_sources(path, again.offset, again.length)[0] == changed[:500]
    # Shorter: what is not in it any more is gone.
    (again, more) = update_plan(path, changed[:400], 8192)
    assert (again.gone, more.gone) == (tuple(range(400, 500)), tuple(range(100)))
    # Another one was given this time: nothing is known of this one.
    (again, more, _) = update_plan(path, [source(str(tmp_path / "other.fits"))], 8192)
    assert (again.gone, again.unasked, more.gone, more.unasked) == (
        (),
        tuple(range(500)),
        (),
        tuple(range(100)),
    )


def test_a_file_that_cannot_be_read_has_lost_nothing_yet(tmp_path):
    """It counts as one object then: the others are not gone."""
    path, file = tmp_path / "plan", tmp_path / "sky.hdf5"

    def sources(count):
        return [Source((str(file),), 7, 7, "hdf5", row) for row in range(count)]

    file.write_bytes(b"cut off")
    update_plan(path, sources(500), 8192)
    (part,) = update_plan(path, sources(1), 8192)
    assert (part.gone, part.unasked) == ((), tuple(range(1, 500)))
    with h5py.File(file, "w") as content:
        content["image"] = np.zeros((1, 5, 8, 8))
    (part,) = update_plan(path, sources(1), 8192)
    assert (part.gone, part.unasked) == (tuple(range(1, 500)), ())


def test_what_a_list_asks_for_gets_its_file_later_and_loses_it(tmp_path):
    asked = tmp_path / "request.txt"
    asked.touch()
    file = tmp_path / "3-cutout-HSC-I-1-x.fits"
    known = {"object_id": "17", "ra": 10.0, "dec": 2.0}
    absent = Source((str(asked),), 0, 0, "absent", 3, **known)
    there = Source((str(file),), 9, 9, bands="i", **known)
    path = tmp_path / "plan"
    (first,) = update_plan(path, [absent], 10)
    file.touch()
    (second,) = update_plan(path, [there], 10)
    assert (second.rows, second.gone, second.unasked) == (1, (), ())
    assert read_sources(path, second.offset, second.length)[0] == [there]
    assert second.sources != first.sources
    # The file is gone: its row stays, and no second one comes.
    file.unlink()
    (third,) = update_plan(path, [absent], 10)
    assert (third.rows, third.gone, third.sources) == (1, (0,), second.sources)


def test_a_listed_file_that_is_gone_keeps_its_row(tmp_path):
    path = tmp_path / "plan"
    files = [str(tmp_path / f"{n}.fits") for n in range(2)]
    (first,) = update_plan(path, [source(file) for file in files], 10)
    (second,) = update_plan(path, [source(files[0]), Source((files[1],), 0, 0)], 10)
    assert second.gone == (1,)
    assert second.sources == first.sources


def test_a_plan_of_before_is_read(tmp_path):
    path = tmp_path / "plan"
    file = tmp_path / "a.fits"
    file.touch()
    path.write_text(f'{{"part":0,"base":"{tmp_path}","sources":[[10,1,"a.fits"]]}}\n')
    (part,) = update_plan(path, [source(str(file))], 10)
    assert (part.rows, part.gone, part.offset) == (1, (), 0)


def test_a_plan_that_makes_no_sense_is_refused_in_one_line(tmp_path):
    path = tmp_path / "plan"
    path.write_text('{"part":0,"base":"/none","sources":[[10,1,"a",{"colour":"red"}]]}\n')
    with pytest.raises(OutputError, match="part 0 cannot be understood") as caught:
        update_plan(path, [source("/none/a")], 10)
    assert "\n" not in str(caught.value)


def test_a_file_that_stands_in_the_plan_twice_is_one_object(tmp_path):
    path = tmp_path / "plan"
    sources = [source(f"/none/{i}.fits") for i in range(4)]
    assert len(update_plan(path, sources[:2], 2)) == 1
    # As a damaged disk might leave it: the same rows again, as another part.
    path.write_bytes(path.read_bytes() + path.read_bytes().replace(b'"part":0', b'"part":1'))
    parts = update_plan(path, sources, 2)
    assert [part.rows for part in parts] == [2, 2, 2]
    assert [part.gone for part in parts] == [(), (0, 1), ()]


def test_new_files_between_old_ones_and_files_of_bands(tmp_path):
    path = tmp_path / "plan"
    names = [tuple(f"/none/{i}_{band}.fits" for band in "gr") for i in range(9)]
    sources = [Source(files, 10, 1, bands="gr") for files in names]
    before = update_plan(path, sources[::2], 2)
    parts = update_plan(path, sources, 2)
    assert parts[: len(before)] == before
    assert [f for part in planned(path, parts[3:]) for f in part] == names[1::2]
