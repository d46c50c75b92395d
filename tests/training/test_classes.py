"""Galaxies, quasars and stars told apart: what a file knows of them, training, catalogue."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from blobs import blobs, run, write

from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, load_preset
from photoz_mmae.model.weights import load_model
from photoz_mmae.training.losses import class_cross_entropy
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training.scores import score_classes
from photoz_mmae.training.step import Pieces
from photoz_mmae.training_sets.batch import kinds
from photoz_mmae.training_sets.file_set import FileSet
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.mixing import without_labels, without_star_redshifts
from photoz_mmae.training_sets.training_set import KINDS, UNKNOWN_KIND

TINY = MMAENetwork(
    width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20, classes=("galaxy", "star")
)


def sky(n=150, stars=True, seed=4):
    """Blobs, of which each third is a star: a point, at redshift 0; each third a quasar, blue."""
    values = blobs(n, seed)
    kind = np.array(["GALAXY", "QSO", "STAR" if stars else "GALAXY"])[np.arange(n) % 3]
    y, x = np.mgrid[:64, :64] - 31.5
    image, star, quasar = values["image"], kind == "STAR", kind == "QSO"
    image[star] = 300 * np.exp(-(x**2 + y**2) / 4) + 0.05 * np.random.default_rng(1).normal(
        size=image[star].shape
    )
    image[quasar, 0] *= 5
    values["DESI_fibermap/DESI_redshift"][star] = 0.0
    return {**values, "DESI_fibermap/SPECTYPE": kind.astype("S")}


def train(tmp_path, monkeypatch, values, epochs=12):
    """Train a small network that is to tell all classes apart; returns the model's folder."""
    preset = load_preset("small")
    network = replace(preset.network, classes=KINDS, width=32, depth=1)
    monkeypatch.setattr(
        "photoz_mmae.training.settings.load_preset",
        lambda name: replace(preset, network=network, dust="none"),
    )
    data = write(tmp_path / "sky.hdf5", values)
    options = ("--epochs", epochs, "--batch-size", 16, "--device", "cpu")
    assert run("train", data, "-o", tmp_path / "model", *options) == 0
    return tmp_path / "model"


def test_what_a_file_says_objects_are(tmp_path):
    desi = SpectraFile(write(tmp_path / "desi.hdf5", sky(6)))
    assert [KINDS[k] for k in desi.kind[:3]] == ["galaxy", "qso", "star"]
    rows = np.array([4, 2])
    assert desi.read(rows, "relative").kind.tolist() == desi.kind[rows].tolist()
    mock = {**blobs(6), "simulation/class": [b"BGS", b"LRG", b"ELG", b"QSO", b"GAL", b"STAR"]}
    names = [KINDS[k] for k in SpectraFile(write(tmp_path / "mock.hdf5", mock)).kind]
    assert names == ["galaxy", "galaxy", "galaxy", "qso", "galaxy", "star"]
    neither = SpectraFile(write(tmp_path / "neither.hdf5", blobs(6)))
    assert (neither.kind == UNKNOWN_KIND).all()


def test_a_type_by_a_fit_that_failed_is_not_known(tmp_path):
    values = {**sky(6), "DESI_fibermap/ZWARN": np.array([0, 4, 0, 0, 0, 1])}
    failed = SpectraFile(write(tmp_path / "desi.hdf5", values)).kind
    assert failed.tolist() == [0, UNKNOWN_KIND, 2, 0, 1, UNKNOWN_KIND]


def test_a_type_that_is_none_of_them_is_not_known():
    assert kinds(np.array(["GALAXY ", "", "WHATEVER"])).tolist() == [0, UNKNOWN_KIND, UNKNOWN_KIND]


@pytest.fixture
def batch(tmp_path):
    return SpectraFile(write(tmp_path / "sky.hdf5", sky(12))).read(np.arange(12), "relative")


def test_what_is_hidden_of_objects(batch):
    hidden = np.arange(12) < 5
    nothing = without_labels(batch, hidden)
    assert (nothing.kind[:5] == UNKNOWN_KIND).all()
    assert torch.equal(nothing.kind[5:], batch.kind[5:])
    extragalactic = without_star_redshifts(batch)
    assert extragalactic.has_redshift.tolist() == [k % 3 != 2 for k in range(12)]
    assert torch.equal(extragalactic.kind, batch.kind)


