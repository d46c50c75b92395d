"""Damaged files: a row with a reason, never an exception, a crash or a huge allocation."""

import gzip
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from cutout_files import (
    BANDS,
    SCALE,
    galaxy,
    header,
    hsc_names,
    read_measured,
    source,
    write_cube,
    write_mef,
)

from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError
from photoz_mmae.flags import NO_REDSHIFT, Flag


def read(one: Source) -> CutoutBatch:
    return read_measured([one], BANDS, 24, SCALE)


def cube(path: Path) -> bytes:
    write_cube(path, galaxy(), header(OBJECT="cube"))
    return path.read_bytes()


def scaled(path: Path) -> bytes:
    unit = fits.PrimaryHDU(galaxy(), header())
    unit.scale("int16", bscale=0.01, bzero=1.0)
    unit.writeto(path)
    return path.read_bytes()


def mef(path: Path, compression: str | None = None) -> bytes:
    data = dict(zip(hsc_names(), galaxy(), strict=True))
    write_mef(path, data, header(), compression=compression)
    return path.read_bytes()


def tables(path: Path) -> bytes:
    column = fits.Column("a", "K", array=np.arange(40))
    units: list[Any] = [fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])]
    units += [
        fits.ImageHDU(plane, header(), name=name)
        for name, plane in zip(hsc_names(), galaxy(), strict=True)
    ]
    fits.HDUList(units).writeto(path)
    return path.read_bytes()


KINDS: dict[str, Callable[[Path], bytes]] = {
    "cube": cube,
    "scaled": scaled,
    "mef": mef,
    "rice": lambda path: mef(path, "RICE_1"),
    "gzip-tiles": lambda path: mef(path, "GZIP_1"),
    "hcompress": lambda path: mef(path, "HCOMPRESS_1"),
    "tables": tables,
    "gz": lambda path: gzip.compress(cube(path)),
}

VALUES = [
    b"0",
    b"-1",
    b"1",
    b"3",
    b"99999",
    b"2147483647",
    b"9223372036854775807",
    b"1E30",
    b"'x'",
    b"T",
]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut the file, overwrite bytes, replace a header's value, drop or repeat a piece."""
    raw = bytearray(content)
    kind = rng.randrange(5)
    if kind == 0:
        del raw[rng.randrange(len(raw)) :]
    elif kind == 1:
        for _ in range(rng.choice([1, 2, 5, 50])):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    elif kind == 2:
        place, length = rng.randrange(len(raw)), rng.choice([1, 80, 2880])
        piece = raw[place : place + length]
        raw[place : place + length] = b"" if rng.random() < 0.5 else piece * 2
    else:
        cards = [at for at in range(0, len(raw), 80) if raw[at + 8 : at + 10] == b"= "]
        if cards:
            at = rng.choice(cards)
            if kind == 3:
                raw[at + 10 : at + 30] = rng.choice(VALUES).rjust(20)
            else:
                raw[at + rng.randrange(80)] = rng.randrange(256)
    return bytes(raw)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_any_kind_gives_a_row(tmp_path: Path, kind: str) -> None:
    content = KINDS[kind](tmp_path / "whole.fits")
    (tmp_path / "whole.fits").unlink()
    rng = random.Random(kind)
    path = tmp_path / "7.fits"
    refused = 0
    for _ in range(60):
        path.write_bytes(damaged(content, rng))
        try:
            sources = discover([str(tmp_path)]).sources
        except InputError:  # damage that made it a file with a table only
            continue
        batch = read_measured(sources, BANDS, 24, SCALE)
        assert len(batch.object_id) == len(sources) == 1
        assert batch.object_id[0].isprintable()
        assert np.isfinite(batch.images).all()
        assert bool(batch.reason[0]) is bool(batch.flags[0] & NO_REDSHIFT)
        refused += bool(batch.reason[0])
    assert refused >= 10


