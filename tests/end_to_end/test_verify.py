"""`verify`: a sound catalogue passes; of a damaged one it is said what is wrong, and where."""

import json
import os
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from photoz_mmae.flags import Flag
from photoz_mmae.lock import run_lock

RUN = ["checksum", "rows", "ids", "parts", "content"]
ALL = ["readable", "files", "model", "schema", *RUN, "values", "counts", "sample", "against"]
N = 14


@pytest.fixture(scope="module")
def made(copy_with_flaws, scheduler, tiny_model, tmp_path_factory):
    """A folder with cutouts `in/`, their catalogue c.parquet and embeddings e.parquet."""
    from photoz_mmae.cli.main import main

    folder = tmp_path_factory.mktemp("made")
    copy_with_flaws(folder / "in")
    for verb, output in (("predict", "c.parquet"), ("embed", "e.parquet")):
        words = [
            verb,
            folder / "in",
            "-o",
            folder / output,
            "--model",
            tiny_model,
            "--part-size",
            4,
        ]
        words += ["--scheduler", scheduler, "--max-bad", 1, "--batch-size", 4]
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        assert stop.value.code == 0
    return folder


@pytest.fixture
def catalogue(made, tmp_path):
    """A copy of the catalogue and its run folder, to be damaged; returns the catalogue."""
    shutil.copytree(made / "c.run", tmp_path / "c.run")
    return shutil.copy2(made / "c.parquet", tmp_path / "c.parquet")


@pytest.fixture
def verify(photoz, tiny_model):
    """Run `verify --json`; returns the exit code and the checks by name."""

    def run(catalogue, *words, model=tiny_model):
        code, out, err = photoz("verify", catalogue, "--json", "--model", model, *words)
        if not out:
            return code, err
        checks = {check["name"]: check for check in json.loads(out)["checks"]}
        assert sorted(checks) == sorted(ALL)
        failed = [name for name in ALL if checks[name]["verdict"] == "FAILED"]
        assert code == (8 if failed else 0)
        assert bool(err) == bool(failed)
        return set(failed), checks

    return run


def rewrite(path, change):
    """Replace the table by what `change` makes of it, under the same metadata."""
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


def with_value(name, row, value):
    """Change one value."""

    def change(table):
        values = table[name].to_pylist()
        values[row] = value(values[row]) if callable(value) else value
        field = table.schema.field(name)
        place = table.schema.get_field_index(name)
        return table.set_column(place, field, pa.array(values, field.type))

    return change


def with_unit(table):
    place = table.schema.get_field_index("flux_i")
    field = table.schema.field(place)
    other = field.with_metadata({**field.metadata, b"unit": b"uJy"})
    return table.set_column(place, other, table["flux_i"])


def as_double(table):
    place = table.schema.get_field_index("z_best")
    return table.set_column(place, "z_best", table["z_best"].cast(pa.float64()))


def rows(*numbers):
    return lambda table: table.take(pa.array(numbers))


def test_a_sound_catalogue(photoz, verify, made, tiny_model):
    for name in ("c.parquet", "e.parquet"):
        failed, checks = verify(made / name, "--against", made / "in")
        assert not failed
        assert {check["verdict"] for check in checks.values()} == {"ok"}, checks
        assert f"{N} of {N} objects predicted again, largest" in checks["sample"]["text"]
        assert checks["against"]["text"] == f"{N} cutouts, one row each"
        assert "1 row without" in checks["counts"]["text"]
    code, out, err = photoz("verify", made / "c.parquet", "--model", tiny_model, "--sample", 3)
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[:2]] == [
        ["ok", "readable"],
        ["ok", "files"],
    ]
    assert "ok          sample    3 of 14 objects" not in out
    assert "3 of 3 objects predicted again" in out
    assert "not checked against   no --against CUTOUTS" in out
    assert out.endswith("\nok, 12 checks; 1 not done\n")
    words = ("--model", tiny_model, "--sample", 1, "--against", made / "in")
    code, out, err = photoz("verify", made / "c.parquet", *words)
    assert (code, err) == (0, "")
    assert out.endswith("\nok, all 13 checks\n")


