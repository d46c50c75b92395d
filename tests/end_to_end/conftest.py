"""What the tests of whole commands share: cutouts, a Dask cluster, the command line in process."""

import os
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

BANDS = "grizy"


@pytest.fixture(scope="session")
def write_cube():
    """Write a FITS cube of noise around a blob: real enough to be read, measured and predicted."""
    import fitsio

    def write(path, seed=0, size=64, bands=5, object_id=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        blob = np.exp(-(x**2 + y**2) / 20)
        noise = np.array([0.035, 0.058, 0.061, 0.114, 0.227])[:bands, None, None]
        flux = rng.uniform(0.2, 5, bands)[:, None, None]
        image = flux * blob + noise * rng.standard_normal((bands, size, size))
        header = {"BUNIT": "", "RA": 150.0 + seed * 1e-3, "DEC": 2.0, "MAGZERO": 27.0}
        if object_id is not None:
            header["OBJECT"] = object_id
        with fitsio.FITS(path, "rw", clobber=True) as file:
            file.write(image.astype(np.float32), header=header)
        return path

    return write


@pytest.fixture(scope="session")
def cutouts(write_cube, tmp_path_factory):
    """A folder of 12 good cutouts, named by integers; tests must leave it alone."""
    folder = tmp_path_factory.mktemp("cutouts")
    for i in range(12):
        write_cube(folder / f"{1000 + i}.fits", seed=i)
    return folder


@pytest.fixture(scope="session")
def copy_with_flaws(cutouts, write_cube):
    """Make a folder of the good cutouts, a torn one, and one whose id occurs twice."""

    def copy(folder):
        shutil.copytree(cutouts, folder)
        (folder / "torn.fits").write_text("this is no FITS file\n")
        write_cube(folder / "1012.fits", seed=3, object_id="1003")

    return copy


@pytest.fixture(scope="session")
def scheduler():
    """Address of a real Dask scheduler with one worker process, shared by the tests."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def photoz(capsys):
    """Run the command line in this process; returns exit code, output, error output."""
    from photoz_mmae.cli.main import main

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return stop.value.code, captured.out, captured.err

    return run


@pytest.fixture
def predict(photoz, scheduler, tiny_model, tmp_path):
    """Run `predict` with a tiny model on the shared cluster; the output is tmp_path/c.parquet."""

    def run(*arguments, model=tiny_model, output=tmp_path / "c.parquet"):
        options = ("-o", output, "--model", model, "--scheduler", scheduler, "--batch-size", 4)
        return photoz("predict", *options, *arguments)

    return run


@pytest.fixture
def when_synced(monkeypatch):
    """Have something happen the moment this process has synced a file of such a name, once."""
    sync = os.fsync

    def arm(pattern, action):
        waiting = [action]

        def fsync(descriptor):
            sync(descriptor)
            name = Path(f"/proc/self/fd/{descriptor}").readlink().name
            if waiting and fnmatch(name, pattern):
                waiting.pop()()

        monkeypatch.setattr(os, "fsync", fsync)
        return waiting

    return arm


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that is given room, in KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", place]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")

    def give(kib):
        subprocess.run(["mount", "-o", f"remount,size={kib}k", place], check=True)
        return place

    yield give
    # Lazily: a worker may still be at its part there.
    subprocess.run(["umount", "--lazy", place], check=True)
