"""What is written in any layout comes back the same."""

import tempfile
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
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from photoz_mmae.cutouts import fits as fits_reader
from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import NO_REDSHIFT, Flag

sides = st.integers(8, 40)
types = st.sampled_from(["<f4", "<f8", "<i2", "<i4", "<i8", "u1", ">f4", ">i2", "u2"])


def read(one: Source, size: int, bands: tuple[str, ...] = BANDS) -> CutoutBatch:
    return read_measured([one], bands, size, SCALE)


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> NDArray[Any]:
    """Different numbers in every pixel that every one of `types` can hold."""
    values = np.random.default_rng(seed).permutation(int(np.prod(shape))) % 251
    return values.reshape(shape).astype(dtype)


def framed(planes: NDArray[Any], size: int) -> NDArray[np.float32]:
    """The planes cropped or padded about their centre, by the rule and not by our code."""
    out = np.zeros((len(planes), size, size), np.float32)
    for y in range(size):
        for x in range(size):
            # The array's centre comes to (size - 1) / 2, or half a pixel lower.
            row = y + int(np.ceil((planes.shape[1] - size) / 2))
            column = x + int(np.ceil((planes.shape[2] - size) / 2))
            if 0 <= row < planes.shape[1] and 0 <= column < planes.shape[2]:
                out[:, y, x] = planes[:, row, column]
    return out


@settings(max_examples=60, deadline=None)
@given(
    height=sides, width=sides, size=sides, dtype=types, last=st.booleans(), seed=st.integers(0, 9)
)
def test_cubes(height: int, width: int, size: int, dtype: str, last: bool, seed: int) -> None:
    planes = numbers((5, height, width), dtype, seed)
    data = np.moveaxis(planes, 0, 2) if last else planes
    head = header((height, width), first_axis=2 if last else 1)
    with tempfile.TemporaryDirectory() as folder:
        batch = read(write_cube(Path(folder) / "7.fits", data, head), size)
    assert batch.reason == [""]
    np.testing.assert_array_equal(batch.images[0], framed(planes, size))
    assert batch.bands_used[0] == 0b11111
    assert batch.flags[0] & Flag.PADDED == (Flag.PADDED if min(height, width) < size else 0)
    assert batch.flags[0] & (Flag.OFF_CENTRE | Flag.OTHER_PIXEL_SCALE | NO_REDSHIFT) == 0
    assert (batch.ra[0], batch.dec[0]) == pytest.approx((150, 2), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    side=sides,
    size=sides,
    dtype=types,
    order=st.permutations(
        ["HSC-G", "lsst_r", "i", "z_band", "HSC-Y", "u", "HSC-G-VAR", "HSC-R-MASK"]
    ),
)
def test_one_hdu_per_band_in_any_order(side: int, size: int, dtype: str, order: list[str]) -> None:
    data = dict(zip(order, numbers((8, side, side), dtype, 1), strict=True))
    planes = np.stack([data[name] for name in ("HSC-G", "lsst_r", "i", "z_band", "HSC-Y")])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "7.fits"
        batch = read(write_mef(path, data, header((side, side))), size)
    assert batch.reason == [""]
    np.testing.assert_array_equal(batch.images[0], framed(planes, size))


@settings(max_examples=30, deadline=None)
@given(side=sides, dtype=types, bands=st.permutations("ugrizy"), zipped=st.booleans())
def test_one_file_per_band(side: int, dtype: str, bands: list[str], zipped: bool) -> None:
    planes = numbers((6, side, side), dtype, 2)
    suffix = ".fits.gz" if zipped else ".fits"
    with tempfile.TemporaryDirectory() as folder:
        for band in bands:
            path = Path(folder) / f"7-HSC-{band.upper()}{suffix}"
            fits.PrimaryHDU(planes["ugrizy".index(band)], header((side, side))).writeto(path)
        batch = read_measured(discover([folder]).sources, BANDS, side, SCALE)
    assert batch.object_id == ["7"]
    np.testing.assert_array_equal(batch.images[0], planes[1:].astype(np.float32))


@pytest.mark.parametrize("bands", ["yzirg", "y,z,i,r,g", "HSC-Y HSC-Z HSC-I2 HSC-R2 HSC-G"])
def test_bands_of_a_cube_are_named_by_its_header(tmp_path: Path, bands: str) -> None:
    planes = numbers((5, 16, 16), "f4", 3)
    batch = read(write_cube(tmp_path / "1.fits", planes, header((16, 16), BANDS=bands)), 16)
    np.testing.assert_array_equal(batch.images[0], planes[::-1])