@pytest.mark.parametrize("kind", ["cube", "mef", "rice", "gz"])
def test_a_file_cut_short_anywhere_has_no_redshift(tmp_path: Path, kind: str) -> None:
    content = KINDS[kind](tmp_path / "7.fits")
    # The last block may be padding only.
    for length in range(0, len(content) - 2880, max(1, len(content) // 37) | 1):
        (tmp_path / "7.fits").write_bytes(content[:length])
        batch = read(source(tmp_path / "7.fits"))
        if kind in ("cube", "gz"):
            assert batch.flags[0] == Flag.READ_ERROR
        # Cut between two HDUs it is a whole file with fewer bands.
        assert batch.flags[0] & NO_REDSHIFT in (Flag.READ_ERROR, Flag.MISSING_BAND)
        assert batch.reason[0]


def test_the_id_survives_damaged_pixels(tmp_path: Path) -> None:
    content = cube(tmp_path / "7.fits")
    (tmp_path / "7.fits").write_bytes(content[:4000])
    batch = read(source(tmp_path / "7.fits"))
    assert batch.flags[0] == Flag.READ_ERROR
    assert batch.object_id == ["cube"]
    assert "truncated" in batch.reason[0]


def test_the_last_blocks_padding_is_not_needed(tmp_path: Path) -> None:
    content = cube(tmp_path / "7.fits")
    (tmp_path / "7.fits").write_bytes(content.rstrip(b"\0"))
    batch = read(source(tmp_path / "7.fits"))
    assert batch.reason == [""]
    np.testing.assert_array_equal(batch.images[0], galaxy())


def test_rubbish_behind_the_last_unit_does_no_harm(tmp_path: Path) -> None:
    content = mef(tmp_path / "7.fits")
    (tmp_path / "7.fits").write_bytes(content + b"\n<!-- served by -->")
    assert read(source(tmp_path / "7.fits")).reason == [""]


@pytest.mark.parametrize(
    "axes",
    [
        (10**6, 10**6, 5),
        (2**31, 2**31, 5),
        (10**18, 10**18, 10**18),
        (-24, 24, 5),
        (30000, 30000, 5),
    ],
)
def test_a_promise_of_terabytes_is_not_believed(tmp_path: Path, axes: tuple[int, ...]) -> None:
    content = cube(tmp_path / "7.fits")
    for n, axis in enumerate(axes, start=1):
        at = content.index(b"NAXIS%d  =" % n)
        content = content[: at + 10] + str(axis).rjust(20).encode() + content[at + 30 :]
    (tmp_path / "7.fits").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch = read(source(tmp_path / "7.fits"))
    assert batch.flags[0] == Flag.READ_ERROR
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"ZNAXIS2", b"0"),
        (b"ZNAXIS1", b"-24"),
        (b"ZTILE1", b"0"),
        (b"ZTILE1", b"48"),
        (b"ZTILE2", b"2"),
        (b"ZBITPIX", b"8"),
        (b"ZVAL1", b"0"),
        (b"ZVAL2", b"8"),
        (b"ZCMPTYPE", b"'LZW     '"),
        (b"TFIELDS", b"9223372036854775807"),
        (b"TFIELDS", b"1"),
        (b"TFORM1", b"'1PB(9'"),
        (b"THEAP", b"1"),
        (b"NAXIS1", b"16"),
    ],
)
def test_what_a_decoder_would_believe_is_checked(tmp_path: Path, key: bytes, value: bytes) -> None:
    content = KINDS["rice"](tmp_path / "7.fits")
    if key == b"THEAP":
        content = content.replace(b"ZPCOUNT =", b"THEAP   =", 1)
    at = content.index(key.ljust(8) + b"= ", content.index(b"XTENSION"))
    content = content[: at + 10] + value.rjust(20) + b" " * 50 + content[at + 80 :]
    (tmp_path / "7.fits").write_bytes(content)
    batch = read(source(tmp_path / "7.fits"))
    assert batch.flags[0] == Flag.READ_ERROR
    assert "HDU 1" in batch.reason[0]


