"""Damaged shards: rows with a reason, never an exception, a crash or a huge allocation."""

import gzip
import os
import random
import resource
import struct
import subprocess
import sys

import numpy as np
import pytest
from cutout_files import BANDS, SCALE, galaxy, header, write_cube
from test_shards import pack

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.containers import rows_in
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch, read_id
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import Flag

WANTED = Wanted(BANDS, 16, SCALE)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a shard of 6 objects of 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("small")
    for n in range(6):
        data = galaxy((16, 16), seed=n)
        data[n % 5, 3, 4] = np.nan if n % 2 else 1
        write_cube(folder / f"{n}.fits", data, header((16, 16), BANDS="grizy"))
    pack(folder, folder / "../small_shards", image_size=16)
    return (folder / "../small_shards/shard-000000.fits").read_bytes()


def read(path, rows=range(6)):
    about = path.stat()
    sources = [Source((str(path),), about.st_size, about.st_mtime_ns, "shard", n) for n in rows]
    batch = read_batch(sources, WANTED)
    measure_batch(batch, BANDS)
    assert all(batch.object_id)
    assert [read_id(source) for source in sources] == batch.object_id
    assert np.isfinite(batch.images).all()
    assert (batch.images[batch.missing] == 0).all()
    return batch


def test_truncated_anywhere(content, tmp_path):
    path = tmp_path / "s.fits"
    path.write_bytes(content)
    assert not (read(path).flags & Flag.READ_ERROR).any()
    for length in [*range(0, len(content) - 2880, 1009), len(content) - 2880]:
        path.write_bytes(content[:length])
        batch = read(path)
        assert (batch.flags == Flag.READ_ERROR).all()
        assert all("s.fits, row " in reason for reason in batch.reason)


def test_flipped_bits(content, tmp_path):
    rng = random.Random(1)
    path = tmp_path / "s.fits"
    heads = [
        n for n in range(0, len(content), 2880) if content[n : n + 8] in (b"SIMPLE  ", b"XTENSION")
    ]
    table = heads[-1]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 3])):
            # Headers and the table are where it can hurt.
            start, length = rng.choice([(start, 2880) for start in heads] + [(table, 4 * 2880)])
            damaged[(start + rng.randrange(length)) % len(content)] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        container = rows_in(str(path))
        assert container is None or container[1] <= 1 << 20
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def replace(content, name, value):
    place = content.index(name.ljust(8).encode() + b"= ") + 10
    return content[:place] + str(value).rjust(20).encode() + content[place + 20 :]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NAXIS4", 10**12),
        ("NAXIS2", 10**9),
        ("NOBJECTS", 7),
        ("NOBJECTS", 10**15),
        ("NOBJECTS", -1),
        ("FORMATV", 2),
        ("TFIELDS", 999),
        ("BITPIX", 16),
    ],
)
def test_headers_that_promise_too_much(content, tmp_path, key, value):
    path = tmp_path / "s.fits"
    start = content.index(b"XTENSION") if key in ("NAXIS4", "NAXIS2", "BITPIX") else 0
    path.write_bytes(content[:start] + replace(content[start:], key, value))
    assert (read(path).flags == Flag.READ_ERROR).all()
    # However many it says that it holds, listing it takes no time.
    assert len(discover([str(path)]).sources) in (1, 6, 7)


def test_positions_and_scales_that_make_no_sense_are_unknown(content, tmp_path):
    """The target is then in the middle, and the scale is the model's."""
    from astropy.io import fits

    path = tmp_path / "s.fits"
    path.write_bytes(content)
    before = read(path)
    with fits.open(path, mode="update") as file:
        rows = file["OBJECTS"].data
        rows["x"] = [1e300, -1e300, np.nan, np.inf, 5, 1e-300]
        rows["pixel_scale"] = [1e-300, 0, -1, np.inf, 1e300, np.nan]
        rows["ra"] = [1e300, -5, np.inf, np.nan, 400, 1]
    batch = read(path)
    assert batch.x.tolist() == [7.5, 7.5, 7.5, 7.5, 5, 1e-300]
    assert batch.scale.tolist() == [SCALE] * 6
    np.testing.assert_array_equal(batch.ra, [np.nan] * 5 + [1])
    assert batch.bands_used.tolist() == [0b11111] * 6
    np.testing.assert_array_equal(batch.images, before.images)
    np.testing.assert_array_equal(batch.missing, before.missing)


