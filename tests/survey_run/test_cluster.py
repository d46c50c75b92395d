"""Where the parts are computed: addresses, and how many workers and parts."""

import os
import time
from unittest import mock

import pytest
from distributed import LocalCluster
from waiting import wait_until

from photoz_mmae.errors import InputError, StoppedError, UsageError
from photoz_mmae.survey_run.cluster import (
    dashboard_of,
    dask_client,
    gpus_to_share,
    local_workers,
    part_size,
)


def test_no_scheduler_there(tmp_path):
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(InputError, match=r"no Dask scheduler at tcp://127.0.0.1:9"),
        dask_client("tcp://127.0.0.1:9", 1, tmp_path),
    ):
        pass
    with (
        pytest.raises(UsageError, match="no address"),
        dask_client("nowhere://x:1", 1, tmp_path),
    ):
        pass


def test_workers_take_the_gpus_in_turn_and_there_is_a_dashboard(tmp_path):
    # There need not be any: what CUDA would be shown is looked at.
    def shown():
        return os.environ["CUDA_VISIBLE_DEVICES"]

    with (
        mock.patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": "5,GPU-1,7"}),
        dask_client(None, 3, tmp_path / "scratch", gpus=2, dashboard=True) as client,
    ):
        assert dashboard_of(client) == client.dashboard_link
        names = {
            each["name"]: address for address, each in client.scheduler_info()["workers"].items()
        }
        first = client.run(shown)
        assert [first[names[n]] for n in range(3)] == ["5", "GPU-1", "5"]
        # One that takes the place of a lost one has the same.
        client.run(lambda: os._exit(1), workers=[names[1]], on_error="ignore")
        wait_until(lambda: names[1] not in client.nthreads() and len(client.nthreads()) == 3)
        assert sorted(client.run(shown).values()) == ["5", "5", "GPU-1"]


def test_gpus_that_are_shared_out():
    assert gpus_to_share(None, "auto", 2) == 2
    assert gpus_to_share(None, "auto", 0) == 0
    assert gpus_to_share(None, "cuda:1", 2) == 0  # the one that was named
    assert gpus_to_share(None, "cpu", 2) == 0
    assert gpus_to_share("all", "auto", 2) == 2
    assert gpus_to_share(1, "cuda", 2) == 1
    with pytest.raises(UsageError, match=r"--gpus 3: torch sees 2 GPU\(s\) here"):
        gpus_to_share(3, "auto", 2)
    with pytest.raises(UsageError, match=r"--gpus all: torch sees 0 GPU\(s\) here"):
        gpus_to_share("all", "auto", 0)


@pytest.mark.parametrize(
    ("wanted", "gpus", "device", "cores", "workers"),
    [
        (None, 0, "cpu", 32, 32),
        (3, 0, "cpu", 32, 3),
        (None, 2, "cuda:0", 32, 8),
        (None, 2, "cuda:0", 6, 6),
        (8, 1, "cuda:0", 32, 8),
        (None, 0, "cuda:0", 32, 4),  # named by --device
        (None, 0, "cuda:1", 2, 2),
    ],
)
def test_how_many_workers(monkeypatch, wanted, gpus, device, cores, workers):
    monkeypatch.setattr("photoz_mmae.survey_run.cluster.CPU_COUNT", cores)
    assert local_workers(wanted, gpus, device) == workers


@pytest.mark.parametrize(
    ("wanted", "objects", "workers", "size"),
    [
        (8192, 1_000_000, 4, 8192),
        (8192, 20_000, 4, 1250),
        (8192, 100, 4, 256),
        (16, 2000, 4, 16),
        (8192, 2000, None, 8192),
    ],
)
def test_parts_small_enough_for_all_workers(wanted, objects, workers, size):
    assert part_size(wanted, objects, workers) == size


def test_a_result_that_is_waited_for_when_the_scheduler_goes(tmp_path):
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as cluster,
        pytest.raises(StoppedError, match="the same command goes on"),
        dask_client(cluster.scheduler_address, 1, tmp_path) as client,
    ):
        future = client.submit(time.sleep, 60)
        future.cancel()
        future.result()
