"""Where the parts are computed: addresses, and how many workers and parts."""

import os

import pytest

from photoz_mmae.errors import InputError, UsageError
from photoz_mmae.survey_run.cluster import dask_client, local_workers, part_size


def test_no_scheduler_there():
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(InputError, match=r"no Dask scheduler at tcp://127.0.0.1:9"),
        dask_client("tcp://127.0.0.1:9", 1),
    ):
        pass
    with pytest.raises(UsageError, match="no address"), dask_client("nowhere://x:1", 1):
        pass


def test_how_many_workers():
    assert local_workers(3, 0) == 3
    assert local_workers(None, 0) == len(os.sched_getaffinity(0))
    assert local_workers(None, 2) == 2
    assert local_workers(8, 2) == 8


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
