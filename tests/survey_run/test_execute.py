"""Parts that fail: each is named with its reason, and the others are done all the same."""

import os
import signal

import pytest

from photoz_mmae.errors import ModelError, PhotozError
from photoz_mmae.survey_run import execute as module
from photoz_mmae.survey_run.cluster import dask_client
from photoz_mmae.survey_run.execute import execute
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
        batch_size=4,
        product=Redshifts(masks=0, pdf="none"),
        resample=False,
        made_with="0",
    )


def jobs(count):
    return [PartJob(number, 1, 0, 1, "s") for number in range(count)]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_parts_that_kill_and_parts_that_raise(tmp_path, settings, monkeypatch):
    def task(job, settings):
        if job.number == 1:
            die()
        if job.number == 3:
            raise ZeroDivisionError("so it goes")
        return job.number

    def attempt(job, settings, start, stop):
        assert job.number == 1

    monkeypatch.setattr(module, "predict_part", task)
    monkeypatch.setattr(module, "try_rows", attempt)
    done = []
    with dask_client(None, 1, tmp_path / "scratch") as client:
        with pytest.raises(PhotozError) as error:
            execute(client, jobs(6), settings, tmp_path / "failures", done.append)
        assert sorted(done) == [0, 2, 4, 5]
        assert "part 3 failed: ZeroDivisionError: so it goes" in str(error.value)
        log = tmp_path / "failures" / "part-000003.log"
        assert str(log) in str(error.value)
        assert "ZeroDivisionError: so it goes" in log.read_text()
        assert "part 1 kills its workers, and no object of it does so alone" in str(error.value)
        # What is wrong with the model is wrong with it for all parts.
        monkeypatch.undo()
        with pytest.raises(ModelError, match=r"part \d: .*model\.json"):
            execute(client, jobs(2), settings, tmp_path / "failures", done.append)
