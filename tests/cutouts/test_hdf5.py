"""GalaxiesML files: many objects in one HDF5 file."""

import random

import h5py
import numpy as np
import pytest
from cutout_files import BANDS, SCALE, galaxy, header, read_measured, write_cube

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.containers import rows_in
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.photometry import measure_batch
from photoz_mmae.cutouts.read import read_batch, read_id
from photoz_mmae.cutouts.source import Source
from photoz_mmae.errors import InputError
from photoz_mmae.flags import Flag

N = 7


def images(side=64, bands=5):
    return np.stack([galaxy((side, side), bands=bands, seed=n) for n in range(N)])


def write(path, image, ids=None, attributes=None, **datasets):
    with h5py.File(path, "w") as file:
        file["image"] = image
        file["object_id"] = np.arange(N) + 40 if ids is None else ids
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
        file.attrs.update(attributes or {})
    return path


def read(path, bands=BANDS, size=64, rows=None):
    sources = discover([str(path)]).sources
    batch = read_batch(
        sources if rows is None else [sources[row] for row in rows], Wanted(bands, size, SCALE)
    )
    measure_batch(batch, bands)
    return batch


def test_galaxiesml(tmp_path):
    ra, dec = np.arange(N) + 150.0, np.arange(N) + 2.0
    path = write(tmp_path / "g.hdf5", images(), HSC_metadata__ra=ra, HSC_metadata__dec=dec)
    batch = read(path)
    np.testing.assert_array_equal(batch.images, images())
    assert batch.object_id == [str(n) for n in range(40, 47)]
    assert batch.source[3] == f"{path}#3"
    assert not batch.flags.any()
    assert not batch.missing.any()
    assert (batch.bands_used == 0b11111).all()
    np.testing.assert_array_equal(batch.ra, ra)
    np.testing.assert_array_equal(batch.dec, dec)
    np.testing.assert_allclose(batch.flux[0] / 57.54, 100 * np.arange(1, 6), rtol=0.02)
    assert read(path, rows=[5, 0, 3, 4]).object_id == ["45", "40", "43", "44"]
    np.testing.assert_array_equal(read(path, rows=[5, 0, 3]).images, images()[[5, 0, 3]])


@pytest.mark.parametrize("side", [127, 64, 50, 9])
def test_like_cutouts_of_their_own(tmp_path, side):
    """The same pixels in a FITS file each give the same batch."""
    stamps = images(side)
    stamps[1, 2, :4] = np.nan
    stamps[2, 3] = 1
    stamps[3] = np.nan
    stamps[4, 0, 5, 5] = -3e13
    path = write(tmp_path / "g.h5", stamps, attributes={"pixel_scale": SCALE})
    cutouts = [
        write_cube(tmp_path / f"{n + 40}.fits", stamp, header((side, side), BANDS="grizy"))
        for n, stamp in enumerate(stamps)
    ]
    for bands, size in ((BANDS, 64), (("i", "g"), 40)):
        before, after = read_measured(cutouts, bands, size), read(path, bands, size)
        for name in ("images", "missing", "x", "y", "flux", "flux_err", "flags", "bands_used"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name), name)
        assert before.reason == after.reason
        assert before.object_id == after.object_id


@pytest.mark.parametrize("kind", ["f8", "i2", ">f4", "f2"])
def test_number_types(tmp_path, kind):
    stamps = (images() * 10).astype(kind)
    batch = read(write(tmp_path / "g.hdf5", stamps, attributes={"zero_point": 29.5}))
    np.testing.assert_allclose(batch.images, stamps.astype(float) * 0.1, rtol=1e-6, atol=1e-7)


def test_bands_by_name(tmp_path):
    path = write(tmp_path / "g.hdf5", images(bands=6), attributes={"bands": "ugrizy"})
    np.testing.assert_array_equal(read(path).images, images(bands=6)[:, 1:])
    path = write(tmp_path / "g.hdf5", images(bands=3), attributes={"bands": "gri"})
    batch = read(path)
    assert (batch.flags == Flag.MISSING_BAND).all()
    assert batch.reason[0] == "no band z, y"
    # Six planes without names: nobody knows what they are.
    batch = read(write(tmp_path / "g.hdf5", images(bands=6)))
    assert (batch.flags == Flag.READ_ERROR).all()
    assert "6 planes" in batch.reason[0]


