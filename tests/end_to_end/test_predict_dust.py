"""Galactic dust from end to end: a model is trained, E(B-V) comes with a table, joined by id."""

import fitsio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from photoz_mmae.cli.main import main
from photoz_mmae.flags import Flag
from photoz_mmae.surveys import HSC_WIDE

IDS = list(range(1000, 1012))


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Train a model with a treatment of dust, once, on simulated galaxies (mock data)."""
    folder = tmp_path_factory.mktemp("dust")
    run("simulate", "-n", 60, "-o", folder / "mock.hdf5")
    made = {}

    def train(dust):
        if dust not in made:
            made[dust] = folder / dust
            options = ("--epochs", 6, "--batch-size", 8, "--device", "cpu", "--dust", dust)
            run("train", folder / "mock.hdf5", "-o", made[dust], *options)
        return made[dust]

    return train


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in arguments])
    assert stop.value.code == 0


@pytest.fixture
def reddened(cutouts, tmp_path):
    """The cutouts behind dust of E(B-V) 0.3; everything in them dimmed, the noise too."""
    folder = tmp_path / "reddened"
    folder.mkdir()
    dimming = 10 ** (-0.4 * 0.3 * np.array(HSC_WIDE.extinction))
    for file in cutouts.glob("*.fits"):
        image, header = fitsio.read(file, header=True)
        dimmed = (image * dimming[:, None, None]).astype(np.float32)
        fitsio.write(folder / file.name, dimmed, header=header)
    return folder


@pytest.fixture
def table(tmp_path):
    """Write a Parquet table of objects; returns its path."""

    def write(ebv, ids=IDS, name="objects.parquet", columns=("object_id", "ebv")):
        path = tmp_path / name
        values = [float("nan") if value is None else value for value in ebv]
        pq.write_table(pa.table(dict(zip(columns, (ids, values), strict=True))), path)
        return path

    return write


def rows(tmp_path, name="c.parquet"):
    return pq.read_table(tmp_path / name)


def z_best(tmp_path, name="c.parquet"):
    return np.asarray(rows(tmp_path, name)["z_best"], dtype=float)


def no_ebv(tmp_path):
    return [bool(flags & Flag.NO_EBV) for flags in rows(tmp_path)["flags"].to_pylist()]


def test_reddened_galaxies_get_their_redshifts_back(
    predict, train, cutouts, reddened, table, tmp_path
):
    model = train("deredden")
    # As much dust as no dust.
    assert predict(cutouts, "--catalog", table([0.0] * 12), model=model)[0] == 0
    options = ("--catalog", table([0.3] * 12))
    assert predict(reddened, *options, model=model, output=tmp_path / "r.parquet")[0] == 0
    # And reddened without a word about it.
    assert predict(reddened, model=model, output=tmp_path / "w.parquet")[0] == 0
    clear = z_best(tmp_path)
    told, untold = (abs(z_best(tmp_path, f"{run}.parquet") - clear) for run in "rw")
    assert told.max() < 1e-4
    assert np.median(untold) > 1e-3
    # The fluxes are those of the files.
    dimmed = np.asarray(rows(tmp_path, "r.parquet")["flux_g"]) / np.asarray(
        rows(tmp_path)["flux_g"]
    )
    np.testing.assert_allclose(dimmed, 10 ** (-0.4 * 0.3 * 3.240), rtol=1e-4)


def test_table_is_joined_by_id_and_what_is_missing_is_flagged(
    predict, train, cutouts, table, tmp_path
):
    values = {1003: 0.1, 1001: 0.2, 1002: None, 1004: -1.0, 1005: 99.0, 77: 0.3}
    options = ("--catalog", table(values.values(), list(values)))
    code, out, _ = predict(cutouts, *options, model=train("deredden"))
    assert code == 0
    assert f"catalog   {tmp_path}/objects.parquet: 6 objects, 3 with E(B-V)" in out
    assert "no ebv    10 rows (NO_EBV): no E(B-V) in " in out
    found = dict(zip(IDS, rows(tmp_path)["ebv"].to_pylist(), strict=True))
    known = {1001: pytest.approx(0.2), 1003: pytest.approx(0.1)}
    assert found == {name: known.get(name) for name in IDS}
    assert no_ebv(tmp_path) == [name not in known for name in IDS]
    # Those without are predicted as if there were no dust.
    assert predict(cutouts, model=train("deredden"), output=tmp_path / "0.parquet")[0] == 0
    same = z_best(tmp_path) == z_best(tmp_path, "0.parquet")
    assert same.tolist() == no_ebv(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "fits"])
def test_other_formats_names_and_text_ids(predict, train, write_cube, tmp_path, suffix):
    for i, name in enumerate(("7", "007", "NGC 1275")):
        write_cube(tmp_path / f"in/{i}.fits", seed=i, object_id=name)
    path = tmp_path / f"t.{suffix}"
    columns = {"objectId": ["NGC 1275", "7", "007"], "sfd": [0.1, 0.2, 0.3]}
    Table(columns).write(path)
    options = ("--catalog", path, "--columns", "id=objectId,ebv=sfd")
    assert predict(tmp_path / "in", *options, model=train("deredden"))[0] == 0
    found = dict(
        zip(*(rows(tmp_path)[name].to_pylist() for name in ("object_id", "ebv")), strict=True)
    )
    assert found == {
        "7": pytest.approx(0.2),
        "007": pytest.approx(0.3),
        "NGC 1275": pytest.approx(0.1),
    }


def test_ids_twice_in_the_table(predict, train, cutouts, table, tmp_path):
    options = ("--catalog", table([0.1, 0.2, 0.3], [1000, 1000, 1001]))
    code, out, _ = predict(cutouts / "1000.fits", *options, model=train("deredden"))
    assert code == 0
    assert "2 objects, 2 with E(B-V); 1 row with the id of an earlier one passed over" in out
    assert rows(tmp_path)["ebv"].to_pylist() == [pytest.approx(0.1)]


def test_without_a_table_every_row_is_flagged_and_it_is_said(predict, train, cutouts, tmp_path):
    code, out, _ = predict(cutouts, model=train("deredden"))
    assert code == 0
    assert out.count("--catalog TABLE (columns object_id, ebv)") == 1
    assert all(no_ebv(tmp_path))
    assert "ebv" not in rows(tmp_path).column_names
    # Nothing new, and it is said again.
    assert "--catalog TABLE" in predict(cutouts, model=train("deredden"))[1]


def test_a_model_without_dust_keeps_the_column_and_changes_nothing(
    predict, tiny_model, cutouts, table, tmp_path
):
    code, out, _ = predict(cutouts, "--catalog", table([0.2] * 6 + [None] * 6))
    assert code == 0
    assert "NO_EBV" not in out
    assert not any(no_ebv(tmp_path))
    assert rows(tmp_path)["ebv"].null_count == 6
    assert predict(cutouts, output=tmp_path / "0.parquet")[0] == 0
    with_column = rows(tmp_path).drop_columns("ebv")
    assert with_column.equals(rows(tmp_path, "0.parquet"))


def test_a_network_that_is_told(predict, train, cutouts, table, tmp_path):
    model = train("input")
    options = ("--catalog", table([0.0] * 4 + [0.3] * 4 + [None] * 4))
    assert predict(cutouts, *options, model=model)[0] == 0
    assert no_ebv(tmp_path) == [False] * 8 + [True] * 4
    assert predict(cutouts, model=model, output=tmp_path / "0.parquet")[0] == 0
    same = z_best(tmp_path) == z_best(tmp_path, "0.parquet")
    assert same.tolist() == no_ebv(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--catalog {path}: no such file"),
        (b"", "the file is empty"),
        (b"\0\1\2\3", "neither CSV, Parquet, FITS nor VOTable"),
        (b"PAR1 torn", "not readable as parquet"),
        (b"object_id,ebv\n", "no rows"),
        (b"objectId,ebv\n1000,0.1\n", "did you mean 'objectId'?"),
        (b"object_id,ebw\n1000,0.1\n", "did you mean 'ebw'?"),
        (b"object_id,ebv\n1000,much\n", "does not hold numbers"),
        (b"object_id,ebv\n1,0.1\n2,0.1\n", "none of 12 cutouts"),
        (b"object_id,ebv\n ,0.1\n", "no id"),
    ],
)
def test_bad_tables(predict, cutouts, tmp_path, content, message):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    code, _, err = predict(cutouts, "--catalog", path)
    assert code == 4
    assert message.format(path=path) in err
    assert str(path) in err
    assert len(err.splitlines()) == 1
    # Nothing was begun, so nothing is left.
    assert not (tmp_path / "c.run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--columns", "id=name"), "--columns: names columns of a table; give it as --catalog"),
        (("--catalog", "t.csv", "--columns", "ibd=name"), "unknown 'ibd'"),
        (("--catalog", "t.csv", "--columns", "name"), "give names as in id=objectId"),
    ],
)
def test_columns_that_make_no_sense(predict, cutouts, options, message):
    code, _, err = predict(cutouts, *options)
    assert (code, message in err) == (2, True)


def test_settings_file(predict, train, cutouts, table, tmp_path):
    path = table([0.1] * 12, columns=("id", "sfd"))
    config = tmp_path / "run.toml"
    config.write_text(f'catalog = "{path}"\ncolumns = {{id = "id", ebv = "sfd"}}\n')
    assert predict(cutouts, "--config", config, model=train("deredden"))[0] == 0
    assert not any(no_ebv(tmp_path))


def stamps(folder):
    return {file.name: file.stat().st_ino for file in folder.iterdir()}


def test_again_with_the_table_as_it_was_and_grown(
    predict, train, cutouts, write_cube, table, tmp_path
):
    options = ("--part-size", "4", "--catalog")
    some = [cutouts / f"{name}.fits" for name in IDS]
    model = train("deredden")
    assert predict(*some, *options, table([0.1] * 12), model=model)[0] == 0
    before = stamps(tmp_path)["c.parquet"]
    parts = stamps(tmp_path / "c.run/parts")
    assert "nothing new" in predict(*some, *options, table([0.1] * 12), model=model)[1]
    # Rows for other objects, in another order: nothing of what is done depends on them.
    grown = table([0.2, *[0.1] * 12, 0.3], [2000, *reversed(IDS), 3000])
    assert "nothing new" in predict(*some, *options, grown, model=model)[1]
    assert stamps(tmp_path)["c.parquet"] == before
    # One of them is there now.
    new = write_cube(tmp_path / "new/2000.fits", seed=50)
    code, out, _ = predict(*some, new, *options, grown, model=model)
    assert (code, "1 object in 1 of 4 parts" in out) == (0, True)
    assert rows(tmp_path)["ebv"].to_pylist() == [pytest.approx(0.1)] * 12 + [pytest.approx(0.2)]
    assert parts.items() <= stamps(tmp_path / "c.run/parts").items()
    assert len(list((tmp_path / "c.run").glob("table-*"))) == 1


def test_a_changed_value_redoes_its_part(predict, train, cutouts, table, tmp_path):
    options = ("--part-size", "4", "--catalog")
    model = train("deredden")
    assert predict(cutouts, *options, table([0.1] * 12), model=model)[0] == 0
    first = z_best(tmp_path)
    changed = [0.1] * 5 + [0.3] + [0.1] * 5 + [None]
    code, out, _ = predict(cutouts, *options, table(changed), model=model)
    assert (code, "8 objects in 2 of 3 parts" in out) == (0, True)
    assert np.flatnonzero(z_best(tmp_path) != first).tolist() == [5, 11]
    assert np.flatnonzero(no_ebv(tmp_path)).tolist() == [11]
    assert "nothing new" in predict(cutouts, *options, table(changed), model=model)[1]


def test_a_row_that_is_gone_keeps_the_value_it_was_made_with(
    predict, train, write_cube, table, tmp_path
):
    for name in IDS[:4]:
        write_cube(tmp_path / f"in/{name}.fits", seed=name)
    model = train("deredden")
    assert predict(tmp_path / "in", "--catalog", table([0.1] * 12), model=model)[0] == 0
    (tmp_path / "in/1002.fits").unlink()
    changed = table([0.1, 0.2, 0.2, *[0.1] * 9])
    code, out, _ = predict(tmp_path / "in", "--catalog", changed, model=model)
    assert (code, "4 objects in 1 of 1 part" in out) == (0, True)
    assert rows(tmp_path)["ebv"].to_pylist() == pytest.approx([0.1, 0.2, 0.1, 0.1])
    assert "nothing new" in predict(tmp_path / "in", "--catalog", changed, model=model)[1]


def test_with_and_without_a_table_are_other_settings(predict, cutouts, table, tmp_path):
    assert predict(cutouts)[0] == 0
    code, _, err = predict(cutouts, "--catalog", table([0.1] * 12))
    assert (code, "made without --catalog" in err) == (6, True)
    assert predict(cutouts, "--catalog", table([0.1] * 12), "--overwrite")[0] == 0
    (tmp_path / "c.run/table-of-mine").mkdir()
    (tmp_path / f"c.run/.table-{'0' * 16}.{'0' * 32}.tmp").mkdir()  # of a killed run
    code, _, err = predict(cutouts)
    assert (code, "made with --catalog" in err) == (6, True)
    assert predict(cutouts, "--overwrite")[0] == 0
    left = [file.name for file in (tmp_path / "c.run").iterdir() if "table-" in file.name]
    assert left == ["table-of-mine"]
