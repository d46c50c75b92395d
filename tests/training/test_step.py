"""A batch in pieces is the same batch; objects count for what they have."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import arguments, call, run
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn

from photoz_mmae.errors import StoppedError
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, PublishedNetwork, load_preset
from photoz_mmae.model.weights import build_network
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training.step import backward
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.training_set import UNKNOWN_KIND, TrainingBatch

N = 10
BANDS = ("g", "r", "i", "z", "y")
NETWORKS = {
    "small": MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20),
    "paper": PublishedNetwork(width=16, depth=1, heads=2, fusion_blocks=1, dropout=0.0),
}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    numbers = torch.arange(N)
    return TrainingBatch(
        image=normal(N, 5, 64, 64),
        measured=torch.ones(N, 5, dtype=torch.bool),
        flux=1 + 0.1 * normal(N, 259),
        ivar=torch.full((N, 259), 50.0),
        has_spectrum=numbers % 3 > 0,
        redshift=torch.rand(N, generator=generator),
        has_redshift=numbers % 4 > 0,
        weight=torch.rand(N, generator=generator),
        ebv=torch.where(numbers % 5 > 0, 0.1 * numbers, torch.nan),
        psf_fwhm=torch.full((N, 5), torch.nan),
        kind=torch.full((N,), UNKNOWN_KIND),
    )


@pytest.fixture(params=["small", "small told E(B-V)", "paper"])
def objective(request):
    name, _, told = request.param.partition(" ")
    return make(name, dust="input" if told else "none")


def make(name, precision=torch.float32, dust="none"):
    torch.manual_seed(1)
    # Spectra are shown to half of every batch, and to every batch of the published training.
    dropped = 0.5 if name == "small" else 0.0
    schedule = replace(load_preset(name).training, spectrum_dropped=dropped)
    return make_objective(build_network(NETWORKS[name], dust), schedule, BANDS, precision)


def losses_and_gradient(objective, batch, pieces=1):
    objective.network.zero_grad()
    views = objective.views(batch, torch.Generator().manual_seed(5))
    losses = backward(objective, views, pieces)
    gradient = [p.grad.flatten() for p in objective.network.parameters() if p.grad is not None]
    return losses, torch.cat(gradient)


@pytest.mark.parametrize("pieces", [2, 3, 7, 50])
def test_pieces_add_up_to_the_same_gradient(objective, batch, pieces):
    losses, gradient = losses_and_gradient(objective, batch)
    again, sum_of_pieces = losses_and_gradient(objective, batch, pieces)
    assert again == pytest.approx(losses, rel=1e-5)
    assert gradient.norm() > 1e-3
    torch.testing.assert_close(sum_of_pieces, gradient, rtol=1e-4, atol=1e-6)


def test_losses_are_fetched_from_the_device_at_once(objective, batch, monkeypatch):
    views = objective.views(batch, torch.Generator().manual_seed(5))
    fetched = []
    for name in ("item", "tolist"):
        fetch = getattr(torch.Tensor, name)

        def noted(value, fetch=fetch):
            fetched.append(value.shape)
            return fetch(value)

        monkeypatch.setattr(torch.Tensor, name, noted)
    losses = backward(objective, views, 3)
    assert [shape[1] for shape in fetched] == [len(losses)]


@pytest.mark.parametrize("what", ["redshift", "spectrum", "weight"])
def test_what_an_object_has_not_got_does_not_count(objective, batch, what):
    losses, gradient = losses_and_gradient(objective, batch)
    if what == "redshift":
        other = replace(batch, redshift=torch.where(batch.has_redshift, batch.redshift, 3.0))
        changed = replace(batch, redshift=batch.redshift + 0.5)
    elif what == "spectrum":
        ivar = torch.where(batch.has_spectrum[:, None], batch.ivar, 0.0)
        batch = replace(batch, ivar=ivar, flux=torch.where(ivar > 0, batch.flux, 0.0))
        losses, gradient = losses_and_gradient(objective, batch)
        other = replace(batch, ivar=torch.where(ivar > 0, ivar, -1.0))
        changed = replace(batch, flux=2 * batch.flux)
    else:
        light = replace(batch, weight=batch.weight * (torch.arange(N) != 2))
        losses, gradient = losses_and_gradient(objective, light)
        other = replace(light, redshift=light.redshift + (torch.arange(N) == 2))
        changed = batch
    again, same = losses_and_gradient(objective, other)
    assert again == pytest.approx(losses, rel=1e-6)
    torch.testing.assert_close(same, gradient)
    assert losses_and_gradient(objective, changed)[0]["total"] != pytest.approx(losses["total"])


def test_batch_without_any_redshift_or_spectrum(objective, batch):
    nothing = torch.zeros(N, dtype=torch.bool)
    batch = replace(batch, has_redshift=nothing, has_spectrum=nothing)
    losses, gradient = losses_and_gradient(objective, batch)
    assert losses["redshift"] == losses["spectrum"] == 0
    assert losses["image"] > 0
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dust", ["none", "input"])
def test_bfloat16_is_close_and_losses_are_float32(batch, dust):
    exact, reduced = (make("small", each, dust) for each in (torch.float32, torch.bfloat16))
    views = [o.views(batch, torch.Generator().manual_seed(5))[0] for o in (exact, reduced)]
    first, second = exact.losses(views[0]), reduced.losses(views[1])
    for name, value in second.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(first[name].item(), rel=0.05, abs=1e-3)
    assert second["total"] != first["total"]


def test_fluxes_keep_their_digits_in_bfloat16(batch):
    network = make("small").network
    exact = network.flux_token.features(batch.image, network.stretch.noise)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = network.flux_token.features(batch.image, network.stretch.noise)
    torch.testing.assert_close(reduced, exact, rtol=0, atol=0)


class OutOfMemory:
    """A device on which no more than so many objects fit: there is no GPU to fill here."""

    def __init__(self, monkeypatch, most, error):
        self.sizes = []
        embed = MMAE.embed

        def limited(network, image, *more):
            self.sizes.append(len(image))
            if len(image) > most:
                raise error
            return embed(network, image, *more)

        monkeypatch.setattr(MMAE, "embed", limited)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_halves_the_pieces_and_says_so_once(
    training_file, tmp_path, monkeypatch, error
):
    # Without dropout, which would be drawn anew for each piece.
    settings = {"preset": "small", "epochs": 1, "limit": 40}
    call(training_file, tmp_path / "whole", **settings)
    notes = []
    with monkeypatch.context() as patch:
        device = OutOfMemory(patch, 5, error)
        call(training_file, tmp_path / "small", notes=notes, **settings)
    assert max(device.sizes[3:]) <= 5  # 12 without spectrum, then 6, then 3
    said = [note for note in notes if "out of memory" in note]
    assert len(said) == 1
    assert "each batch of 16 is computed 8 objects at a time" in said[0]
    whole, small = (load_file(tmp_path / n / "weights.safetensors") for n in ("whole", "small"))
    for name, value in whole.items():
        np.testing.assert_allclose(small[name], value, atol=2e-4, err_msg=name)


def test_no_memory_at_all_is_one_line(training_file, tmp_path, monkeypatch, capsys):
    OutOfMemory(monkeypatch, 0, torch.cuda.OutOfMemoryError("CUDA out of memory"))
    assert run(*arguments(training_file, tmp_path / "m", epochs=1)) == 2
    assert "not enough memory for one object at a time" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    ],
)
@pytest.mark.parametrize("place", [(nn.Module, "to"), (torch.optim.AdamW, "step")])
def test_no_memory_beside_the_batches_is_one_line(
    training_file, tmp_path, monkeypatch, capsys, place, error
):
    def full(*_):
        raise error

    monkeypatch.setattr(*place, full)
    assert run(*arguments(training_file, tmp_path / "m", epochs=1)) == 2
    assert "not enough memory; --accumulate N or" in capsys.readouterr().err.splitlines()[-1]


def test_another_error_is_not_taken_for_it(training_file, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        call(training_file, tmp_path / "m", epochs=1)


def test_accumulate_through_the_command_line(training_file, tmp_path, monkeypatch):
    device = OutOfMemory(monkeypatch, 99, None)
    assert run(*arguments(training_file, tmp_path / "m", epochs=1, limit=40, accumulate=4)) == 0
    assert max(device.sizes) == 3  # of 12 without spectrum


def test_what_goes_on_has_the_pieces_that_are_asked_for_now(training_file, tmp_path, monkeypatch):
    settings = {"preset": "small", "epochs": 1, "limit": 40}
    with pytest.raises(StoppedError):
        call(training_file, tmp_path / "m", lambda: True, accumulate=8, **settings)
    # As checkpoints were written once.
    path = tmp_path / "m/checkpoint.safetensors"
    with safe_open(path, framework="numpy") as stored:
        metadata = stored.metadata()
    metadata["progress"] = json.dumps({**json.loads(metadata["progress"]), "pieces": 8})
    save_file(load_file(path), path, metadata)
    device = OutOfMemory(monkeypatch, 99, None)
    call(training_file, tmp_path / "m", accumulate=2, **settings)
    assert max(device.sizes) == 6  # of 12 without spectrum


def test_no_memory_to_read_with_is_one_line(training_file, tmp_path, monkeypatch, capsys):
    def read(*_):
        raise MemoryError

    monkeypatch.setattr(SpectraFile, "read", read)
    assert run(*arguments(training_file, tmp_path / "m", epochs=1)) == 2
    assert "a smaller --batch-size needs less" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "m").exists()
