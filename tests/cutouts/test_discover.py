import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from cutout_files import (
    BANDS,
    galaxy,
    header,
    open_folder,
    read_measured,
    source,
    without_rights,
    write_cube,
    write_mef,
)

from photoz_mmae.cutouts.discover import Discovery, discover
from photoz_mmae.errors import InputError
from photoz_mmae.flags import Flag


def touch(path: Path, content: bytes = b"no FITS at all") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(found: Discovery) -> list[tuple[str, ...]]:
    return [tuple(Path(file).name for file in source.files) for source in found.sources]


def write_bands(folder: Path, pattern: str, bands: str = "grizy") -> None:
    for k, band in enumerate(bands):
        fits.PrimaryHDU(galaxy()[k], header()).writeto(folder / pattern.format(band))


def test_what_is_a_cutout_by_its_name(tmp_path: Path) -> None:
    for name in ("1.fits", "2.FITS.GZ", "3.Fits.fz", "deep/er/4.fits", "empty.fits"):
        touch(tmp_path / name, b"" if name == "empty.fits" else b"text")
    for name in ("truth.csv", "cube.npz", "LICENSE", "fits", "a.fits.txt", "b.fit"):
        touch(tmp_path / name)
    found = discover([str(tmp_path)])
    assert names(found) == [
        ("1.fits",),
        ("2.FITS.GZ",),
        ("3.Fits.fz",),
        ("empty.fits",),
        ("4.fits",),
    ]
    assert found.ignored == 6


def test_hidden_files_and_folders(tmp_path: Path) -> None:
    for name in ("1.fits", "._1.fits", ".snapshot/1.fits", ".2.fits"):
        touch(tmp_path / name)
    (tmp_path / "2.fits").symlink_to(".2.fits")
    found = discover([str(tmp_path)])
    assert names(found) == [("1.fits",), ("2.fits",)]
    # But not when they are named.
    some = [str(tmp_path / name) for name in (".snapshot", "._1.fits", "")]
    assert names(discover(some)) == [("._1.fits",), ("1.fits",), ("2.fits",), ("1.fits",)]


def test_size_and_time_are_the_files(tmp_path: Path) -> None:
    path = touch(tmp_path / "1.fits", b"x" * 123)
    os.utime(path, ns=(5, 7_000_000_001))
    [one] = discover([str(path)]).sources
    assert (one.files, one.size, one.mtime_ns) == ((str(path),), 123, 7_000_000_001)


def test_order_is_natural_whatever_the_order_given(tmp_path: Path) -> None:
    for name in ("10.fits", "9.fits", "b/1.fits", "a/2.fits"):
        touch(tmp_path / name)
    folders = [str(tmp_path / "b"), str(tmp_path)]
    assert discover(folders) == discover(folders[::-1])
    assert names(discover(folders)) == [("9.fits",), ("10.fits",), ("2.fits",), ("1.fits",)]


def test_a_file_reached_twice_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "in" / "1.fits")
    touch(tmp_path / "in" / "note.txt")
    monkeypatch.chdir(tmp_path)
    paths = ["in", "./in/", str(tmp_path), "in/1.fits", "in/../in/1.fits", "in/note.txt"]
    found = discover(paths)
    assert names(found) == [("1.fits",)]
    assert found.ignored == 1
    found = discover(["in/1.fits", "in/1.fits", "in/note.txt", "in/note.txt"])
    assert [one.files for one in found.sources] == [("in/1.fits",)]
    assert found.ignored == 1


def test_symbolic_links(tmp_path: Path) -> None:
    touch(tmp_path / "run" / "1.fits")
    touch(tmp_path / "store" / "blob")
    (tmp_path / "run" / "loop").symlink_to(tmp_path / "run")
    (tmp_path / "run" / "self.fits").symlink_to("self.fits")
    (tmp_path / "run" / "again.fits").symlink_to("1.fits")
    (tmp_path / "run" / "linked.fits").symlink_to(tmp_path / "store" / "blob")
    (tmp_path / "run" / "nowhere.fits").symlink_to("gone")
    (tmp_path / "run" / "nowhere.txt").symlink_to("gone2")
    found = discover([str(tmp_path / "run")])
    # Links that point nowhere are objects that cannot be read: they must not vanish.
    assert names(found) == [("1.fits",), ("linked.fits",), ("nowhere.fits",), ("self.fits",)]
    assert found.ignored == 1
    batch = read_measured(found.sources, BANDS, 32, 0.168)
    assert (batch.flags == Flag.READ_ERROR).all()


def test_a_file_found_through_a_linked_folder_has_its_own_path(tmp_path: Path) -> None:
    real = touch(tmp_path / "z" / "1.fits")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    [one] = discover([str(tmp_path)]).sources
    assert one.files == (str(real),)


def test_names_that_break_shells_and_libraries(tmp_path: Path) -> None:
    odd = [
        b"new\nline.fits",
        b"quote'\".fits",
        b"\xff\xfe.fits",
        b"a[1:5].fits",
        b"x+1.fits",
        b"$HOME.fits",
    ]
    for name in odd:
        cube = tmp_path / "cube.fits"
        write_cube(cube, galaxy(), header())
        cube.rename(tmp_path / os.fsdecode(name))
    found = discover([str(tmp_path)])
    assert {os.fsencode(Path(one.files[0]).name) for one in found.sources} == set(odd)
    batch = read_measured(found.sources, BANDS, 24, 0.168)
    assert (batch.flags == 0).all(), batch.reason
    assert all(name.isprintable() for name in batch.source + batch.object_id)
    assert "\\xff\\xfe" in batch.object_id


