"""Files as HSC's and LSST's archives write them: masks, variances, units, bands, targets.

Each is written here by astropy as those archives' public code lays it out; the pixels are mock.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from cutout_files import BANDS, SCALE, galaxy, read_measured, source
from cutout_files import header as header_with_zero_point
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.source import Source
from photoz_mmae.flags import NO_REDSHIFT, Flag

SIZE = 24
header = partial(header_with_zero_point, MAGZERO=None)
PLANES = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "NO_DATA": 8}
NJY = 10 ** (0.4 * 4.4)
"""nJy per unit of flux at zero point 27."""


def read(one: Source, bands: tuple[str, ...] = BANDS, size: int = SIZE) -> CutoutBatch:
    return read_measured([one], bands, size, SCALE)


def mask_header(**cards: str) -> fits.Header:
    made = header(**cards)
    for name, bit in PLANES.items():
        made[f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}"] = bit
    return made


def masked_image(
    image: NDArray[np.float32],
    mask: NDArray[np.int32] | None = None,
    variance: NDArray[np.float32] | None = None,
    **cards: str,
) -> list[fits.ImageHDU]:
    """Image, mask and variance as lsst/afw lays them out, named by EXTTYPE."""
    mask = np.full(image.shape, 1 << PLANES["DETECTED"], np.int32) if mask is None else mask
    variance = np.full(image.shape, 0.0025, np.float32) if variance is None else variance
    return [
        fits.ImageHDU(image, header(EXTTYPE="IMAGE", INHERIT=True, **cards)),
        fits.ImageHDU(mask, mask_header(EXTTYPE="MASK", INHERIT=True)),
        fits.ImageHDU(variance, header(EXTTYPE="VARIANCE", INHERIT=True)),
    ]


def write(path: Path, primary: dict[str, object], *units: fits.ImageHDU) -> Source:
    first = fits.PrimaryHDU()
    for key, value in primary.items():
        first.header[f"HIERARCH {key}" if len(key) > 8 else key] = value
    fits.HDUList([first, *units]).writeto(path)
    return source(path)


def hsc_files(folder: Path, *, empty: bool = False) -> Source:
    """Five files of HSC's cutout service at zero point 25; with empty HDUs for mask, variance."""
    paths = []
    primary = {"FILTER": "", "FLUXMAG0": 1e10, "AR_HDU": 5, "PSF_ID": 2991}
    for band, image in zip(BANDS, galaxy() / 10**0.8, strict=True):
        paths.append(folder / f"cutout-HSC-{band.upper()}-8279-pdr2_wide.fits")
        units = masked_image(np.float32(image))
        mask, variance = units[1].data, units[2].data
        mask[0, 0] |= 1 << PLANES["NO_DATA"]
        mask[0, 1] |= 1 << PLANES["BAD"]
        mask[12, 12] |= 1 << PLANES["SAT"]
        mask[0, 2] |= 1 << PLANES["CR"]
        variance[0, 3] = np.nan
        if empty:
            units[1:] = [fits.ImageHDU(), fits.ImageHDU()]
        write(paths[-1], primary | {"FILTER": band}, *units)
    return source(*paths)


def test_files_of_the_hsc_cutout_service(tmp_path: Path) -> None:
    batch = read(hsc_files(tmp_path))
    assert batch.reason == [""]
    assert batch.flags[0] & Flag.MASKED_PIXELS
    missing = np.zeros((SIZE, SIZE), bool)
    missing[0, [0, 1, 3]] = True
    np.testing.assert_array_equal(batch.missing[0], np.broadcast_to(missing, (5, SIZE, SIZE)))
    np.testing.assert_array_equal(batch.images[0] == 0, batch.missing[0])
    np.testing.assert_allclose(
        batch.images[0][:, ~missing], galaxy()[:, ~missing], rtol=1e-5, atol=1e-6
    )
    assert batch.saturated[0, :, 12, 12].all()
    assert batch.saturated.sum() == 5
    variance = np.where(batch.missing[0], 0, 0.0025 * 10**1.6)
    np.testing.assert_allclose(batch.variance[0], variance, rtol=1e-5)


