"""`photoz-mmae simulate --describe`: the table, the page, and files that lack something."""

import base64
import io
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
from matplotlib.image import imread

from photoz_mmae.cli.main import main
from photoz_mmae.evaluation import describe as describing
from photoz_mmae.evaluation.describe import describe
from photoz_mmae.evaluation.survey_file import SurveyFile
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.simulation.write import TrainingFile
from photoz_mmae.surveys import HSC_WIDE

N = 1000
BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")


@pytest.fixture
def run(capsys):
    """Run the program as the shell does: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["simulate", *map(str, arguments)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


def write_mock(path, selection):
    recipe = Recipe(HSC_WIDE, 4, selection=selection, fraction_stars=0.01)
    with TrainingFile(path, N, recipe, overwrite=False) as file:
        for chunk in simulate(recipe, N):
            file.add(chunk)
    return path


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """A mock survey of spectroscopic targets."""
    return write_mock(tmp_path_factory.mktemp("targets") / "mock.hdf5", "desi")


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A magnitude-limited mock survey."""
    return write_mock(tmp_path_factory.mktemp("field") / "mock.hdf5", "magnitude:22.5")


def copy(source, path, drop=(), rows=slice(None), attributes=None, **changes):
    """Copy a training file, without some datasets, with others changed by a function."""
    with h5py.File(source) as old, h5py.File(path, "w") as new:
        new.attrs.update(old.attrs if attributes is None else attributes)

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and not name.startswith(tuple(drop)):
                new[name] = changes.get(name, lambda values: values)(item[rows])

        old.visititems(visit)
    return path


def rows_of(path):
    with SurveyFile(path) as file:
        return {(row.name, row.band): row for row in describe(file, lambda _: None).rows}


def test_targets_have_every_row_and_the_table_says_the_same(targets, run):
    code, out, err = run("--describe", targets)
    assert (code, err) == (0, "")
    assert "mock data" in out.splitlines()[0]
    assert "seed 4" in out.splitlines()[0]
    rows = rows_of(targets)
    assert len(rows) == 27
    for (name, band), row in rows.items():
        line = re.search(rf"^ *{re.escape(name)} +{band} .*$", out, re.MULTILINE).group()
        assert f"{row.value:.4f}" in line
        assert line.split()[-1] == row.verdict
        assert row.verdict == ("pass" if row.low <= row.value <= row.high else "miss")
    verdicts = [row.verdict for row in rows.values()]
    passed, missed = verdicts.count("pass"), verdicts.count("miss")
    assert out.splitlines()[-1] == f"{passed} of 27 rows pass, {missed} miss"


def test_the_sky_and_the_types_of_the_mock_survey_are_as_published(targets):
    rows = rows_of(targets)
    for band in "grizy":
        assert rows["std of negative pixels", band].verdict == "pass"
    assert rows["share of PSF types", ""].verdict == "pass"


def test_what_is_made_wrong_misses(targets, tmp_path):
    wrong = copy(
        targets,
        tmp_path / "wrong.hdf5",
        image=lambda images: images * np.array([1, 1, 2, 1, 1], dtype="f4")[:, None, None],
        **{
            "DESI_fibermap/DESI_redshift": lambda z: 1.3 * z,
            "DESI_fibermap/MORPHTYPE": lambda kind: np.where(kind == b"PSF", b"EXP", kind),
        },
    )
    before, after = rows_of(targets), rows_of(wrong)
    for name, row in after.items():
        if name[1] == "i" and "arcsinh" not in name[0]:
            assert row.value == pytest.approx(2 * before[name].value)
            assert row.verdict == "miss"
        elif name[1]:
            assert row.value == before[name].value or name[1] == "i"
    assert after["n(z), KS against y_test", ""].value > 0.1
    assert after["share of PSF types", ""].value == 0


