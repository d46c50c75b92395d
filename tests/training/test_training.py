"""Training through the command line: small file in, model folder out."""

import json
from importlib import resources

import numpy as np
import pytest
import torch
from blobs import arguments, blobs, run, taken_gpu, write

from photoz_mmae.lock import LOCK_FILE, run_lock
from photoz_mmae.model.info import load_info
from photoz_mmae.model.weights import load_model
from photoz_mmae.runs import TrainRun
from photoz_mmae.training.settings import precision_of


@pytest.mark.parametrize("preset", ["base", "small", "paper"])
def test_a_model_folder_comes_out(training_file, tmp_path, preset, capsys):
    limit = 60 if preset == "small" else 20
    folder = tmp_path / "mine"
    options = {"epochs": 1, "preset": preset, "limit": limit}
    assert run(*arguments(training_file, folder, **options)) == 0
    assert "sigma_NMAD = " in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [
        "CARD.md",
        "metrics.jsonl",
        "model.json",
        "weights.safetensors",
    ]
    model = load_model(folder)
    assert (model.info.wave is None) == (preset == "paper")
    assert (model.info.z_edges is None) == (preset == "paper")
    assert model.info.training.data_description == "mock data: Gaussian blobs"
    card = (folder / "CARD.md").read_text()
    assert "mock data" in card
    assert model.info.training.data_sha256 in card
    assert model.info.weights_sha256 in card
    given = f"--preset {preset} --limit {limit} --seed 0 --epochs 1 --batch-size 16"
    assert f"photoz-mmae train {training_file} -o {folder} {given}" in card


@pytest.mark.parametrize(
    ("device", "capability", "hip", "precision"),
    [
        ("cpu", None, None, torch.float32),
        ("cuda:0", (9, 0), None, torch.bfloat16),
        ("cuda:0", (8, 6), None, torch.bfloat16),
        ("cuda:1", (7, 5), None, torch.float32),  # emulates bfloat16
        ("cuda:0", (7, 5), "6.4", torch.bfloat16),  # of another maker, another count
    ],
)
def test_reduced_precision_where_the_gpu_has_it(monkeypatch, device, capability, hip, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    for asked, found in (
        ("auto", precision),
        ("bfloat16", torch.bfloat16),
        ("float32", torch.float32),
    ):
        wanted = TrainRun(data="x.hdf5", output="m", precision=asked)
        assert precision_of(wanted, device) == found


def test_it_learns(training_file, tmp_path):
    assert run(*arguments(training_file, tmp_path / "m", epochs=12, patience=0)) == 0
    records = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").open()]
    assert [record["epoch"] for record in records] == list(range(1, 13))
    first, last = records[0]["validation"], records[-1]["validation"]
    assert last["loss_redshift"] < first["loss_redshift"] - 0.3


def test_a_gpu_that_cannot_be_used_costs_no_model(training_file, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "m"
    options = {"epochs": 1, "limit": 40}
    assert run(*arguments(training_file, folder, **options)) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    taken_gpu(monkeypatch)
    words = [*arguments(training_file, folder, **options), "--device", "cuda"]
    assert run(*words, "--precision", "float32") == 0  # there is nothing to do
    assert run(*words, "--overwrite") == 2
    said = "device 'cuda:0' cannot be used (CUDA error: all devices are busy); free it"
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_overwrite_replaces_models_only(training_file, tmp_path, capsys):
    (tmp_path / "cutouts").mkdir()
    (tmp_path / "cutouts/1.fits").write_text("mine")
    words = arguments(training_file, tmp_path / "cutouts", epochs=1, limit=20)
    assert run(*words, "--overwrite") == 6
    assert "give a new folder" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "cutouts").iterdir()] == ["1.fits"]


def test_finished_model_is_not_overwritten(training_file, tmp_path, capsys):
    options = {"epochs": 1, "limit": 20}
    assert run(*arguments(training_file, tmp_path / "m", **options)) == 0
    before = {file: file.read_bytes() for file in (tmp_path / "m").iterdir()}
    capsys.readouterr()
    assert run(*arguments(training_file, tmp_path / "m", **options)) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(*arguments(training_file, tmp_path / "m", **options, seed=5)) == 6
    error = capsys.readouterr().err
    assert "(seed was 0, is 5); --overwrite starts anew" in error
    assert error.count("\n") == 1
    assert {file: file.read_bytes() for file in (tmp_path / "m").iterdir()} == before
    before = load_info(tmp_path / "m").sha256
    assert run(*arguments(training_file, tmp_path / "m", **options, seed=5), "--overwrite") == 0
    assert load_info(tmp_path / "m").sha256 != before