def test_only_known_classes_cost_anything(batch):
    torch.manual_seed(0)
    network = MMAE(TINY).eval()
    network.fit(batch.image)
    objective = make_objective(network, load_preset("small").training, tuple("grizy"))

    def losses(kind):
        (view,) = objective.validation_views(replace(batch, kind=kind), torch.Generator())
        found = objective.losses(view)
        assert found["total"].item() == pytest.approx(
            sum(
                weight * found[name].item()
                for name, weight in (
                    ("redshift", 1),
                    ("image", objective._schedule.image_weight),
                    ("spectrum", objective._schedule.spectrum_weight),
                    ("class", 1),
                )
            ),
            rel=1e-5,
        )
        return found["class"].item()

    all_unknown = torch.full_like(batch.kind, UNKNOWN_KIND)
    assert losses(all_unknown) == 0
    one = all_unknown.clone()
    one[3] = KINDS.index("star")
    two = one.clone()
    two[4] = KINDS.index("galaxy")
    # The mean over those that are known.
    assert losses(one) > 0
    other = one.roll(1)
    other[4] = KINDS.index("galaxy")
    assert losses(two) == pytest.approx((losses(one) + losses(other)) / 2, rel=1e-4)


def test_purity_is_of_objects_whose_class_is_known(tmp_path):
    values = sky(30)
    values["DESI_fibermap/SPECTYPE"][::4] = b""
    torch.manual_seed(0)
    network = MMAE(TINY).eval()
    file = SpectraFile(write(tmp_path / "sky.hdf5", values))
    data = FileSet(file, "relative", "sky", (0.1, 0.4), 0)
    (batch,) = data.held_out("test", 99)
    network.fit(batch.image)
    objective = make_objective(network, load_preset("small").training, tuple("grizy"))
    found = score_classes(objective, data, "test", 7, lambda read: read, Pieces(1, print))
    given = objective.likeliest(objective.whole(batch))
    known = batch.kind != UNKNOWN_KIND
    assert 0 < known.sum() < len(batch)
    for result, name in zip(found, TINY.classes, strict=True):
        called = (given == KINDS.index(name)) & known
        right = called & (batch.kind == KINDS.index(name))
        assert result.n == (batch.kind == KINDS.index(name)).sum()
        assert result.purity == (int(right.sum()) / int(called.sum()) if called.any() else None)
    assert any(result.purity is not None for result in found)


def test_class_cross_entropy():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    found = class_cross_entropy(logits, torch.tensor([0, 1, -1]))
    expected = torch.tensor([np.log1p(np.exp(-2.0)), np.log(2.0), 0.0])
    torch.testing.assert_close(found, expected.float())


def test_stars_and_quasars_come_out_in_the_catalogue(tmp_path, monkeypatch, capsys):
    model = train(tmp_path, monkeypatch, sky())
    info = load_model(model).info
    assert info.classes == KINDS
    for found in info.training.class_results:
        assert found.completeness > 0.5
        assert found.purity > 0.5
    held_out = info.training.objects_test
    assert sum(found.n for found in info.training.class_results) == held_out
    # Stars have no redshift to be right about.
    assert info.training.results[0].n == held_out - info.training.class_results[2].n
    card = (model / "CARD.md").read_text()
    assert "stars are not in the table above" in card
    assert "probabilities of galaxy, qso, star" in card
    new = write(tmp_path / "new.hdf5", sky(90, seed=9))
    output = tmp_path / "out.parquet"
    assert run("predict", new, "-o", output, "--model", model, "--device", "cpu") == 0
    table = pq.read_table(output)
    mass = np.stack([table[f"prob_{name}"].to_numpy() for name in KINDS], axis=1)
    np.testing.assert_allclose(mass.sum(axis=1), 1, rtol=1e-5)
    assert (mass.argmax(axis=1) == np.arange(90) % 3).mean() > 0.7


def test_a_file_without_stars_has_a_model_without_them(tmp_path, monkeypatch, capsys):
    model = train(tmp_path, monkeypatch, sky(60, stars=False), epochs=1)
    info = load_model(model).info
    assert info.classes == ("galaxy", "qso")
    assert info.training.results[0].n == info.training.objects_test
    assert "no star" not in (model / "CARD.md").read_text()


def test_a_file_that_knows_no_class_has_a_model_that_tells_none(tmp_path, monkeypatch, capsys):
    model = train(tmp_path, monkeypatch, blobs(), epochs=1)
    assert load_model(model).info.classes == ()
    values = json.loads((model / "model.json").read_text())
    assert "classes" not in values["network"]
    assert "class_results" not in values["training"]
    new = write(tmp_path / "new.hdf5", blobs(10))
    output = tmp_path / "out.parquet"
    assert run("predict", new, "-o", output, "--model", model, "--device", "cpu") == 0
    assert not [name for name in pq.read_schema(output).names if name.startswith("prob_")]
