"""Small training files, and the command line in process, for the tests of training."""

import h5py
import numpy as np
import pytest
import torch

from photoz_mmae.cli.main import main
from photoz_mmae.runs import TrainRun
from photoz_mmae.training.loop import train
from photoz_mmae.training.trainer import Watcher

WAVE = 3612 + 24.0 * np.arange(259)


def blobs(n=60, seed=4):
    """Datasets of galaxies that are Gaussian blobs, redder and fainter with redshift."""
    rng = np.random.default_rng(seed)
    redshift = rng.uniform(0.05, 1.5, n)
    y, x = np.mgrid[:64, :64] - 31.5
    blob = np.exp(-(x**2 + y**2) / 30)
    colour = np.arange(5) * redshift[:, None]
    total = np.exp(2 - redshift[:, None] + 0.5 * colour)
    image = total[:, :, None, None] * blob
    flux = (WAVE / 6000) ** redshift[:, None]
    values = {
        "image": (image + rng.normal(0, 0.05, image.shape)).astype(np.float32),
        "spectrum/flux": (flux + rng.normal(0, 0.1, flux.shape)).astype(np.float32),
        "spectrum/ivar": np.full(flux.shape, 100.0, np.float32),
        "spectrum/wave": np.broadcast_to(WAVE, flux.shape).astype(np.float32),
        "DESI_fibermap/DESI_redshift": redshift,
        "ra": 150 + 10 * rng.random(n),
        "dec": 10 * rng.random(n),
        "ebv": rng.uniform(0, 0.2, n),
        "object_id": np.arange(1, n + 1),
    }
    for band, name in enumerate("grizy"):
        values[f"HSC_metadata/{name}_cmodel_mag"] = 27 - 2.5 * np.log10(total[:, band] * 94)
    return values


def write(path, values, **attributes):
    """Write datasets, those that are None left out."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"title": "mock data: Gaussian blobs", **attributes})
        for name, value in values.items():
            if value is not None:
                file[name] = value
    return path


def run(*arguments):
    """Run a command; returns its exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in arguments])
    return stop.value.code


def taken_gpu(monkeypatch):
    """Have torch see a GPU that another process has to itself."""
    zeros = torch.zeros

    def refuse(*shape, device=None, **more):
        if str(device).startswith("cuda"):
            raise RuntimeError("CUDA error: all devices are busy\nCompile with TORCH_USE_CUDA_DSA")
        return zeros(*shape, device=device, **more)

    monkeypatch.setattr("photoz_mmae.inference.device.count_gpus", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch, "zeros", refuse)


def arguments(data, output, **options):
    """Give the words of a quick training."""
    extra = [word for key, value in options.items() for word in (f"--{key}", value)]
    return ["train", data, "-o", output, "--batch-size", 16, "--device", "cpu", *extra]


def call(data, output, should_stop=lambda: False, on_step=lambda *_: None, notes=None, **settings):
    """Train through the API, with a say in when it stops."""
    nothing = [] if notes is None else notes
    watcher = Watcher(nothing.append, lambda *_: None, on_step, lambda _: None, should_stop)
    values = {"batch_size": 16, "device": "cpu", **settings}
    return train(TrainRun(data=data, output=output, **values), watcher)
