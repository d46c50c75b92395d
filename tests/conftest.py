"""Small things that many tests need."""

from pathlib import Path

import pytest
from hypothesis import settings

# Time is never tested: a busy machine is slow now and then.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real files; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real files (../shared/data) is not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def make_info():
    """Make the ModelInfo of a tiny network; keywords replace its fields."""
    import numpy as np

    from photoz_mmae.model.info import ModelInfo, TrainingRecord
    from photoz_mmae.model.presets import MMAENetwork

    record = TrainingRecord(
        data="mock.hdf5",
        data_sha256="0" * 64,
        data_description="mock data",
        objects_training=10,
        objects_validation=2,
        seed=0,
        epochs=1,
        best_epoch=1,
        seconds=1.0,
        package_version="0",
        torch_version="0",
        validation={"sigma_nmad": 0.5},
    )
    values = {
        "name": "tiny",
        "preset": "small",
        "survey": "hsc-wide",
        "bands": ("g", "r", "i", "z", "y"),
        "image_size": 64,
        "pixel_scale": 0.168,
        "zero_point": 27.0,
        "dust": "none",
        "z_edges": tuple(np.linspace(0, np.log(7), 21).tolist()),
        "wave": tuple(3612.0 + 24 * i for i in range(259)),
        "network": MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20),
        "weights_sha256": "",
        "training": record,
    }
    return lambda **changes: ModelInfo(**{**values, **changes})


@pytest.fixture(scope="session")
def tiny_info(make_info):
    """The facts of a tiny network with random weights."""
    return make_info()


@pytest.fixture(scope="session")
def tiny_model(make_info, tmp_path_factory):
    """Folder of a tiny model with p(z) and random weights: fast, and good for nothing else."""
    return _save(tmp_path_factory.mktemp("models") / "tiny", make_info())


@pytest.fixture(scope="session")
def tiny_point_model(make_info, tmp_path_factory):
    """Folder of a tiny published network with random weights: a point redshift, no p(z)."""
    from photoz_mmae.model.presets import PublishedNetwork

    network = PublishedNetwork(width=16, depth=1, heads=2, fusion_blocks=1)
    info = make_info(name="point", preset="paper", network=network, z_edges=None, wave=None)
    return _save(tmp_path_factory.mktemp("models") / "point", info)


@pytest.fixture(scope="session")
def save_tiny():
    """Save a model with random weights of what an info says; returns the folder."""
    return _save


def _save(folder, info):
    import torch

    from photoz_mmae.model.weights import TrainedModel, build_network, save_model

    torch.manual_seed(1)
    save_model(
        folder, TrainedModel(build_network(info.network), info), lambda _: "# A tiny model\n"
    )
    return folder
