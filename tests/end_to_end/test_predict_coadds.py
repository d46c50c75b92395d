"""Redshifts out of coadds: the same as from a cutout each, and every object accounted for."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from photoz_mmae.flags import Flag

BANDS = "grizy"
SHAPE = (200, 300)
CORNERS = [(x, y) for y in (5, 70, 135) for x in (3, 68, 133, 200)]
"""Where the twelve stamps of `cutouts` are pasted: left and bottom pixels."""


def header(ra=150.0, dec=2.0, **cards):
    head = fits.Header()
    head["CTYPE1"], head["CTYPE2"] = "RA---TAN", "DEC--TAN"
    head["CRVAL1"], head["CRVAL2"] = ra, dec
    head["CRPIX1"], head["CRPIX2"] = 150.5, 100.5
    head["CD1_1"], head["CD2_2"] = -0.168 / 3600, 0.168 / 3600
    head["MAGZERO"] = 27.0
    head.update(cards)
    return head


def write_coadd(path, image, head, compression=None, primary=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if compression:
        # Lossless: the pixels are to be compared.
        unit = fits.CompImageHDU(image, head, compression_type=compression, quantize_level=0)
    else:
        unit = fits.ImageHDU(image, head)
    mask = fits.ImageHDU(np.zeros(image.shape, np.int32), name="MASK")
    hdus = [fits.PrimaryHDU(header=fits.Header(primary or {})), unit, mask]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


@pytest.fixture(scope="session")
def sky(cutouts):
    """Images of a patch (5, H, W) with the stamps of the cutouts, and the objects' positions."""
    rng = np.random.default_rng(7)
    images = rng.normal(0, 0.1, (5, *SHAPE)).astype(np.float32)
    for n, (x, y) in enumerate(CORNERS):
        images[:, y : y + 64, x : x + 64] = fits.getdata(cutouts / f"{1000 + n}.fits")
    x, y = np.array(CORNERS).T + 31.5
    ra, dec = WCS(header()).all_pix2world(x, y, 0)
    return images, ra, dec


@pytest.fixture
def hsc(sky, tmp_path):
    """Write the patch as HSC names coadds; keywords go to `write_coadd`. Returns the folder."""

    def write(images=sky[0], head=None, patch="4,5", bands=BANDS, folder="coadds", **options):
        for k, band in enumerate(BANDS):
            if band in bands:
                name = f"HSC-{band.upper()}"
                path = tmp_path / folder / f"{name}/9813/{patch}/calexp-{name}-9813-{patch}.fits"
                write_coadd(path, images[k], head or header(), **options)
        return tmp_path / folder

    return write


@pytest.fixture
def table(sky, tmp_path):
    """Write the table of objects; columns given win."""

    def write(**columns):
        content = {"object_id": list(range(1000, 1012)), "ra": sky[1], "dec": sky[2]} | columns
        path = tmp_path / "objects.parquet"
        pq.write_table(pa.table(content), path)
        return path

    return write


def rows(tmp_path, name="c.parquet"):
    return pq.read_table(tmp_path / name).sort_by("object_id")


@pytest.mark.parametrize("compression", [None, "GZIP_2"])
def test_same_as_from_a_cutout_each(predict, hsc, table, cutouts, tmp_path, compression):
    options = ("--coadds", hsc(compression=compression), "--catalog", table())
    code, out, err = predict(*options)
    assert code == 0, err
    assert "found     12 objects for 1 patch of coadds" in out
    assert predict(cutouts, output=tmp_path / "single.parquet")[0] == 0
    coadds, single = rows(tmp_path), rows(tmp_path, "single.parquet")
    own = ("ra", "dec", "source", "ebv")
    for name in set(single.column_names) - set(own):
        assert coadds[name].equals(single[name]), name
    np.testing.assert_allclose(coadds["ra"], pq.read_table(tmp_path / "objects.parquet")["ra"])
    assert coadds["source"][0].as_py().endswith("coadds/HSC-G/9813/4,5/calexp-HSC-G-9813-4,5.fits")
    assert "nothing new" in predict(*options)[1]


def test_rice_is_near(predict, hsc, table, cutouts, tmp_path):
    images = hsc()
    for path in images.rglob("*.fits"):
        with fits.open(path) as file:
            image, head = file[1].data, file[1].header
        unit = fits.CompImageHDU(image, head, compression_type="RICE_1", quantize_level=64)
        fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path, overwrite=True)
    assert predict("--coadds", images, "--catalog", table())[0] == 0
    assert predict(cutouts, output=tmp_path / "single.parquet")[0] == 0
    z = [np.asarray(rows(tmp_path, name)["z_best"]) for name in ("c.parquet", "single.parquet")]
    np.testing.assert_allclose(*z, atol=0.02)