def test_files_of_the_hsc_cutout_service_that_were_asked_for_without_mask(tmp_path: Path) -> None:
    batch = read(hsc_files(tmp_path, empty=True))
    assert batch.flags[0] & ~Flag.LOW_SNR == 0
    assert not batch.missing.any()
    assert not batch.variance.any()
    np.testing.assert_allclose(batch.images[0], galaxy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("plane", "row", "flagged"),
    [("CR", 12, True), ("CR", 1, False), ("DETECTED", 12, False), ("BAD", 1, True)],
)
def test_caution_matters_close_to_the_target_only(
    tmp_path: Path, plane: str, row: int, flagged: bool
) -> None:
    mask = np.zeros((SIZE, SIZE), np.int32)
    mask[row, 12] = 1 << PLANES[plane]
    one = write(tmp_path / "7.fits", {"FILTER": "i"}, *masked_image(galaxy()[0], mask))
    batch = read(one, ("i",))
    assert bool(batch.flags[0] & Flag.MASKED_PIXELS) == flagged
    assert batch.missing.sum() == (plane == "BAD")


def test_a_mask_without_names_and_a_cube_with_variance(tmp_path: Path) -> None:
    planes = galaxy()
    variance = np.full(planes.shape, 4.0, np.float32)
    variance[2, 3, 4] = 16.0
    units = [fits.ImageHDU(np.ones(planes.shape, np.int32), name="MASK")]
    units.append(fits.ImageHDU(1 / variance, name="IVAR"))
    cube = fits.PrimaryHDU(planes, header())
    cube.header["BANDS"] = "grizy"
    fits.HDUList([cube, *units]).writeto(tmp_path / "7.fits")
    batch = read(source(tmp_path / "7.fits"))
    assert not batch.missing.any()
    np.testing.assert_allclose(batch.variance[0], variance)


def test_pixels_above_the_saturation_level(tmp_path: Path) -> None:
    image = galaxy()[0] * 10
    one = write(tmp_path / "7.fits", {"FILTER": "i"}, fits.ImageHDU(image, header(SATURATE=15.0)))
    batch = read(one, ("i",))
    np.testing.assert_array_equal(batch.saturated[0, 0], image >= 15)
    assert batch.saturated.any()


def lsst_primary(band: str, **stencil: object) -> dict[str, object]:
    """What the cutout service of Rubin's science platform notes about a cutout."""
    about: dict[str, object] = {"BTLRUUID": "0" * 32, "BTLRNAME": "deep_coadd"}
    for n, (key, value) in enumerate(
        {"band": band, "skymap": "lsst_cells_v2", "tract": 5428}.items()
    ):
        about |= {f"BTLRK{n:03d}": key, f"BTLRV{n:03d}": value}
    return about | stencil


CIRCLE = {"ST_TYPE": "CIRCLE", "ST_RA": 150.0 - 4 * SCALE / 3600, "ST_DEC": 2.0, "ST_RAD": 0.001}


def test_an_lsst_cutout_without_mask_has_its_target_where_its_circle_is(tmp_path: Path) -> None:
    image = galaxy(x=15.5)[0] * np.float32(NJY)
    unit = fits.ImageHDU(image, header(BUNIT="nJy"), name="IMAGE")
    batch = read(write(tmp_path / "9.fits", lsst_primary("i", **CIRCLE), unit), ("i",))
    assert batch.reason == [""]
    assert batch.flags[0] == Flag.OFF_CENTRE | Flag.PADDED
    assert (batch.ra[0], batch.dec[0]) == pytest.approx((CIRCLE["ST_RA"], 2.0), abs=1e-9)
    np.testing.assert_allclose(batch.images[0, 0, :, :20], image[:, 4:] / NJY, rtol=1e-5)
    assert read(source(tmp_path / "9.fits"), ("r",)).flags[0] & NO_REDSHIFT == Flag.MISSING_BAND