def test_bands_that_are_not_wanted_are_left_out(tmp_path: Path) -> None:
    planes = numbers((6, 16, 16), "f4", 3)
    one = write_cube(tmp_path / "1.fits", planes, header((16, 16), BANDS="ugrizy"))
    np.testing.assert_array_equal(read(one, 16).images[0], planes[1:])
    np.testing.assert_array_equal(read(one, 16, ("z", "u")).images[0], planes[[4, 0]])


def test_bands_may_stand_in_the_primary_header(tmp_path: Path) -> None:
    planes = numbers((6, 16, 16), "f4", 3)
    primary = fits.Header({"BANDS": "ugrizy"})
    one = write_mef(tmp_path / "1.fits", {"IMAGE": planes}, header((16, 16)), primary)
    np.testing.assert_array_equal(read(one, 16).images[0], planes[1:])


@pytest.mark.parametrize("key", ["FILTER", "BAND"])
def test_hdus_named_by_filter_or_band(tmp_path: Path, key: str) -> None:
    planes = numbers((5, 16, 16), "f4", 4)
    units = [fits.PrimaryHDU(planes[0], header((16, 16), **{key: "HSC-G"}))]
    for k, name in enumerate(["HSC-R2", "HSC-I2", "HSC-Z", "HSC-Y"], start=1):
        units.append(fits.ImageHDU(planes[k], header((16, 16), **{key: name})))
    fits.HDUList(units).writeto(tmp_path / "1.fits")
    np.testing.assert_array_equal(read(source(tmp_path / "1.fits"), 16).images[0], planes)


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i4", "u1"])
def test_compressed_images_are_what_astropy_makes_of_them(
    tmp_path: Path, compression: str, dtype: str
) -> None:
    planes = numbers((5, 24, 24), dtype, 8)
    if dtype[0] == "f":
        planes[2, 3, 4] = np.nan
    path = tmp_path / "1.fits.fz"
    data = dict(zip(hsc_names(), planes, strict=True))
    one = write_mef(path, data, header(), compression=compression)
    with fits.open(path) as file:
        expected = np.nan_to_num(np.stack([unit.data for unit in file[1:]]))
    assert len(discover([str(tmp_path)]).sources) == 1
    batch = read(one, 24)
    np.testing.assert_array_equal(batch.images[0], expected.astype(np.float32))
    # A ramp is no galaxy: what it is taken for is of no account.
    flags = batch.flags[0] & ~(Flag.LOW_SNR | Flag.TRUNCATED)
    assert flags == (Flag.NONFINITE_PIXELS if dtype[0] == "f" else 0)
    assert batch.object_id == ["1"]


def test_a_compressed_cube(tmp_path: Path) -> None:
    planes = numbers((5, 24, 24), "i2", 8)
    one = write_mef(tmp_path / "1.fits.fz", {"CUBE": planes}, header(), compression="RICE_1")
    np.testing.assert_array_equal(read(one, 24).images[0], planes)


@pytest.mark.parametrize("compression", ["HCOMPRESS_1", "PLIO_1"])
def test_compressions_that_are_not_read(tmp_path: Path, compression: str) -> None:
    planes = numbers((5, 24, 24), "i4", 8)
    data = dict(zip(hsc_names(), planes, strict=True))
    batch = read(write_mef(tmp_path / "1.fits.fz", data, header(), compression=compression), 24)
    assert batch.flags[0] == Flag.READ_ERROR
    assert compression in batch.reason[0]
    # As a mask beside images it does no harm.
    with fits.open(tmp_path / "1.fits.fz") as file:
        units = [
            fits.PrimaryHDU(),
            fits.CompImageHDU(planes[0], name="MASK", compression_type=compression),
        ]
        units += [fits.ImageHDU(unit.data, name=unit.name) for unit in file[1:]]
        fits.HDUList(units).writeto(tmp_path / "2.fits")
    np.testing.assert_array_equal(read(source(tmp_path / "2.fits"), 24).images[0], planes)


