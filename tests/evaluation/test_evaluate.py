"""`photoz-mmae evaluate` from the command line, on real files of every format."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, Table
from click.testing import CliRunner

from photoz_mmae.cli.main import cli, main
from photoz_mmae.redshift.pdf import LEVELS, summarise

N = 400


@pytest.fixture
def run(capsys):
    """Run the program as the shell does: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", *map(str, arguments)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


@pytest.fixture
def evaluate_json(run):
    def evaluate(*arguments):
        code, out, err = run(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return evaluate


@pytest.fixture(scope="module")
def sky():
    """Mock redshifts: Gaussian p(z) in ln(1+z), with the truth drawn from it."""
    from scipy.stats import norm

    rng = np.random.default_rng(7)
    edges = np.linspace(0, np.log1p(4), 201)
    mean, sigma = rng.uniform(0.2, 0.9, N), rng.uniform(0.02, 0.06, N)
    mass = np.diff(norm.cdf(edges, mean[:, None], sigma[:, None]), axis=1)
    truth = np.expm1(rng.normal(mean, sigma))
    ids = rng.permutation(10 * N)[:N]
    columns = summarise(mass, edges, [str(i) for i in ids])
    return {"edges": edges, "mass": mass, "truth": truth, "ids": ids, "columns": columns}


def write(path, columns):
    """Write the table in the format that the name tells."""
    if path.suffix == ".fits":
        Table(columns).write(path)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(pa.table(columns), path)
    else:
        pq.write_table(pa.table(columns), path)
    return path


def point_catalog(sky):
    return {"object_id": sky["ids"], "z_best": sky["columns"]["z_best"].astype(np.float64)}


def truth_table(sky, order=None):
    order = np.arange(N) if order is None else order
    return {"object_id": sky["ids"][order], "redshift": sky["truth"][order]}


def fixed_lists(values):
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(values, dtype=np.float32).ravel()), values.shape[1]
    )


def pdf_catalog(path, sky, column):
    """Write a catalogue with intervals and p(z), as `predict` writes one."""
    columns = sky["columns"]
    table = pa.table(
        {
            "object_id": sky["ids"],
            **{name: values for name, values in columns.items() if values.ndim == 1},
            "z_quantiles": fixed_lists(columns["z_quantiles"]),
            "z_pdf": fixed_lists(sky["mass"]),
        }
    )
    keys = {
        "z_quantiles": {"photoz_mmae.z_quantile_levels": json.dumps(LEVELS)},
        "z_pdf": {"photoz_mmae.z_pdf_edges": json.dumps(list(sky["edges"]))},
    }
    other = ({"z_quantiles", "z_pdf"} - {column}).pop()
    table = table.drop_columns(other).replace_schema_metadata(keys[column])
    pq.write_table(table, path, row_group_size=150)
    return path


PUBLISHED = "published/mmae_image_only_25pct_mask.csv"
# n, sigma_NMAD, median bias, |dz| > 0.15 as recomputed from the authors' predictions.
PUBLISHED_NUMBERS = {
    "all": (20181, 0.0210, 0.0048, 0.0463),
    (0, 0.4): (11148, 0.0163, 0.0035, 0.0043),
    (0.4, 0.8): (5568, 0.0213, 0.0063, 0.0205),
    (0.8, 1.2): (857, 0.0566, 0.0116, 0.168),
    (1.2, 2): (1024, 0.0761, 0.0397, 0.223),
    (2, 4.5): (1583, 0.0672, -0.0010, 0.253),
}


def test_the_published_predictions_give_the_published_numbers(shared_data, evaluate_json):
    table = shared_data / PUBLISHED
    result = evaluate_json(table, "--truth", table, "--z-phot", "y_pred", "--z-spec", "y_test")
    assert result["joined_by"] == "row number"
    rows = {"all": result["all"]} | {(row["z_min"], row["z_max"]): row for row in result["bins"]}
    assert rows.keys() == PUBLISHED_NUMBERS.keys()
    for key, (n, sigma, bias, outliers) in PUBLISHED_NUMBERS.items():
        assert rows[key]["n"] == n
        assert rows[key]["sigma_nmad"] == pytest.approx(sigma, abs=5e-5)
        assert rows[key]["bias_median"] == pytest.approx(bias, abs=5e-5)
        assert rows[key]["outlier_015"] == pytest.approx(outliers, abs=5e-4)