def test_numbers_are_told_with_the_digits_that_differ(verify, catalogue):
    """By a rounding error: with few digits the two would look alike."""
    was = pq.read_table(catalogue)["dec"][5].as_py()
    now = np.nextafter(was, 1.0)
    rewrite(catalogue, with_value("dec", 5, now))
    failed, checks = verify(catalogue)
    assert failed == {"checksum", "content"}
    found = re.search(
        r"dec of object 1005 is (\S+), in part-\S+ (\S+?),?$", checks["content"]["text"]
    )
    assert [float(text) for text in found.groups()] == [now, was]


def test_a_list_is_told_by_the_number_that_differs(verify, catalogue):
    def change(values):
        return [*values[:7], np.nextafter(np.float32(values[7]), np.float32(9)), *values[8:]]

    was = pq.read_table(catalogue)["z_quantiles"][5].as_py()[7]
    rewrite(catalogue, with_value("z_quantiles", 5, change))
    failed, checks = verify(catalogue)
    assert "content" in failed
    found = re.search(
        r"object 1005 is \(7\) (\S+), in part-\S+ \(7\) (\S+)", checks["content"]["text"]
    )
    now, then = (np.float32(text) for text in found.groups())
    assert then == np.float32(was) < now


def test_what_to_do_is_said_and_helps(verify, photoz, catalogue, made, tiny_model, scheduler):
    again = ["predict", made / "in", "-o", catalogue, "--model", tiny_model, "--part-size", 4]
    again += ["--scheduler", scheduler, "--max-bad", 1, "--batch-size", 4]
    part = sorted((catalogue.with_suffix(".run") / "parts").iterdir())[1]
    part.write_bytes(b"")
    code, _, err = photoz("verify", catalogue, "--model", tiny_model)
    assert code == 8
    assert err.endswith(
        "c.parquet: 1 check failed: parts; the command that made it brings it up to date, and "
        "computes damaged parts again\n"
    )
    assert photoz(*again)[0] == 0
    assert verify(catalogue)[0] == set()
    rewrite(catalogue, with_value("z_mc", 5, 0.1))
    code, _, err = photoz("verify", catalogue, "--model", tiny_model)
    assert code == 8
    assert err.endswith("; move it away, and the command that made it makes it again\n")
    catalogue.rename(catalogue.with_name("damaged.parquet"))
    assert photoz(*again)[0] == 0
    assert verify(catalogue)[0] == set()


SAME_ROWS = {"checksum", "content", "sample"}

DAMAGE = {
    "a value": (with_value("z_mc", 5, lambda z: z + 0.01), SAME_ROWS, "z_mc of object 1005 is"),
    "a row less": (
        rows(*range(5), *range(6, N)),
        {"schema", "checksum", "rows", "ids", "counts"},
        "part 1 (rows 4 to 7) has other ids",
    ),
    "a row twice": (
        rows(*range(6), *range(5, N)),
        {"schema", "checksum", "rows", "ids", "values", "counts"},
        "part 1 (rows 4 to 7) has other ids",
    ),
    "rows swapped": (
        rows(0, 1, 3, 2, *range(4, N)),
        {"checksum", "ids"},
        "part 0 (rows 0 to 3) has other ids, or in another order",
    ),
    "a stray bit": (
        with_value("flags", 2, lambda bits: bits | 1 << 30),
        {*SAME_ROWS, "values"},
        "flags has bits that mean nothing in 1 row, the first row 2 (object 1002)",
    ),
    "no flags": (
        with_value("flags", 2, None),
        {*SAME_ROWS, "values", "counts"},
        "flags is null in 1 row, the first row 2 (object 1002)",
    ),
    "beyond the model": (
        with_value("z_mode", 1, 99.0),
        {*SAME_ROWS, "values"},
        "z_mode is outside the model's range, 0 to 6 in 1 row",
    ),
    "an interval the wrong way round": (
        with_value("z_err68_min", 1, 5.9),
        {*SAME_ROWS, "values"},
        "z_err68_min is above z_median",
    ),
    "no redshift": (
        with_value("z_best", 1, None),
        {*SAME_ROWS, "values", "counts"},
        "z_best and the flags of rows without redshift do not agree in 1 row",
    ),
    "a magnitude": (
        with_value("mag_i", 1, 12.0),
        {*SAME_ROWS, "values"},
        "mag_i is not that of flux_i",
    ),
    "an infinite flux": (
        with_value("flux_g", 1, np.inf),
        {*SAME_ROWS, "values"},
        "flux_g is infinite",
    ),
    "a position": (
        with_value("dec", 1, -91.0),
        {*SAME_ROWS, "values"},
        "dec is outside -90 to 90",
    ),
    "a flag of repeated ids": (
        with_value("flags", 1, lambda bits: bits | int(Flag.DUPLICATE_ID)),
        {"checksum", "values", "counts"},
        "DUPLICATE_ID on other rows than those that share their id",
    ),
    "another source": (
        with_value("source", 1, "elsewhere/1001.fits"),
        {"checksum", "ids"},
        "part 0 (rows 0 to 3) has other sources",
    ),
    "a wrong unit": (with_unit, {"schema", "checksum"}, "flux_i: unit 'uJy', not 'nJy'"),
    "another type": (as_double, {"schema"}, "z_best is double, not float"),
    "a column less": (lambda table: table.drop_columns("z_std"), {"schema"}, "no column z_std"),
    "a column more": (
        lambda table: table.append_column("more", table["z_std"]),
        {"schema"},
        "1 column behind its own (more), not 0",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_the_table(verify, catalogue, damage):
    change, expected, said = DAMAGE[damage]
    rewrite(catalogue, change)
    failed, checks = verify(catalogue)
    assert failed == expected
    assert said in " ".join(check["text"] for check in checks.values())


def test_damage_to_the_votable_header(verify, catalogue):
    table = pq.read_table(catalogue)
    key = b"IVOA.VOTable-Parquet.content"
    header = table.schema.metadata[key].replace(b'unit="deg"', b'unit="rad"', 1)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, key: header}), catalogue)
    failed, checks = verify(catalogue)
    assert failed == {"schema", "checksum"}
    assert checks["schema"]["text"] == "ra: unit 'rad' in the VOTable header, not 'deg'"


