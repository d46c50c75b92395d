"""Training with objects that have neither redshift nor spectrum, through the command line."""

import h5py
import pytest
from blobs import arguments, blobs, call, run, write
from test_resume import after, assert_same_model

from photoz_mmae.errors import StoppedError
from photoz_mmae.model.info import load_info


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    """40 more blobs, as `simulate -o` writes them: their labels are not to be looked at."""
    values = blobs(40, seed=8)
    values["object_id"] += 1000
    values["dec"] += 40
    values["DESI_fibermap/DESI_redshift"] = values["DESI_fibermap/DESI_redshift"][:3]
    return write(tmp_path_factory.mktemp("unlabelled") / "more.hdf5", values)


def test_they_are_trained_on_and_counted(training_file, cutouts, tmp_path, capsys):
    words = arguments(training_file, tmp_path / "m", epochs=1, unlabelled=cutouts)
    assert run(*words) == 0
    said = capsys.readouterr().err
    assert "(40 unlabelled)" in said
    assert "40 of 40 unlabelled objects have no usable E(B-V)" in said
    record = load_info(tmp_path / "m").training
    assert record.objects_unlabelled == 40
    labelled = record.objects_training - 40
    parts = labelled + record.objects_validation + record.objects_test
    assert parts + sum(record.dropped.values()) == 60
    card = (tmp_path / "m/CARD.md").read_text()
    assert f"{record.objects_training} objects for training (40 unlabelled), " in card
    assert f"--unlabelled {cutouts} --preset base" in card
    capsys.readouterr()
    assert run(*words) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(*arguments(training_file, tmp_path / "m", epochs=1)) == 6
    assert "(other unlabelled)" in capsys.readouterr().err


def test_stopped_and_gone_on_is_the_same(training_file, cutouts, tmp_path):
    settings = {"epochs": 1, "limit": 40, "unlabelled": cutouts}
    call(training_file, tmp_path / "whole", **settings)
    with pytest.raises(StoppedError):
        call(training_file, tmp_path / "once", after(3), **settings)
    call(training_file, tmp_path / "once", **settings)
    assert_same_model(tmp_path / "whole", tmp_path / "once")


def test_the_published_network_and_the_rest_of_the_file(training_file, tmp_path):
    """The objects behind --limit, of the same file; those before it are repeats."""
    options = {"epochs": 1, "limit": 20, "preset": "paper", "split": "published"}
    words = arguments(training_file, tmp_path / "m", **options, unlabelled=training_file)
    assert run(*words) == 0
    record = load_info(tmp_path / "m").training
    assert record.dropped["unlabelled and repeated"] == 20
    on_stamp = record.dropped["unlabelled on a stamp of validation or test"]
    assert record.objects_unlabelled == 40 - on_stamp


def test_what_cannot_be_is_one_line(training_file, cutouts, tmp_path, capsys):
    four, empty = tmp_path / "four.hdf5", tmp_path / "empty"
    empty.mkdir()
    four.write_bytes(cutouts.read_bytes())
    with h5py.File(four, "a") as file:
        image = file["image"][:, :4]
        del file["image"]
        file["image"] = image
    words = ["train", training_file, "-o", tmp_path / "m", "--epochs", "1"]
    for more, code, message in (
        (["--unlabelled", tmp_path / "no"], 4, "No such file"),
        (["--unlabelled", empty], 4, "no FITS cutouts in"),
        (["--unlabelled", four], 4, "images of 4 planes, bands grizy"),
        (["--unlabelled", cutouts, "--unlabelled-catalog", tmp_path / "no"], 4, "no such file"),
        (["--unlabelled-catalog", cutouts], 2, "--unlabelled CUTOUTS"),
    ):
        assert run(*words, *more) == code
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert message in line, more
        assert not (tmp_path / "m").exists()
    words = ["train", "--simulate", "100", "-o", tmp_path / "m", "--unlabelled", cutouts]
    assert run(*words) == 2
    assert "--unlabelled: is for a file; --simulate has no use" in capsys.readouterr().err


def test_a_model_without_them_keeps_its_file(make_info):
    info = make_info()
    assert "objects_unlabelled" not in info.to_json()