def test_scaled_integers_with_blanks(tmp_path: Path) -> None:
    unit = fits.PrimaryHDU(numbers((5, 16, 16), "i2", 5), header((16, 16)))
    values = unit.data * 0.01 + 3.0
    unit.header["BSCALE"], unit.header["BZERO"], unit.header["BLANK"] = 0.01, 3.0, 250
    raw = unit.data.copy()
    fits.HDUList([unit]).writeto(tmp_path / "1.fits")
    with fits.open(tmp_path / "1.fits", "update", do_not_scale_image_data=True) as file:
        file[0].data = raw
        file[0].header["BSCALE"], file[0].header["BZERO"] = 0.01, 3.0
        file[0].header["BLANK"] = 250
    batch = read(source(tmp_path / "1.fits"), 16)
    expected = np.where(raw == 250, 0, values)
    np.testing.assert_allclose(batch.images[0], expected, rtol=1e-6)
    assert batch.flags[0] & ~Flag.TRUNCATED == Flag.NONFINITE_PIXELS


def test_axes_of_length_one_do_not_matter(tmp_path: Path) -> None:
    planes = numbers((5, 16, 16), "f4", 6)
    one = write_cube(tmp_path / "1.fits", planes[None], header((16, 16)))
    np.testing.assert_array_equal(read(one, 16).images[0], planes)


def test_a_single_band_model_reads_a_plain_image(tmp_path: Path) -> None:
    plane = numbers((16, 16), "f4", 7)
    one = write_cube(tmp_path / "1.fits", plane, header((16, 16)))
    np.testing.assert_array_equal(read(one, 16, ("r",)).images[0, 0], plane)


def test_the_names_and_the_headers_of_band_files_must_agree(tmp_path: Path) -> None:
    for k, band in enumerate("gr"):
        head = header(FILTER="HSC-G")
        fits.PrimaryHDU(galaxy()[k], head).writeto(tmp_path / f"7_{band}.fits")
    batch = read_measured(discover([str(tmp_path)]).sources, ("g", "r"), 24, SCALE)
    assert batch.flags[0] == Flag.READ_ERROR
    assert "band r" in batch.reason[0]


@pytest.mark.parametrize(
    ("cards", "primary", "expected"),
    [
        ({"OBJECT_ID": 431601693071771410, "OBJECT": "M31"}, {}, "431601693071771410"),
        ({}, {"OBJECT_ID": "0012"}, "0012"),
        ({"OBJECT": "two"}, {"OBJECT": "one"}, "one"),
        ({"OBJECT": "  "}, {"OBJECT": ""}, "stem.v2"),
        ({}, {}, "stem.v2"),
        ({"OBJECT": "it's"}, {}, "it's"),
    ],
)
@pytest.mark.filterwarnings("ignore:Keyword name 'OBJECT_ID'")
def test_the_id_is_the_headers_else_the_files(
    tmp_path: Path, cards: dict[str, Any], primary: dict[str, Any], expected: str
) -> None:
    data = dict(zip(hsc_names(), galaxy(), strict=True))
    path = tmp_path / "stem.v2.fits.gz"
    batch = read(write_mef(path, data, header(**cards), fits.Header(primary)), 24)
    assert batch.object_id == [expected]
    assert batch.source == [str(path)]


def test_a_folder_names_an_object_whose_files_are_bands_alone(tmp_path: Path) -> None:
    (tmp_path / "obj7").mkdir()
    for k, band in enumerate(BANDS):
        fits.PrimaryHDU(galaxy()[k], header()).writeto(tmp_path / "obj7" / f"{band}.fits")
    assert read_measured(discover([str(tmp_path)]).sources, BANDS, 24, SCALE).object_id == ["obj7"]


def test_files_of_one_layout_are_learnt_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their places on the sky: to learn a layout takes longer than to read ten files."""
    learnt: list[int] = []
    learn = fits_reader._learn

    def noted(*words: Any) -> Any:
        learnt.append(1)
        return learn(*words)

    monkeypatch.setattr(fits_reader, "_learn", noted)
    sources = []
    for n in range(6):
        planes = dict(zip(hsc_names(), galaxy(seed=n), strict=True))
        head = header(CRVAL1=120.123456 + n, CRPIX1=12.5 + n)
        sources.append(write_mef(tmp_path / f"{n}.fits", planes, head))
    batch = read_measured(sources, BANDS, 24)
    assert (batch.bands_used == 0b11111).all()
    assert len(learnt) <= 1  # it may be known from another test
