"""Another survey from end to end: mock LSST in six bands at 0.2", a model of it, a catalogue."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.model.info import load_info
from photoz_mmae.surveys import LSST_Y10

BANDS = "ugrizy"
N = 320


@pytest.fixture(scope="module")
def command():
    """Run a verb in this process; returns its exit code."""
    from photoz_mmae.cli.main import main

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return stop.value.code

    return run


@pytest.fixture(scope="module")
def file(command, tmp_path_factory):
    """A mock training file of LSST."""
    path = tmp_path_factory.mktemp("lsst") / "lsst.hdf5"
    assert command("simulate", "--survey", "lsst-y10", "-n", N, "--seed", 1, "-o", path) == 0
    return path


@pytest.fixture(scope="module")
def model(command, file):
    """A model of it that was shown objects without some bands."""
    folder = file.with_name("model")
    words = ("--epochs", 2, "--batch-size", 32, "--drop-bands", 0.3, "--device", "cpu")
    assert command("train", file, "-o", folder, *words) == 0
    return folder


def test_the_model_is_of_its_data(model):
    info = load_info(model)
    assert (info.survey, "".join(info.bands)) == ("lsst-y10", BANDS)
    assert (info.image_size, info.pixel_scale) == (64, 0.2)
    assert (info.network.bands, info.network.pixel_scale) == (6, 0.2)
    assert info.extinction == LSST_Y10.extinction
    assert 'ugrizy images of 64 x 64 px of 0.2"' in (model / "CARD.md").read_text()


@pytest.mark.parametrize("layout", ["lsst", "cube"])
def test_every_cutout_has_a_row_of_six_bands(photoz, predict, model, tmp_path, layout):
    cutouts, output = tmp_path / "cutouts", tmp_path / "c.parquet"
    words = ("--survey", "lsst-y10", "-n", 24, "--seed", 2, "--cutouts", cutouts)
    assert photoz("simulate", *words, "--layout", layout)[0] == 0
    truth = cutouts / "truth.parquet"
    code, _, _ = predict(cutouts, "--catalog", truth, model=model, output=output)
    assert code == 0
    rows, true = pq.read_table(output), pq.read_table(truth)
    assert sorted(rows["object_id"].to_pylist()) == sorted(true["object_id"].to_pylist())
    assert {name for name in rows.column_names if name.startswith("flux_")} == {
        f"flux_{band}{end}" for band in BANDS for end in ("", "_err")
    }
    assert set(rows["bands_used"].to_pylist()) == {0b111111}
    wrong = NO_REDSHIFT | Flag.OTHER_PIXEL_SCALE | Flag.NO_EBV | Flag.FEWER_BANDS
    assert not np.bitwise_or.reduce(rows["flags"].to_numpy()) & int(wrong)
    assert rows["z_best"].null_count == 0
    # The bands are in the model's order: most of each flux is in the aperture of its own band.
    rows, true = rows.sort_by("object_id"), true.sort_by("object_id")
    for band in BANDS[1:]:  # of u there may be nothing but noise
        total = 10 ** (-0.4 * (true[f"mag_{band}"].to_numpy() - 31.4))
        assert 0.2 < np.median(rows[f"flux_{band}"].to_numpy() / total) < 1.0, band
    code, out, _ = photoz("evaluate", output, "--truth", truth)
    assert code == 0
    assert "24 of 24 rows compared" in out


def test_cutouts_of_hsc(photoz, predict, command, model, tmp_path):
    cutouts = tmp_path / "hsc"
    assert photoz("simulate", "-n", 6, "--seed", 3, "--cutouts", cutouts)[0] == 0
    # A model that learned to do without bands: redshifts, and what they are worth is said.
    assert predict(cutouts, model=model, output=tmp_path / "fewer.parquet")[0] == 0
    rows = pq.read_table(tmp_path / "fewer.parquet")
    cautions = int(Flag.FEWER_BANDS | Flag.OTHER_PIXEL_SCALE)
    assert {flags & cautions for flags in rows["flags"].to_pylist()} == {cautions}
    assert set(rows["bands_used"].to_pylist()) == {0b111110}
    assert rows["flux_u"].null_count == rows.num_rows == 6
    # One that needs them all, trained without a file: no redshift.
    words = ("--simulate", 100, "--survey", "lsst-y10", "--epochs", 1, "--batch-size", 50)
    words += ("--preset", "small")
    whole = tmp_path / "whole"
    assert command("train", *words, "-o", whole, "--device", "cpu") == 0
    assert load_info(whole).bands == tuple(BANDS)
    assert (
        "--simulate 100 --simulate-seed 0 --survey lsst-y10 -o" in (whole / "CARD.md").read_text()
    )
    code, out, _ = predict(cutouts, model=whole, output=tmp_path / "refused.parquet")
    assert code == 3
    assert "rows      6, 6 without redshift (MISSING_BAND 6)" in out
    assert ".fits: no band u" in out


def test_the_published_network_stays_as_it_is(photoz, file, tmp_path):
    said = "images of 6 bands (ugrizy) and 64 x 64 pixels; the published network takes 5 bands"
    folder = tmp_path / "m"
    simulation = ("--simulate", 100, "--survey", "lsst-y10")
    for arguments, named in (
        (("train", file, "-o", folder, "--preset", "paper"), str(file)),
        (("train", *simulation, "-o", folder, "--preset", "paper"), "--survey lsst-y10"),
        (("compare-models", file, "-o", folder, "--models", "small,paper"), "model paper"),
    ):
        code, _, err = photoz(*arguments)
        assert (code, len(err.splitlines())) == (4, 1)
        assert f"{named}: {said}" in err
        assert not folder.exists()


def test_compare_models(photoz, file, tmp_path):
    sizes = ("--training-size", 60, "--validation-size", 30, "--test-size", 30)
    words = ("--models", "small", "--epochs", 1, *sizes, "--device", "cpu")
    assert photoz("compare-models", file, "-o", tmp_path / "compared", *words)[0] == 0
    assert "small" in (tmp_path / "compared/report.md").read_text()


def test_survey_is_for_the_simulation(photoz, file, tmp_path):
    code, _, err = photoz("train", file, "-o", tmp_path / "m", "--survey", "lsst-y10")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "--survey: is for --simulate N" in err
    code, _, err = photoz("train", "--simulate", 100, "-o", tmp_path / "m", "--survey", "lsst")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "unknown survey 'lsst'; known: hsc-wide, lsst-y1" in err