def test_the_terminal_shows_table_variant_and_last_line(shared_data, run):
    table = shared_data / PUBLISHED
    code, out, err = run(table, "--truth", table, "--z-phot", "y_pred", "--z-spec", "y_test")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "sigma_NMAD = 0.0210"
    assert "sigma_NMAD, about median" in out
    assert "20181 of 20181 rows compared" in out
    assert "joined by row number" in out
    line = next(line for line in out.splitlines() if "|dz| > 0.15" in line)
    assert line.split()[3:] == ["4.63%", "0.43%", "2.05%", "16.80%", "22.27%", "25.27%"]


@pytest.mark.parametrize("catalog_format", ["csv", "parquet", "fits"])
@pytest.mark.parametrize("truth_format", ["csv", "parquet", "fits"])
def test_every_format_gives_the_same(tmp_path, sky, evaluate_json, catalog_format, truth_format):
    catalog = write(tmp_path / f"catalog.{catalog_format}", point_catalog(sky))
    order = np.random.default_rng(1).permutation(N)
    truth = write(tmp_path / f"truth.{truth_format}", truth_table(sky, order))
    result = evaluate_json(catalog, "--truth", truth)
    dz = (sky["columns"]["z_best"] - sky["truth"]) / (1 + sky["truth"])
    assert result["all"]["n"] == N
    assert result["all"]["bias_mean"] == pytest.approx(dz.mean(), abs=1e-6)
    assert result["all"]["sigma_nmad"] == pytest.approx(
        1.4826 * np.median(np.abs(dz - np.median(dz))), abs=1e-6
    )
    assert result["joined_by"] == "object_id"
    assert sum(row["n"] for row in result["bins"]) == N
    assert "cde_loss" not in result["all"]


@pytest.mark.parametrize("truth_format", ["csv", "parquet", "fits"])
def test_integer_and_text_ids_are_the_same_ids(tmp_path, sky, evaluate_json, truth_format):
    catalog = write(tmp_path / "catalog.parquet", point_catalog(sky))
    truth = truth_table(sky) | {"object_id": [f"{i}" for i in sky["ids"]]}
    result = evaluate_json(catalog, "--truth", write(tmp_path / f"t.{truth_format}", truth))
    assert result["all"]["n"] == N


def test_ids_of_19_digits_are_compared_exactly(tmp_path, evaluate_json):
    ids = 9_000_000_000_000_000_000 + np.arange(5)  # neighbours differ beyond float64
    z = np.array([0.1, 0.4, 0.7, 1.0, 1.3])
    catalog = write(tmp_path / "catalog.parquet", {"object_id": ids, "z_best": z})
    for name in ("truth.csv", "truth.fits", "truth.parquet"):
        truth = write(tmp_path / name, {"object_id": ids[::-1], "redshift": z[::-1]})
        assert evaluate_json(catalog, "--truth", truth)["all"]["hsc_loss"] == 0


@pytest.mark.parametrize(
    "header",
    [
        "object_id,z_best",
        "#  object_id , z_best",
        '" object_id",z_best',
        "\ufeff object_id,z_best",
        "\r\n object_id, z_best\r",
    ],
)
def test_leading_zeros_make_another_id(tmp_path, evaluate_json, header):
    (tmp_path / "catalog.csv").write_text(f"{header}\n0017,0.1\n17,0.5\n")
    (tmp_path / "truth.csv").write_text("object_id,redshift\n17,0.5\n0017,0.1\n")
    result = evaluate_json(tmp_path / "catalog.csv", "--truth", tmp_path / "truth.csv")
    assert result["all"]["n"] == 2
    assert result["all"]["hsc_loss"] == 0


def test_other_kinds_of_id_columns(tmp_path, sky, evaluate_json):
    truth = write(tmp_path / "truth.parquet", truth_table(sky))
    text = [str(i) for i in sky["ids"]]
    for ids in (
        pa.array(text).dictionary_encode(),
        pa.array([name.encode() for name in text], pa.binary()),
        pa.array([f" {name} " for name in text], pa.large_string()),
        pa.array(sky["ids"].astype(np.float64)),
        pa.array(sky["ids"].astype(np.uint64)),
    ):
        catalog = point_catalog(sky) | {"object_id": ids}
        result = evaluate_json(write(tmp_path / "catalog.parquet", catalog), "--truth", truth)
        assert result["all"]["n"] == N, ids.type


