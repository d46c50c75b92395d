"""The engine: values do not depend on the company an object is in."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from photoz_mmae.errors import UsageError
from photoz_mmae.inference.device import is_out_of_memory, resolve_device
from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, PublishedNetwork
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.model.weights import TrainedModel


@pytest.fixture(scope="module")
def ours(tiny_info):
    torch.manual_seed(0)
    network = MMAE(MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20))
    return TrainedModel(network, tiny_info)


@pytest.fixture(scope="module")
def published(tiny_info):
    torch.manual_seed(0)
    network = PublishedMMAE(PublishedNetwork(width=16, depth=1, heads=2, fusion_blocks=1))
    return TrainedModel(network, tiny_info)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(11, 5, 64, 64)).astype(np.float32)


def test_shapes_and_normalisation(ours, images):
    result = Engine(ours, "cpu", 4, masks=3).predict(images)
    assert result.mass.shape == (11, 20)
    np.testing.assert_allclose(result.mass.sum(axis=1), 1, rtol=1e-5)
    assert result.z_masked.shape == (11, 3)
    assert result.spectrum.shape == (11, 259)
    assert result.spectrum_masked.shape == (11, 3, 259)
    assert result.z_point is None


def test_values_do_not_depend_on_the_other_objects(ours, images):
    engine = Engine(ours, "cpu", 4, masks=2)
    together, alone = engine.predict(images), engine.predict(images[9:10])
    np.testing.assert_array_equal(together.mass[9:10], alone.mass)
    np.testing.assert_array_equal(together.spectrum_masked[9:10], alone.spectrum_masked)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_any_number_of_objects(ours, images, n):
    result = Engine(ours, "cpu", 4, masks=2).predict(images[:n])
    assert result.mass.shape == (n, 20)
    assert result.z_masked.shape == (n, 2)


def test_without_masked_passes_there_is_no_spread(ours, images):
    result = Engine(ours, "cpu", 4, masks=0).predict(images[:2])
    assert result.z_masked is None
    assert result.spectrum_masked is None


def test_published_network_gives_a_point(published, images):
    result = Engine(published, "cpu", 4, masks=2).predict(images)
    assert result.mass is None
    assert result.spectrum is None
    assert result.z_masked.shape == (11, 2)
    with torch.no_grad():
        full = published.network(torch.from_numpy(images), None).redshift
    np.testing.assert_allclose(result.z_point, full, atol=1e-6)


@pytest.mark.parametrize("lacking", [False, True], ids=["whole", "some without patches"])
def test_the_redshift_is_read_from_the_embedding(ours, published, images, lacking):
    missing = np.zeros(images.shape, bool)
    missing[3:5, :, :16, :] = lacking
    shown = np.where(missing, np.float32(0), images)
    for model in (ours, published):
        engine = Engine(model, "cpu", 4, masks=0)
        embedding = engine.embed(shown, missing=missing)
        assert embedding.shape == (11, model.network.settings.embedding_size)
        result = engine.predict(shown, missing=missing)
        with torch.no_grad():
            read = model.network.redshift_head(torch.from_numpy(embedding))
        if result.mass is None:
            np.testing.assert_allclose(read.squeeze(-1), result.z_point, atol=1e-6)
        else:
            np.testing.assert_allclose(read.softmax(dim=1), result.mass, atol=1e-6)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:99", "tpu"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(UsageError, match="device"):
        resolve_device(device)


def test_auto_finds_a_device():
    expected = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto") == expected


def test_float32_on_a_gpu_is_no_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    resolve_device("cpu")
    assert torch.backends.cudnn.allow_tf32
    monkeypatch.setattr("photoz_mmae.inference.device.count_gpus", lambda: 1)
    assert resolve_device("auto") == "cuda:0"
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("batch_size", [4, "auto"])
def test_a_gpu_says_the_same(ours, images, batch_size):
    missing = np.zeros(images.shape, bool)
    missing[2:4, 1, :20] = True  # some come in batches of their own
    images = np.where(missing, 0, images)
    here = Engine(ours, "cpu", 4, masks=2).predict(images, missing=missing)
    there = Engine(ours, "cuda", batch_size, masks=2).predict(images, missing=missing)
    for name in ("mass", "z_masked", "spectrum", "spectrum_masked"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_what_says_that_memory_ran_out(error, answer):
    assert is_out_of_memory(error) is answer


def test_batches_that_memory_does_not_hold_are_halved(tiny_model):
    script = f"""
import resource
from pathlib import Path
import numpy as np, psutil
from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.weights import load_model

model = load_model(Path({str(tiny_model)!r}))
images = np.random.default_rng(1).normal(size=(11, 5, 64, 64)).astype(np.float32)
calm = Engine(model, "cpu", 16, masks=1).predict(images)
limit = psutil.Process().memory_info().vms + (1 << 29)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
engine = Engine(model, "cpu", 1 << 13, masks=1)  # 640 MiB of images
result = engine.predict(images)
print(engine.batch_size, np.abs(result.mass - calm.mass).max())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size, difference = done.stdout.split()
    assert 16 < int(size) < 1 << 13
    assert float(difference) < 1e-6