def test_names_of_lsst_and_band_by_name(predict, sky, table, tmp_path):
    for k, band in enumerate(BANDS):
        name = f"deepCoadd_calexp_9813_42_{band}_hsc_rings_v1_run.fits"
        write_coadd(tmp_path / "c" / name, sky[0][k], header())
    # An u-band coadd, a catalogue, a text: none of them is a band of the model.
    write_coadd(tmp_path / "c/deepCoadd_calexp_9813_42_u_x.fits", sky[0][0], header())
    columns = [fits.Column("id", "K", array=[1])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "c/meas_9813_42_i.fits")
    (tmp_path / "c/README").touch()
    code, out, err = predict("--coadds", tmp_path / "c", "--catalog", table())
    assert code == 0, err
    assert "1 patch of coadds; 3 other files ignored" in out


def test_objects_on_no_patch_and_at_the_edge(predict, hsc, sky, table, tmp_path):
    images, ra, dec = sky
    images = images.copy()
    images[:, 70:134, 3:67] = np.nan  # number 4 lies where nothing was observed
    images[2, 135:142, 200:210] = np.nan  # a corner of number 11
    edge, outside = WCS(header()).all_pix2world([[2.0, 60.0], [-40.0, 60.0]], 0)
    moved_ra, moved_dec = ra.copy(), dec.copy()
    moved_ra[0], moved_dec[0] = edge
    moved_ra[1], moved_dec[1] = outside
    moved_ra[2] = np.nan
    options = ("--coadds", hsc(images), "--catalog", table(ra=moved_ra, dec=moved_dec))
    code, out, _ = predict(*options)
    assert code == 3
    assert "2 on none of them" in out
    flags = dict(zip(range(1000, 1012), rows(tmp_path)["flags"].to_pylist(), strict=True))
    assert flags[1000] & Flag.PADDED
    assert not flags[1000] & Flag.READ_ERROR
    assert flags[1001] & Flag.READ_ERROR
    assert flags[1002] & Flag.READ_ERROR
    assert flags[1004] & Flag.NO_FINITE_PIXELS
    assert flags[1011] & Flag.NONFINITE_PIXELS
    assert not any(flags[n] & (Flag.PADDED | Flag.READ_ERROR) for n in (1003, *range(1005, 1012)))
    problems = [json.loads(line) for line in (tmp_path / "c.run/problems.jsonl").open()]
    reasons = {problem["object_id"]: problem["reason"] for problem in problems}
    assert reasons[1001] == f"{tmp_path}/coadds: no coadd covers it"
    assert "0 objects in 0 of" in predict(*options, "--retry-bad")[1]


@pytest.mark.parametrize("patch", ["4,5", "405"])
def test_overlapping_patches(predict, hsc, sky, table, tmp_path, patch):
    # The same sky, 40 pixels farther: objects near the left edge of one are well inside the other,
    # unless the upper or lower edge is nearer; where the table says which patch, that one is taken.
    images, *_ = sky
    shifted = np.roll(images, 40, axis=2)
    head = header(CRPIX1=190.5)
    hsc()
    hsc(shifted, head, patch="5,5")
    options = ("--coadds", tmp_path / "coadds", "--part-size", "3")
    assert predict(*options, "--catalog", table())[0] == 0
    source = rows(tmp_path)["source"].to_pylist()
    assert ["5,5" in name for name in source] == [*[True, False, False, False] * 2, *[False] * 4]
    named = table(tract=[9813] * 12, patch=[patch] * 12)
    out = tmp_path / "named.parquet"
    assert predict(*options, "--catalog", named, output=out)[0] == 0
    assert all("4,5" in name for name in rows(tmp_path, "named.parquet")["source"].to_pylist())
    one, other = rows(tmp_path)["z_best"], rows(tmp_path, "named.parquet")["z_best"]
    np.testing.assert_allclose(np.asarray(one)[[0, 4]], np.asarray(other)[[0, 4]])
    # Objects of a patch are together in the catalogue.
    inside = ["5,5" in name for name in pq.read_table(tmp_path / "c.parquet")["source"].to_pylist()]
    assert inside == sorted(inside)


def test_another_projection(predict, sky, table, tmp_path):
    head = header(CTYPE1="RA---SIN", CTYPE2="DEC--SIN")
    for k, band in enumerate(BANDS):
        write_coadd(tmp_path / f"c/x_{band}.fits", sky[0][k], head)
    x, y = np.array(CORNERS).T + 31.5
    ra, dec = WCS(head).all_pix2world(x, y, 0)
    assert predict("--coadds", tmp_path / "c", "--catalog", table(ra=ra, dec=dec))[0] == 0
    assert not any(flags & Flag.PADDED for flags in rows(tmp_path)["flags"].to_pylist())


def test_missing_and_damaged_bands(predict, hsc, table, tmp_path):
    folder = hsc(bands="grzy")
    code, _, _ = predict("--coadds", folder, "--catalog", table())
    assert code == 3
    assert all(flags & Flag.MISSING_BAND for flags in rows(tmp_path)["flags"].to_pylist())
    # The band arrives, another one is cut off: the rows are made again, and say so.
    hsc()
    path = next(folder.glob("HSC-Z/**/*.fits"))
    path.write_bytes(path.read_bytes()[:100_000])
    code, out, _ = predict("--coadds", folder, "--catalog", table())
    assert (code, "12 objects in 1 of 1 part" in out) == (3, True)
    assert all(flags & Flag.READ_ERROR for flags in rows(tmp_path)["flags"].to_pylist())
    assert "calexp-HSC-Z-9813-4,5.fits: truncated" in out
    # Whole again.
    hsc()
    assert predict("--coadds", folder, "--catalog", table())[0] == 0