@pytest.mark.parametrize(("kind", "least"), [(np.float64, 2**53), (np.float32, 2**24)])
def test_ids_that_lost_digits_as_floats_are_refused(tmp_path, capsys, kind, least):
    columns = {"z_best": np.full(3, 0.5), "redshift": np.full(3, 0.5)}
    for first, code in ((least - 3, 0), (least - 2, 4)):
        ids = np.arange(first, first + 3).astype(kind)
        path = write(tmp_path / "t.parquet", columns | {"object_id": ids})
        truth = write(tmp_path / "truth.parquet", columns | {"object_id": ids})
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", str(path), "--truth", str(truth)])
        assert stop.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    assert "object_id is neither integer nor text (floats so large have lost digits" in line


def test_bins_hold_their_lower_edge_and_not_their_upper(tmp_path, evaluate_json):
    z = np.array([0.0, 0.4, 0.4, 0.8, 4.5, -0.001])
    table = write(tmp_path / "t.parquet", {"z_best": z + 0.01, "redshift": z})
    result = evaluate_json(table, "--truth", table)
    assert [row["n"] for row in result["bins"]] == [1, 2, 1, 0, 0]
    assert result["all"]["n"] == 6
    assert result["bins"][4] == {
        "z_min": 2.0,
        "z_max": 4.5,
        "n": 0,
        **{name: None for name in result["all"] if name != "n"},
    }