def test_folders_named_like_files_are_walked_and_pipes_are_not_read(tmp_path: Path) -> None:
    touch(tmp_path / "x.fits" / "1.fits")
    os.mkfifo(tmp_path / "pipe.fits")
    found = discover([str(tmp_path)])
    assert names(found) == [("1.fits",)]
    assert found.ignored == 1


def test_tables_are_ignored_unless_there_is_an_image_or_damage(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "K", array=np.arange(3000))])
    text = fits.TableHDU.from_columns([fits.Column("a", "I6", array=np.arange(5))])
    fits.HDUList([fits.PrimaryHDU(), table, text]).writeto(tmp_path / "table.fits")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table2.fits.gz")
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(galaxy())]).writeto(
        tmp_path / "both.fits"
    )
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(galaxy())]).writeto(
        tmp_path / "rice.fits.fz"
    )
    whole = (tmp_path / "table.fits").read_bytes()
    touch(tmp_path / "cut.fits", whole[: len(whole) // 2])
    fits.PrimaryHDU().writeto(tmp_path / "nothing.fits")
    found = discover([str(tmp_path)])
    assert names(found) == [("both.fits",), ("cut.fits",), ("nothing.fits",), ("rice.fits.fz",)]
    assert found.ignored == 2


@pytest.mark.parametrize("pattern", ["7_{}.fits", "HSC-{}.fits.gz", "{}.fits", "lsst_{}_7.fits"])
def test_one_file_per_band_is_one_object(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "obj"
    folder.mkdir()
    write_bands(folder, pattern)
    expected = tuple(str(folder / pattern.format(band)) for band in "grizy")
    [one] = discover([str(tmp_path)]).sources
    assert one.files == expected
    assert one.size == sum(Path(file).stat().st_size for file in expected)
    # A shell that spells the files out gives the same.
    assert discover(list(expected[::-1])).sources == [one]


def test_multi_band_files_named_with_a_letter_are_never_merged(tmp_path: Path) -> None:
    for band in "grizy":
        write_cube(tmp_path / f"7_{band}.fits", galaxy(), header())
        write_mef(tmp_path / f"8_{band}.fits", dict(zip(BANDS, galaxy(), strict=True)))
    assert len(discover([str(tmp_path)]).sources) == 10


def test_same_name_in_two_folders_is_two_objects(tmp_path: Path) -> None:
    for folder, bands in (("a", "gr"), ("b", "iz")):
        (tmp_path / folder).mkdir()
        write_bands(tmp_path / folder, "7_{}.fits", bands)
    assert names(discover([str(tmp_path)])) == [("7_g.fits", "7_r.fits"), ("7_i.fits", "7_z.fits")]


def test_a_damaged_band_stays_with_its_object(tmp_path: Path) -> None:
    write_bands(tmp_path, "7_{}.fits")
    touch(tmp_path / "7_g.fits", b"")
    [one] = discover([str(tmp_path)]).sources
    assert len(one.files) == 5
    batch = read_measured([one], BANDS, 32, 0.168)
    assert batch.flags[0] == Flag.READ_ERROR
    assert "7_g.fits" in batch.reason[0]


def test_nothing_found_says_how_much_was_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "a.npz")
    touch(tmp_path / "b" / "c.txt")
    with pytest.raises(InputError, match="2 other files ignored"):
        discover([str(tmp_path)])
    with pytest.raises(InputError):
        discover([])


@pytest.mark.parametrize("path", ["gone", "", "a\0b", "new\nline"])
def test_a_missing_path_is_an_input_error_of_one_line(path: str) -> None:
    with pytest.raises(InputError) as caught:
        discover([path])
    assert "\n" not in str(caught.value)


def test_a_forbidden_folder_is_an_input_error() -> None:
    with open_folder() as folder:
        touch(folder / "ok.fits")
        (folder / "locked").mkdir(mode=0)
        with without_rights(), pytest.raises(InputError, match="locked"):
            discover([str(folder)])


def test_source_of_the_helpers_is_that_of_discover(tmp_path: Path) -> None:
    path = tmp_path / "1.fits"
    write_cube(path, galaxy(), header())
    [one] = discover([str(path)]).sources
    assert (one.files, one.size) == (source(path).files, source(path).size)


def test_listed_files_that_are_gone_are_sources(tmp_path: Path) -> None:
    there = touch(tmp_path / "1.fits")
    gone = str(tmp_path / "2.fits")
    found = discover([], [str(there), gone])
    assert [source.files for source in found.sources] == [(str(there),), (gone,)]
    assert [source.is_absent for source in found.sources] == [False, True]
    batch = read_measured(found.sources, BANDS, 32)
    assert (batch.flags == Flag.READ_ERROR).all()
    with pytest.raises(InputError, match="none of 2 listed files"):
        discover([], [gone, str(tmp_path / "3.fits")])
    # What is no name of a cutout is a mistake.
    with pytest.raises(InputError, match="no folder"):
        discover([str(there)], [str(tmp_path / "no folder")])


def test_hard_links_are_objects_of_their_own(tmp_path: Path) -> None:
    path = touch(tmp_path / "1.fits")
    for n in range(2, 5):
        (tmp_path / f"{n}.fits").hardlink_to(path)
    assert len(discover([str(tmp_path)]).sources) == 4


def test_a_file_that_vanishes_while_its_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        touch(tmp_path / f"{n}.fits")
    scandir = os.scandir

    def scan_and_remove(path: str) -> object:
        entries = list(scandir(path))
        (tmp_path / "1.fits").unlink()
        from contextlib import nullcontext

        return nullcontext(iter(entries))

    monkeypatch.setattr(os, "scandir", scan_and_remove)
    assert names(discover([str(tmp_path)])) == [("0.fits",), ("2.fits",)]