def test_not_hdf5_missing_and_unknown_preset(tmp_path, training_file, capsys):
    text = tmp_path / "text.hdf5"
    text.write_text("no")
    assert run("train", text, "-o", tmp_path / "m") == 4
    assert run("train", tmp_path / "absent.hdf5", "-o", tmp_path / "m") == 4
    assert run("train", training_file, "-o", tmp_path / "m", "--preset", "tiny") == 2
    assert "known: base, large, paper, small" in capsys.readouterr().err
    assert run("train", training_file) == 2
    assert run("train", training_file, "-o", text) == 6


def test_configuration_file(tmp_path, training_file, capsys):
    config = tmp_path / "train.toml"
    config.write_text(f'data = "{training_file}"\nepochs = 1\nlimit = 20\nbatch-size = 8\n')
    assert run("train", "-o", tmp_path / "m", "--config", config) == 0
    assert load_info(tmp_path / "m").training.objects_training == 18
    config.write_text("epoch = 1\n")
    assert run("train", "-o", tmp_path / "n", "--config", config) == 2
    assert "did you mean 'epochs'?" in capsys.readouterr().err


def test_counts_are_said_and_stand_in_the_card(tmp_path, capsys):
    values = blobs()
    values["image"][:2] = 1.0
    values["image"][5:9, 1] = np.nan
    values["object_id"][3:5] = 4
    values["DESI_fibermap/DESI_redshift"][10:25] = np.nan
    values["DESI_fibermap/ZWARN"] = np.where(np.arange(60) == 40, 4, 0)
    values["spectrum/ivar"][50:] = 0
    values["simulation/class"] = np.repeat([b"BGS", b"QSO"], 30)
    path = write(tmp_path / "t.hdf5", values, mock=True, seed=17)
    assert run(*arguments(path, tmp_path / "m", epochs=1)) == 0
    said = capsys.readouterr().err
    assert "60 objects; dropped: 2 without an image, 1 repeated" in said
    assert "preset base, 1 epoch\n" in said
    record = load_info(tmp_path / "m").training
    parts = record.objects_training + record.objects_validation + record.objects_test
    assert parts + sum(record.dropped.values()) == 60
    held_out = record.dropped["held out without redshift"]
    assert record.lacking["redshift"] == 16 - held_out
    assert record.data_seed == 17
    card = (tmp_path / "m/CARD.md").read_text()
    assert "(mock data: Gaussian blobs, seed 17)" in card
    assert "2 without an image, 1 repeated" in card
    assert 0 < record.lacking["a band"] <= 4
    assert f", {record.lacking['a band']} a band" in card
    assert "## Results on the test objects" in card
    rows = {result.objects: result for result in record.results}
    assert rows["all"].n == record.objects_test
    assert sum(r.n for name, r in rows.items() if name.startswith("z ")) == rows["all"].n
    assert sum(r.n for name, r in rows.items() if name.startswith("class ")) == rows["all"].n
    assert f"| all | {rows['all'].n} |" in card


def test_published_split_of_a_small_file(training_file, tmp_path):
    assert run(*arguments(training_file, tmp_path / "m", epochs=1, split="published")) == 0
    record = load_info(tmp_path / "m").training
    assert (record.objects_training, record.objects_validation, record.objects_test) == (42, 9, 9)
    assert record.split == "the published split"


def test_matched_to_a_catalogue(training_file, tmp_path, capsys):
    values = blobs(400, seed=9)
    faint = values["HSC_metadata/g_cmodel_mag"] > np.median(values["HSC_metadata/g_cmodel_mag"])
    mags = [values[f"HSC_metadata/{band}_cmodel_mag"][faint] for band in "gri"]
    lines = ["mag_g,r_cmodel_mag,flux_i"]
    lines += [f"{g},{r},{10 ** (-0.4 * (i - 31.4))}" for g, r, i in zip(*mags, strict=True)]
    (tmp_path / "target.csv").write_text("\n".join(lines))
    words = arguments(training_file, tmp_path / "m", epochs=1)
    assert run(*words, "--match-to", tmp_path / "target.csv") == 0
    said = capsys.readouterr().err
    assert "in g-r-i" in said
    assert "of the target sample is outside the training sample's reach" in said
    record = load_info(tmp_path / "m").training
    assert record.dropped["unlike the target sample"] > 10
    assert record.notes[0] in (tmp_path / "m/CARD.md").read_text().replace("\n  ", " ")
    (tmp_path / "other.csv").write_text("mag_i,redshift\n20,0.3\n21,0.4\n")
    words = arguments(training_file, tmp_path / "n", epochs=1)
    assert run(*words, "--match-to", tmp_path / "other.csv") == 4
    error = capsys.readouterr().err
    assert "at least two of the bands g, r, i, z, y are needed; it has i" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "n").exists()