def test_patches_that_are_not_given_this_time_keep_their_objects(
    predict, hsc, sky, table, tmp_path
):
    far = header(ra=151.0)
    folders = [hsc(folder="one"), hsc(head=far, patch="0,0", folder="two")]
    x, y = np.array(CORNERS).T + 31.5
    ra, dec = WCS(far).all_pix2world(x, y, 0)
    ids = list(range(1000, 1024))
    both = table(object_id=ids, ra=np.append(sky[1], ra), dec=np.append(sky[2], dec))
    bad = []
    for folder, code in zip(folders, (3, 0), strict=True):
        assert predict("--coadds", folder, "--part-size", "12", "--catalog", both)[0] == code
        flags = np.array(rows(tmp_path)["flags"].to_pylist())
        bad.append((flags & int(Flag.READ_ERROR) != 0).tolist())
    # Those on no patch have been looked for, and are found in the other folder.
    assert bad == [[False] * 12 + [True] * 12, [False] * 24]


def test_a_changed_and_a_vanished_patch(predict, hsc, sky, table, tmp_path):
    folder = hsc()
    far = header(ra=151.0)
    hsc(head=far, patch="0,0")
    x, y = np.array(CORNERS).T + 31.5
    ra, dec = WCS(far).all_pix2world(x, y, 0)
    both = {
        "object_id": range(1000, 1024),
        "ra": np.append(sky[1], ra),
        "dec": np.append(sky[2], dec),
    }
    options = ("--coadds", folder, "--part-size", "12", "--catalog", table(**both))
    assert predict(*options)[0] == 0
    hsc(2 * sky[0], head=far, patch="0,0")
    code, out, _ = predict(*options)
    assert (code, "12 objects in 1 of 2 parts" in out) == (0, True)
    before = rows(tmp_path)["z_best"]
    for path in folder.glob("*/9813/0,0/*.fits"):
        path.unlink()
    code, out, _ = predict(*options)
    assert (code, "gone      12 cutouts" in out) == (0, True)
    gone = [bool(flags & Flag.SOURCE_GONE) for flags in rows(tmp_path)["flags"].to_pylist()]
    assert gone == [False] * 12 + [True] * 12
    assert rows(tmp_path)["z_best"].equals(before)
    # An object more, another one moved.
    grown = {name: [*values, 0][:25] for name, values in both.items()}
    grown["object_id"][24], grown["ra"][24], grown["dec"][24] = 2000, sky[1][3], sky[2][3]
    grown["ra"][0] += 1e-4
    code, out, _ = predict(*options[:-1], table(**grown))
    assert (code, "13 objects in 2 of 3 parts" in out) == (0, True)


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        ("no folder", 4, "no such folder of coadds"),
        ("empty", 4, "no coadd of a band g, r, i, z, y with a WCS (0 other files)"),
        ("twice", 4, "are both the coadd of band i of one patch"),
        ("elsewhere", 4, "none of 12 objects lies on one of the 1 patches"),
        ("no positions", 4, "no columns ra and dec"),
        ("no table", 2, "--coadds: needs a table of objects with id, ra and dec as --catalog"),
        ("cutouts too", 2, "CUTOUTS: give either CUTOUTS or --coadds DIR"),
    ],
)
def test_bad_input_is_one_line(predict, hsc, sky, table, tmp_path, damage, code, message):
    folder, objects = tmp_path / "coadds", table()
    if damage == "empty":
        folder.mkdir()
    elif damage != "no folder":
        hsc()
    if damage == "twice":
        write_coadd(folder / "again-HSC-I.fits", sky[0][2], header())
    if damage == "elsewhere":
        objects = table(ra=np.radians(sky[1]))
    if damage == "no positions":
        objects = tmp_path / "t.csv"
        objects.write_text("object_id,ebv\n1,0.1\n")
    options = ["--coadds", folder, "--catalog", objects]
    options = options[:2] if damage == "no table" else options
    found, _, err = predict(*options, *([folder] if damage == "cutouts too" else []))
    assert (found, len(err.splitlines())) == (code, 1), err
    assert message in err
    assert not (tmp_path / "c.run").exists()


def test_a_file_without_sense_is_passed_over_and_said(predict, hsc, table):
    folder = hsc()
    (folder / "HSC-I/torn.fits").write_bytes(b"SIMPLE  =  ")
    (folder / "loop").symlink_to(folder)
    code, out, _ = predict("--coadds", folder, "--catalog", table())
    assert code == 0
    assert out.count("passed over: ") == 1
    assert "HSC-I/torn.fits: truncated: the header of HDU 0 has no end" in out