def test_colours_are_held_against_zcosmos_bin_by_bin(field, tmp_path, run):
    redder = copy(field, tmp_path / "r.hdf5", **{"HSC_metadata/g_cmodel_mag": lambda mag: mag + 1})
    code, out, _ = run("--describe", redder)
    assert code == 0
    lines = re.findall(r"^ *(\d\.\d\d - \d\.\d\d) +(\d+) +(.*)$", out, re.MULTILINE)
    assert len(lines) == 9
    with SurveyFile(redder) as file:
        colours = describe(file, lambda _: None).colours
    for number, (_, count, cells) in enumerate(lines):
        assert int(count) == colours.count[number]
        cells = cells.split()
        assert cells[0] == f"{colours.difference[number, 0]:+.3f}" + "*" * (int(count) >= 30)
        assert cells[3].rstrip("*") == f"{colours.width_ratio[number, 0]:.2f}"
    judged = colours.judged
    assert judged.any()
    assert (colours.difference[judged, 0] > 0.5).all()
    rows = rows_of(redder)
    assert rows["worst median colour, mag", ""].value > 0.5
    assert rows["worst median colour, mag", ""].verdict == "miss"
    assert ("n(z), KS against y_test", "") not in rows
    assert ("pixel mean", "g") not in rows


def test_colours_are_taken_without_the_dust_of_the_galaxy(field, tmp_path):
    dusty = copy(
        field,
        tmp_path / "dusty.hdf5",
        **{"simulation/ebv": lambda ebv: ebv + 0.5},
        **{
            f"HSC_metadata/{band}_cmodel_mag": lambda mag, a=a: mag + np.float32(0.5 * a)
            for band, a in zip("grizy", HSC_WIDE.extinction, strict=True)
        },
    )
    names = [("worst median colour, mag", ""), ("worst colour width, factor", "")]
    before, after = rows_of(field), rows_of(dusty)
    for name in names:
        assert after[name].value == pytest.approx(before[name].value, abs=1e-4)


def test_difficulty_is_judged_of_enough_objects_only(field, monkeypatch):
    name = "extra trees: sigma_NMAD", ""
    row = rows_of(field)[name]
    assert 0.01 < row.value < 0.2
    assert row.verdict == ""
    assert "12,000" in row.note
    monkeypatch.setattr(describing.published, "DIFFICULTY_OBJECTS", 900)
    assert rows_of(field)[name].verdict in ("pass", "miss")


def test_without_scikit_learn_the_row_says_so(field, run, monkeypatch):
    monkeypatch.setattr(describing.importlib.util, "find_spec", lambda name: None)
    code, out, _ = run("--describe", field)
    assert code == 0
    assert "extra trees: sigma_NMAD (needs scikit-learn" in out
    assert out.splitlines()[-1].endswith("1 not judged")


def test_another_limit_has_no_targets_but_the_sky(field, tmp_path, run):
    attributes = {"mock": True, "selection": "magnitude:24", "survey": "hsc-wide", "seed": 4}
    other = copy(field, tmp_path / "other.hdf5", attributes=attributes, rows=slice(60))
    assert {name for name, _ in rows_of(other)} == {"std of negative pixels"}
    assert "nothing is published for the selection magnitude:24" in run("--describe", other)[1]


FIGURES = {"Images", "Redshifts", "Colours", "Sizes", "Spectra", "Pixels", "Seeing and dust"}
# What a file lacks: what the table says then, its rows, and the figures that the page is without.
LACKS = {
    "image": (
        "not shown: pixel statistics: the file has no 'image'\n",
        2,
        {"Images", "Sizes", "Pixels"},
    ),
    "DESI_fibermap": (
        "not shown: n(z): the file has no 'DESI_fibermap/DESI_redshift'\n",
        25,
        {"Redshifts", "Colours", "Spectra"},
    ),
    "DESI_fibermap/MORPHTYPE": ("not shown: share of PSF types", 26, set()),
    "simulation": (None, 27, {"Seeing and dust"}),
    "spectrum": (None, 27, {"Spectra"}),
    "HSC_metadata": (None, 27, {"Colours", "Sizes"}),
}


@pytest.mark.parametrize("missing", LACKS)
def test_what_is_missing_is_said_and_the_rest_is_shown(targets, tmp_path, run, missing):
    said, rows, without = LACKS[missing]
    path = copy(targets, tmp_path / "part.hdf5", drop=[missing], rows=slice(40))
    code, out, err = run("--describe", path, "--report", tmp_path / "page.html")
    assert (code, err) == (0, "")
    assert said in out if said else "not shown" not in out
    assert f"of {rows} rows pass" in out.splitlines()[-1]
    page = Page((tmp_path / "page.html").read_text())
    assert FIGURES & set(page.words) == FIGURES - without


