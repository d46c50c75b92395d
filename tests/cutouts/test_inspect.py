"""`photoz-mmae inspect` on files of every kind, whole and damaged, as users call it."""

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from cutout_files import BANDS, galaxy, header, hsc_names, write_cube, write_mef
from test_shards import pack

from photoz_mmae.cli import main as cli
from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.inspect.files import inspect_files

WANTED = Wanted(BANDS, 64, 0.168)


def inspect(capsys: pytest.CaptureFixture[str], *files: Path) -> tuple[list[dict[str, Any]], int]:
    """What `inspect --json` says, and its exit code."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", "--json", *map(str, files)])
    return json.loads(capsys.readouterr().out), int(stop.value.code or 0)


def test_every_shared_file_is_told_of(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(path for path in shared_data.rglob("*") if path.is_file())
    found, code = inspect(capsys, *files)
    what = {Path(one["file"]).name: one["what"] for one in found}
    assert len(found) == len(files)
    assert all(what.values())
    assert what["hsc_ra150.24071_dec2.06514.fits"] == "cube of bands"
    assert what["exposure-version-2.fits"] == "LSST ExposureF, with mask and variance"
    assert what["431601693071771410.fits"] == "one HDU per band, 5 images, with variance"
    assert what["2-cutout-HSC-I-8279-pdr2_wide.fits"] == "file of the HSC cutout service, one band"
    assert what["star_cat_correct.fits"] == "1 table: not a cutout"
    assert what["spec-0266-51602-0573.fits"] == "spectrum of SDSS, 3832 pixels: not a cutout"
    assert what["coadd-main-dark-9144.fits"] == "spectra of DESI, arms B, R, Z: not a cutout"
    assert what["rubin_dm_dc2_example.pq"] == "Parquet table, 100 rows, 15 columns: not a cutout"
    assert what["training_100gal.hdf5"] == "HDF5 file without images: not a cutout"
    assert what["griz_specz.csv"] == "CSV table, 14943 rows, 13 columns: not a cutout"
    assert what["weights.safetensors"].startswith("safetensors, 110 tensors")
    assert what["hsc_cosmos_35.npz"] == "NumPy archive of 6 arrays: not a cutout"
    assert what["reference.json"] == "JSON object: not a cutout"
    assert what["README.md"] == "text: not a cutout"
    # This table was cut to ten rows, and its checksums were not.
    wrong = {Path(one["file"]).name: one["wrong"] for one in found if one["wrong"]}
    assert list(wrong) == ["zall-pix-iron_10rows.fits"]
    assert wrong["zall-pix-iron_10rows.fits"] == [
        "HDU 1: DATASUM and CHECKSUM not that of its bytes: they were changed"
    ]
    assert code == 4


def test_the_real_cube_and_the_real_service_file(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cube = next((shared_data / "hsc_cubes").glob("*.fits"))
    service = shared_data / "hsc_das_cutouts" / "2-cutout-HSC-I-8279-pdr2_wide.fits"
    (one, two), code = inspect(capsys, cube, service)
    assert code == 0
    assert (round(one["centre"]["ra"], 4), round(one["centre"]["dec"], 4)) == (150.2407, 2.0652)
    assert abs(one["centre"]["dec"] - 2.0651) < 1e-4
    assert [band["band"] for band in one["bands"]] == list("grizy")
    assert one["notes"] == ["no zero point is stated: predict takes it to be 27.0"]
    (band,) = two["bands"]
    assert round(band["zero_point"], 9) == 27
    assert band["zero_point_from"] == "FLUXMAG0"
    assert two["prediction"]["bands"] == ["i"]
    assert "FEWER_BANDS" in two["prediction"]["flags"]


def test_targets_where_their_wcs_puts_them(shared_data: Path) -> None:
    files = sorted((shared_data / "hsc_like_sim" / "cutouts").glob("*.fits"))
    off_centre = 0
    for path, found in zip(
        files, inspect_files([str(path) for path in files], WANTED), strict=True
    ):
        with fits.open(path) as units:
            wcs, primary = WCS(units["HSC-I"].header), units[0].header
            x, y = map(float, wcs.all_world2pix(primary["RA_TARG"], primary["DEC_TARG"], 0))
        assert found.target is not None
        assert found.centre is not None
        assert (found.target.x, found.target.y) == pytest.approx((x, y), abs=1e-3)
        assert found.target.by == "RA_TARG, DEC_TARG"
        off_centre += abs(x - found.centre.x) + abs(y - found.centre.y) > 1
    assert len(files) == 46
    assert off_centre > 20


def test_text_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planes = galaxy()
    planes[1] = 7
    planes[2, :3] = np.nan
    head = header(OBJECT="17", MAGZERO=27.0, BUNIT="nJy")
    write_mef(tmp_path / "[7].fits", dict(zip(hsc_names(), planes, strict=True)), head)
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", str(tmp_path / "[7].fits")])
    shown = capsys.readouterr().out
    assert stop.value.code == 4
    lines = shown.splitlines()
    assert lines[0] == str(tmp_path / "[7].fits")
    assert "  what      one HDU per band, 5 images" in lines
    assert any(line.startswith("  band i    HDU 3, 24 x 24 pixels of 0.1680") for line in lines)
    assert "72 not finite" in shown
    assert "  wrong:    band r (HDU 2): all finite pixels are equal" in lines
    assert "HDU 1: zero point 27.000 by MAGZERO, 31.400 by BUNIT nJy; the first counts" in shown
    assert "FEWER_BANDS: bands g, i, z, y alone (model base)" in shown


def test_files_of_one_object_are_read_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / f"5_{band}.fits" for band in BANDS]
    for path, image in zip(paths, galaxy(), strict=True):
        write_cube(path, image, header())
    found, code = inspect(capsys, *paths)
    assert code == 0
    for one in found:
        assert len(one["prediction"]["files"]) == 5
        assert one["prediction"]["flags"] == ["PADDED"]
    with pytest.raises(SystemExit):
        cli.main(["inspect", "--json", *[f"{tmp_path}//{path.name}" for path in paths]])
    assert all(len(one["prediction"]["files"]) == 5 for one in json.loads(capsys.readouterr().out))
    (alone,), code = inspect(capsys, paths[0])
    assert alone["prediction"]["flags"] == ["MISSING_BAND"]
    assert not alone["wrong"]
    assert code == 3


def test_bands_that_only_names_tell_are_no_other_bands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"123_{band}.fits" for band in BANDS]
    for path, image in zip(files, galaxy(), strict=True):
        fits.PrimaryHDU(image).writeto(path)
    found, code = inspect(capsys, *files)
    assert code == 0
    for one in found:
        assert one["prediction"]["bands"] == list(BANDS)
        assert not any("none of u, g, r" in note for note in one["notes"])
        assert any("no header says its band" in note for note in one["notes"])
    fits.PrimaryHDU(image, fits.Header({"FILTER": "NB921"})).writeto(tmp_path / "n.fits")
    (narrow,), _ = inspect(capsys, tmp_path / "n.fits")
    assert any("'NB921' is none of u, g, r" in note for note in narrow["notes"])


def test_checksums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "7.fits"
    units = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(galaxy()[0], header(), "HSC-G")])
    units.append(fits.ImageHDU(galaxy()[1], header(), "HSC-R"))
    units.writeto(path, checksum=True)
    (found,), code = inspect(capsys, path)
    assert [unit["checksum"] for unit in found["units"]] == ["right"] * 3
    assert code == 0
    content = bytearray(path.read_bytes())
    content[-2880] ^= 1
    path.write_bytes(content)
    (found,), code = inspect(capsys, path)
    assert [unit["checksum"] for unit in found["units"]] == ["right", "right", "wrong"]
    assert found["wrong"] == [
        "HDU 2: DATASUM and CHECKSUM not that of its bytes: they were changed"
    ]
    assert code == 4


@pytest.mark.parametrize(
    ("name", "content", "wrong"),
    [
        ("empty.fits", b"", "empty file"),
        ("page.fits", b"<html>not found</html>", "its name says FITS, its content does not"),
        ("bad.json", b'{"a": 1', "no sound JSON"),
        ("bad.pq", b"PAR1 and nothing", "not readable as parquet"),
        ("bad.npz", b"PK\x03\x04" + bytes(99), "not a zip file"),
        ("bad.hdf5", b"\x89HDF\r\n\x1a\n" + bytes(99), ""),
        ("bad.fits.gz", b"\x1f\x8b\x08" + bytes(50), "gzip"),
        ("short.fits", b"SIMPLE  =                    T", "the header of HDU 0 has no end"),
    ],
)
def test_what_is_not_what_it_seems(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    wrong: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    (found,), code = inspect(capsys, tmp_path / name)
    assert code == 4
    assert any(wrong.lower() in line.lower() for line in found["wrong"])


def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop.fits").symlink_to(tmp_path / "loop.fits")
    long = tmp_path / ("x" * 300 + ".fits")
    found, code = inspect(capsys, long, tmp_path / "none.fits", tmp_path / "loop.fits", tmp_path)
    assert [one["wrong"] for one in found] == [
        ["cannot be read: File name too long"],
        ["cannot be read: No such file or directory"],
        ["cannot be read: Too many levels of symbolic links"],
        ["a folder: name files in it"],
    ]
    assert code == 4


def test_damage_anywhere_is_survived_and_told(tmp_path: Path, shared_data: Path) -> None:
    generator = random.Random(5)
    files = [
        next((shared_data / "hsc_das_cutouts").glob("2-*")),
        shared_data / "hsc_like_sim" / "cutouts" / "431601736021450050.fits",
        shared_data / "lsst_exposure" / "exposure-version-2.fits",
        shared_data / "desi" / "zall-pix-iron_10rows.fits",
        shared_data / "desi" / "QSO_cat_fuji_dark_healpix_with_main.fits.gz",
        shared_data / "dc2_catalog" / "rubin_dm_dc2_example.pq",
        shared_data / "reference_network" / "reference.json",
    ]
    path = tmp_path / "damaged.fits"
    for file in files:
        content = file.read_bytes()
        for _ in range(12):
            length = generator.randrange(len(content))
            path.write_bytes(content[:length])
            (found,) = inspect_files([str(path)], WANTED)
            assert found.what or found.wrong
            bent = bytearray(content)
            for _ in range(generator.choice((1, 20))):
                bent[generator.randrange(min(len(bent), 20_000))] = generator.randrange(256)
            path.write_bytes(bent)
            (found,) = inspect_files([str(path)], WANTED)
            assert json.dumps(found.as_json(), allow_nan=False)
        shutil.copyfile(file, path)


def test_files_of_several_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cutouts = tmp_path / "cutouts"
    cutouts.mkdir()
    for n in range(3):
        planes = galaxy()
        planes[:, :, 0] = np.nan if n == 1 else 1
        write_cube(cutouts / f"{n}.fits", planes, header(BANDS="grizy"))
    (cutouts / "3.fits").write_bytes(b"")
    pack(cutouts, tmp_path / "shards", image_size=24)
    shard = tmp_path / "shards" / "shard-000000.fits"
    many = tmp_path / "m.hdf5"
    with h5py.File(many, "w") as file:
        file["image"] = np.stack([galaxy()] * 300)
    (one, two), code = inspect(capsys, shard, many)
    assert code == 3
    assert one["what"] == "packed shard of 4 objects"
    flags = {"READ_ERROR": 1, "NONFINITE_PIXELS": 1, "PADDED": 3}
    reason = f"{cutouts / '3.fits'}: empty file"
    assert one["objects"] == {"count": 4, "read": 4, "flags": flags, "reason": reason}
    assert two["what"] == "GalaxiesML HDF5, 300 objects with images of 5 x 24 x 24"
    assert two["objects"] == {"count": 300, "read": 256, "flags": {"PADDED": 256}, "reason": ""}
    with pytest.raises(SystemExit):
        cli.main(["inspect", str(many)])
    assert "predict   the first 256 of 300: PADDED 256 (model base)" in capsys.readouterr().out

    content = shard.read_bytes()
    for card, wrong in (("NOBJECTS=                    x", "NOBJECTS is no integer"),):
        at = content.index(card[:10].encode())
        shard.write_bytes(content[:at] + card.encode() + content[at + len(card) :])
        (found,), code = inspect(capsys, shard)
        assert code == 4
        assert any(wrong in line for line in found["wrong"])
    gzipped = tmp_path / "s.fits.gz"
    gzipped.write_bytes(gzip.compress(content))
    (found,), code = inspect(capsys, gzipped)
    assert code == 4
    assert "gunzip it" in found["wrong"][0]
    many.write_bytes(many.read_bytes()[:5000])
    (found,), code = inspect(capsys, many)
    assert code == 4
    assert found["wrong"] == ["Unable to synchronously open file: truncated file"]


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in (([], 2), (["--model", "none", "x.fits"], 5)):
        with pytest.raises(SystemExit) as stop:
            cli.main(["inspect", *words])
        assert stop.value.code == code
        assert capsys.readouterr().err.startswith("photoz-mmae: ")
