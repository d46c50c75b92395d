"""Training through the command line: small file in, model folder out, stops and resumes."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from photoz_mmae.cli.main import main
from photoz_mmae.model.info import load_info
from photoz_mmae.model.weights import load_model

N = 60


@pytest.fixture(scope="session")
def training_file(tmp_path_factory):
    """Galaxies that are Gaussian blobs, redder and fainter with redshift."""
    rng = np.random.default_rng(4)
    redshift = rng.uniform(0.05, 1.5, N)
    y, x = np.mgrid[:64, :64] - 31.5
    blob = np.exp(-(x**2 + y**2) / 30)
    colour = np.arange(5) * redshift[:, None]
    image = np.exp(2 - redshift[:, None] + 0.5 * colour)[:, :, None, None] * blob
    wave = 3612 + 24.0 * np.arange(259)
    flux = (wave / 6000) ** redshift[:, None]
    path = tmp_path_factory.mktemp("data") / "blobs.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "mock data: Gaussian blobs"
        file["image"] = (image + rng.normal(0, 0.05, image.shape)).astype(np.float32)
        file["spectrum/flux"] = (flux + rng.normal(0, 0.1, flux.shape)).astype(np.float32)
        file["spectrum/ivar"] = np.full(flux.shape, 100.0, np.float32)
        file["spectrum/wave"] = np.broadcast_to(wave, flux.shape).astype(np.float32)
        file["DESI_fibermap/DESI_redshift"] = redshift
        file["ebv"] = rng.uniform(0, 0.2, N)
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in arguments])
    return stop.value.code


def arguments(data, output, **options):
    extra = [word for key, value in options.items() for word in (f"--{key}", value)]
    return ["train", data, "-o", output, "--batch-size", 16, "--device", "cpu", *extra]


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_a_model_folder_comes_out(training_file, tmp_path, preset, capsys):
    limit = N if preset == "small" else 20
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
    given = f"--seed 0 --epochs 1 --batch-size 16 --limit {limit}"
    assert f"photoz-mmae train {training_file} -o {folder} --preset {preset} {given}" in card


def test_it_learns(training_file, tmp_path):
    assert run(*arguments(training_file, tmp_path / "m", epochs=12)) == 0
    records = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").open()]
    assert [record["epoch"] for record in records] == list(range(1, 13))
    first, last = records[0]["validation"], records[-1]["validation"]
    assert last["loss_redshift"] < first["loss_redshift"] - 0.3


def test_killed_training_goes_on_bit_for_bit(training_file, tmp_path):
    """Kill -9 after the first epoch; the resumed training ends with the same weights."""
    options = {"epochs": 4, "limit": 40}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert run(*arguments(training_file, whole, **options)) == 0
    command = [sys.executable, "-m", "photoz_mmae.cli.main"]
    words = [str(word) for word in arguments(training_file, resumed, **options)]
    process = subprocess.Popen([*command, *words], stderr=subprocess.DEVNULL)
    checkpoint = resumed / "checkpoint.safetensors"
    while not checkpoint.exists():
        assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()
    assert not (resumed / "model.json").exists()
    assert run(*arguments(training_file, resumed, **options)) == 0
    first = load_file(whole / "weights.safetensors")
    second = load_file(resumed / "weights.safetensors")
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    lines = (resumed / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    assert not checkpoint.exists()


def test_stopped_by_a_batch_system_and_asked_for_something_else(training_file, tmp_path, capsys):
    options = {"epochs": 60, "limit": 40}
    folder = tmp_path / "m"
    words = [str(word) for word in arguments(training_file, folder, **options)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "photoz_mmae.cli.main", *words], stdout=log, stderr=log
        )
    while not (folder / "checkpoint.safetensors").exists():
        assert process.poll() is None, "it ended before it could be stopped"
    process.terminate()
    assert process.wait() == 75
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-1].startswith("photoz-mmae: stopped; the same command goes on")
    # A log holds lines, no half-drawn bar.
    assert all(line.startswith("epoch ") for line in lines[1:-1])
    assert run(*arguments(training_file, folder, **{**options, "epochs": 7})) == 6
    assert "(epochs was 60, is 7)" in capsys.readouterr().err


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
    before = load_info(tmp_path / "m").sha256
    assert run(*arguments(training_file, tmp_path / "m", **options)) == 6
    assert "--overwrite" in capsys.readouterr().err
    assert load_info(tmp_path / "m").sha256 == before
    assert run(*arguments(training_file, tmp_path / "m", **options, seed=5), "--overwrite") == 0
    assert load_info(tmp_path / "m").sha256 != before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.__delitem__("spectrum/ivar"), "dataset 'spectrum/ivar' is missing"),
        (lambda file: file.__delitem__("image"), "dataset 'image' is missing"),
        (
            lambda file: file["DESI_fibermap/DESI_redshift"].__setitem__(..., np.nan),
            "no object has a redshift",
        ),
    ],
)
def test_damaged_training_file(training_file, tmp_path, damage, message, capsys):
    path = tmp_path / "damaged.hdf5"
    path.write_bytes(training_file.read_bytes())
    with h5py.File(path, "a") as file:
        damage(file)
    assert run(*arguments(path, tmp_path / "m", epochs=1)) == 4
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_not_hdf5_missing_and_unknown_preset(tmp_path, training_file, capsys):
    text = tmp_path / "text.hdf5"
    text.write_text("no")
    assert run("train", text, "-o", tmp_path / "m") == 4
    assert run("train", tmp_path / "absent.hdf5", "-o", tmp_path / "m") == 4
    assert run("train", training_file, "-o", tmp_path / "m", "--preset", "tiny") == 2
    assert "known: paper, small" in capsys.readouterr().err
    assert run("train", training_file) == 2
    assert run("train", training_file, "-o", text) == 6


def test_configuration_file(tmp_path, training_file, capsys):
    config = tmp_path / "train.toml"
    config.write_text(f'data = "{training_file}"\nepochs = 1\nlimit = 20\nbatch-size = 8\n')
    assert run("train", "-o", tmp_path / "m", "--config", config) == 0
    assert load_info(tmp_path / "m").training.objects_training == 19
    config.write_text("epoch = 1\n")
    assert run("train", "-o", tmp_path / "n", "--config", config) == 2
    assert "did you mean 'epochs'?" in capsys.readouterr().err