def test_a_file_that_says_nothing_is_taken_for_the_real_one(targets, tmp_path, run):
    drop = ["simulation"]
    path = copy(targets, tmp_path / "real.hdf5", drop=drop, rows=slice(60), attributes={})
    code, out, _ = run("--describe", path, "--report", tmp_path / "page.html")
    assert code == 0
    assert "does not say that it is mock data" in out.splitlines()[0]
    assert len(rows_of(path)) == 27
    assert "does not say that it is mock data" in (tmp_path / "page.html").read_text()


def test_a_magnitude_of_99_is_none_behind_dust_too(field, tmp_path):
    def spoil(values):
        return np.concatenate([np.full_like(values[:12], 99), values[12:]])

    path = copy(field, tmp_path / "spoilt.hdf5", **{"HSC_metadata/g_cmodel_mag": spoil})
    with SurveyFile(path) as file:
        for dereddened in (False, True):
            magnitudes = file.magnitudes("gr", dereddened)
            assert np.isnan(magnitudes[:12, 0]).all()
            assert np.isfinite(magnitudes[12:]).all()


@pytest.mark.parametrize("survey", ["targets", "field"])
def test_damaged_values_neither_stop_it_nor_count(survey, request, tmp_path, run):
    def spoil(values):
        values = values.copy()
        values[:10] = np.nan
        values[10:12] = 3e38
        return values

    whole = request.getfixturevalue(survey)
    changes = dict.fromkeys(
        ("image", "DESI_fibermap/DESI_redshift", "HSC_metadata/i_cmodel_mag", "spectrum/flux"),
        spoil,
    )
    path = copy(whole, tmp_path / "spoilt.hdf5", rows=slice(300), **changes)
    code, _, err = run("--describe", path, "--report", tmp_path / "page.html")
    assert (code, err) == (0, "")
    found = rows_of(path)
    wanted = rows_of(copy(whole, tmp_path / "good.hdf5", rows=slice(12, 300)))
    assert found.keys() == wanted.keys()
    for name in found.keys() - {("share of PSF types", "")}:  # no type was damaged
        assert np.isfinite(wanted[name].value)
        assert found[name].value == pytest.approx(wanted[name].value, rel=1e-6), name


def test_a_file_of_nothing_but_nan_is_not_judged(targets, tmp_path, run):
    empty = {
        name: lambda values: np.full_like(values, np.nan)
        for name in ("image", "DESI_fibermap/DESI_redshift")
    }
    path = copy(targets, tmp_path / "nan.hdf5", rows=slice(5), **empty)
    code, out, _ = run("--describe", path, "--report", tmp_path / "page.html")
    assert code == 0
    assert "not judged: pixel mean (no such pixels)" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": slice(0)}, "no objects"),
        ({"drop": ["image", "DESI_fibermap"]}, "no training file"),
        ({"image": lambda images: images[1:]}, "different lengths"),
        ({"image": lambda images: images[:, :3]}, "was expected for the bands grizy"),
        ({"image": lambda images: images[:, 0]}, "was expected"),
        ({"DESI_fibermap/MORPHTYPE": lambda kind: kind[1:]}, "'DESI_fibermap/MORPHTYPE' has shape"),
        ({"DESI_fibermap/DESI_redshift": lambda z: z.astype("S8")}, "holds no numbers"),
    ],
)
def test_bad_files_are_one_line(targets, tmp_path, run, change, message):
    path = copy(targets, tmp_path / "bad.hdf5", **{"rows": slice(6), **change})
    code, _, err = run("--describe", path)
    assert code == 4
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_what_is_no_training_file_is_one_line(tmp_path, run):
    (tmp_path / "table.csv").write_text("z\n1\n")
    for path, message in (("table.csv", "HDF5"), ("none.hdf5", "no such file"), ("", "folder")):
        code, out, err = run("--describe", tmp_path / path)
        assert (code, out) == (4, "")
        assert message in err
        assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("--describe", "m.hdf5", "-n", 5), ("--report", "p.html"), ("--describe", "")]
)
def test_options_that_make_no_sense_together(arguments, tmp_path, run):
    code, out, err = run(*arguments)
    assert code in (2, 4)
    assert out == ""
    assert len(err.strip().splitlines()) == 1


