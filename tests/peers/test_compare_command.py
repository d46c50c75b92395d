"""`compare-models`: sizes, unlabelled objects, what is refused, stopping and going on."""

import json
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from blobs import blobs, run, taken_gpu, write

from photoz_mmae.errors import StoppedError
from photoz_mmae.peers.comparison import compare
from photoz_mmae.runs import CompareModelsRun
from photoz_mmae.training import trainer
from photoz_mmae.training.trainer import Watcher


def words(data, output, *more):
    return ["compare-models", data, "-o", output, "--models", "colours", "--device", "cpu", *more]


def call(data, output, should_stop=lambda: False, **settings):
    """Compare through the API; returns how many objects each training was of."""
    objects = []
    watcher = Watcher(
        lambda line: None,
        lambda training, *rest: objects.append(training),
        lambda *step: None,
        lambda record: None,
        should_stop,
    )
    values = {"models": ("colours",), "device": "cpu", "epochs": 2, **settings}
    compare(CompareModelsRun(data=data, output=output, **values), watcher)
    return objects


def assert_same_outcome(first, second, name="colours-seed0"):
    tables = [pq.read_table(folder / f"{name}.parquet") for folder in (first, second)]
    assert tables[0].equals(tables[1])
    records = [json.loads((folder / f"{name}.json").read_text()) for folder in (first, second)]
    for record in records:
        for key in ("seconds", "training_speed", "prediction_speed"):
            del record[key]
        for point in record["curve"]:
            del point["seconds"]
    assert records[0] == records[1]


def test_unlabelled_objects_are_trained_on(training_file, tmp_path):
    sizes = {"models": ("small",), "training_size": 20, "test_size": 10, "epochs": 1}
    assert call(training_file, tmp_path / "few", **sizes) == [20]
    assert call(training_file, tmp_path / "more", **sizes, unlabelled_size=12) == [32]
    for folder, unlabelled in (("few", 0), ("more", 12)):
        record = json.loads((tmp_path / folder / "small-seed0.json").read_text())
        assert record["settings"]["unlabelled_size"] == unlabelled
    truth = [
        pq.read_table(tmp_path / f / "small-seed0.parquet")["redshift"] for f in ("few", "more")
    ]
    assert truth[0].equals(truth[1])
    assert len(truth[0]) == 10


def test_networks_that_only_learn_redshifts_are_spared_unlabelled_objects(training_file, tmp_path):
    sizes = {"training_size": 20, "test_size": 10, "epochs": 1}
    assert call(training_file, tmp_path / "few", **sizes) == [20]
    assert call(training_file, tmp_path / "more", **sizes, unlabelled_size=12) == [20]
    tables = [pq.read_table(tmp_path / f / "colours-seed0.parquet") for f in ("few", "more")]
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (("--training-size", 1000), "objects for training, --training-size asks for 1,000;"),
        (("--test-size", 59), "for validation are too few"),
        (
            ("--models", "small", "--unlabelled-size", 5),
            "0 objects for unlabelled, --unlabelled-size asks for 5;",
        ),
        (
            ("--models", "small", "--training-size", 20, "--unlabelled-size", 1000),
            "objects for unlabelled, --unlabelled-size asks for 1,000;",
        ),
    ],
)
def test_more_objects_than_there_are(training_file, tmp_path, capsys, sizes, message):
    assert run(*words(training_file, tmp_path / "r", *sizes)) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "r").exists()


def test_other_settings_are_refused_and_named(training_file, tmp_path, capsys):
    assert run(*words(training_file, tmp_path, "--epochs", 1)) == 0
    before = (tmp_path / "colours-seed0.json").read_bytes()
    capsys.readouterr()
    assert run(*words(training_file, tmp_path, "--epochs", 2, "--dust", "none")) == 6
    (line,) = capsys.readouterr().err.splitlines()
    assert "dust was deredden, is none; epochs was 1, is 2" in line
    assert (tmp_path / "colours-seed0.json").read_bytes() == before
    assert run(*words(training_file, tmp_path, "--epochs", 2, "--overwrite")) == 0
    assert (tmp_path / "colours-seed0.json").read_bytes() != before


@pytest.mark.parametrize(
    ("option", "value"),
    [("--training-size", 20), ("--test-size", 11), ("--dust", "none"), ("--epochs", 2)],
)
def test_what_fits_into_no_table_is_refused_before_it_is_trained(
    training_file, tmp_path, capsys, option, value
):
    assert run(*words(training_file, tmp_path, "--epochs", 1)) == 0
    before = sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert run(*words(training_file, tmp_path, "--epochs", 1, "--seeds", 1, option, value)) == 6
    (line,) = capsys.readouterr().err.splitlines()
    name = option.removeprefix("--").replace("-", "_")
    assert f"colours-seed0.json: made with other settings ({name} was " in line
    assert sorted(tmp_path.iterdir()) == before


def test_the_table_grows_and_is_shown_without_training(training_file, tmp_path, capsys):
    assert run(*words(training_file, tmp_path, "--epochs", 1)) == 0
    assert run(*words(training_file, tmp_path, "--epochs", 1, "--seeds", "0,1")) == 0
    assert (tmp_path / "colours-seed1.json").exists()
    capsys.readouterr()
    assert run("compare-models", training_file, "-o", tmp_path, "--against", "colours") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "| colours | 2 |" in said.out
    assert "NOT CONVERGED" in said.out
    assert said.out.strip() == (tmp_path / "report.md").read_text().strip()


