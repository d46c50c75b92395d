"""Files that are there and cannot be read, or are there no more, or change: a row each."""

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from cutout_files import (
    BANDS,
    SCALE,
    galaxy,
    header,
    open_folder,
    read_measured,
    source,
    without_rights,
    write_cube,
)

from photoz_mmae.cutouts import read_ahead
from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import NO_REDSHIFT, Flag


@pytest.fixture(params=["one reader", "ahead"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with one thread, and with several from the first file on."""
    monkeypatch.setattr(read_ahead, "SLOW", 1e9 if request.param == "one reader" else -1.0)


def read(*sources: Source) -> CutoutBatch:
    return read_measured(sources, BANDS, 24, SCALE)


def write(folder: Path, count: int = 12) -> list[Source]:
    for number in range(count):
        write_cube(folder / f"{number}.fits", galaxy(seed=number), header(OBJECT=f"o{number}"))
    return discover([str(folder)]).sources


def check(batch: CutoutBatch, lost: Sequence[int], reason: str) -> None:
    """Check that these rows are READ_ERRORs for that reason, and the others what was written."""
    for row in range(len(batch.images)):
        if row in lost:
            assert batch.flags[row] == Flag.READ_ERROR
            assert reason in batch.reason[row]
            assert batch.object_id[row]
            assert batch.missing[row].all()
            assert not batch.images[row].any()
        else:
            assert batch.reason[row] == ""
            assert batch.object_id[row] == f"o{row}"
            np.testing.assert_array_equal(batch.images[row], galaxy(seed=row))


@pytest.mark.parametrize("lost", [[0], [7], [3, 4, 11], list(range(12))])
def test_files_that_vanish_after_they_were_listed(tmp_path: Path, lost: list[int]) -> None:
    sources = write(tmp_path)
    for number in lost:
        (tmp_path / f"{number}.fits").unlink()
    check(read(*sources), lost, "No such file")


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    sources = write(tmp_path / "inside")
    (tmp_path / "inside").rename(tmp_path / "elsewhere")
    check(read(*sources), range(12), "No such file")


def test_a_band_that_vanishes(tmp_path: Path) -> None:
    for band, plane in zip(BANDS, galaxy(), strict=True):
        fits.PrimaryHDU(plane, header(FILTER=band)).writeto(tmp_path / f"1_{band}.fits")
    [one] = discover([str(tmp_path)]).sources
    (tmp_path / "1_z.fits").unlink()
    batch = read(one)
    assert batch.flags[0] & NO_REDSHIFT == Flag.READ_ERROR
    assert "1_z.fits: No such file" in batch.reason[0]


def test_forbidden_files() -> None:
    with open_folder() as folder:
        sources = write(folder)
        (folder / "2.fits").chmod(0)
        (folder / "9.fits").chmod(0)
        with without_rights():
            check(read(*sources), [2, 9], "Permission denied")


def test_a_folder_that_becomes_forbidden() -> None:
    with open_folder() as folder:
        (folder / "inside").mkdir()
        sources = write(folder / "inside")
        (folder / "inside").chmod(0)
        with without_rights():
            check(read(*sources), range(12), "Permission denied")
        (folder / "inside").chmod(0o755)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 107 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def long_loop(path: Path) -> None:
    path.symlink_to("there.fits")
    (path.parent / "there.fits").symlink_to(path.name)


UNREADABLE: dict[str, Callable[[Path], None]] = {
    "folder": lambda path: path.mkdir(),
    "pipe": pipe,
    "socket": unix_socket,
    "link to itself": loop,
    "links in a circle": long_loop,
    "link to nowhere": lambda path: path.symlink_to("nowhere.fits"),
    "link to /dev/null": lambda path: path.symlink_to("/dev/null"),
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "link to /dev/tty": lambda path: path.symlink_to("/dev/tty"),
    "link to a folder": lambda path: path.symlink_to("."),
    "link to a file of the system": lambda path: path.symlink_to("/proc/self/mem"),
    "below a file": lambda path: path.symlink_to("0.fits/below.fits"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_takes_a_files_place(tmp_path: Path, kind: str) -> None:
    sources = write(tmp_path)
    (tmp_path / "5.fits").unlink()
    UNREADABLE[kind](tmp_path / "5.fits")
    check(read(*sources), [5], str(tmp_path / "5.fits"))


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_listed_beside_files(tmp_path: Path, kind: str) -> None:
    write(tmp_path)
    UNREADABLE[kind](tmp_path / "odd.fits")
    sources = discover([str(tmp_path)]).sources
    batch = read(*sources)
    assert batch.object_id[:12] == [f"o{number}" for number in range(12)]
    assert (batch.flags[12:] == Flag.READ_ERROR).all()
    assert all(batch.reason[12:])


@pytest.mark.parametrize("length", [0, 1, 2879, 2880, 6000, 14_399])
def test_a_file_that_shrinks_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    sources = write(tmp_path)
    open_file = read_ahead.open_file

    def open_and_shrink(path: str) -> int:
        descriptor = open_file(path)
        if path.endswith("/5.fits"):
            about = os.fstat(descriptor)
            monkeypatch.setattr(os, "fstat", promise(os.fstat, descriptor, about))
            os.truncate(path, length)
        return descriptor

    monkeypatch.setattr(read_ahead, "open_file", open_and_shrink)
    check(read(*sources), [5], "5.fits")


def promise(
    fstat: Callable[[int], os.stat_result], descriptor: int, about: os.stat_result
) -> Callable[[int], os.stat_result]:
    """Make an fstat that tells of one file what it was before: it shrinks just afterwards."""
    return lambda one: about if one == descriptor else fstat(one)


def test_a_file_that_grows_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = write(tmp_path)
    whole = (tmp_path / "5.fits").read_bytes()
    (tmp_path / "5.fits").write_bytes(whole[:6000])
    open_file = read_ahead.open_file

    def open_and_grow(path: str) -> int:
        descriptor = open_file(path)
        if path.endswith("/5.fits"):
            Path(path).write_bytes(whole + bytes(100_000))
        return descriptor

    monkeypatch.setattr(read_ahead, "open_file", open_and_grow)
    check(read(*sources), [], "")


def test_a_file_replaced_by_another_after_it_was_listed(tmp_path: Path) -> None:
    sources = write(tmp_path)
    (tmp_path / "5.fits").unlink()
    write_cube(tmp_path / "5.fits", galaxy((30, 18), seed=1), header((30, 18), OBJECT="new"))
    batch = read(*sources)
    assert batch.object_id[5] == "new"
    assert batch.flags[5] == Flag.PADDED


def test_folders_that_link_to_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_cube(tmp_path / name / f"{name}.fits", galaxy(), header())
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "b" / "up").symlink_to("..")
    sources = discover([str(tmp_path)]).sources
    assert [Path(one.files[0]).name for one in sources] == ["a.fits", "b.fits"]
    assert not read(*sources).flags.any()


def test_a_source_without_a_file_that_ever_was() -> None:
    batch = read(source("/gone/7.fits"), source("/gone/1_g.fits", "/gone/1_r.fits"))
    assert (batch.flags == Flag.READ_ERROR).all()
    assert batch.object_id == ["7", "1"]