def test_an_lsst_cutout_of_a_polygon(tmp_path: Path) -> None:
    # A box of 20 pixels about 4 pixels above the image's centre, across RA 0.
    centre = np.array([0.0, 2.0 + 4 * SCALE / 3600])
    stencil: dict[str, object] = {"ST_TYPE": "POLYGON"}
    for n, (x, y) in enumerate([(-10, -10), (10, -10), (10, 10), (-10, 10)]):
        ra, dec = centre + np.array([x, y]) * SCALE / 3600
        stencil |= {f"ST_RA{n:02d}": float(ra % 360), f"ST_DEC{n:02d}": float(dec)}
    unit = fits.ImageHDU(galaxy()[0], header(BUNIT="nJy", CRVAL1=0.0), name="IMAGE")
    batch = read(write(tmp_path / "9.fits", lsst_primary("i", **stencil), unit), ("i",))
    assert (batch.ra[0] + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    assert batch.dec[0] == pytest.approx(centre[1], abs=1e-6)
    assert (batch.x[0], batch.y[0]) == pytest.approx((11.5, 11.5), abs=1e-2)


def exposure(
    path: Path,
    image: NDArray[np.float32],
    calibration: float,
    *,
    version: int = 1,
    band: str = "i",
) -> Source:
    """An ExposureF of lsst/afw: masked image, then the archive's index and two objects."""
    entry = {
        "id": [1, 2, 9],
        "cat.archive": [1, 1, 2],
        "cat.persistable": [0, 0, 0],
        "row0": [0, 1, 0],
        "nrows": [1, 1, 1],
    }
    columns = [fits.Column(name, "1J", array=np.int32(values)) for name, values in entry.items()]
    names = np.array([b"PhotoCalib", b"PhotoCalib", b"FilterLabel"])
    columns.append(fits.Column("name", "64A", array=names))
    index = fits.BinTableHDU.from_columns(columns)
    index.header["EXTTYPE"] = "ARCHIVE_INDEX"
    calibrations = [
        fits.Column("flags", "1X", array=np.ones((2, 1), bool)),
        # Another one, that of an input for instance, stands in front.
        fits.Column("calibrationMean", "1D", array=[77.0, calibration]),
        fits.Column("calibrationErr", "1D", array=[0.0, 0.0]),
    ]
    if version:
        calibrations.append(fits.Column("version", "1J", array=np.int32([1, 1])))
    label = [
        fits.Column("band", "32A", array=[band.encode()]),
        fits.Column("physical", "32A", array=[b""]),
    ]
    tables = [fits.BinTableHDU.from_columns(columns) for columns in (calibrations, label)]
    for table in tables:
        table.header["EXTTYPE"] = "ARCHIVE_DATA"
    primary = {"AR_HDU": 5, "PHOTOCALIB_ID": 2, "FILTER_ID": 9, "EXPINFO_V": 2}
    return write(path, primary, *masked_image(image), index, *tables)


@pytest.mark.parametrize(("mean", "version"), [(NJY, 1), (10**-10.8, 0)])
def test_an_exposure_has_its_units_and_band_in_its_archive(
    tmp_path: Path, mean: float, version: int
) -> None:
    image = galaxy()[0]
    batch = read(exposure(tmp_path / "9.fits", image, mean, version=version), ("i",))
    assert batch.reason == [""]
    np.testing.assert_allclose(batch.images[0, 0], image, rtol=1e-4)
    assert (batch.variance > 0).all()


def test_exposures_whose_headers_are_the_same_are_told_apart(tmp_path: Path) -> None:
    sources = [
        exposure(tmp_path / f"{n}.fits", galaxy()[n], NJY / 10**n, band=band)
        for n, band in enumerate("gri")
    ]
    batch = read_measured(sources, ("g", "r", "i"), SIZE, SCALE)
    assert batch.bands_used.tolist() == [1, 2, 4]
    for n in range(3):
        np.testing.assert_allclose(batch.images[n, n], galaxy()[n] / 10**n, rtol=1e-4, atol=1e-7)


def test_an_exposure_cut_off_in_its_archive(tmp_path: Path) -> None:
    one = exposure(tmp_path / "9.fits", galaxy()[0], NJY, version=1)
    path = Path(one.files[0])
    content = path.read_bytes()
    for length in range(0, content.rindex(b"XTENSION") - 2880, 1440):
        path.write_bytes(content[:length])
        batch = read(one, ("i",))
        assert batch.flags[0] & NO_REDSHIFT
        assert batch.reason[0]


@pytest.mark.parametrize(
    "damage", [b"PhotoCalib", b"calibrationMean", b"ARCHIVE_INDEX", b"cat.archive"]
)
def test_an_archive_that_lost_its_calibration(tmp_path: Path, damage: bytes) -> None:
    one = exposure(tmp_path / "9.fits", galaxy()[0], NJY, version=1)
    path = Path(one.files[0])
    path.write_bytes(path.read_bytes().replace(damage, b"X" * len(damage)))
    batch = read(one, ("i",))
    assert batch.flags[0] & NO_REDSHIFT
    assert batch.reason[0]


def cell_coadd(
    path: Path, image: NDArray[np.float32], tree: bytes = b'{"band":"i"}', **primary: object
) -> Source:
    """A CellCoadd of lsst/images as Data Preview 2 serves it, GZIP_2 in tiles of 32 pixels."""
    mask = np.zeros(image.shape, np.int32)
    mask[0, 0], mask[1, 1], mask[12, 12] = 1, 8, 2
    cards = header(image.shape, WCSAXES=2, PV1_3=180.0, PV1_4=2.0, LONPOLE=180.0, LATPOLE=2.0)
    planes = fits.Header()
    for n, name in enumerate(["NO_DATA", "INTERPOLATED", "COSMIC_RAY", "SATURATED", "DETECTED"]):
        planes.update({f"MSKN{n:04d}": name, f"MSKM{n:04d}": 1 << n})
    fraction = np.full(image.shape, 0.1, np.float32)
    data = {
        "IMAGE": (image, {"BUNIT": "nJy"}),
        "MASK": (mask, planes),
        "VARIANCE": (np.full(image.shape, 9.0, np.float32), {"BUNIT": "nJy2"}),
        "MASK_FRACTIONS/REJECTED": (fraction, {}),
        "NOISE_REALIZATIONS/0": (fraction, {"BUNIT": "nJy"}),
        "BACKGROUND/FIELDS/OBJECT/DATA": (fraction, {}),
    }
    units: list[fits.CompImageHDU] = []
    for name, (pixels, more) in data.items():
        made = cards.copy()
        made.update(more)
        units.append(
            fits.CompImageHDU(
                *(pixels, made, name),
                compression_type="GZIP_2",
                tile_shape=(32, 32),
                quantize_level=0,
            )
        )
    about = {"FMTVER": 1, "DATAMODL": "https://images.lsst.io/schemas/cell_coadd-1.0.0"}
    table = fits.BinTableHDU.from_columns(
        [fits.Column("JSON", "PB()", array=np.array([np.frombuffer(tree, "u1")], object))]
    )
    table.header["EXTNAME"] = "JSON"
    return write(path, about | primary, *units, table)


def test_a_cell_coadd_of_lsst(tmp_path: Path) -> None:
    image = galaxy((40, 40))[0]
    batch = read(cell_coadd(tmp_path / "9.fits", image, **lsst_primary("i")), ("i",), 40)
    assert batch.reason == [""]
    assert (batch.ra[0], batch.dec[0]) == pytest.approx((150, 2), abs=1e-9)
    assert np.flatnonzero(batch.missing).tolist() == [0]
    assert np.argwhere(batch.saturated[0, 0]).tolist() == [[1, 1]]
    expected = image / NJY
    expected[0, 0] = 0
    np.testing.assert_allclose(batch.images[0, 0], expected, rtol=1e-4)
    assert batch.variance[0, 0, 5, 5] == pytest.approx(9 / NJY**2, rel=1e-4)


@pytest.mark.parametrize(
    ("tree", "used"),
    [
        (b'{"schema_version":"1.0.0","band":"r"}', 2),
        (b'{"band":null}', 0),
        (b"[" * 100_000, 0),
        (b"", 0),
    ],
)
def test_a_cell_coadd_says_its_band_itself(tmp_path: Path, tree: bytes, used: int) -> None:
    one = cell_coadd(tmp_path / "9.fits", galaxy((40, 40))[0], tree)
    assert read(one, ("g", "r", "i")).bands_used.tolist() == [used]


@pytest.mark.parametrize("method", ["RICE_1", "GZIP_2"])
@pytest.mark.parametrize("dither", [-1, 1, 2])
def test_lossy_compression_as_lsst_writes_it(tmp_path: Path, method: str, dither: int) -> None:
    image = galaxy((40, 40))[0]
    image[3, 4] = np.nan
    units = [
        fits.CompImageHDU(
            image,
            header(BUNIT="nJy", FILTER="i"),
            "IMAGE",
            compression_type=method,
            tile_shape=(40, 40),
            quantize_level=16.0,
            quantize_method=dither,
            dither_seed=7,
        ),
        fits.CompImageHDU(
            np.int32(~np.isfinite(image)) << PLANES["NO_DATA"],
            mask_header(),
            "MASK",
            compression_type="GZIP_2",
        ),
    ]
    batch = read(write(tmp_path / "9.fits", {}, *units), ("i",), 40)
    assert batch.reason == [""]
    assert np.argwhere(batch.missing[0, 0]).tolist() == [[3, 4]]
    assert batch.flags[0] & Flag.MASKED_PIXELS
    noise = 0.05 / 16
    np.testing.assert_allclose(
        batch.images[0, 0] * NJY, np.nan_to_num(image), atol=2 * noise, rtol=1e-5
    )


@pytest.mark.parametrize("damage", ["none", "cut off", "gone"])
def test_bands_that_are_not_wanted_cost_nothing(tmp_path: Path, damage: str) -> None:
    paths = [tmp_path / f"1_{band}.fits" for band in "ugrizy"]
    for n, (path, band) in enumerate(zip(paths, "ugrizy", strict=True)):
        exposure(path, galaxy()[n % 5], NJY / 10**n, band=band)
    for path in (paths[0], paths[5]):
        if damage == "cut off":
            path.write_bytes(path.read_bytes()[:5000])
        elif damage == "gone":
            path.unlink()
    batch = read(source(*paths), ("g", "r", "i"))
    assert batch.reason == [""]
    assert batch.bands_used.tolist() == [0b111]
    for n in range(3):
        expected = galaxy()[n + 1] / 10 ** (n + 1)
        np.testing.assert_allclose(batch.images[0, n], expected, rtol=1e-4, atol=1e-7)


def test_exposures_of_bands_with_equal_headers_have_their_own_zero_points(tmp_path: Path) -> None:
    paths = [tmp_path / f"1_{band}.fits" for band in "gri"]
    for n, (path, band) in enumerate(zip(paths, "gri", strict=True)):
        exposure(path, galaxy()[n], NJY / 10**n, band=band)
    batch = read(source(*paths), ("g", "r", "i"))
    for n in range(3):
        np.testing.assert_allclose(batch.images[0, n], galaxy()[n] / 10**n, rtol=1e-4, atol=1e-7)


def test_two_images_of_a_band_that_do_not_lie_alike(tmp_path: Path) -> None:
    """As pieces of two bricks; alike they are one, and inverse variances are none."""

    def units(shift: float) -> list[fits.ImageHDU]:
        return [
            fits.ImageHDU(image, header(BAND=band, IMAGETYP=kind, CRPIX1=12.5 + shift * second))
            for second in (0, 1)
            for band, image in zip("gri", galaxy(), strict=False)
            for kind in ("image", "invvar")
        ]

    batch = read(write(tmp_path / "1.fits", {}, *units(0.0)), ("g", "r", "i"))
    assert (batch.reason, batch.bands_used.tolist()) == ([""], [0b111])
    batch = read(write(tmp_path / "2.fits", {}, *units(9.0)), ("g", "r", "i"))
    assert batch.flags[0] & Flag.READ_ERROR
    assert "two images of band g, HDU 1 and 7, that do not lie alike" in batch.reason[0]


def test_a_weight_map_is_no_object(tmp_path: Path) -> None:
    primary = {"PRODCATG": "ANCILLARY.WEIGHTMAP"}
    fits.PrimaryHDU(galaxy()[0], fits.Header(primary)).writeto(tmp_path / "1_g_wei.fits")
    batch = read(source(tmp_path / "1_g_wei.fits"), ("g",))
    assert "no image in the file" in batch.reason[0]
