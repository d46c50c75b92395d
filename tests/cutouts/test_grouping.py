"""Which files are one object, found without opening most of them."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from cutout_files import BANDS, galaxy, header, read_measured, write_cube
from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.cutouts import grouping
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.headers import open_regular
from photoz_mmae.cutouts.source_list import SourceList


def files_of(folder: Path) -> list[tuple[str, ...]]:
    found = discover([str(folder)]).sources
    return [tuple(Path(file).name for file in source.files) for source in found]


def write_image(path: Path, **cards: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(np.eye(9, dtype=np.uint8), fits.Header(cards)).writeto(path)


def write_table(path: Path, rows: int = 1) -> None:
    columns = [fits.Column("a", "K", array=np.arange(rows))]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)


def test_files_with_headers_of_one_object_are_one_object(tmp_path: Path) -> None:
    for n in range(5):
        for k, band in enumerate(BANDS):
            head = header(FILTER=f"HSC-{band.upper()}", OBJECT=f"obj{n}")
            fits.PrimaryHDU(galaxy(seed=n)[k], head).writeto(tmp_path / f"{5 * n + 4 - k:03}.fits")
    found = discover([str(tmp_path)]).sources
    assert [source.bands for source in found] == ["grizy"] * 5
    assert [Path(source.files[0]).name for source in found] == [
        f"{5 * n + 4:03}.fits" for n in range(5)
    ]
    batch = read_measured(found, BANDS, 24)
    assert batch.object_id == [f"obj{n}" for n in range(5)]
    assert (batch.bands_used == 0b11111).all()
    np.testing.assert_allclose(batch.images[2], galaxy(seed=2))


def test_files_of_one_target_position_have_their_first_name_for_an_id(tmp_path: Path) -> None:
    for n in range(3):
        for band in "gr":
            write_image(tmp_path / f"x{n}{band}.fits", BAND=band, RA_TARG=10.0 + n, DEC_TARG=-3.5)
    found = discover([str(tmp_path)]).sources
    assert [len(source.files) for source in found] == [2, 2, 2]
    batch = read_measured(found, ("g", "r"), 9)
    assert batch.object_id == ["x0g", "x1g", "x2g"]


def test_the_name_of_a_field_is_no_object(tmp_path: Path) -> None:
    for n in range(4):
        for band in "gr":
            write_image(tmp_path / f"{n}{band}.fits", FILTER=band, OBJECT="COSMOS")
    assert all(len(files) == 1 for files in files_of(tmp_path))
    # With a position each is known.
    for n in range(4):
        for band in "gr":
            write_image(
                tmp_path / f"new/{n}{band}.fits",
                FILTER=band,
                OBJECT="COSMOS",
                RA_TARG=n,
                DEC_TARG=0,
            )
    assert all(len(files) == 2 for files in files_of(tmp_path / "new"))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from("ugriz")), max_size=9)
)
def test_every_file_is_in_one_object_whatever_the_headers_say(
    said: list[tuple[str, str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for n, (name, band) in enumerate(said):
            cards = {"OBJECT": name} if name else {}
            write_image(Path(folder) / f"{n}.fits", FILTER=band, **cards)
        groups = files_of(Path(folder)) if said else []
        assert sorted(file for group in groups for file in group) == [
            f"{n}.fits" for n in range(len(said))
        ]
        for group in groups:
            members = [said[int(file.removesuffix(".fits"))] for file in group]
            bands = [band for _, band in members]
            assert bands == sorted(set(bands), key="ugriz".index)
            assert len(group) == 1 or (len({name for name, _ in members}) == 1 and members[0][0])
            if len(group) == 1 and members[0][0]:
                # Alone: no other of its object, or two files say the same band.
                same = [band for name, band in said if name == members[0][0]]
                assert len(same) == 1 or len(set(same)) < len(same)


def test_many_tables_are_all_left_out_and_no_image_with_them(tmp_path: Path) -> None:
    for n in range(30):
        write_table(tmp_path / f"t{n}.fits")
    for n in range(30):
        write_image(tmp_path / f"i{n}.fits")
    found = discover([str(tmp_path)])
    assert (len(found.sources), found.ignored) == (30, 30)


@pytest.mark.parametrize("images", [[0], [7], [13], [0, 7, 13]])
def test_a_cutout_the_size_of_the_tables_is_never_left_out(
    tmp_path: Path, images: list[int]
) -> None:
    for n in range(14):
        path = tmp_path / f"{n:02}.fits"
        write_table(path)
        size = path.stat().st_size
        if n in images:
            path.unlink()
            write_image(path)
            path.write_bytes(path.read_bytes().ljust(size, b"\0"))
        assert path.stat().st_size == size
    sources = {name for (name,) in files_of(tmp_path)}
    assert {f"{n:02}.fits" for n in images} <= sources


def test_most_files_of_a_folder_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(40):
        write_cube(tmp_path / f"{n}.fits", galaxy(), header())
    for n in range(40):
        for k, band in enumerate("gr"):
            fits.PrimaryHDU(galaxy()[k], header()).writeto(tmp_path / f"x{n}_{band}.fits")
    opened = []

    def count(path: str) -> int:
        opened.append(path)
        return open_regular(path)

    monkeypatch.setattr(grouping, "open_regular", count)
    assert len(discover([str(tmp_path)]).sources) == 80
    assert len(opened) < 20


def test_one_folder_per_object(tmp_path: Path) -> None:
    for n in range(12):
        for k, band in enumerate("grizy"):
            path = tmp_path / str(n) / f"{band}.fits"
            path.parent.mkdir(exist_ok=True)
            fits.PrimaryHDU(galaxy()[k], header()).writeto(path)
    found = discover([str(tmp_path)]).sources
    assert [Path(source.files[0]).parent.name for source in found] == [str(n) for n in range(12)]
    assert {len(source.files) for source in found} == {5}
    assert read_measured(found, BANDS, 24).object_id == [str(n) for n in range(12)]


def test_a_list_of_sources_is_a_sequence(tmp_path: Path) -> None:
    for n in range(5):
        write_image(tmp_path / f"{n}.fits")
    sources = discover([str(tmp_path)]).sources
    every = list(sources)
    assert sources == every
    assert SourceList(every) == sources
    assert sources[-1] == every[-1]
    assert sources[1:4:2] == every[1:4:2]
    assert sources != every[:-1]
    with pytest.raises(IndexError):
        sources[5]


@pytest.mark.parametrize("names", [("SCI", "RMS"), ("SCI", "MSK", "WGT"), ("", "", "")])
def test_planes_beside_an_image_are_no_other_images(tmp_path: Path, names: tuple[str, ...]) -> None:
    for n in range(2):
        for k, band in enumerate(BANDS):
            units = [fits.ImageHDU(galaxy(seed=n)[k], header(), name=names[0])]
            beside = np.ones((24, 24), np.float32)
            for name in names[1:]:
                units.append(fits.ImageHDU(beside, name=name))
            if not names[0]:
                units[1].header["MP_NO_DATA"] = 8
            fits.HDUList([fits.PrimaryHDU(), *units]).writeto(tmp_path / f"{n}_{band}.fits")
    assert [len(files) for files in files_of(tmp_path)] == [5, 5]
    batch = read_measured(discover([str(tmp_path)]).sources, BANDS, 24)
    assert (batch.bands_used == 0b11111).all()
    np.testing.assert_allclose(batch.images[1], galaxy(seed=1))