def test_unknown_models_are_said_before_any_is_trained(training_file, tmp_path, capsys):
    command = ["compare-models", training_file, "-o", tmp_path / "r", "--models", "colours,colors"]
    assert run(*command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "unknown model 'colors'; known: base, large, paper, small, " in line
    for name in ("inception", "bcnn", "colours", "astroclip", "astromae"):
        assert name in line
    assert not (tmp_path / "r").exists()


def test_an_unknown_one_to_divide_is_said_before_any_is_trained(training_file, tmp_path, capsys):
    assert run(*words(training_file, tmp_path / "r", "--against", "foo")) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "no outcome of 'foo'; there are colours" in line
    assert not (tmp_path / "r").exists()
    assert run(*words(training_file, tmp_path / "r", "--epochs", 1)) == 0
    options = ("-o", tmp_path / "r", "--against", "colours, by night")
    assert run("compare-models", training_file, *options) == 4
    assert "no outcome of 'colours, by night'; there are colours" in capsys.readouterr().err


def test_stopped_anywhere_it_goes_on_to_the_same_outcome(training_file, tmp_path):
    call(training_file, tmp_path / "whole")
    stops = 0
    while not (tmp_path / "often/colours-seed0.json").exists():
        asked = iter(range(99))
        try:
            call(training_file, tmp_path / "often", lambda looks=asked: next(looks) >= 1)
        except StoppedError:
            stops += 1
    assert stops >= 2
    assert_same_outcome(tmp_path / "whole", tmp_path / "often")
    assert not list((tmp_path / "often/unfinished").iterdir())


def test_stopped_by_a_signal(training_file, tmp_path, capsys, monkeypatch):
    assert run(*words(training_file, tmp_path / "whole", "--epochs", 3)) == 0
    append = trainer.append_metrics

    def stop(folder, record):
        append(folder, record)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(trainer, "append_metrics", stop)
    capsys.readouterr()
    assert run(*words(training_file, tmp_path / "once", "--epochs", 3)) == 75
    assert "the same command goes on from here" in capsys.readouterr().err
    assert not (tmp_path / "once/colours-seed0.json").exists()
    monkeypatch.undo()
    assert run(*words(training_file, tmp_path / "once", "--epochs", 2)) == 6
    assert "(epochs was 3, is 2)" in capsys.readouterr().err
    assert run(*words(training_file, tmp_path / "once", "--epochs", 3)) == 0
    assert_same_outcome(tmp_path / "whole", tmp_path / "once")


def test_no_memory_for_the_network_is_one_line(training_file, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    assert run(*words(training_file, tmp_path)) == 2
    assert "not enough memory; free some" in capsys.readouterr().err.splitlines()[-1]


def test_a_gpu_that_cannot_be_used_costs_no_outcome(training_file, tmp_path, monkeypatch, capsys):
    again = words(training_file, tmp_path, "--epochs", 2)
    assert run(*again) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("colours-*")}
    taken_gpu(monkeypatch)
    assert run(*again, "--overwrite", "--device", "cuda") == 2
    assert "device 'cuda:0' cannot be used" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.glob("colours-*")} == before
    # What is there needs none, nor does the report.
    assert run(*again, "--device", "cuda") == 0
    assert run("compare-models", training_file, "-o", tmp_path, "--device", "cuda") == 0


def test_overwrite_that_is_stopped_can_be_gone_on_with(
    training_file, tmp_path, capsys, monkeypatch
):
    assert run(*words(training_file, tmp_path, "--epochs", 3, "--seeds", "0,1")) == 0
    append = trainer.append_metrics

    def stop(folder, record):
        append(folder, record)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(trainer, "append_metrics", stop)
    again = words(training_file, tmp_path, "--epochs", 2, "--seeds", "0,1")
    assert run(*again, "--overwrite") == 75
    assert "the same command without --overwrite goes on from here" in capsys.readouterr().err
    assert not list(tmp_path.glob("*-seed*"))
    monkeypatch.undo()
    assert run(*again) == 0
    for seed in (0, 1):
        outcome = json.loads((tmp_path / f"colours-seed{seed}.json").read_text())
        assert (outcome["settings"]["epochs"], len(outcome["curve"])) == (2, 2)


def test_a_file_that_leaves_nothing_for_the_test_is_said_at_once(tmp_path, capsys):
    values = blobs(60)
    values["ra"], values["dec"] = np.where(np.arange(60) < 30, 150.2, 151.6), np.full(60, 2.3)
    path = write(tmp_path / "two.hdf5", values)
    assert run(*words(path, tmp_path / "r", "--epochs", 1)) == 4
    assert "no object for the test" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_folder_of_somebody_elses_is_left_alone(training_file, tmp_path, capsys):
    (tmp_path / "cutout.fits").touch()
    assert run(*words(training_file, tmp_path, "--epochs", 1)) == 6
    assert "holds something else" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["cutout.fits"]