def test_tensorboard(training_file, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = arguments(training_file, tmp_path / "m", epochs=2)
    assert run(*words, "--tensorboard") == 0
    events = EventAccumulator(str(tmp_path / "m/tensorboard")).Reload()
    steps = [event.step for event in events.Scalars("step/loss_total")]
    assert steps == [1, 2, 3, 4, 5, 6]
    record = json.loads((tmp_path / "m/metrics.jsonl").read_text().splitlines()[1])
    last = events.Scalars("validation/loss_total")[-1]
    assert last.step == 6
    assert last.value == pytest.approx(record["validation"]["loss_total"], rel=1e-6)


def test_tensorboard_is_not_there(training_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    assert run(*arguments(training_file, tmp_path / "m"), "--tensorboard") == 2
    assert "pip install 'photoz-mmae[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_stops_early_where_nothing_improves(training_file, tmp_path, capsys):
    # So small a rate changes nothing at all.
    options = {"epochs": 9, "patience": 2, "learning-rate": 1e-30}
    assert run(*arguments(training_file, tmp_path / "m", **options)) == 0
    assert "stopped early: no lower validation loss since epoch 1" in capsys.readouterr().err
    record = load_info(tmp_path / "m").training
    assert (record.epochs, record.best_epoch) == (3, 1)


def test_many_objects_are_seen_less_often(training_file, tmp_path):
    """A preset asks for so many steps at most; on the command line epochs are epochs."""
    text = (resources.files("photoz_mmae.model") / "presets" / "small.toml").read_text()
    preset = tmp_path / "own.toml"
    preset.write_text(text.replace("epochs = 15", "epochs = 15\nmost_steps = 7"))
    options = {"preset": preset, "limit": 60}
    assert run(*arguments(training_file, tmp_path / "m", **options)) == 0
    record = load_info(tmp_path / "m").training
    steps = record.objects_training // 16
    assert (record.epochs - 1) * steps < 7 <= record.epochs * steps
    assert record.epochs < 4
    assert run(*arguments(training_file, tmp_path / "n", **options, epochs=4)) == 0
    assert load_info(tmp_path / "n").training.epochs == 4


def test_loss_that_is_not_finite(training_file, tmp_path, capsys):
    options = {"epochs": 9, "learning-rate": 1e30}
    assert run(*arguments(training_file, tmp_path / "m", **options)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("photoz-mmae: the training loss is not finite")


def test_bfloat16_is_said(training_file, tmp_path):
    words = arguments(training_file, tmp_path / "m", epochs=1, precision="bfloat16")
    assert run(*words) == 0
    assert load_info(tmp_path / "m").training.settings["precision"] == "bfloat16"
    assert "--precision bfloat16" in (tmp_path / "m/CARD.md").read_text()


def test_a_table_to_match_that_is_not_there_is_one_line(training_file, tmp_path, capsys):
    words = ["train", training_file, "-o", tmp_path / "m", "--epochs", "1"]
    for missing, why in ((tmp_path / "no.csv", "No such file"), (tmp_path, "Is a directory")):
        assert run(*words, "--match-to", missing) == 4
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert str(missing) in line
        assert why in line
    assert not (tmp_path / "m").exists()


def test_two_trainings_cannot_share_a_folder(training_file, tmp_path, capsys):
    folder = tmp_path / "m"
    folder.mkdir()
    words = ["train", training_file, "-o", folder, "--epochs", "1", "--limit", "40"]
    with run_lock(folder):
        assert run(*words) == 7
        assert "is held by another run" in capsys.readouterr().err
    assert run(*words) == 0
    assert not (folder / LOCK_FILE).exists()