def test_damage_to_the_bytes(verify, photoz, catalogue, tiny_model):
    whole = catalogue.read_bytes()
    catalogue.write_bytes(whole[: len(whole) // 2])
    failed, checks = verify(catalogue)
    assert failed == {"readable"}
    assert "it begins as Parquet and does not end so" in checks["readable"]["text"]
    assert checks["values"]["verdict"] == "not checked"
    # A page is lost, the footer is there.
    catalogue.write_bytes(whole[:4] + bytes(1000) + whole[1004:])
    failed, checks = verify(catalogue)
    assert failed == {"readable"}
    assert checks["readable"]["text"].startswith("rows from 0 on: ")
    code, out, err = photoz("verify", catalogue, "--model", tiny_model)
    assert code == 8
    assert "FAILED      readable  rows from 0 on" in out
    assert err.endswith(
        "c.parquet: 1 check failed: readable; move it away, and the command that made it makes it "
        "again\n"
    )


def test_damage_to_the_run_folder(verify, catalogue):
    folder = catalogue.with_suffix(".run")
    part = sorted((folder / "parts").iterdir())[1]
    content = bytearray(part.read_bytes())
    content[200] ^= 1
    part.write_bytes(content)
    failed, checks = verify(catalogue)
    assert failed == {"parts"}
    assert checks["parts"]["text"] == f"{part.name} of part 1 is missing, damaged or another file"
    part.unlink()
    assert verify(catalogue)[0] == {"parts"}
    journal = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(journal[:-1]))
    failed, checks = verify(catalogue)
    assert checks["parts"]["text"].endswith("damaged or another file, and 1 more")
    (folder / "problems.jsonl").unlink()
    assert verify(catalogue)[0] == {"parts", "counts"}
    plan = (folder / "plan.jsonl").read_text()
    (folder / "plan.jsonl").write_text(plan.replace('"sources"', '"sourcet"', 1))
    failed, checks = verify(catalogue)
    assert {"rows", "parts"} <= failed
    assert checks["rows"]["text"] == f"{N} rows, in the plan {N - 4}"
    shutil.rmtree(folder)
    failed, checks = verify(catalogue)
    assert not failed
    undone = {name for name in ALL if checks[name]["verdict"] == "not checked"}
    assert undone == {*RUN, "sample", "against"}
    assert checks["ids"]["text"] == f"no run folder {folder}"


def test_a_sample_of_parts_that_are_not_finished(verify, catalogue):
    journal = catalogue.with_suffix(".run") / "journal.jsonl"
    *finished, last = journal.read_text().splitlines(keepends=True)
    lost = json.loads(last)["rows"]
    journal.write_text("".join(finished))
    failed, checks = verify(catalogue)
    assert failed == {"parts"}
    said = f"{N - lost} of {N} objects predicted again ({lost} of parts with a fault), largest"
    assert said in checks["sample"]["text"]
    journal.write_text("")
    failed, checks = verify(catalogue)
    assert failed == {"parts"}
    assert checks["sample"]["verdict"] == "not checked"
    said = f"none of {N} objects can be predicted again ({N} of parts with a fault)"
    assert checks["sample"]["text"] == said


def test_the_model(photoz, verify, catalogue, make_info, save_tiny, tmp_path):
    other = save_tiny(tmp_path / "other", make_info(name="tiny", survey="lsst-y10"))
    failed, checks = verify(catalogue, model=other)
    assert failed == {"model"}
    assert "--model names another" in checks["model"]["text"]
    assert checks["sample"] == {
        "name": "sample",
        "verdict": "not checked",
        "text": "not the same model",
    }
    code, _, err = photoz("verify", catalogue, "--model", tmp_path / "other")
    assert (code, "name it with --model; then verify again" in err) == (8, True)
    code, err = verify(catalogue, model="nowhere")
    assert code == 5
    assert "'nowhere' is neither shipped nor a folder" in err
    code, err = verify(catalogue, model="n" * 300)  # no file system has such names
    assert (code, "cannot be read (File name too long)" in err) == (5, True)


def test_what_is_no_catalogue(photoz, tmp_path):
    pq.write_table(pa.table({"object_id": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("object_id,z_best\n")
    for name, said in (
        ("none.parquet", "No such file"),
        ("text.parquet", "no Parquet file"),
        ("other.parquet", "not a catalogue of this program"),
    ):
        code, _, err = photoz("verify", tmp_path / name)
        assert code == 4
        assert said in err


def test_pixels_that_changed_unnoticed(verify, write_cube, predict, cutouts, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "c.parquet"
    shutil.copytree(cutouts, folder)
    assert predict(folder)[0] == 0
    before = (folder / "1003.fits").stat()
    write_cube(folder / "1003.fits", seed=99)
    failed, checks = verify(output)
    assert not failed
    assert "(1 whose cutouts are gone, changed or not given last)" in checks["sample"]["text"]
    os.utime(folder / "1003.fits", ns=(before.st_atime_ns, before.st_mtime_ns))
    failed, checks = verify(output)
    assert failed == {"sample"}
    assert "of object 1003 is " in checks["sample"]["text"]


def test_against_the_cutouts(verify, predict, write_cube, cutouts, tmp_path, monkeypatch):
    output = tmp_path / "c.parquet"
    shutil.copytree(cutouts, tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    assert predict("in")[0] == 0
    write_cube(tmp_path / "in/2000.fits", seed=20)
    (tmp_path / "in/1004.fits").unlink()
    monkeypatch.chdir("/")  # relative names start from where the run was
    failed, checks = verify(output, "--against", tmp_path / "in")
    assert failed == {"against"}
    text = checks["against"]["text"]
    assert text == (
        f"1 cutout without a row: {tmp_path}/in/2000.fits; "
        "1 row without a cutout there: in/1004.fits"
    )
    monkeypatch.chdir(tmp_path)
    assert predict("in")[0] == 0
    failed, checks = verify(output, "--against", "in")
    assert not failed
    assert "(1 whose cutouts are gone, changed or not given last)" in checks["sample"]["text"]
    rewrite(output, rows(0, 1, 1, *range(3, 13)))
    failed, checks = verify(output, "--against", "in")
    assert {"checksum", "ids", "against"} <= failed
    assert "1 cutout with several rows: in/1001.fits" in checks["against"]["text"]


def test_a_run_that_goes_on_and_one_that_did_not_finish(
    verify, photoz, catalogue, made, tiny_model
):
    with run_lock(catalogue.with_suffix(".run")):
        failed, checks = verify(catalogue)
        assert not failed
        assert "may be at work on it" in checks["ids"]["text"]
    record = catalogue.with_suffix(".run") / "run.json"
    facts = json.loads(record.read_text())
    record.write_text(json.dumps({**facts, "exit": 75}))
    rewrite(catalogue, rows(*range(N - 1)))
    failed, checks = verify(catalogue)
    assert checks["rows"]["text"] == (
        f"{N - 1} rows, in the plan {N}; its last command did not finish (exit 75)"
    )
