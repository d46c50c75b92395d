"""Cutouts of the mock survey in every layout: read back by `predict`'s reader, or by others."""

import re

import fitsio
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.errors import UsageError
from photoz_mmae.flags import Flag
from photoz_mmae.simulation.fits_cutouts import CutoutFolder
from photoz_mmae.simulation.observe import simulate_chunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.skymap import tract_of
from photoz_mmae.surveys import HSC_WIDE, LSST_Y10, NJY_PER_FLUX

N = 60
NAME = re.compile(r"(\d+)-cutout-HSC-([GRIZY])-(\d+)-pdr2_wide\.fits")


@pytest.fixture(scope="module")
def hsc():
    """A chunk in which every defect is."""
    chunk = simulate_chunk(Recipe(HSC_WIDE, 6, fraction_bad=0.6), N, chunk=0)
    assert len(set(chunk.defect)) == 8
    return chunk


@pytest.fixture(scope="module")
def lsst():
    return simulate_chunk(Recipe(LSST_Y10, 6, fraction_bad=0.6), N, chunk=0)


def write(path, layout, survey, chunk):
    with CutoutFolder(path, layout, Recipe(survey, 6), overwrite=False) as folder:
        folder.add(chunk)
    truth = pq.read_table(path / "truth.parquet").to_pydict()
    listed = {name for names in truth["files"] for name in names}
    assert {file.name for file in path.iterdir()} >= listed
    return truth


def test_the_truth_says_what_it_is_the_truth_of(das):
    about = pq.read_schema(das[0] / "truth.parquet").metadata
    recipe = {
        key.decode().removeprefix("photoz_mmae."): value.decode() for key, value in about.items()
    }
    assert (recipe["survey"], recipe["seed"], recipe["selection"]) == ("hsc-wide", "6", "desi")
    shares = [recipe[name] for name in ("fraction_stars", "fraction_bad", "ebv")]
    assert shares == ["0.0", "0.0", "drawn"]


@pytest.fixture(scope="module")
def das(hsc, tmp_path_factory):
    path = tmp_path_factory.mktemp("das") / "das"
    return path, write(path, "hsc-das", HSC_WIDE, hsc)


def read(path, survey):
    batch = read_batch(discover([str(path)]).sources, Wanted(survey.bands, 64, survey.pixel_scale))
    assert len(batch.object_id) == N
    return batch, {int(number): row for row, number in enumerate(batch.object_id)}


def centred(images, offset):
    """What a reader makes of images whose target is `offset` (x, y) from the centre."""
    dx, dy = (round(float(value)) for value in offset)
    padded = np.pad(images, ((0, 0), (32, 32), (32, 32)))
    seen = padded[:, 32 + dy : 96 + dy, 32 + dx : 96 + dx]
    return np.where(np.isfinite(seen), seen, 0)


@pytest.mark.parametrize("layout", ["cube", "mef", "per-band"])
def test_what_predict_reads_is_what_was_simulated(hsc, tmp_path, layout):
    write(tmp_path / layout, layout, HSC_WIDE, hsc)
    batch, row_of = read(tmp_path / layout, HSC_WIDE)
    for row, number in enumerate(hsc.object_id):
        there = row_of[int(number)]
        # A half pixel may be rounded either way; the offsets of good stamps never reach it.
        expected = centred(hsc.images[row], hsc.offset[row])
        np.testing.assert_array_equal(batch.images[there], expected, err_msg=str(hsc.defect[row]))
        np.testing.assert_allclose(batch.ra[there], hsc.ra[row], atol=1e-8)
        np.testing.assert_allclose(batch.dec[there], hsc.dec[row], atol=1e-8)


