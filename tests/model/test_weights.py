"""Model folders: what is written is read back, and damage is told in one line."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from photoz_mmae.errors import ModelError
from photoz_mmae.model.info import find_model, load_info
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, PublishedNetwork
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.model.weights import (
    TrainedModel,
    load_model,
    load_published_weights,
    save_model,
)

TINY = MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20)


@pytest.fixture
def folder(tmp_path, make_info):
    save_model(tmp_path / "tiny", TrainedModel(MMAE(TINY), make_info()), lambda _: "# card\n")
    return tmp_path / "tiny"


def test_round_trip(folder, make_info):
    torch.manual_seed(3)
    network = MMAE(TINY)
    network.fit(torch.randn(4, 5, 64, 64))
    saved = save_model(folder, TrainedModel(network, make_info()), lambda _: "# card\n")
    loaded = load_model(folder)
    assert loaded.info == saved.info == load_info(folder)
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value)
    assert (folder / "CARD.md").read_text() == "# card\n"


def test_checksum_covers_weights_and_settings(folder):
    before = load_info(folder).sha256
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text.replace("0.168", "0.2"))
    assert load_info(folder).sha256 != before


def test_the_shipped_model_keeps_its_checksum():
    """Run folders and catalogues name it; settings that came later must not change it."""
    folder = find_model("base")
    text = (folder / "model.json").read_text()
    info = load_info(folder)
    assert info.to_json() == text
    assert info.sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("changes", [{}, {"seeing": True}, {"colours": True, "dropout": 0.15}])
def test_later_settings_are_written_where_they_are_not_the_usual_ones(tmp_path, make_info, changes):
    info = make_info(network=replace(TINY, **changes))
    written = json.loads(info.to_json())["network"]
    assert {"colours", "dropout", "seeing"} & written.keys() == changes.keys()
    (tmp_path / "model.json").write_text(info.to_json())
    assert load_info(tmp_path) == info
    # The published network's dropout is no later one.
    published = make_info(network=PublishedNetwork(dropout=0.0), z_edges=None)
    assert json.loads(published.to_json())["network"]["dropout"] == 0.0


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_truncated_weights_are_refused(folder, size):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match="damaged or replaced"):
        load_model(folder)


def test_weights_of_another_network_are_refused(folder, make_info):
    info = make_info(network=MMAENetwork(width=32, depth=1, heads=2, redshift_bins=20))
    save_model(folder, TrainedModel(MMAE(TINY), info), lambda _: "")
    with pytest.raises(ModelError, match="does not fit"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1}'])
def test_damaged_json_is_refused(folder, text):
    (folder / "model.json").write_text(text)
    with pytest.raises(ModelError, match="damaged"):
        load_info(folder)


def test_newer_schema_is_refused_and_says_so(folder):
    values = json.loads((folder / "model.json").read_text())
    values |= {"schema_version": 99, "something_new": True}
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"newer version .*upgrade"):
        load_info(folder)


def test_missing_weights_are_refused(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)


def test_find_model_takes_a_path_and_names_the_shipped_ones(folder, tmp_path):
    assert find_model(str(folder)) == folder
    with pytest.raises(ModelError, match="shipped models"):
        find_model("no-such-model")
    with pytest.raises(ModelError, match=r"has no model\.json"):
        find_model(str(tmp_path))


def test_published_checkpoint_loads_by_its_names(tmp_path):
    settings = PublishedNetwork(width=16, depth=1, heads=2, fusion_blocks=1)
    network = PublishedMMAE(settings)
    path = tmp_path / "published.safetensors"
    save_file({name: value.clone() for name, value in network.state_dict().items()}, path)
    loaded = load_published_weights(path, settings)
    assert torch.equal(loaded.cls_token_img, network.cls_token_img)
    with pytest.raises(ModelError, match="not a checkpoint of the published network"):
        load_published_weights(path, PublishedNetwork())