def test_bins_come_from_the_configuration(tmp_path, evaluate_json):
    z = np.array([0.1, 0.6, 0.7])
    table = write(tmp_path / "t.csv", {"z_best": z, "redshift": z})
    (tmp_path / "c.toml").write_text("bins = [0.5, 0.65, 1.0]\n")
    result = evaluate_json(table, "--truth", table, "--config", tmp_path / "c.toml")
    assert [(row["z_min"], row["z_max"], row["n"]) for row in result["bins"]] == [
        (0.5, 0.65, 1),
        (0.65, 1.0, 1),
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits"])
def test_what_is_left_out_is_counted_and_said(tmp_path, kind, evaluate_json, run):
    catalog = {
        "object_id": [1, 2, 3, 4, 5, 5],
        "z_best": [0.5, None, 0.5, 0.5, 0.5, 0.6],  # 2: no redshift
    }
    truth = {
        "object_id": [1, 2, 3, 3, 5, 9],  # 4 missing, 3 twice, 9 of nothing
        "redshift": [None, 0.5, 0.5, 0.9, 0.5, 0.5],  # 1: no redshift
    }
    for name, columns in (("catalog", catalog), ("truth", truth)):
        if kind == "fits":
            key = list(columns)[1]
            mask = [value is None for value in columns[key]]
            data = [value or 0.0 for value in columns[key]]
            columns[key] = MaskedColumn(data, mask=mask)
        write(tmp_path / f"{name}.{kind}", columns)
    paths = tmp_path / f"catalog.{kind}", "--truth", tmp_path / f"truth.{kind}"
    assert evaluate_json(*paths)["rows"] == {
        "catalog": 6,
        "truth": 6,
        "compared": 3,
        "without_truth": 1,
        "stars": 0,
        "without_z_spec": 1,
        "without_z_phot": 1,
        "truth_without_catalog": 1,
        "truth_duplicates": 1,
        "catalog_duplicates": 1,
    }
    _, out, _ = run(*paths)
    assert "3 of 6 rows compared" in out
    for line in (
        "catalogue rows not in the truth: 1",
        "catalogue rows whose truth has no redshift: 1",
        "catalogue rows without z_best: 1",
        "truth rows not in the catalogue: 1",
        "truth rows that repeat an object_id (the first of each counts): 1",
        "catalogue rows that repeat an object_id (each is compared): 1",
    ):
        assert f"  {line}\n" in out


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits"])
@pytest.mark.parametrize("name", ["class", "SPECTYPE"])
def test_stars_are_not_compared(tmp_path, kind, name, evaluate_json, run):
    catalog = {"object_id": [1, 2, 3, 4, 5], "z_best": [0.5, 0.6, 0.7, 0.8, 0.9]}
    truth = {
        "object_id": [5, 4, 3, 2],
        "redshift": [0.0, 0.001, 0.7, np.nan],
        name: ["Star", "GALAXY", "QSO", "STAR"],
    }
    paths = [write(tmp_path / f"{n}.{kind}", t) for n, t in (("c", catalog), ("t", truth))]
    result = evaluate_json(paths[0], "--truth", paths[1])
    rows = result["rows"]
    assert (rows["compared"], rows["stars"], rows["without_z_spec"]) == (2, 2, 0)
    assert result["notes"] == []
    _, out, _ = run(paths[0], "--truth", paths[1])
    assert "rows that are stars in the truth (not compared): 2" in out


@pytest.mark.parametrize(
    "values",
    [[0.5, 1.5], [3.0, None], [True, False], [1, 2], [None, None], [[1], [2]], [b"\xff", b"S"]],
)
def test_a_class_of_another_kind_tells_no_stars(tmp_path, values, evaluate_json):
    columns = {"z_best": [0.5, 0.6], "redshift": [0.001, 0.6], "class": values}
    table = write(tmp_path / "t.parquet", columns)
    result = evaluate_json(table, "--truth", table)
    assert (result["rows"]["stars"], result["rows"]["compared"]) == (0, 2)
    assert "1 compared with |redshift| < 0.002 may be stars" in result["notes"][0]
    columns["SPECTYPE"] = ["STAR", "GALAXY"]
    table = write(tmp_path / "u.parquet", columns)
    assert evaluate_json(table, "--truth", table)["rows"]["stars"] == 1


def test_what_may_be_stars_is_said(tmp_path, evaluate_json):
    columns = {"z_best": [0.5, 0.6, 0.7], "redshift": [-0.001, 0.0, 0.002]}
    table = write(tmp_path / "t.csv", columns)
    result = evaluate_json(table, "--truth", table)
    assert (result["rows"]["stars"], result["rows"]["compared"]) == (0, 3)
    assert result["notes"] == [
        "2 compared with |redshift| < 0.002 may be stars: the truth has no column class or "
        "SPECTYPE to tell"
    ]


def test_null_ids_pair_with_nothing(tmp_path, evaluate_json):
    catalog = write(
        tmp_path / "c.parquet", {"object_id": ["a", None, "b"], "z_best": [0.1, 0.2, 0.3]}
    )
    truth = write(tmp_path / "t.parquet", {"object_id": [None, "a"], "redshift": [0.2, 0.1]})
    rows = evaluate_json(catalog, "--truth", truth)["rows"]
    assert (rows["compared"], rows["without_truth"]) == (1, 2)
    assert rows["truth_without_catalog"] == 1
    assert rows["truth_duplicates"] == rows["catalog_duplicates"] == 0


def test_a_calibrated_catalogue_is_found_calibrated(tmp_path, sky, evaluate_json):
    truth = write(tmp_path / "truth.parquet", truth_table(sky, np.arange(N)[::-1]))
    results = {
        column: evaluate_json(
            pdf_catalog(tmp_path / f"{column}.parquet", sky, column), "--truth", truth
        )
        for column in ("z_pdf", "z_quantiles")
    }
    for column, result in results.items():
        assert result["pdf"] == column
        assert result["notes"] == []
        assert result["all"]["n_pdf"] == N
        assert result["all"]["coverage_68"] == pytest.approx(0.68, abs=0.07)
        assert result["all"]["coverage_95"] == pytest.approx(0.95, abs=0.04)
        assert result["all"]["pit_ks"] < 0.08
        assert result["all"]["pit_extreme"] < 0.01
    grid, quantiles = results["z_pdf"]["all"], results["z_quantiles"]["all"]
    for name in ("cde_loss", "crps", "pit_ks"):
        assert quantiles[name] == pytest.approx(grid[name], rel=0.03), name
    assert grid["n"] == sum(row["n_pdf"] for row in results["z_pdf"]["bins"])


def test_pdf_metrics_are_those_of_the_library(tmp_path, sky, evaluate_json):
    from photoz_mmae.redshift import metrics
    from photoz_mmae.redshift.piecewise import PiecewisePdf

    catalog = pdf_catalog(tmp_path / "catalog.parquet", sky, "z_pdf")
    truth = write(tmp_path / "truth.parquet", truth_table(sky))
    result = evaluate_json(catalog, "--truth", truth)
    pdf = PiecewisePdf.from_mass(sky["mass"], sky["edges"])
    for row, chosen in [
        (result["all"], np.full(N, True)),
        (result["bins"][1], (sky["truth"] >= 0.4) & (sky["truth"] < 0.8)),
    ]:
        loss = metrics.cde_loss_terms(pdf, sky["truth"])[chosen].mean()
        assert row["cde_loss"] == pytest.approx(loss, rel=1e-5)
        assert row["crps"] == pytest.approx(pdf.crps(sky["truth"])[chosen].mean(), rel=1e-5)
        pit = metrics.pit_statistics(pdf.cdf(sky["truth"])[chosen])
        for name, value in pit.items():
            assert row[name] == pytest.approx(value, rel=1e-3), name


def test_too_narrow_a_pdf_is_found_out(tmp_path, sky, evaluate_json):
    narrow = sky | {"mass": sky["mass"] ** 9}  # a third of the width
    narrow["columns"] = summarise(narrow["mass"], sky["edges"], [str(i) for i in sky["ids"]])
    truth = write(tmp_path / "truth.csv", truth_table(sky))
    honest, boasting = (
        evaluate_json(pdf_catalog(tmp_path / "c.parquet", one, "z_pdf"), "--truth", truth)["all"]
        for one in (sky, narrow)
    )
    assert boasting["coverage_68"] < 0.35
    assert boasting["pit_extreme"] > 0.1
    assert boasting["cde_loss"] > honest["cde_loss"]
    assert boasting["crps"] > honest["crps"]


@pytest.mark.parametrize("missing", ["null", "nan"])
def test_rows_without_pdf_are_left_out_of_its_metrics_only(tmp_path, sky, evaluate_json, missing):
    path = pdf_catalog(tmp_path / "catalog.parquet", sky, "z_quantiles")
    table = pq.read_table(path)
    lists = table["z_quantiles"].to_pylist()
    lists[3] = None if missing == "null" else [float("nan")] * len(LEVELS)
    column = pa.array(lists, pa.list_(pa.float32(), len(LEVELS)))
    index = table.column_names.index("z_quantiles")
    pq.write_table(table.set_column(index, "z_quantiles", column), path)
    truth = write(tmp_path / "truth.csv", truth_table(sky))
    result = evaluate_json(path, "--truth", truth)["all"]
    assert (result["n"], result["n_pdf"]) == (N, N - 1)
    assert result["cde_loss"] is not None


def test_quantiles_without_levels_are_said_to_be_unused(tmp_path, sky, evaluate_json):
    path = pdf_catalog(tmp_path / "catalog.parquet", sky, "z_quantiles")
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    truth = write(tmp_path / "truth.csv", truth_table(sky))
    result = evaluate_json(path, "--truth", truth)
    assert result["pdf"] is None
    assert "z_quantiles not used" in result["notes"][0]
    assert result["all"]["coverage_68"] is not None


@pytest.mark.parametrize("levels", ["no json", "[0.5, 0.1]", '["a"]', "[0.1, 0.9]", "3"])
def test_wrong_levels_are_an_error(tmp_path, sky, run, levels):
    path = pdf_catalog(tmp_path / "catalog.parquet", sky, "z_quantiles")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"photoz_mmae.z_quantile_levels": levels}), path)
    code, out, err = run(path, "--truth", write(tmp_path / "truth.csv", truth_table(sky)))
    assert (code, out) == (4, "")
    assert err.count("\n") == 1
    assert "z_quantile" in err


