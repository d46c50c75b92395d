"""Stamps out of coadds: the same pixels, masks, variances and flags as of cutouts of the place."""

import math

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from cutout_files import SCALE, header, open_folder, without_rights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.coadd_objects import CoaddObjects, TractPatch, assign
from photoz_mmae.cutouts.coadds import find_coadds
from photoz_mmae.cutouts.headers import reader, walk_headers
from photoz_mmae.cutouts.pixels import read_images, read_rows
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.wcs import read_wcs
from photoz_mmae.errors import InputError
from photoz_mmae.flags import Flag

SHAPE = (1300, 150)
SIZE = 32
WANTED = Wanted(("g", "i"), SIZE, SCALE)
PLANES = {"MP_NO_DATA": 8, "MP_SAT": 1, "MP_INTRP": 2, "MP_DETECTED": 5}


def layers(seed):
    """Image, mask and variance of a coadd, with all that may be wrong with them."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, SHAPE).astype(np.float32)
    image[100:180, 20:90] = np.nan
    image[rng.integers(0, SHAPE[0], 30), rng.integers(0, SHAPE[1], 30)] = np.inf
    image[400:470, :70] = 7.0  # nothing but one value: dead
    image[600, 50] = 900.0  # above SATURATE
    mask = np.where(rng.random(SHAPE) < 1e-3, 2 ** rng.integers(0, 9, SHAPE), 0).astype(np.int32)
    mask[700:760, :] = 1 << 8
    variance = rng.uniform(0.5, 2, SHAPE).astype(np.float32)
    variance[rng.random(SHAPE) < 1e-3] = np.inf
    return image, mask, variance


def units(image, mask, variance, head, how):
    names = fits.Header(PLANES)
    make = fits.CompImageHDU if how == "compressed" else fits.ImageHDU
    more = {"compression_type": "GZIP_2", "quantize_level": 0} if how == "compressed" else {}
    beside = [] if how == "image" else [("MASK", mask, names), ("VARIANCE", variance, None)]
    made = [make(data, of, name=name, **more) for name, data, of in beside]
    return fits.HDUList([fits.PrimaryHDU(), make(image, head, name="IMAGE", **more), *made])


def head_of(x0=0, y0=0):
    head = header(SHAPE, FLUXMAG0=10**10, SATURATE=800.0)
    head["CRPIX1"] -= x0
    head["CRPIX2"] -= y0
    return head


def wcs_of_patch():
    content = fits.PrimaryHDU(header=head_of()).header.tostring().encode()
    return read_wcs(next(walk_headers(lambda start, size: content[start : start + size])))


@pytest.fixture(scope="module", params=["image", "plain", "compressed"])
def patch(request, tmp_path_factory):
    """A folder of coadds of g and i, their layers, and how they are written."""
    folder = tmp_path_factory.mktemp(request.param)
    both = {"g": layers(0), "i": layers(1)}
    for band, made in both.items():
        head = head_of()
        head["FILTER"] = band
        units(*made, head, request.param).writeto(folder / f"{band}.fits")
    return folder, both, request.param


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(
        st.tuples(st.floats(-0.4, SHAPE[1] - 0.6), st.floats(-0.4, SHAPE[0] - 0.6)),
        min_size=1,
        max_size=12,
    )
)
def test_same_as_cutouts_of_the_place(patch, tmp_path_factory, places):
    folder, both, how = patch
    wcs = wcs_of_patch()
    ra, dec = np.array([wcs.to_sky(x, y) for x, y in places]).T
    ids = [str(n) for n in range(len(places))]
    objects = CoaddObjects(find_coadds(str(folder), "gi"), pa.array(ids), ra, dec)
    # Those at the rim may fall off by rounding.
    on = [source for source in objects if source.bands]
    read = read_batch(on, WANTED)
    cut = tmp_path_factory.mktemp("cut")
    sources = [cutout(cut, both, how, places, source) for source in on]
    single = read_batch(sources, WANTED)
    for name in ("images", "missing", "saturated", "variance", "scale", "bands_used"):
        np.testing.assert_array_equal(getattr(read, name), getattr(single, name), err_msg=name)
    np.testing.assert_array_equal(read.flags, single.flags & ~int(Flag.OFF_CENTRE))
    np.testing.assert_allclose(read.x, single.x, atol=1e-6)
    assert read.object_id == single.object_id
    assert [bool(reason) for reason in read.reason] == [bool(reason) for reason in single.reason]
    # The memory of a batch that is used again holds nothing of it.
    again = read_batch(on[::-1], WANTED, reuse=read)
    np.testing.assert_array_equal(again.images, single.images[::-1])
    np.testing.assert_array_equal(again.missing, single.missing[::-1])
    np.testing.assert_array_equal(again.variance, single.variance[::-1])
    np.testing.assert_array_equal(again.saturated, single.saturated[::-1])


def cutout(folder, both, how, places, source):
    """Write an object's files: a box of the coadd that holds all a stamp can want."""
    x, y = places[int(source.object_id)]
    x0, y0 = (max(0, math.floor(p) - SIZE) for p in (x, y))
    box = slice(y0, y0 + 2 * SIZE + 2), slice(x0, x0 + 2 * SIZE + 2)
    files = []
    for band, made in both.items():
        path = folder / f"{source.object_id}_{band}.fits"
        units(*(layer[box] for layer in made), head_of(x0, y0), how).writeto(path)
        files.append(str(path))
    return Source(
        tuple(files), 1, 1, bands="gi", object_id=source.object_id, ra=source.ra, dec=source.dec
    )


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("how", ["plain", "GZIP_1", "RICE_1"])
def test_rows_are_those_of_the_whole(tmp_path, dtype, how):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (40, 17)).astype(dtype)
    if how == "plain":
        unit = fits.ImageHDU(image)
    else:
        unit = fits.CompImageHDU(image, compression_type=how)
    if image.dtype.kind != "f":
        unit.header["BLANK"] = 7
        unit.header["BZERO"] = 3
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(tmp_path / "x.fits")
    with (tmp_path / "x.fits").open("rb") as file:
        read_at = reader(file.fileno())
        image_header = list(walk_headers(read_at))[1]
        (whole,) = read_images([image_header], read_at)
        for first, last in ((0, 40), (0, 1), (13, 29), (39, 40)):
            rows = read_rows(image_header, slice(first, last), read_at)
            np.testing.assert_array_equal(rows, whole[first:last])


