"""`verify`, `status` and `evaluate` of folders of parts, HATS catalogues and survey names."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from photoz_mmae.catalog.layouts import catalogue_files

RUN = {"checksum", "rows", "ids", "parts", "content"}
N = 14
MADE = {
    "parts": (),
    "hsc": ("--naming", "hsc"),
    "lsst.parquet": ("--naming", "lsst", "--keep", "ra,note"),
    "hats": ("--hats", "--naming", "lsst", "--keep", "ra,note"),
}


@pytest.fixture(scope="module")
def made(copy_with_flaws, scheduler, tiny_model, tmp_path_factory):
    """A folder with cutouts `in/`, and their catalogues in all forms."""
    from photoz_mmae.cli.main import main

    folder = tmp_path_factory.mktemp("made")
    copy_with_flaws(folder / "in")
    rows = "".join(f"{1000 + i},{i},{0.1 * i},n{i}\n" for i in range(12))
    (folder / "t.csv").write_text(f"object_id,ra,redshift,note\n{rows}")
    for name, more in MADE.items():
        words = ["predict", folder / "in", "-o", folder / name, "--model", tiny_model, *more]
        words += ["--part-size", 4, "--scheduler", scheduler, "--max-bad", 1, "--batch-size", 4]
        if "--keep" in more:
            words += ["--catalog", folder / "t.csv", "--columns", "ra=redshift,dec=redshift"]
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        assert stop.value.code == 0
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """Copy a catalogue and its run folder, to be damaged."""

    def copy(name):
        folder = name.removesuffix(".parquet")
        shutil.copytree(made / f"{folder}.run", tmp_path / f"{folder}.run")
        if (made / name).is_dir():
            return shutil.copytree(made / name, tmp_path / name)
        return shutil.copy2(made / name, tmp_path / name)

    return copy


@pytest.fixture
def verify(photoz, tiny_model):
    """Run `verify --json`; returns the names of the checks that failed and all texts by name."""

    def run(catalogue, *words):
        code, out, err = photoz("verify", catalogue, "--json", "--model", tiny_model, *words)
        if not out:
            return code, err
        checks = {check["name"]: check for check in json.loads(out)["checks"]}
        failed = {name for name, check in checks.items() if check["verdict"] == "FAILED"}
        assert code == (8 if failed else 0)
        return failed, {name: check["text"] for name, check in checks.items()}

    return run


def rewrite(path, change):
    """Replace a file by what `change` makes of its table, under the same metadata."""
    with path.open("rb") as file:  # a name with "=" in it is no partition for pyarrow then
        table = pq.read_table(file)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


def with_value(name, row, value):
    def change(table):
        values = table[name].to_pylist()
        values[row] = value(values[row])
        field = table.schema.field(name)
        place = table.schema.get_field_index(name)
        return table.set_column(place, field, pa.array(values, field.type))

    return change


@pytest.mark.parametrize("name", MADE)
def test_a_sound_catalogue(verify, made, name):
    failed, texts = verify(made / name, "--against", made / "in")
    assert not failed, texts
    assert f"{N} of {N} objects predicted again, largest difference 0" in texts["sample"]
    assert texts["against"] == f"{N} cutouts, one row each"
    assert texts["ids"].endswith("in any order" if name == "hats" else "in the order of the plan")
    assert "not compared" not in texts["files"]
    folder = made / f"{name.removesuffix('.parquet')}.run"
    aside = folder.rename(made / "aside")
    try:
        failed, texts = verify(made / name, "--against", made / "in")
    finally:
        aside.rename(folder)
    assert not failed, texts
    assert {check for check, text in texts.items() if text == f"no run folder {folder}"} == {
        *RUN,
        "sample",
    }


def swap(folder):
    first, second = folder / "part-000000.parquet", folder / "part-000001.parquet"
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)


def in_part(number, change):
    return lambda folder: rewrite(folder / f"part-{number:06d}.parquet", change)


def of_another(folder):
    path = folder / "part-000002.parquet"
    table = pq.read_table(path)
    metadata = {**table.schema.metadata, b"photoz_mmae.created": b"2001-01-01"}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def torn(path):
    path.write_bytes(path.read_bytes()[:-100])


def other_header(folder):
    path = folder / "part-000003.parquet"
    table = pq.read_table(path)
    key = b"IVOA.VOTable-Parquet.content"
    header = table.schema.metadata[key].replace(b'nrows="2"', b'nrows="3"')
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, key: header}), path)


SAME_ROWS = {"checksum", "content", "sample"}
DAMAGE = {
    "a file less": (
        lambda folder: (folder / "part-000001.parquet").unlink(),
        {"files", "checksum", "rows", "ids", "counts"},
        "part 1 is not there: no part-000001.parquet",
    ),
    "the last file less": (
        lambda folder: (folder / "part-000003.parquet").unlink(),
        {"files", "checksum", "rows", "ids", "values", "counts"},
        "its files have 12 rows together, their metadata say 14",
    ),
    "files swapped": (swap, {"checksum", "ids"}, "part 0 (part-000000.parquet) has other ids"),
    "a file twice": (
        lambda folder: shutil.copy2(folder / "part-000000.parquet", folder / "part-000004.parquet"),
        {"files", "checksum", "rows", "ids", "values", "counts"},
        "part-000004.parquet is of no part of the plan",
    ),
    "a stranger": (
        lambda folder: (folder / "notes.txt").write_text("mine"),
        {"files", "checksum"},
        "it holds notes.txt, which this program did not write",
    ),
    "a copy": (
        lambda folder: shutil.copy2(
            folder / "part-000000.parquet", folder / "part-000000 (copy).parquet"
        ),
        {"files", "checksum"},
        "it holds part-000000 (copy).parquet, which this program did not write",
    ),
    "a value": (
        in_part(1, with_value("z_mc", 1, lambda z: z + 0.01)),
        SAME_ROWS,
        "part 1 (part-000001.parquet): z_mc of object 1005 is",
    ),
    "a bit": (
        in_part(1, with_value("flags", 2, lambda bits: bits | 1 << 30)),
        {*SAME_ROWS, "values"},
        "flags has bits that mean nothing in 1 row, the first row 2 of part-000001.parquet",
    ),
    "a row less": (
        in_part(2, lambda table: table.slice(1)),
        {"files", "schema", "checksum", "rows", "ids", "counts"},
        "part-000002.parquet: the VOTable header tells of 4 rows, not 3",
    ),
    "a column less": (
        in_part(3, lambda table: table.drop_columns("z_std")),
        {"schema"},
        "part-000003.parquet: no column z_std",
    ),
    "a header": (
        other_header,
        {"schema", "checksum"},
        "part-000003.parquet: the VOTable header tells of 3 rows, not 2",
    ),
    "a file of another catalogue": (
        of_another,
        {"files", "checksum"},
        "part-000002.parquet is of another catalogue than part-000000.parquet: "
        "photoz_mmae.created differs",
    ),
    "a torn file": (
        lambda folder: torn(folder / "part-000002.parquet"),
        {"readable", "files"},
        "part-000002.parquet: it begins as Parquet and does not end so",
    ),
}


def assert_found(verify, catalogue, change, expected, said):
    change(catalogue)
    failed, texts = verify(catalogue)
    assert said in " ".join(texts.values()), (failed, texts)
    assert failed == expected, texts


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_a_folder_of_parts(verify, copied, damage):
    assert_found(verify, copied("parts"), *DAMAGE[damage])


def in_partition(change):
    return lambda folder: rewrite(next(folder.glob("dataset/Norder=*/*/*.parquet")), change)


def moved(folder):
    path = next(folder.glob("dataset/Norder=*/*/*.parquet"))
    path.rename(path.with_name("Npix=3.parquet"))


def another_list(folder):
    text = (folder / "hats.properties").read_text()
    (folder / "hats.properties").write_text(text.replace("hats_nrows=13", "hats_nrows=11"))
    (folder / "partition_info.csv").write_text("Norder,Npix\n1,3\n")
    (folder / "dataset/_metadata").write_bytes(b"")


def swap_sources(table):
    sources = table["source"].to_pylist()
    sources[:2] = sources[1::-1]
    return table.set_column(
        table.schema.get_field_index("source"), table.schema.field("source"), [sources]
    )


DAMAGE_TO_HATS = {
    "a value": (
        in_partition(with_value("zmode", 1, lambda z: z + 0.001)),
        SAME_ROWS,
        "zmode of object ",
    ),
    "a place": (
        in_partition(with_value("coord_ra", 1, lambda ra: ra + 1e-3)),
        {*SAME_ROWS, "files"},
        "_healpix_29 is not that of coord_ra and coord_dec",
    ),
    "sources swapped": (
        in_partition(swap_sources),
        {"checksum", "ids"},
        "is not there, and 2 more",
    ),
    "a row less": (
        in_partition(lambda table: table.slice(1)),
        {"files", "checksum", "rows", "ids", "counts"},
        "hats_nrows of hats.properties is 13, the partitions have 12 rows",
    ),
    "a row twice": (
        in_partition(lambda table: pa.concat_tables([table.slice(0, 1), table])),
        {"files", "checksum", "rows", "ids", "values", "counts"},
        "1 row is of no part, or there twice",
    ),
    "another order": (
        in_partition(lambda table: table.take(pa.array([1, 0, *range(2, 13)]))),
        {"files", "checksum"},
        "not sorted by _healpix_29",
    ),
    "the rows without position": (
        lambda folder: (folder / "no_position.parquet").unlink(),
        {"files", "checksum", "rows", "ids", "counts"},
        "0 rows in no_position.parquet, its metadata say otherwise",
    ),
    "another pixel": (moved, {"files", "checksum"}, "rows of other pixels"),
    "the lists": (
        another_list,
        {"files", "checksum"},
        "partition_info.csv names Norder=1, Npix=3, which is not there",
    ),
    "a torn partition": (
        lambda folder: torn(next(folder.glob("dataset/Norder=*/*/*.parquet"))),
        {"readable", "files"},
        ".parquet: it begins as Parquet and does not end so",
    ),
    "the common metadata": (
        lambda folder: (folder / "dataset/_common_metadata").unlink(),
        {"schema", "checksum"},
        "dataset/_common_metadata: cannot be read",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE_TO_HATS)
def test_damage_to_hats(verify, copied, damage):
    assert_found(verify, copied("hats"), *DAMAGE_TO_HATS[damage])


def test_hats_without_a_part_file(verify, copied, made):
    catalogue = copied("hats")
    sorted((catalogue.with_suffix(".run") / "parts").iterdir())[1].unlink()
    failed, texts = verify(catalogue, "--against", made / "in")
    assert failed == {"parts"}
    assert "but for 4 rows whose part files are lost" in texts["ids"]
    assert f"10 of {N} objects predicted again (4 of parts with a fault)" in texts["sample"]
    assert texts["against"] == "4 rows are of parts whose files are lost"


VALUES = {
    ("hsc", "photoz_conf_mode"): (2.0, "photoz_conf_mode is outside 0 to 1"),
    ("hsc", "photoz_err68_min"): (5.9, "photoz_err68_min is above photoz_median"),
    ("hsc", "photoz_std_best"): (0.0, "photoz_std_best is below photoz_std_mean"),
    ("hsc", "photoz_best"): (None, "photoz_best and the flags of rows without redshift do not"),
    ("hsc", "photoz_mc"): (None, "photoz_mc and photoz_best are not null together"),
    ("lsst.parquet", "zmean"): (9.0, "zmean is outside the model's range, 0 to 6"),
    ("lsst.parquet", "z_p84"): (0.001, "zmedian is above z_p84"),
    ("lsst.parquet", "zmode"): (None, "zmode and the flags of rows without redshift do not agree"),
    ("lsst.parquet", "coord_dec"): (-91.0, "coord_dec is outside -90 to 90"),
    ("lsst.parquet", "coord_ra"): (None, "coord_ra without coord_dec"),
}


@pytest.mark.parametrize(("name", "column"), VALUES)
def test_values_under_survey_names(verify, copied, name, column):
    value, said = VALUES[name, column]
    catalogue = copied(name)
    file = catalogue_files(catalogue)[0]
    rewrite(file, with_value(column, 2, lambda _: value))
    failed, texts = verify(catalogue)
    assert {*SAME_ROWS, "values"} <= failed <= {*SAME_ROWS, "values", "counts"}
    assert said in texts["values"]
    assert f"{column} of object 1002" in texts["content"]
    assert f"{column} of object 1002" in texts["sample"]


def test_what_is_no_catalogue(verify, made, tmp_path):
    for folder in (made / "in", tmp_path):
        code, err = verify(folder)
        assert code == 4
        assert "a folder without any file of a catalogue" in err
    assert verify(tmp_path / "none")[0] == 4


def test_status_by_any_name(photoz, copied):
    for output in (copied("parts"), copied("hats"), copied("lsst.parquet")):
        stem = output.with_suffix("")
        for name in (stem, f"{stem}/", f"{stem}.run", f"{stem}.run/", f"{stem}.parquet"):
            code, out, err = photoz("status", name, "--json")
            assert (code, err) == (0, "")
            catalogue = json.loads(out)["catalogue"]
            assert (catalogue["path"], catalogue["rows"]) == (str(output), N)
            assert (catalogue["up_to_date"], catalogue["says"]) == (True, "up to date")
            assert catalogue["created"]
    folder = output.with_name("parts")
    (folder / "part-000001.parquet").write_bytes(b"PAR1")
    says = json.loads(photoz("status", folder, "--json")[1])["catalogue"]["says"]
    assert says.startswith("not readable as Parquet (part-000001.parquet: ")
    (folder / "part-000001.parquet").unlink()
    says = json.loads(photoz("status", folder, "--json")[1])["catalogue"]["says"]
    assert says == "not as this run wrote it"
    shutil.rmtree(folder)
    catalogue = json.loads(photoz("status", f"{folder}.run", "--json")[1])["catalogue"]
    assert (catalogue["path"], catalogue["says"]) == (str(folder), "not there yet")


def test_evaluate_takes_them_all(photoz, made, copied):
    found = {}
    for name in MADE:
        code, out, err = photoz("evaluate", made / name, "--truth", made / "t.csv", "--json")
        assert (code, err) == (0, "")
        found[name] = json.loads(out)
    points = {name: (each["z_phot"], each["joined_by"]) for name, each in found.items()}
    assert points == {
        "parts": ("z_best", "object_id"),
        "hsc": ("photoz_best", "object_id"),
        "lsst.parquet": ("zmode", "objectId"),
        "hats": ("zmode", "objectId"),
    }
    same = [{**each["all"]} for each in found.values()]
    assert same[0] == same[1]
    assert {k: pytest.approx(v) for k, v in same[2].items()} == same[3]
    assert "coverage_95" in same[0]
    assert "coverage_95" not in same[2]
    for all_metrics in same:
        assert all_metrics["n"] == all_metrics["n_pdf"] == 13  # one id occurs twice
        assert np.isfinite(all_metrics["coverage_68"])
    _, out, _ = photoz(
        *("evaluate", made / "parts", "--z-phot", "z_mode", "--truth", made / "t.csv", "--json")
    )
    assert json.loads(out)["all"]["bias_mean"] == pytest.approx(same[2]["bias_mean"])
    # A catalogue against another, and against itself.
    _, out, _ = photoz(
        *("evaluate", made / "hats", "--truth", made / "lsst.parquet", "--z-spec", "zmode"),
        "--json",
    )
    assert json.loads(out)["joined_by"] == "objectId"
    _, out, _ = photoz(
        *("evaluate", made / "parts", "--truth", made / "parts", "--z-spec", "z_mode", "--json")
    )
    assert json.loads(out)["joined_by"] == "row number"
    # Half a catalogue is none.
    folder = copied("parts")
    (folder / "part-000001.parquet").unlink()
    code, _, err = photoz("evaluate", folder, "--truth", made / "t.csv")
    assert code == 4
    assert "is a folder that holds no whole catalogue of this program" in err
