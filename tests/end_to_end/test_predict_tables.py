"""What a table of objects brings besides E(B-V): positions, kept columns, the files themselves."""

import gzip
import shutil

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from photoz_mmae.flags import Flag

IDS = list(range(1000, 1012))


@pytest.fixture
def objects(tmp_path):
    """Write a table of objects in a format; returns its path."""

    def write(columns, suffix="parquet", name="objects"):
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.table(columns), path)
        elif suffix == "vot.gz":
            Table(columns).write(tmp_path / "plain.vot", format="votable", overwrite=True)
            path.write_bytes(gzip.compress((tmp_path / "plain.vot").read_bytes()))
        else:
            formats = {"vot": "votable", "ecsv": "ascii.ecsv", "fits": "fits", "csv": "ascii.csv"}
            Table(columns).write(path, format=formats[suffix], overwrite=True)
        return path

    return write


def rows(tmp_path, name="c.parquet"):
    return pq.read_table(tmp_path / name)


def column(tmp_path, name):
    return rows(tmp_path)[name].to_pylist()


def stamps(tmp_path):
    return {file.name: file.stat().st_ino for file in (tmp_path / "c.run/parts").iterdir()}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "fits", "vot", "vot.gz", "ecsv"])
def test_every_format(predict, cutouts, objects, tmp_path, suffix):
    columns = {"object_id": IDS, "ebv": [0.1] * 12, "field": ["deep", "wide"] * 6}
    code, out, err = predict(cutouts, "--catalog", objects(columns, suffix), "--keep", "field")
    assert code == 0, err
    assert "12 objects, 12 with E(B-V)" in out
    assert column(tmp_path, "ebv") == pytest.approx([0.1] * 12)
    assert column(tmp_path, "field") == columns["field"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.vot", b"<?xml version='1.0'?><VOTABLE version='1.4'><RESOURCE>", "not readable as VOT"),
        ("t.vot", b"<VOTABLE version='1.4'></VOTABLE>", "not readable as VOTable"),
        ("t.ecsv", b"# %ECSV 1.0\n# ---\nobject_id ebv\n1 2 3\n", "not readable as ECSV"),
    ],
)
def test_damaged_tables(predict, cutouts, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    code, _, err = predict(cutouts, "--catalog", tmp_path / name)
    assert (code, len(err.splitlines())) == (4, 1), err
    assert message in err


def wcs_cutout(path, seed=0):
    """A cutout of 80 pixels with a blob off its centre; its header says nothing of a target."""
    head = fits.Header()
    head["CTYPE1"], head["CTYPE2"], head["BANDS"] = "RA---TAN", "DEC--TAN", "grizy"
    head["CRVAL1"], head["CRVAL2"], head["CRPIX1"], head["CRPIX2"] = 150.0, 2.0, 40.5, 40.5
    head["CD1_1"], head["CD2_2"], head["MAGZERO"] = -0.168 / 3600, 0.168 / 3600, 27.0
    y, x = np.mgrid[:80, :80]
    noise = np.random.default_rng(seed).normal(0, 0.1, (5, 80, 80))
    image = noise + 5 * np.exp(-((x - 49.5) ** 2 + (y - 39.5) ** 2) / 20)
    path.parent.mkdir(exist_ok=True)
    fits.PrimaryHDU(image.astype(np.float32), head).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("unit", ["deg", "rad"])
def test_the_position_of_the_table_wins(predict, objects, tmp_path, unit):
    for n in range(2):
        wcs_cutout(tmp_path / f"in/{n}.fits", n)
    assert predict(tmp_path / "in", output=tmp_path / "0.parquet")[0] == 0
    # Ten pixels to the west of the centre is the blob; of the other nothing is said.
    ra = np.array([150.0 - 10 * 0.168 / 3600 / np.cos(np.radians(2)), np.nan])
    table = Table({"object_id": [0, 1], "coord_ra": ra, "coord_dec": [2.0, 2.0]})
    for name in ("coord_ra", "coord_dec"):
        table[name].unit = "deg"
        table[name] = table[name].to(unit)
    table.write(tmp_path / "t.fits")
    options = (tmp_path / "in", "--catalog", tmp_path / "t.fits")
    code, out, err = predict(*options)
    assert code == 0, err
    assert "2 objects, 1 with a position" in out
    moved, unmoved = rows(tmp_path), rows(tmp_path, "0.parquet")
    assert moved["ra"][0].as_py() == pytest.approx(ra[0], abs=1e-9)
    assert moved["flux_i"][0].as_py() > 2 * unmoved["flux_i"][0].as_py()
    assert moved["flux_i"][1] == unmoved["flux_i"][1]
    assert "ebv" not in moved.column_names
    # The same again; then the second one gets a position, too.
    assert "nothing new" in predict(*options)[1]
    Table({"object_id": [0, 1], "ra": [ra[0]] * 2, "dec": [2.0] * 2}).write(tmp_path / "u.fits")
    code, out, _ = predict(tmp_path / "in", "--catalog", tmp_path / "u.fits")
    assert (code, "2 objects in 1 of 1 part" in out) == (0, True)
    assert rows(tmp_path)["flux_i"][1].as_py() > 2 * unmoved["flux_i"][1].as_py()
    assert all(flags & Flag.DUPLICATE_SKY for flags in column(tmp_path, "flags"))
    assert 'same sky  2 rows within 0.5" of another id (DUPLICATE_SKY)' in out


def kept_columns():
    """One column of each kind, with gaps."""
    return {
        "tract": pa.array([9813] * 11 + [None], pa.int32()),
        "ext": pa.array([0.5] * 11 + [None], pa.float32()),
        "name": pa.array(["a", "bc", None, ""] * 3),
        "kind": pa.array(["star", "galaxy"] * 6).dictionary_encode(),
        "primary": pa.array([True, False, None] * 4),
        "small": pa.array([-1] * 12, pa.int8()),
        "big": pa.array([2**40] * 12, pa.uint64()),
        "when": pa.array([0, None] * 6, pa.timestamp("s")),
    }


def test_kept_columns_of_every_type(predict, cutouts, objects, tmp_path):
    kept = kept_columns()
    # Backwards, and without the last one.
    columns = {"object_id": pa.array(IDS), "ebv": pa.array([0.1] * 12), **kept}
    table = pa.table(columns).slice(0, 11).take(list(range(10, -1, -1)))
    path = objects(table)
    code, _, err = predict(cutouts, "--catalog", path, "--keep", ",".join(kept))
    assert code == 0, err
    found = rows(tmp_path)
    assert found.column_names[-8:] == list(kept)
    expected = {name: [*values.to_pylist()[:11], None] for name, values in kept.items()}
    expected["primary"] = [None if v is None else int(v) for v in expected["primary"]]
    expected["when"] = ["1970-01-01 00:00:00.000", None] * 6
    for name in ("name", "kind", "when"):
        expected[name] = ["" if v is None else v for v in expected[name]]
    assert {name: found[name].to_pylist() for name in kept} == expected
    # Readers of VOParquet, and duckdb.
    table = Table.read(tmp_path / "c.parquet", format="parquet.votable")
    assert table["tract"][0] == 9813
    assert np.isnan(table["tract"][11])
    assert table["kind"].tolist()[9:] == ["galaxy", "star", ""]
    assert table["name"].info.description == "name of the table given as --catalog"
    tracts = duckdb.sql(
        f"select count(tract) from '{tmp_path}/c.parquet' where tract = 9813"
    ).fetchall()
    assert tracts == [(11,)]


@pytest.mark.parametrize("suffix", ["fits", "vot", "ecsv"])
def test_units_and_descriptions_are_kept(predict, cutouts, objects, tmp_path, suffix):
    columns = {"object_id": IDS, "ebv": [0.1] * 12}
    size = MaskedColumn([1.5] * 12, mask=[True] + [False] * 11, unit="arcsec", description="radius")
    size.meta["ucd"] = "phys.angSize"
    path = objects(Table({**columns, "size": size}), suffix)
    assert predict(cutouts, "--catalog", path, "--keep", "size")[0] == 0
    table = Table.read(tmp_path / "c.parquet", format="parquet.votable")
    assert str(table["size"].unit) == "arcsec"
    assert column(tmp_path, "size") == [None] + [1.5] * 11
    if suffix != "fits":  # astropy writes neither into FITS tables
        assert table["size"].description == "radius"
    # A catalogue is a table, too: it passes on what it says of its columns.
    again = ("--catalog", tmp_path / "c.parquet", "--columns", "ebv=ebv", "--keep", "size")
    assert predict(cutouts, *again, output=tmp_path / "d.parquet")[0] == 0
    assert (
        str(Table.read(tmp_path / "d.parquet", format="parquet.votable")["size"].unit) == "arcsec"
    )


def test_keywords_of_fits_columns(predict, cutouts, objects, tmp_path):
    path = objects({"object_id": IDS, "ebv": [0.1] * 12, "size": [1.5] * 12}, "fits")
    with fits.open(path, mode="update") as file:
        for key, text in (("TUCD3", "phys.angSize"), ("TCOMM3", "its radius")):
            file[1].header[key] = text
    assert predict(cutouts, "--catalog", path, "--keep", "size")[0] == 0
    metadata = rows(tmp_path).schema.field("size").metadata
    assert metadata == {b"ucd": b"phys.angSize", b"description": b"its radius"}


def test_what_is_kept_may_change_without_a_prediction(predict, cutouts, objects, tmp_path):
    columns = {"object_id": IDS, "ebv": [0.1] * 12, "tract": [1] * 12, "patch": ["0,0"] * 12}
    run = (cutouts, "--part-size", "4", "--catalog", objects(columns))
    assert predict(*run)[0] == 0
    parts = stamps(tmp_path)
    for keep in ("tract", "patch,tract"):
        code, out, _ = predict(*run, "--keep", keep)
        assert (code, "0 objects in 0 of 3 parts" in out, "written" in out) == (0, True, True)
        assert rows(tmp_path).column_names[-len(keep.split(",")) :] == keep.split(",")
        assert "nothing new" in predict(*run, "--keep", keep)[1]
    objects(columns | {"tract": [1] * 11 + [2]})
    assert "written" in predict(*run, "--keep", "patch,tract")[1]
    assert column(tmp_path, "tract") == [1] * 11 + [2]
    # A command without --keep says that nothing is kept.
    assert predict(*run)[0] == 0
    assert "tract" not in rows(tmp_path).column_names
    assert not list((tmp_path / "c.run/kept").glob("*"))
    assert stamps(tmp_path) == parts


def test_a_corrected_id_gets_its_kept_values(predict, cutouts, objects, tmp_path):
    # The order of the ids, and with it that of the values, is the same before and after.
    ids, fields = [str(n) for n in IDS], [f"field {n}" for n in IDS]
    typo = [*ids[:3], "1003a", *ids[4:]]
    run = (cutouts, "--keep", "field", "--catalog")
    assert predict(*run, objects({"object_id": typo, "field": fields}, "csv"))[0] == 0
    assert column(tmp_path, "field")[3] == ""
    code, out, _ = predict(*run, objects({"object_id": ids, "field": fields}, "csv"))
    assert (code, "0 objects in 0 of" in out) == (0, True)
    assert column(tmp_path, "field") == fields


@pytest.mark.parametrize(
    ("keep", "code", "message"),
    [
        ("tract,ra", 2, "--keep: the catalogue has a column 'ra' of its own"),
        ("Flags", 2, "--keep: the catalogue has a column 'flags' of its own"),
        ("tract,tract", 2, "'tract' is named twice"),
        ("tract,,patch", 2, "give names as in tract,patch"),
        ("tracd", 4, "no column 'tracd'; did you mean 'tract'?"),
        ("spectrum", 4, "--keep spectrum: a column of type list<element: double> cannot be kept"),
    ],
)
def test_what_cannot_be_kept(predict, cutouts, objects, tmp_path, keep, code, message):
    columns = {"object_id": IDS, "ebv": [0.1] * 12, "tract": [1] * 12, "ra": [1.0] * 12}
    columns |= {"Flags": [1] * 12, "spectrum": [[1.0]] * 12, "dec": [1.0] * 12}
    found, _, err = predict(cutouts, "--catalog", objects(columns), "--keep", keep)
    assert (found, len(err.splitlines())) == (code, 1), err
    assert message in err
    assert not (tmp_path / "c.run").exists()


def test_keep_and_columns_want_a_table(predict, cutouts):
    assert predict(cutouts, "--keep", "tract")[0] == 2
    code, _, err = predict("--columns", "file=name")
    assert (code, "--columns: names columns of a table" in err) == (2, True)


def named(write_cube, folder, count=6):
    """Files that a table names, in another order than theirs."""
    for n in range(count):
        write_cube(folder / f"night{n % 2}/{n}.fits", seed=n)
    return [f"night{n % 2}/{n}.fits" for n in reversed(range(count))]


def test_the_table_names_the_files(predict, write_cube, objects, tmp_path):
    names = named(write_cube, tmp_path / "in")
    names[2] = "night1/gone.fits"
    ids = [f"obj-{n}" for n in range(6)]
    path = objects({"id": ids, "path": names, "ebv": [0.1] * 6})
    columns = ("--columns", "id=id,file=path")
    code, out, err = predict(tmp_path / "in", "--catalog", path, *columns)
    assert code == 3, err
    assert "found     6 objects; 1 whose files are not there; 1 other file ignored" in out
    assert column(tmp_path, "object_id") == ids
    found = rows(tmp_path)
    assert [bool(flags & Flag.READ_ERROR) for flags in column(tmp_path, "flags")] == [
        n == 2 for n in range(6)
    ]
    assert found["source"].to_pylist() == [f"{tmp_path}/in/{name}" for name in names]
    assert column(tmp_path, "ebv") == pytest.approx([0.1] * 6)
    assert "nothing new" in predict(tmp_path / "in", "--catalog", path, *columns)[1]
    # The one that was not there arrives, another one vanishes.
    write_cube(tmp_path / "in/night1/gone.fits", seed=50)
    (tmp_path / "in" / names[4]).unlink()
    code, out, _ = predict(tmp_path / "in", "--catalog", path, *columns)
    assert (code, "gone      1 cutout" in out) == (0, True)
    assert [bool(flags & Flag.SOURCE_GONE) for flags in column(tmp_path, "flags")] == [
        n == 4 for n in range(6)
    ]
    # Whose objects they are is a setting.
    code, _, err = predict(tmp_path / "in", "--catalog", path, "--columns", "id=id")
    assert (code, "objects were those of the files the table names" in err) == (6, True)


def test_no_name_and_the_name_of_a_folder(predict, write_cube, objects, tmp_path):
    names = [*named(write_cube, tmp_path / "in", 3), "", None, "night1"]
    path = objects({"object_id": list(range(6)), "path": names})
    run = (tmp_path / "in", "--catalog", path, "--columns", "file=path")
    code, out, _ = predict(*run)
    assert (code, "found     6 objects; 3 whose files are not there" in out) == (3, True), out
    flags = [bool(flags & Flag.READ_ERROR) for flags in column(tmp_path, "flags")]
    assert flags == [False] * 3 + [True] * 3
    # What comes into the folders is no news of these.
    (tmp_path / "in/night1/other.txt").touch()
    (tmp_path / "in/other.txt").touch()
    assert "nothing new" in predict(*run)[1]
    assert "0 objects in 0 of 1 part" in predict(*run, "--retry-bad")[1]
    (tmp_path / "in" / names[0]).write_text("no image")
    assert predict(*run)[0] == 3
    assert "6 objects in 1 of 1 part" in predict(*run, "--retry-bad")[1]


def test_an_object_without_a_name_gets_one_later(predict, write_cube, objects, tmp_path):
    names = named(write_cube, tmp_path / "in", 3)
    run = (tmp_path / "in", "--catalog", tmp_path / "objects.parquet", "--columns", "file=path")
    path = objects({"object_id": [0, 1, 2], "path": [*names[:2], ""]})
    assert predict(*run[:2], path, *run[3:])[0] == 3
    path = objects({"object_id": [0, 1, 2], "path": names})
    code, out, err = predict(*run[:2], path, *run[3:])
    assert code == 0, out + err
    flags = column(tmp_path, "flags")
    assert [bool(one & Flag.SOURCE_GONE) for one in flags] == [False, False, True, False]
    assert not any(one & Flag.DUPLICATE_ID for one in flags)


def test_names_start_from_the_table_or_are_absolute(predict, write_cube, objects, tmp_path):
    names = named(write_cube, tmp_path)
    names[0] = str(tmp_path / names[0])
    path = objects({"object_id": [5, 4, 3, 2, 1, 0], "name": names})
    code, _, err = predict("--catalog", path, "--columns", "file=name")
    assert code == 0, err
    assert column(tmp_path, "object_id") == [5, 4, 3, 2, 1, 0]


def test_one_file_per_band_and_many_objects_in_one_file(predict, objects, tmp_path):
    image = fits.getdata(wcs_cutout(tmp_path / "in/all.fits"))
    head = fits.getheader(tmp_path / "in/all.fits")
    del head["BANDS"]
    for k, band in enumerate("grizy"):
        fits.PrimaryHDU(image[k], head).writeto(tmp_path / f"in/{band.upper()}-x{band}x.fits")
    # Case and all, as the table writes it; the same stars three times, at two places.
    for band in "grizy":
        (tmp_path / f"in/{band.upper()}-x{band}x.fits").rename(tmp_path / f"in/p{band}7.fits")
    ra = 150.0 - np.array([0, 10, 0]) * 0.168 / 3600
    columns = {"object_id": [1, 2, 3], "file": ["p{band}7.fits"] * 2 + ["all.fits"]}
    path = objects({**columns, "ra": ra, "dec": [2.0] * 3})
    code, out, err = predict(tmp_path / "in", "--catalog", path, "--columns", "file=file")
    assert code == 0, err
    assert "other file" not in out
    flux = column(tmp_path, "flux_i")
    assert flux[0] == flux[2]
    assert flux[1] > 2 * flux[0]
    (tmp_path / "in/pz7.fits").unlink()
    code, out, _ = predict(tmp_path / "in", "--catalog", path, "--columns", "file=file")
    flags = column(tmp_path, "flags")
    assert [bool(value & Flag.MISSING_BAND) for value in flags] == [True, True, False]


def test_a_table_of_tonight_says_nothing_of_last_night(
    predict, photoz, write_cube, objects, tiny_model, tmp_path
):
    for n in range(6):
        write_cube(tmp_path / f"night{n // 3}/{n}.fits", seed=n, object_id=n)

    def table(ids, ebv):
        return objects({"object_id": ids, "ebv": [ebv] * len(ids)})

    def ebv():
        return [None if value is None else round(value, 3) for value in column(tmp_path, "ebv")]

    nights = [tmp_path / "night0", tmp_path / "night1"]
    assert predict(nights[0], "--catalog", table([0, 1, 2], 0.1))[0] == 0
    before = rows(tmp_path).to_pylist()
    code, out, err = predict(nights[1], "--catalog", table([3, 4, 5], 0.2))
    assert (code, "3 objects in 1 of 2 parts" in out) == (0, True), out + err
    assert repr(rows(tmp_path).to_pylist()[:3]) == repr(before)
    # Nor where a part of both nights is computed again.
    assert predict(*nights, "--catalog", table(list(range(6)), 0.3))[0] == 0
    assert ebv() == [0.3] * 6
    kept = [nights[0] / "1.fits", nights[1] / "4.fits"]
    code, out, err = predict(*kept, "--catalog", table([1, 4], 0.4))
    assert code == 0, out + err
    assert ebv() == [0.3, 0.4, 0.3, 0.3, 0.4, 0.3]
    code, out, _ = photoz("verify", tmp_path / "c.parquet", "--model", tiny_model)
    assert (code, "2 of 6 objects predicted again" in out) == (0, True), out
    # Asked for, they are given what the table says now, though it was this table before.
    assert predict(*nights, "--catalog", table([1, 4], 0.4))[0] == 0
    assert ebv() == [None, 0.4, None, None, 0.4, None]
    assert "nothing new" in predict(*nights, "--catalog", table([1, 4], 0.4))[1]


@pytest.mark.parametrize("left", [[2, 3], [3], [2]])
def test_of_many_objects_in_one_file_some_are_not_asked_for_again(predict, objects, tmp_path, left):
    wcs_cutout(tmp_path / "in/all.fits")

    def table(ids):
        ra = 150.0 - np.array(ids) * 4 * 0.168 / 3600
        return objects(
            {"object_id": ids, "file": ["all.fits"] * len(ids), "ra": ra, "dec": [2.0] * len(ids)}
        )

    run = ("--columns", "file=file")
    assert predict(tmp_path / "in", "--catalog", table([1, 2, 3]), *run)[0] == 0
    before = rows(tmp_path).to_pylist()
    code, out, err = predict(tmp_path / "in", "--catalog", table(left), *run)
    assert code == 0, out + err
    assert "0 objects in 0 of 1 part" in out
    assert repr(rows(tmp_path).to_pylist()) == repr(before)
    assert column(tmp_path, "object_id") == [1, 2, 3]
    assert not any(flags & Flag.DUPLICATE_ID for flags in column(tmp_path, "flags"))
    # Another object of the file is another object.
    assert predict(tmp_path / "in", "--catalog", table([4]), *run)[0] == 0
    assert column(tmp_path, "object_id") == [1, 2, 3, 4]


def test_another_object_of_a_file_that_held_one_is_another_object(predict, objects, tmp_path):
    wcs_cutout(tmp_path / "in/all.fits")
    for name, ra in ((7, 150.0), (8, 150.0 - 10 * 0.168 / 3600)):
        table = objects({"object_id": [name], "file": ["all.fits"], "ra": [ra], "dec": [2.0]})
        code, out, err = predict(tmp_path / "in", "--catalog", table, "--columns", "file=file")
        assert code == 0, out + err
    assert column(tmp_path, "object_id") == [7, 8]


@pytest.mark.parametrize(
    ("columns", "paths", "code", "message"),
    [
        ("file=nam", ["in"], 4, "no column 'nam'; did you mean 'name'?"),
        ("file=name", ["in", "in"], 2, "give one folder they are in"),
        ("file=name", ["nowhere"], 4, "no such folder"),
        ("file=name", ["other"], 4, "none of the files in column 'name' is there"),
        ("ra=name", ["in"], 2, "ra and dec are named together"),
        ("file=object_id,id=name", ["in"], 4, "none of the files in column 'object_id' is there"),
    ],
)
def test_names_that_lead_nowhere(
    predict, write_cube, objects, tmp_path, columns, paths, code, message
):
    names = named(write_cube, tmp_path / "in", 2)
    (tmp_path / "other").mkdir()
    path = objects({"object_id": [0, 1], "name": names})
    folders = [tmp_path / name for name in paths]
    found, _, err = predict(*folders, "--catalog", path, "--columns", columns)
    assert (found, len(err.splitlines())) == (code, 1), err
    assert message in err


def test_the_position_of_a_cutout_that_cannot_be_read(predict, cutouts, objects, tmp_path):
    some = shutil.copytree(cutouts, tmp_path / "in")
    (some / "1004.fits").write_bytes((some / "1004.fits").read_bytes()[:4000])
    table = objects({"object_id": IDS, "ra": np.linspace(10, 11, 12), "dec": [5.0] * 12})
    assert predict(some, "--catalog", table, "--max-bad", 1)[0] == 0
    bad = rows(tmp_path).slice(4, 1).to_pylist()[0]
    assert bad["flags"] & Flag.READ_ERROR
    assert (bad["ra"], bad["dec"]) == (pytest.approx(10 + 4 / 11), 5.0)