def test_lsst_cutouts_are_in_njy_and_read_as_such(lsst, tmp_path):
    truth = write(tmp_path / "lsst", "lsst", LSST_Y10, lsst)
    batch, row_of = read(tmp_path / "lsst", LSST_Y10)
    # No file says where the target is: a reader must take the image's centre.
    whole = ~np.isin(lsst.defect, ["trimmed", "off_centre"])
    assert whole.sum() > 30
    for row in np.flatnonzero(whole):
        there = row_of[int(lsst.object_id[row])]
        expected = np.where(np.isfinite(lsst.images[row]), lsst.images[row], 0)
        np.testing.assert_allclose(batch.images[there], expected, rtol=3e-7)
        assert not batch.flags[there] & (Flag.PADDED | Flag.OFF_CENTRE)
    for row, names in enumerate(truth["files"]):
        number = lsst.object_id[row]
        absent = lsst.damage[row].missing if row in lsst.damage else None
        bands = [band for k, band in enumerate("ugrizy") if k != absent]
        assert names == [f"{number}_{band}.fits" for band in bands]
        with fits.open(tmp_path / "lsst" / names[-1]) as hdus:
            hdus.verify("exception")
            assert len(hdus) == 2
            assert hdus[0].data is None
            assert hdus[0].header["BTLRV002"] == tract_of(lsst.ra[row], lsst.dec[row]).number
            assert (hdus[0].header["ST_RA"], hdus[0].header["ST_DEC"]) == (
                lsst.ra[row],
                lsst.dec[row],
            )
            assert hdus[1].header["BUNIT"] == "nJy"
            if whole[row]:
                expected = lsst.images[row, 5 if absent != 5 else 4] * NJY_PER_FLUX
                np.testing.assert_allclose(hdus[1].data, expected, rtol=3e-7)
            x, y = WCS(hdus[1].header).world_to_pixel_values(lsst.ra[row], lsst.dec[row])
            centre = (np.array(hdus[1].shape)[::-1] - 1) / 2
            offset = truth["offset_x"][row], truth["offset_y"][row]
            np.testing.assert_allclose([x, y] - centre, offset, atol=1e-5)
    table = pq.read_table(tmp_path / "lsst/objects.parquet")
    assert table.column_names == ["objectId", "coord_ra", "coord_dec", "ebv", "tract"]
    assert table["objectId"].to_pylist() == lsst.object_id.tolist()
    np.testing.assert_array_equal(table["coord_dec"], lsst.dec)


def test_hsc_files_answer_the_lines_of_the_request(hsc, das):
    path, truth = das
    lines = (path / "request.txt").read_text().splitlines()
    assert lines[0].startswith("#?")
    columns = lines[0].removeprefix("#?").split()
    table = fitsio.read(path / "request.fits")
    assert table.dtype.names == ("# object_id", "ira", "idec", "tract")
    assert len(table) == len(lines) - 1 == 5 * N
    np.testing.assert_array_equal(table["# object_id"], np.repeat(hsc.object_id, 5))
    for row, names in enumerate(truth["files"]):
        assert len(names) == (4 if hsc.defect[row] == "missing_band" else 5)
        for name in names:
            line, band, tract = NAME.fullmatch(name).groups()
            # Lines of a text file count from 1, and its first is the header.
            asked = dict(zip(columns, lines[int(line) - 1].split(), strict=True))
            assert asked["filter"] == f"HSC-{band}"
            assert float(asked["ra"]) == pytest.approx(hsc.ra[row], abs=1e-7)
            entry = table[int(line) - 2]
            assert entry["# object_id"] == hsc.object_id[row]
            assert (entry["ira"], entry["idec"]) == (hsc.ra[row], hsc.dec[row])
            assert entry["tract"] == int(tract)


def test_hsc_files_hold_image_mask_and_variance(hsc, das):
    path, truth = das
    sky = []
    for row, names in enumerate(truth["files"]):
        for name in names:
            band = "GRIZY".index(NAME.fullmatch(name)[2])
            with fits.open(path / name) as hdus:
                hdus.verify("exception")
                image, mask, variance = (hdu.data for hdu in hdus[1:])
                header, planes = hdus[0].header, hdus[2].header
                x, y = WCS(hdus[1].header).world_to_pixel_values(hsc.ra[row], hsc.dec[row])
            assert (header["FILTER"], header["FLUXMAG0"]) == (
                "grizy"[band],
                pytest.approx(63095734448.0194, rel=1e-12),
            )
            assert not {"OBJECT", "OBJECT_ID", "RA_TARG", "RA"} & set(header)
            box = hsc.damage[row].box if row in hsc.damage else (slice(None), slice(None))
            np.testing.assert_array_equal(image, hsc.images[row, band][box])
            assert image.shape == mask.shape == variance.shape
            centre = (np.array(image.shape)[::-1] - 1) / 2
            offset = truth["offset_x"][row], truth["offset_y"][row]
            np.testing.assert_allclose([x, y] - centre, offset, atol=1e-5)
            # By name: planes that a defect sets are set where its pixels are.
            bit = {key: (mask >> planes[f"MP_{key}"]) & 1 for key in ("SAT", "CR", "NO_DATA")}
            np.testing.assert_array_equal(bit["NO_DATA"] == 1, ~np.isfinite(image))
            assert bit["SAT"].any() == (hsc.defect[row] == "saturated")
            assert not bit["CR"].any() or hsc.defect[row] == "cosmic_ray"
            # Pixels five apart share no noise; light changes little over them where it is faint.
            quiet = (mask[:, 5:] == 0) & (mask[:, :-5] == 0)
            step = (image[:, 5:] - image[:, :-5])[quiet]
            expected = np.sqrt(variance[:, 5:] + variance[:, :-5])[quiet]
            if quiet.sum() > 1000:
                sky.append(1.4826 * np.median(np.abs(step / expected)))
    assert len(sky) > 4 * N
    assert np.median(sky) == pytest.approx(1.0, abs=0.08)


