"""Parts that fail: each is named with its reason, and the others are done all the same."""

import os
import signal

import pytest

from photoz_mmae.errors import InputError, ModelError, PhotozError, UsageError
from photoz_mmae.survey_run import execute as module
from photoz_mmae.survey_run.execute import dask_client, execute, local_workers, part_size
from photoz_mmae.survey_run.part import PartJob, PartSettings
from photoz_mmae.survey_run.products import Redshifts


@pytest.fixture
def settings(tmp_path):
    """Settings of a run without a plan."""
    return PartSettings(
        plan=str(tmp_path / "plan"),
        parts=str(tmp_path),
        model=str(tmp_path / "model"),
        model_sha256="0",
        table=None,
        device="cpu",
        gpus=0,
        batch_size=4,
        product=Redshifts(masks=0, pdf="none"),
        resample=False,
        made_with="0",
    )


def jobs(count):
    return [PartJob(number, 0, 1, "s") for number in range(count)]


def test_parts_that_kill_and_parts_that_raise(tmp_path, settings, monkeypatch):
    def task(job, settings):
        if job.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.number == 3:
            raise ZeroDivisionError("so it goes")
        return job.number

    monkeypatch.setattr(module, "predict_part", task)
    done = []
    with dask_client(None, 1) as client:
        with pytest.raises(PhotozError) as error:
            execute(client, jobs(6), settings, tmp_path / "failures", done.append)
        assert sorted(done) == [0, 2, 4, 5]
        assert "part 3 failed: ZeroDivisionError: so it goes" in str(error.value)
        log = tmp_path / "failures" / "part-000003.log"
        assert str(log) in str(error.value)
        assert "ZeroDivisionError: so it goes" in log.read_text()
        assert "part 1 killed the worker process" in str(error.value)
        # What is wrong with the model is wrong with it for all parts.
        monkeypatch.undo()
        with pytest.raises(ModelError, match=r"part \d: .*model\.json"):
            execute(client, jobs(2), settings, tmp_path / "failures", done.append)


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
    assert local_workers(3, 0, 10) == 3
    assert local_workers(3, 0, 2) == 2
    assert 1 <= local_workers(None, 0, 1000) == len(os.sched_getaffinity(0))
    assert local_workers(None, 1, 1000) <= 4


@pytest.mark.parametrize(
    ("wanted", "objects", "scheduler", "workers", "size"),
    [
        (8192, 1_000_000, None, 4, 8192),
        (8192, 20_000, None, 4, 1250),
        (8192, 100, None, 4, 256),
        (16, 2000, None, 4, 16),
        (8192, 2000, "tcp://far:8786", None, 8192),
    ],
)
def test_parts_small_enough_for_all_workers(wanted, objects, scheduler, workers, size):
    assert part_size(wanted, objects, scheduler, workers) == size
