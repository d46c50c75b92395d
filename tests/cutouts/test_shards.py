"""Packed shards give the batches that the cutouts themselves give, whatever the model."""

import json
from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from cutout_files import BANDS, SCALE, galaxy, hsc_names, write_cube, write_mef
from cutout_files import header as make_header
from hypothesis import example, given
from hypothesis import strategies as st

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch, read_id
from photoz_mmae.cutouts.shard_file import escaped, open_shard
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag
from photoz_mmae.survey_run.pack import pack_survey
from photoz_mmae.survey_runs import PackRun


def header(shape=(64, 64), **cards):
    """Make a header that names the planes of a cube."""
    return make_header(shape, **{"BANDS": "grizy", **cards})


class Silent:
    def found(self, discovery):
        pass

    def begins(self, shards, todo):
        pass

    def packed(self, rows):
        pass


def pack(cutouts, output, **options):
    return pack_survey(PackRun(cutouts=(str(cutouts),), output=output, **options), Silent())


def sources(path):
    return discover([str(path)]).sources


def assert_same(path, shards, bands=BANDS, size=64, scale=SCALE, flags=~0):
    """Cutouts and shards read and measured alike, bit for bit."""
    wanted = Wanted(tuple(bands), size, scale)
    before, after = (read_batch(sources(each), wanted) for each in (path, shards))
    for batch in (before, after):
        measure_batch(batch, bands)
        batch.flags &= flags
    for name in vars(before):
        if name in ("x", "y"):  # a whole number was added and taken away
            np.testing.assert_allclose(getattr(before, name), getattr(after, name), rtol=1e-14)
        elif name not in ("source", "reason", "raw", "written"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name), name)
    return before, after


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Cutouts of every kind and state, one after the other by name."""
    folder = tmp_path_factory.mktemp("zoo")
    image = galaxy((64, 64))
    write_cube(folder / "00.fits", image, header((64, 64), OBJECT="a b\\c"))
    nan = image.copy()
    nan[1, :, 50:] = np.nan
    nan[2, 3, 3] = np.inf
    nan[3, 4, 4] = 3e13
    write_cube(folder / "01.fits", nan, header((64, 64)))
    write_cube(folder / "02.fits", galaxy((70, 81), seed=2), header((70, 81), BUNIT="nJy"))
    small = galaxy((30, 41), seed=3)
    write_cube(folder / "03.fits", small, header((30, 41), RA_TARG=150.0005, DEC_TARG=2.0003))
    write_cube(folder / "04.fits", image.astype(np.float64) / 3, header((64, 64), MAGZERO=25.5))
    write_cube(folder / "05.fits", (image * 100).astype(np.int16), header((64, 64), MAGZERO=30.0))
    five = dict(zip(hsc_names(), galaxy((64, 64), seed=6), strict=True))
    write_mef(folder / "06.fits", five, header((64, 64)), compression="RICE_1")
    four = {name: five[name] for name in hsc_names()[:4]}
    write_mef(folder / "07.fits", four, header((64, 64), FLUXMAG0=10**10.8))
    dead = image.copy()
    dead[0] = 7
    write_cube(folder / "08.fits", dead, header((64, 64)))
    write_cube(folder / "09.fits", np.full_like(image, np.nan), header((64, 64)))
    write_cube(folder / "10.fits", image, header((64, 64), RA_TARG=151.0, DEC_TARG=2.0))
    (folder / "11.fits").write_text("no FITS file\n")
    write_cube(folder / "12.fits", galaxy((5, 5)), header((5, 5)))
    write_cube(folder / "13é.fits", galaxy((64, 64), seed=13), fits.Header({"BANDS": "grizy"}))
    other = header((64, 64))
    other["CD1_1"] *= 2
    other["CD2_2"] *= 2
    write_cube(folder / "14.fits", galaxy((64, 64), seed=14), other)
    u = np.concatenate([galaxy((64, 64), seed=15), galaxy((64, 64), seed=16)[:1]])
    write_cube(folder / "15.fits", u, header((64, 64), BANDS="grizyu"))
    for band, plane in zip(BANDS, galaxy((64, 64), seed=17), strict=True):
        fits.PrimaryHDU(plane, header((64, 64), FILTER=band)).writeto(folder / f"16_{band}.fits")
    return folder


@pytest.fixture(scope="module")
def packed(zoo, tmp_path_factory):
    output = tmp_path_factory.mktemp("packed") / "shards"
    summary = pack(zoo, output, size=6)
    assert (summary.shards, summary.rows) == (3, 17)
    return output


def test_the_same_batch(zoo, packed):
    before, after = assert_same(zoo, packed)
    # Whether constant, absent, outside or unreadable: the reasons are the same, too.
    assert before.reason == after.reason
    assert after.object_id[0] == "a b\\c"
    assert after.object_id[13] == "13é"
    assert np.flatnonzero(after.flags & Flag.NO_ZERO_POINT).tolist() == [13]
    assert after.flags[11] == Flag.READ_ERROR
    assert after.flags[12] == Flag.WRONG_SIZE
    assert after.source[7] == f"{packed / 'shard-000001.fits'}#1"
    assert [read_id(source) for source in sources(packed)] == after.object_id


@pytest.mark.parametrize("size", [32, 48])
def test_a_smaller_model_takes_the_middle(zoo, packed, size):
    before, after = assert_same(zoo, packed, size=size, flags=~int(Flag.NONFINITE_PIXELS))
    assert before.reason == after.reason


def test_a_model_with_other_sizes_bands_and_scales(zoo, tmp_path):
    pack(zoo, tmp_path / "s", image_size=96, bands="ugrizy", pixel_scale=0.2)
    # In stamps of another size the side of an image and a strip of NaN look alike.
    alike = int(Flag.NONFINITE_PIXELS | Flag.PADDED)
    assert_same(zoo, tmp_path / "s", flags=~alike)
    assert_same(zoo, tmp_path / "s", size=33, flags=~alike)
    assert_same(zoo, tmp_path / "s", bands=("i", "u"), flags=~alike)
    batch = read_batch(sources(tmp_path / "s"), Wanted(BANDS, 64, SCALE))
    assert [row for row, flags in enumerate(batch.flags) if flags & Flag.PADDED] == [1, 3, 9, 10]


def test_a_larger_model_pads(zoo, packed):
    batch = read_batch(sources(packed), Wanted(BANDS, 80, SCALE))
    direct = read_batch(sources(packed), Wanted(BANDS, 64, SCALE))
    np.testing.assert_array_equal(batch.images[:, :, 8:72, 8:72], direct.images)
    outside = batch.missing.copy()
    outside[:, :, 8:72, 8:72] = True
    assert outside.all()
    assert (batch.flags[[0, 4, 5, 6]] & Flag.PADDED).all()
    np.testing.assert_array_equal(batch.x, direct.x + 8)


def test_pixels_bit_for_bit(zoo, packed):
    """In the units and the precision of the sources, as other programs see them."""
    with fits.open(packed / "shard-000000.fits", checksum=True) as shard:
        assert shard[0].header["FORMAT"] == "photoz-mmae shard"
        image = shard["IMAGE"].data
        assert image.dtype == ">f8"  # some are float64 and integers
        table = Table(shard["OBJECTS"].data)
        for row in (0, 4, 5):
            np.testing.assert_array_equal(image[row], fits.getdata(zoo / f"{row:02}.fits"))
        source = fits.getdata(zoo / "01.fits")
        measured = np.abs(source) < 1e12
        np.testing.assert_array_equal(image[1][measured], source[measured])
        assert np.isnan(image[1][~measured]).all()
        np.testing.assert_allclose(table["factor"][2], 10 ** (0.4 * (27 - 31.4)))
        assert table["factor"][0].tolist() == [1] * 5
        assert list(table["float32"][:6, 0]) == [1, 1, 1, 1, 0, 0]
        assert shard["OBJECTS"].columns["flux"].unit == "nJy"
        np.testing.assert_allclose(table["flux"][0] / 57.54, 100 * np.arange(1, 6), rtol=0.02)
    assert fitsio.read(packed / "shard-000000.fits", ext="IMAGE").shape == (6, 5, 64, 64)
    with fits.open(packed / "shard-000002.fits", checksum=True) as shard:
        assert shard["IMAGE"].data.dtype == ">f4"
        names = [name.strip() for name in shard["OBJECTS"].data["files"]]
        assert names[-1].count("16_") == 5


def test_variance_and_saturated_pixels_come_along(tmp_path, monkeypatch):
    """Where a reader has them they are packed, and read again."""
    from photoz_mmae.cutouts import read

    for n in range(3):
        write_cube(tmp_path / f"{n}.fits", galaxy((64, 64), seed=n), header((64, 64)))
    plain = read._FILL["cutout"]

    def with_planes(batch, rows, sources, wanted, positions):
        plain(batch, rows, sources, wanted, positions)
        for row, source in zip(rows, sources, strict=True):
            if source.files[0].endswith("1.fits"):
                batch.variance[row] = np.arange(batch.variance[row].size).reshape(5, 64, 64)
                batch.saturated[row, 2, 5, 6] = True

    monkeypatch.setitem(read._FILL, "cutout", with_planes)
    before = read_batch(sources(tmp_path), Wanted(BANDS, 64, SCALE))
    pack(tmp_path, tmp_path / "../variances")
    after = read_batch(sources(tmp_path / "../variances"), Wanted(BANDS, 64, SCALE))
    assert before.variance.any()
    for name in ("images", "missing", "variance", "saturated", "flags"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


@given(st.text())
@example("a ")
@example(" a")
@example("\\x20")
@example("\\")
@example("é\n")
def test_texts_survive(text):
    from photoz_mmae.cutouts.shard_file import _unescaped

    assert escaped(text).isascii()
    # As a column of fixed width holds it, filled up with blanks or with zeros.
    assert _unescaped(escaped(text).ljust(40)) == text
    assert (
        _unescaped(np.array([escaped(text)], "S300")[0] if len(text) < 20 else escaped(text))
        == text
    )


def test_packing_shards_again(packed, tmp_path):
    """A shard is an input like any other; its pixels go through untouched."""
    pack(packed, tmp_path / "again", size=17)
    assert_same(packed, tmp_path / "again")
    # What was scaled in float32 still is.
    first = open_shard(*_about(tmp_path / "again/shard-000000.fits"))
    assert first.table["float32"][[0, 4, 6], 0].tolist() == [1, 0, 1]
    files = fitsio.read(tmp_path / "again/shard-000000.fits", ext="OBJECTS", columns="files")
    assert json.loads(files[7]) == [f"{packed / 'shard-000001.fits'}#1"]


def _about(path: Path) -> tuple[str, int, int]:
    about = path.stat()
    return str(path), about.st_mtime_ns, about.st_size


def test_positions_from_a_table(packed):
    def known(ids):
        ra = np.array([150.0 if name == "a b\\c" else np.nan for name in ids])
        return ra, np.full(len(ids), 2.001)

    wanted = Wanted(BANDS, 64, SCALE)
    before = read_batch(sources(packed), wanted)
    after = read_batch(sources(packed), wanted, known)
    assert after.dec[0] == 2.001  # 3.6 arcsec off
    assert after.flags[0] == before.flags[0] | Flag.OFF_CENTRE
    np.testing.assert_array_equal(before.flags[1:], after.flags[1:])
    np.testing.assert_array_equal(before.ra[1:], after.ra[1:])


def test_in_any_order(packed):
    found = sources(packed)
    order = np.random.default_rng(0).permutation(len(found))
    wanted = Wanted(BANDS, 64, SCALE)
    straight = read_batch(found, wanted)
    mixed = read_batch([found[i] for i in order], wanted)
    np.testing.assert_array_equal(mixed.images, straight.images[order])
    np.testing.assert_array_equal(mixed.flags, straight.flags[order])
    assert mixed.object_id == [straight.object_id[i] for i in order]


def test_rows_that_are_not_there(packed):
    path = str(packed / "shard-000000.fits")
    rows = [Source((path,), 0, 0, "shard", row) for row in (4, 5, 6, 7)]
    batch = read_batch(rows, Wanted(BANDS, 64, SCALE))
    assert batch.flags.tolist() == [0, 0, 1, 1]
    assert batch.object_id == ["04", "05", "shard-000000#6", "shard-000000#7"]
    assert batch.reason[3].endswith("row 7: it holds 6 objects")
    assert batch.missing[2:].all()


def test_real_stamps(shared_data, tmp_path):
    """Off-centre stamps of 20 to 64 pixels with variances, and a float64 cube."""
    for name in ("hsc_like_sim/cutouts", "hsc_cubes"):
        pack(shared_data / name, tmp_path / name.replace("/", "_"))
        assert_same(shared_data / name, tmp_path / name.replace("/", "_"))


def test_long_names_and_large_stamps(tmp_path):
    """More bytes in a row of the table than in most files, and few objects at a time."""
    folder = tmp_path
    for _ in range(8):
        folder = folder / ("é" * 120)
    folder.mkdir(parents=True)
    for n in range(3):
        write_cube(folder / f"{n}.fits", galaxy((300, 300), seed=n), header((300, 300)))
    (folder / "9.fits").write_text("no FITS file\n")
    pack(folder, tmp_path / "long", image_size=1024)
    _, after = assert_same(folder, tmp_path / "long", size=1024)
    assert after.reason[3].endswith("not a FITS file")