def test_a_factor_that_makes_no_sense_costs_its_band(content, tmp_path):
    from astropy.io import fits

    path = tmp_path / "s.fits"
    path.write_bytes(content)
    before = read(path)
    with fits.open(path, mode="update") as file:
        file["OBJECTS"].data["factor"][:, 1] = [0, -1, np.inf, 1e300, 1e-300, np.nan]
    batch = read(path)
    assert batch.bands_used.tolist() == [0b11101] * 6
    assert (batch.flags & Flag.MISSING_BAND).all()
    assert batch.missing[:, 1].all()
    assert np.isnan(batch.flux[:, 1]).all()
    others = [0, 2, 3, 4]
    np.testing.assert_array_equal(batch.images[:, others], before.images[:, others])
    np.testing.assert_array_equal(batch.missing[:, others], before.missing[:, others])


@pytest.mark.parametrize("way", ["gone", "forbidden", "a folder", "a pipe"])
def test_not_there(content, tmp_path, way):
    path = tmp_path / "s.fits"
    if way == "a pipe":
        os.mkfifo(path)
    elif way == "a folder":
        path.mkdir()
    elif way == "forbidden":
        if os.geteuid() == 0:
            pytest.skip("nothing is forbidden to root")
        path.touch(mode=0)
    batch = read_batch([Source((str(path),), 0, 0, "shard", n) for n in range(3)], WANTED)
    assert (batch.flags == Flag.READ_ERROR).all()
    assert batch.object_id == ["s#0", "s#1", "s#2"]


def test_truncated_while_it_is_open(content, tmp_path):
    """In a process of its own: a page that is not there any more would end it."""
    path = tmp_path / "s.fits"
    path.write_bytes(content)
    program = f"""
import os
from photoz_mmae.cutouts import packed
from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source
path = {str(path)!r}
some = [Source((path,), 0, 0, "shard", n) for n in range(6)]
wanted = Wanted(tuple("grizy"), 16, {SCALE})
shard = packed._opened(path)
packed._opened = lambda _: shard
first = read_batch(some[:2], wanted)
os.truncate(path, 2880)
print(read_batch(some[:2], wanted).flags.tolist(), read_batch(some[2:], wanted).flags.tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[1, 1] [1, 1, 1, 1]\n"), done.stderr


def test_gzipped(content, tmp_path):
    path = tmp_path / "s.fits.gz"
    path.write_bytes(gzip.compress(content))
    assert len(discover([str(path)]).sources) == 6
    batch = read(path)
    assert (batch.flags == Flag.READ_ERROR).all()
    assert "gunzip it" in batch.reason[0]
    assert batch.object_id[5] == "s#5"


def test_a_table_of_other_columns(content, tmp_path):
    path = tmp_path / "s.fits"
    for name in (b"'factor  '", b"'object_id'", b"'5D      '", b"'K       '"):
        assert name in content
        path.write_bytes(content.replace(name, b"'" + b"Q" * (len(name) - 2) + b"'"))
        assert (read(path).flags == Flag.READ_ERROR).all()
    assert struct.unpack(">f", content[5760:5764])[0] == pytest.approx(galaxy((16, 16))[0, 0, 0])


def test_texts_and_flags_of_a_damaged_table_are_cleaned(content, tmp_path):
    """Texts can be shown; flags are those there are, one without redshift, and a reason for it."""
    from astropy.io import fits

    path = tmp_path / "s.fits"
    path.write_bytes(content)
    with fits.open(path, mode="update") as file:
        rows = file["OBJECTS"].data
        rows["object_id"][:2] = ["", "\x01"]
        rows["reason"][3] = "\x02"
        rows["flags"] = [0, -1, Flag.READ_ERROR, Flag.WRONG_SIZE, 1 << 30, Flag.NO_FINITE_PIXELS]
        rows["x"][4] = np.nan
    batch = read(path)
    assert batch.object_id[:3] == ["s#0", r"\x01", "2"]
    assert batch.flags.tolist() == [
        0,
        Flag.READ_ERROR,
        Flag.READ_ERROR,
        Flag.WRONG_SIZE,
        0,
        0,
    ]
    untold = "the shard does not say why"
    assert batch.reason == ["", untold, untold, r"\x02", "", ""]
    lost = [1, 2, 3]
    assert not batch.images[lost].any()
    assert batch.missing[lost].all()
    assert not batch.bands_used[lost].any()
    assert np.isnan(batch.x[lost]).all()
    assert batch.x[4] == 7.5


def test_a_band_without_a_factor_is_none(content, tmp_path):
    from astropy.io import fits

    path = tmp_path / "s.fits"
    path.write_bytes(content)
    with fits.open(path, mode="update") as file:
        file["OBJECTS"].data["factor"][2, 1] = np.nan
    batch = read(path)
    assert batch.flags[2] & Flag.MISSING_BAND
    assert batch.bands_used[2] == 0b11101
    assert batch.missing[2, 1].all()