GOOD = "object_id,redshift,z_best\n1,0.5,0.5\n"
BAD = {
    "empty.csv": (b"", "the file is empty"),
    "blank.csv": (b"\n \n", "the file is empty"),
    "header.csv": (b"object_id,redshift,z_best\n", "read as CSV, the table has no rows"),
    "text.fits": (b"this is no table\nat all\n", "no column 'z_best'"),
    "ragged.csv": (b"object_id,z_best\n1,2\n1,2,3\n", "not readable as CSV"),
    "words.csv": (b"object_id,z_best\n1,high\n", "does not hold numbers"),
    "twice.csv": (b"object_id,z_best,z_best\n1,2,3\n", "more than one column"),
    "noid.csv": (b"id,z_best\n1,0.5\n", "the column of ids must have that name"),
    "binary.csv": (bytes(range(256)) * 8, "neither CSV, Parquet, FITS nor VOTable"),
    "cut.parquet": (b"PAR1" + bytes(range(200)), "not readable as parquet"),
    "cut.csv.gz": (b"\x1f\x8b\x08\x00\x00", "cannot be read"),
    "bad.csv.gz": (gzip.compress(b"object_id,z_best\n" * 99)[:20] + b"\xff" * 40, "read"),
    "cut.fits": (b"SIMPLE  =                    T" + b" " * 500, "not readable as FITS"),
    "strangers.csv": (b"object_id,z_best\nx,0.5\n", "no object_id of"),
    "nulls.csv": (b"object_id,z_best\n1,\n", "nothing to compare"),
    "fraction.csv": (b"object_id,z_best\n1.5,0.5\n", "no object_id of"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_catalogue_gets_one_line(tmp_path, run, name):
    content, message = BAD[name]
    (tmp_path / "truth.csv").write_text(GOOD)
    (tmp_path / name).write_bytes(content)
    code, out, err = run(tmp_path / name, "--truth", tmp_path / "truth.csv")
    assert (code, out) == (4, "")
    assert err.count("\n") == 1
    assert message in err
    assert name in err
    assert "Traceback" not in err


def test_a_damaged_parquet_column_gets_one_line(tmp_path, sky, run):
    path = write(tmp_path / "catalog.parquet", point_catalog(sky))
    content = bytearray(path.read_bytes())
    content[20:2000] = b"\xff" * 1980
    path.write_bytes(content)
    code, out, err = run(path, "--truth", write(tmp_path / "t.csv", truth_table(sky)))
    assert (code, out) == (4, "")
    assert err.count("\n") == 1


def test_missing_files_and_folders(tmp_path, run):
    (tmp_path / "truth.csv").write_text(GOOD)
    for name, message in [("nothing.csv", "no such file"), (".", "is a folder")]:
        for paths in (
            [tmp_path / name, "--truth", tmp_path / "truth.csv"],
            [tmp_path / "truth.csv", "--truth", tmp_path / name],
        ):
            code, out, err = run(*paths)
            assert (code, out) == (4, "")
            assert message in err
            assert err.count("\n") == 1


def test_a_fits_image_is_no_table(tmp_path, run):
    from astropy.io import fits

    fits.PrimaryHDU(np.zeros((8, 8))).writeto(tmp_path / "image.fits")
    (tmp_path / "truth.csv").write_text(GOOD)
    code, _, err = run(tmp_path / "image.fits", "--truth", tmp_path / "truth.csv")
    assert code == 4
    assert "not readable as FITS" in err


def test_a_missing_column_names_the_nearest_and_all_there_are(tmp_path, run):
    table = write(tmp_path / "t.csv", {"Z_Best": [0.5], "z_true": [0.5], "mag": [20.0]})
    code, _, err = run(table, "--truth", table)
    assert code == 4
    assert "no column 'z_best'" in err
    assert "did you mean 'Z_Best'?" in err
    assert "columns: Z_Best, z_true, mag" in err


def test_a_list_column_is_no_redshift(tmp_path, sky, run):
    path = pdf_catalog(tmp_path / "catalog.parquet", sky, "z_pdf")
    code, _, err = run(
        path, "--truth", write(tmp_path / "t.csv", truth_table(sky)), "--z-phot", "z_pdf"
    )
    assert code == 4
    assert "does not hold numbers" in err
    assert err.count("\n") == 1


def test_a_column_of_ids_or_magnitudes_is_no_redshift(tmp_path, run):
    table = write(tmp_path / "t.csv", {"z_best": [0.5, 0.6], "mag_i": [21.5, 20.1]})
    code, _, err = run(table, "--truth", table, "--z-spec", "mag_i")
    assert (code, "'mag_i' holds no redshifts (median 20.8)" in err) == (4, True)


@pytest.mark.parametrize("kind", ["fits", "ecsv"])
def test_times_and_coordinates_beside_the_redshifts(tmp_path, kind, evaluate_json):
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.table import QTable
    from astropy.time import Time

    table = QTable({"object_id": [1, 2], "z_best": [0.5, 0.6], "redshift": [0.5, 0.6]})
    table["time"] = Time([59000.0, 59001.0], format="mjd")
    table["place"] = SkyCoord([1.0, 2.0], [3.0, 4.0], unit="deg")
    table["z_best"] = table["z_best"] * units.dimensionless_unscaled
    table.write(tmp_path / f"t.{kind}")
    result = evaluate_json(tmp_path / f"t.{kind}", "--truth", tmp_path / f"t.{kind}")
    assert result["all"]["n"] == 2


def test_missing_redshifts_name_the_option(tmp_path, run):
    table = write(tmp_path / "t.csv", {"z_best": [0.5], "zspec": [0.5]})
    code, _, err = run(table, "--truth", table)
    assert (code, "--z-spec names another" in err) == (4, True)
    (tmp_path / "s.csv").write_text("object_id;redshift\n1;0.5\n")
    code, _, err = run(table, "--truth", tmp_path / "s.csv")
    assert (code, "separated by commas" in err) == (4, True)


def test_p_of_z_of_a_converted_catalogue_is_said_to_be_unused(tmp_path, evaluate_json):
    columns = {"object_id": [1, 2], "z_best": [0.5, 0.6], "redshift": [0.5, 0.6]}
    table = Table({**columns, "z_quantiles": [[0.4, 0.5, 0.6], [0.5, 0.6, 0.7]]})
    table.write(tmp_path / "t.fits")
    result = evaluate_json(tmp_path / "t.fits", "--truth", tmp_path / "t.fits")
    assert result["pdf"] is None
    assert result["notes"][0].startswith("z_quantiles not used")


def test_the_catalogue_can_stand_in_the_configuration(tmp_path, run):
    table = write(tmp_path / "t.csv", {"z_best": [0.5, 0.6], "redshift": [0.5, 0.6]})
    (tmp_path / "c.toml").write_text(f'catalog = "{table}"\ntruth = "{table}"\n')
    assert run("--config", tmp_path / "c.toml")[0] == 0


def test_usage(tmp_path, run):
    table = write(tmp_path / "t.csv", {"z_best": [0.5], "redshift": [0.5]})
    code, _, err = run(table)
    assert code == 2
    assert "truth" in err
    (tmp_path / "c.toml").write_text("bins = [1.0, 0.5]\n")
    code, _, err = run(table, "--truth", table, "--config", tmp_path / "c.toml")
    assert code == 2
    assert "do not increase" in err


def test_help_names_every_option():
    out = CliRunner().invoke(cli, ["evaluate", "--help"]).output
    for option in ("--truth", "--z-phot", "--z-spec", "--json", "--config"):
        assert option in out
    assert "[default: z_best]" in out


def test_heavy_libraries_stay_out_of_the_help(tmp_path):
    program = (
        "import sys; import photoz_mmae.cli.evaluate;"
        "print([m for m in ('torch', 'astropy', 'pyarrow', 'scipy', 'dask') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"


def test_archive_csv_with_a_hash_and_tabs(tmp_path, evaluate_json):
    (tmp_path / "a.csv").write_text("# object_id,z_best\n1,0.5\n2,0.6\n")
    (tmp_path / "b.tsv").write_text("object_id\tredshift\n2\t0.6\n1\t0.5\n")
    result = evaluate_json(tmp_path / "a.csv", "--truth", tmp_path / "b.tsv")
    assert result["all"]["n"] == 2
    assert result["all"]["hsc_loss"] == 0


def test_gzipped_tables(tmp_path, sky, evaluate_json):
    catalog = write(tmp_path / "catalog.csv", point_catalog(sky))
    truth = write(tmp_path / "truth.fits", truth_table(sky))
    for path in (catalog, truth):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    plain = evaluate_json(catalog, "--truth", truth)
    packed = evaluate_json(tmp_path / "catalog.csv.gz", "--truth", tmp_path / "truth.fits.gz")
    assert packed["all"] == plain["all"]


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits"])
def test_file_names_that_are_not_utf8(tmp_path, sky, kind, evaluate_json, run):
    plain = write(tmp_path / f"plain.{kind}", point_catalog(sky) | truth_table(sky))
    odd = plain.rename(tmp_path / f"odd\udcff.{kind}")
    assert evaluate_json(odd, "--truth", odd)["all"]["n"] == N
    code, out, _ = run(odd, "--truth", odd)
    assert code == 0
    assert f"odd\\udcff.{kind} [z_best]" in out