@pytest.mark.parametrize("step", [1e-320, 1e-30, 1e30])
def test_pixels_of_no_size_that_pixels_have(tmp_path: Path, step: float) -> None:
    write_cube(tmp_path / "7.fits", galaxy(), header(CDELT1=step, CDELT2=step))
    batch = read(source(tmp_path / "7.fits"))
    assert batch.reason == [""]
    assert batch.scale[0] == SCALE
    assert not batch.flags[0] & Flag.OTHER_PIXEL_SCALE


def test_two_headers_run_together_are_survived(tmp_path: Path) -> None:
    # cfitsio, made to pass by such a table, corrupts its memory.
    content = tables(tmp_path / "7.fits")
    at = content.index(b"END     ")
    (tmp_path / "7.fits").write_bytes(content[:at] + b"EN" + content[at + 3 :])
    assert read(source(tmp_path / "7.fits")).flags[0] & NO_REDSHIFT


@pytest.mark.parametrize("order", [[1, 2], [2, 1]])
def test_an_end_that_is_none_is_not_taken_for_one(tmp_path: Path, order: list[int]) -> None:
    # Headers with the same beginnings of cards: what one file ends with, another goes on behind.
    content = bytearray(mef(tmp_path / "1.fits"))
    at = content.index(b"END     ", 5 * 2880)
    content[at + 20] = ord("x")
    (tmp_path / "2.fits").write_bytes(content)
    batches = {number: read(source(tmp_path / f"{number}.fits")) for number in order}
    np.testing.assert_array_equal(batches[1].images[0], galaxy())
    assert batches[2].flags[0] & NO_REDSHIFT


def test_a_sparse_file_of_gigabytes_is_no_cutout(tmp_path: Path) -> None:
    content = cube(tmp_path / "7.fits")
    for n, axis in ((1, 20000), (2, 20000)):
        at = content.index(b"NAXIS%d  =" % n)
        content = content[: at + 10] + str(axis).rjust(20).encode() + content[at + 30 :]
    (tmp_path / "7.fits").write_bytes(content)
    os.truncate(tmp_path / "7.fits", 9 << 30)
    batch = read(source(tmp_path / "7.fits"))
    assert batch.flags[0] == Flag.WRONG_SIZE


def test_a_gzip_bomb_stops_early(tmp_path: Path) -> None:
    zeros = gzip.compress(bytes(1 << 20))
    (tmp_path / "7.fits.gz").write_bytes(gzip.compress(cube(tmp_path / "7.fits")) + 140 * zeros)
    batch = read(source(tmp_path / "7.fits.gz"))
    assert batch.flags[0] == Flag.WRONG_SIZE
    assert "too large" in batch.reason[0]


def test_gzip_in_many_pieces_is_read(tmp_path: Path) -> None:
    content = cube(tmp_path / "7.fits")
    pieces = [gzip.compress(content[at : at + 8], 1) for at in range(0, len(content), 8)]
    (tmp_path / "7.fits.gz").write_bytes(b"".join(pieces))
    batch = read(source(tmp_path / "7.fits.gz"))
    assert batch.reason == [""]
    np.testing.assert_array_equal(batch.images[0], galaxy())


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b", b"SIMPLE  =", bytes(5000)])
def test_what_is_no_fits_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "7.fits").write_bytes(content)
    batch = read(source(tmp_path / "7.fits"))
    assert batch.flags[0] == Flag.READ_ERROR
    assert batch.object_id == ["7"]
    assert batch.reason[0].startswith(str(tmp_path / "7.fits"))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    cube(tmp_path / "1.fits")
    (tmp_path / "2.fits").write_bytes(b"text")
    (tmp_path / "3.fits.gz").write_bytes(gzip.compress(cube(tmp_path / "3.fits"))[:500])
    (tmp_path / "4.fits.gz").write_bytes(gzip.compress(mef(tmp_path / "4.fits")))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    read_measured(discover([str(tmp_path)]).sources, BANDS, 24, SCALE)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