def test_hsc_files_look_like_real_ones(das, shared_data):
    path, _ = das
    real_path = shared_data / "hsc_das_cutouts"
    real_files = sorted(real_path.glob("*-cutout-*.fits"))
    ours = next(iter(path.glob("*-cutout-HSC-I-*.fits")))
    table = fitsio.read(real_path / "star_cat_correct.fits")
    columns = fitsio.read(path / "request.fits").dtype
    for name in columns.names:
        assert table.dtype[name].kind == columns[name].kind
    for file in real_files:
        line, _, tract = NAME.fullmatch(file.name).groups()
        entry = table[int(line) - 2]
        assert tract_of(entry["ira"], entry["idec"]).number == entry["tract"] == int(tract)
        with fits.open(file) as theirs, fits.open(ours) as mine:
            assert len(mine) == len(theirs)
            for key in ("FILTER", "FLUXMAG0"):
                assert type(mine[0].header[key]) is type(theirs[0].header[key])
            assert mine[0].header["FLUXMAG0"] == pytest.approx(theirs[0].header["FLUXMAG0"])
            assert mine[1].data.dtype == theirs[1].data.dtype
            for key in theirs[1].header:
                # When it was observed, and what the mock's stamps have no use for.
                if key not in ("MJD-OBS", "DATE-OBS", "INHERIT"):
                    assert key in mine[1].header, key
            numbers = {key: theirs[1].header[key] for key in ("CRVAL1", "CRVAL2")}
            centre = tract_of(entry["ira"], entry["idec"])
            assert (numbers["CRVAL1"], numbers["CRVAL2"]) == (
                pytest.approx(centre.ra, abs=1e-9),
                pytest.approx(centre.dec, abs=1e-9),
            )
            # Where the tract's plane puts the target is where the real file has it.
            x, y = centre.place(entry["ira"], entry["idec"], 0.168)
            assert x + theirs[1].header["CRPIX1"] - 1 == pytest.approx(12, abs=1)
            assert y + theirs[1].header["CRPIX2"] - 1 == pytest.approx(12, abs=1)
            assert theirs[1].header["CRPIX1"] - theirs[1].header["LTV1"] == 18000
            first = mine[1].header["CRPIX1"] - mine[1].header["LTV1"]
            assert first == pytest.approx(18000, abs=0.5)


@pytest.mark.parametrize(("layout", "survey"), [("hsc-das", LSST_Y10), ("lsst", HSC_WIDE)])
def test_a_layout_of_another_survey_is_refused(tmp_path, layout, survey):
    with pytest.raises(UsageError, match=f"--layout {layout}"):
        CutoutFolder(tmp_path / "x", layout, Recipe(survey, 0), overwrite=False)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("dec", [-90.0, -89.0, -30.0, 0.0, 45.0, 90.0])
@pytest.mark.parametrize("ra", [0.0, 179.9, 359.999])
def test_every_position_is_in_a_tract_near_it(ra, dec):
    tract = tract_of(ra, dec)
    assert 1 <= tract.number <= 18938
    x, y = tract.place(ra, dec, 0.168)
    # A tract is 1.49 deg wide; the poles are a little farther from the outermost rings.
    assert np.hypot(x, y) * 0.168 / 3600 < (1.6 if abs(dec) > 88 else 1.1)