def test_assignment_to_patches(tmp_path):
    """Farthest from the edge, unless the table names the patch; far away, on none."""
    for number, shift in ((1, 0), (2, 50)):
        head = head_of(shift)
        (tmp_path / f"9000/{number}").mkdir(parents=True)
        units(np.zeros(SHAPE, np.float32), None, None, head, "image").writeto(
            tmp_path / f"9000/{number}/x_g.fits"
        )
    patches = find_coadds(str(tmp_path), "g").patches
    x = np.array([10.0, 95.0, 105.0, 190.0, 300.0, np.nan])
    sky = [wcs_of_patch().to_sky(each, 600.0) for each in x[:5]]
    ra, dec = np.array([*sky, (np.nan, 2.0)]).T
    patch, height = assign(patches, ra, dec)
    assert patch.tolist() == [0, 0, 1, 1, -1, -1]
    np.testing.assert_allclose(height, [600] * 4 + [0, 0], atol=1e-6)
    everywhere = np.zeros(6, int)
    for pair, expected in (
        (("9000", "1"), [0, 0, 0, 1, -1, -1]),
        (("9000", "2"), [0, 1, 1, 1, -1, -1]),
        ((None, "2"), [0, 1, 1, 1, -1, -1]),
        (("9001", "2"), [0, 0, 1, 1, -1, -1]),
    ):
        named = TractPatch([pair], everywhere)
        assert assign(patches, ra, dec, named)[0].tolist() == expected, pair
    assert assign(patches, ra[4:], dec[4:])[0].tolist() == [-1, -1]


