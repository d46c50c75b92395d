"""The plan: every object once, in its place for ever."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.source import Source
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