@pytest.mark.parametrize(
    "ids",
    [
        np.array([b"a", b"b c", "é".encode(), b"\xff", b"", b"12 ", b"x\x00y"], "S4"),
        ["a", "b c", "é", "\n", "", "12 ", "d"],
        None,
    ],
)
def test_ids(tmp_path, ids):
    path = write(tmp_path / "g.hdf5", images(16), ids=ids)
    batch = read(path, size=16)
    if ids is not None:
        assert batch.object_id[:3] == ["a", "b c", "é"]
        assert batch.object_id[4:6] == ["g#4", "12"]
    assert [read_id(source) for source in discover([str(path)]).sources] == batch.object_id


def test_other_hdf5_files(tmp_path):
    """Without images they are passed over and counted; what cannot be read has a row."""
    with h5py.File(tmp_path / "table.hdf5", "w") as file:
        file["photometry/g"] = np.arange(5)
    write(tmp_path / "flat.h5", np.zeros((N, 64)))
    with pytest.raises(InputError, match="2 other files ignored"):
        discover([str(tmp_path)])
    (tmp_path / "text.hdf5").write_text("no HDF5\n")
    (tmp_path / "empty.H5").touch()
    (tmp_path / "gone.h5").symlink_to("nowhere.h5")
    found = discover([str(tmp_path)])
    assert (len(found.sources), found.ignored) == (3, 2)
    batch = read(tmp_path)
    assert (batch.flags == Flag.READ_ERROR).all()
    assert sorted(batch.object_id) == ["empty#0", "gone#0", "text#0"]


def test_nothing_is_read_from_other_files(tmp_path):
    inside = write(tmp_path / "secret.dat", images(16))
    raw = tmp_path / "raw.dat"
    images(16).tofile(raw)
    outside = tmp_path / "links"
    outside.mkdir()
    with h5py.File(outside / "external.h5", "w") as file:
        file["image"] = h5py.ExternalLink(str(inside), "image")
    with h5py.File(outside / "group.h5", "w") as file:
        file["other"] = h5py.ExternalLink(str(inside), "/")
        file["image"] = h5py.SoftLink("/other/image")
    with h5py.File(outside / "storage.h5", "w") as file:
        file.create_dataset("image", (N, 5, 16, 16), "f4", external=str(raw))
    with h5py.File(outside / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((N, 5, 16, 16), "f4")
        layout[...] = h5py.VirtualSource(str(inside), "image", (N, 5, 16, 16))
        file.create_virtual_dataset("image", layout)
    for path in outside.iterdir():
        with h5py.File(path) as file:
            assert file["image"].shape == (N, 5, 16, 16)  # h5py itself would follow
        assert rows_in(str(path)) is None, path


def test_damaged(tmp_path):
    path = write(tmp_path / "g.hdf5", images(16))
    content = path.read_bytes()
    rng = random.Random(1)
    for n in range(150):
        damaged = bytearray(content)
        if n % 3:
            damaged[rng.randrange(3000)] ^= 1 << rng.randrange(8)
        else:
            damaged = damaged[: rng.randrange(len(content))]
        path.write_bytes(damaged)
        container = rows_in(str(path))
        assert container is None or container[1] <= len(content)
        sources = [Source((str(path),), n, n, "hdf5", row) for row in range(N)]
        batch = read_batch(sources, Wanted(BANDS, 16, SCALE))
        assert np.isfinite(batch.images).all()
        assert all(batch.object_id)


def test_one_damaged_chunk_costs_one_object(tmp_path):
    with h5py.File(tmp_path / "g.hdf5", "w") as file:
        image = file.create_dataset(
            "image", (N, 5, 16, 16), "f4", chunks=(1, 5, 16, 16), compression="gzip"
        )
        image[...] = images(16)
        file["object_id"] = np.arange(N)
        start = image.id.get_chunk_info(3).byte_offset
    content = bytearray((tmp_path / "g.hdf5").read_bytes())
    content[start : start + 50] = bytes(50)
    (tmp_path / "g.hdf5").write_bytes(content)
    batch = read(tmp_path / "g.hdf5", size=16)
    assert batch.flags.tolist() == [0, 0, 0, int(Flag.READ_ERROR), 0, 0, 0]
    assert batch.object_id == [str(n) for n in range(N)]
    assert "row 3: " in batch.reason[3]