def test_a_folder_of_coadds_that_cannot_be_listed_is_no_band_less():
    with open_folder() as folder:
        for band in "gi":
            (folder / band).mkdir()
            image = units(np.ones(SHAPE, np.float32), None, None, head_of(), "image")
            image.writeto(folder / band / f"x_{band}.fits")
        for name in (".Trash-0", "lost+found"):  # as at the root of a file system
            (folder / name).mkdir(mode=0)
        with without_rights():
            assert len(find_coadds(str(folder), "gi").patches) == 1
        (folder / "i").chmod(0)
        with without_rights(), pytest.raises(InputError, match="/i' cannot be read: Permission"):
            find_coadds(str(folder), "gi")
        (folder / "i").chmod(0o755)


@pytest.mark.parametrize("keys", [{"CD1_1": 1e-320}, {"CRPIX1": 1e300}, {"CRVAL2": -70.0}])
def test_a_wcs_damaged_since_the_objects_were_looked_for(tmp_path, keys):
    head = head_of()
    path = tmp_path / "field_g.fits"
    units(np.ones(SHAPE, np.float32), None, None, head, "image").writeto(path)
    ra, dec = np.array([wcs_of_patch().to_sky(70.0, 600.0)]).T
    objects = CoaddObjects(find_coadds(str(tmp_path), "g"), pa.array(["7"]), ra, dec)
    assert objects[0].bands == "g"
    for key, value in keys.items():
        head[key] = value
    units(np.ones(SHAPE, np.float32), None, None, head, "image").writeto(path, overwrite=True)
    batch = read_batch(list(objects), Wanted(("g",), SIZE, SCALE))
    assert batch.flags[0] & (Flag.READ_ERROR | Flag.NO_FINITE_PIXELS)
    assert batch.reason[0].isprintable() and "Error" not in batch.reason[0]


def test_a_coadd_wider_than_a_strip_of_many_rows_may_be(tmp_path):
    """Objects so close together that their stamps make one strip, on a mosaic 20,000 px wide."""
    shape = (1030, 20_000)
    image = np.arange(shape[0], dtype=np.int16)[:, None] + np.zeros(shape[1], np.int16)
    head = head_of()
    units(image, None, None, head, "image").writeto(tmp_path / "field_g.fits")
    y = np.arange(16.0, 1014, 20)
    ra, dec = np.array([wcs_of_patch().to_sky(70.0, each) for each in y]).T
    ids = pa.array([str(n) for n in range(len(y))])
    objects = CoaddObjects(find_coadds(str(tmp_path), "g"), ids, ra, dec)
    batch = read_batch(list(objects), Wanted(("g",), SIZE, SCALE))
    assert set(batch.reason) == {""}
    middle = batch.images[:, 0, SIZE // 2 - 1, 0] * 10 ** (0.4 * (25 - 27))
    np.testing.assert_allclose(middle, np.round(y), atol=1)


@pytest.mark.parametrize("stated", [True, False])
def test_a_coadd_that_states_no_zero_point(tmp_path, stated):
    head = head_of()
    if not stated:
        del head["FLUXMAG0"]
    units(layers(0)[0], None, None, head, "image").writeto(tmp_path / "field_g.fits")
    ra, dec = np.array([wcs_of_patch().to_sky(100.0, 300.0)]).T
    objects = CoaddObjects(find_coadds(str(tmp_path), "g"), pa.array(["1"]), ra, dec)
    batch = read_batch(list(objects), Wanted(("g",), SIZE, SCALE))
    assert bool(batch.flags[0] & Flag.NO_ZERO_POINT) is not stated
    assert np.std(batch.images) == pytest.approx(10**0.8 if stated else 1, rel=0.1)
