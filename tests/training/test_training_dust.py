"""`train --dust`: what the model learns from is what prediction gives it."""

import h5py
import numpy as np
import pytest
import torch

from photoz_mmae.cli.main import main
from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.info import load_info
from photoz_mmae.model.presets import MMAENetwork, PublishedNetwork, load_preset
from photoz_mmae.model.weights import TrainedModel, build_network, load_model
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.surveys import HSC_WIDE
from photoz_mmae.training.dust import make_dust, prepared
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training_sets.galaxiesml import SpectraFile

N = 24


@pytest.fixture(scope="module")
def mock_file(tmp_path_factory):
    """A simulated training file: its E(B-V) is in `simulation/ebv`."""
    path = tmp_path_factory.mktemp("dust") / "mock.hdf5"
    assert run("simulate", "-n", N, "-o", path) == 0
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in arguments])
    return stop.value.code


def train(data, output, *more):
    options = ("--epochs", 1, "--batch-size", 8, "--device", "cpu")
    return run("train", data, "-o", output, *options, *more)


@pytest.mark.parametrize(
    ("options", "dust"),
    [
        ((), "deredden"),
        (("--dust", "none"), "none"),
        (("--dust", "input"), "input"),
        (("--preset", "paper", "--dust", "deredden"), "deredden"),
    ],
)
def test_model_says_its_treatment(mock_file, tmp_path, options, dust):
    assert train(mock_file, tmp_path / "m", *options) == 0
    model = load_model(tmp_path / "m")
    assert model.info.dust == dust
    assert model.info.extinction == (HSC_WIDE.extinction if dust == "deredden" else None)
    assert any("ebv" in name for name in model.network.state_dict()) == (dust == "input")
    card = (tmp_path / "m" / "CARD.md").read_text()
    assert f"| Galactic dust | {dust}: " in card
    assert " ".join(options[-2:]) in card


@pytest.mark.parametrize("dust", ["none", "deredden", "input"])
@pytest.mark.parametrize("kind", ["small", "paper"])
@torch.no_grad()
def test_training_and_prediction_see_the_same(mock_file, make_info, kind, dust):
    if (kind, dust) == ("paper", "input"):
        pytest.skip("the published network does not take E(B-V)")
    data = SpectraFile(mock_file)
    data.load_ebv()
    data.ebv[3] = np.nan
    assert data.ebv[0] > 0.01
    if kind == "small":
        network = MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20)
    else:
        network = PublishedNetwork(width=16, depth=1, heads=2, fusion_blocks=1)
    treatment = make_dust(dust, data.survey)
    torch.manual_seed(0)
    built = build_network(network, dust).eval()
    objective = make_objective(built, load_preset(kind).training, tuple("grizy"))
    raw = data.read(np.arange(8), objective.normalisation)
    batch = prepared(raw, treatment)
    if kind == "small":
        built.fit(batch.image)
    learnt = objective.redshift(objective.whole(batch)).numpy()

    info = make_info(network=network, dust=dust, extinction=treatment.extinction)
    prediction = Engine(TrainedModel(built, info), "cpu", 8, masks=0).predict(
        raw.image.numpy(), data.ebv[:8]
    )
    predicted = prediction.z_point
    if predicted is None:
        edges = np.array(info.z_edges)
        predicted = summarise(prediction.mass, edges, [str(i) for i in range(8)])["z_median"]
    np.testing.assert_allclose(predicted, learnt, rtol=1e-4)


def test_missing_values_are_counted_and_said(mock_file, tmp_path, capsys):
    path = tmp_path / "some.hdf5"
    path.write_bytes(mock_file.read_bytes())
    with h5py.File(path, "a") as file:
        file["simulation/ebv"][:3] = np.nan, -1, 99
    assert train(path, tmp_path / "m") == 0
    note = f"3 of {N} objects have no usable E(B-V)"
    assert note in capsys.readouterr().err.splitlines()
    assert f"\n- {note}\n" in (tmp_path / "m/CARD.md").read_text()
    # Where nobody asks for it nothing is said.
    assert train(path, tmp_path / "none", "--dust", "none") == 0
    assert "E(B-V)" not in capsys.readouterr().err


def test_asked_for_and_absent(mock_file, tmp_path, capsys):
    path = tmp_path / "without.hdf5"
    path.write_bytes(mock_file.read_bytes())
    with h5py.File(path, "a") as file:
        del file["simulation/ebv"]
    for dust in ("deredden", "input"):
        assert train(path, tmp_path / "m", "--dust", dust) == 4
        error = capsys.readouterr().err
        assert "looked for HSC_metadata/ebv" in error
        assert "--dust none" in error
        assert error.count("\n") == 1
        assert not (tmp_path / "m").exists()
    # The published network is trained without.
    assert train(path, tmp_path / "m", "--preset", "paper") == 0
    assert load_info(tmp_path / "m").dust == "none"


def test_what_the_published_network_cannot(mock_file, tmp_path, capsys):
    assert train(mock_file, tmp_path / "m", "--preset", "paper", "--dust", "input") == 2
    error = capsys.readouterr().err
    assert "does not take E(B-V)" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m").exists()
    assert train(mock_file, tmp_path / "m", "--dust", "wet") == 2