class Page(HTMLParser):
    """Collects the images, the links and the words of a page; unclosed tags are an error."""

    def __init__(self, html):
        super().__init__()
        self.images, self.links, self.words, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data.strip())


@pytest.fixture(scope="module")
def pages(targets, field, tmp_path_factory):
    """Pages of both mock surveys."""
    folder = tmp_path_factory.mktemp("pages")
    written = {}
    for name, file in (("targets", targets), ("field", field)):
        written[name] = folder / f"{name}.html"
        with pytest.raises(SystemExit) as stop:
            main(["simulate", "--describe", str(file), "--report", str(written[name])])
        assert stop.value.code == 0
    return written


@pytest.mark.parametrize("name", ["targets", "field"])
def test_the_page_is_whole_and_asks_nothing_of_the_network(pages, name):
    page = Page(pages[name].read_text(encoding="utf-8"))
    assert page.open == []
    assert all(link.startswith("data:") for link in page.links)
    assert len(page.images) == 7
    for image in page.images:
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64"
        pixels = imread(io.BytesIO(base64.b64decode(data, validate=True)), format="png")
        assert pixels.shape[1] == 1650
        assert pixels.std() > 0.02  # something is drawn
        assert len(image["alt"]) > 20
    for word in ("Mock data", "1,000", "hsc-wide", "4", "std of negative pixels", "pass"):
        assert word in page.words
    selection = {"targets": "desi", "field": "magnitude:22.5"}[name]
    assert selection in page.words
    assert ("median g-r" in page.words) == (name == "field")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_page_opens_in_a_browser_without_an_error(pages, tmp_path):
    asks = """<script>addEventListener("load", () => { document.title = "loaded " +
    [...document.images].filter(image => image.complete && image.naturalWidth > 0).length; });
    </script></body>"""
    copied = tmp_path / "page.html"
    copied.write_text(pages["targets"].read_text().replace("</body>", asks))
    options = ["--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, "--headless", *options, copied.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "<title>loaded 7</title>" in done.stdout
    assert "CONSOLE" not in done.stderr


def test_names_that_are_no_utf8(targets, tmp_path, run):
    mock, page = (tmp_path / os.fsdecode(name) for name in (b"mo\xff.hdf5", b"pa\xff.html"))
    copy(targets, mock, rows=slice(40))
    code, out, err = run("--describe", mock, "--report", page)
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path}/mo\\xff.hdf5: ")
    assert f"{tmp_path}/pa\\xff.html: page of plots" in out
    assert "mo\\xff.hdf5" in page.read_text()


def test_a_page_is_replaced_on_request_only(targets, tmp_path, run):
    small = copy(targets, tmp_path / "small.hdf5", rows=slice(5))
    page = tmp_path / "page.html"
    page.write_text("mine")
    code, out, err = run("--describe", small, "--report", page)
    assert (code, out) == (6, "")
    assert "exists" in err
    assert page.read_text() == "mine"
    assert run("--describe", small, "--report", page, "--overwrite")[0] == 0
    assert "Mock data" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "small.hdf5"]


def test_one_wavelength_grid_for_all_objects(targets, tmp_path, run):
    rows = slice(40)
    each = copy(targets, tmp_path / "each.hdf5", rows=rows)
    one = copy(targets, tmp_path / "one.hdf5", rows=rows, **{"spectrum/wave": lambda wave: wave[0]})
    with SurveyFile(each) as a, SurveyFile(one) as b:
        for expected, found in zip(
            *(file.spectra(np.array([3, 7])) for file in (a, b)), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    assert run("--describe", one, "--report", tmp_path / "page.html")[0] == 0


def test_a_page_that_cannot_be_written_is_said_before_the_work(targets, tmp_path, run):
    before = targets.read_bytes()
    for report, code in (
        (targets, 2),
        (tmp_path / "none/page.html", 6),
        (tmp_path / "page.pdf", 2),
    ):
        found = run("--describe", targets, "--report", report, "--overwrite")
        assert found[:2] == (code, "")
        assert len(found[2].strip().splitlines()) == 1
    assert targets.read_bytes() == before
    assert not any(tmp_path.iterdir())
