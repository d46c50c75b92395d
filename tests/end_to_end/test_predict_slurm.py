"""`predict --cluster slurm:...` against commands that do what SLURM's do, on this host."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import dask
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from waiting import killed_at_last, wait_until

SBATCH = """#!/bin/bash
# Runs the script's copy in a session of its own, its output where the script says.
if [ -e "$QUEUE/refuse" ]; then
    echo "sbatch: error: invalid partition: nowhere" >&2
    touch "$QUEUE/refused"
    exit 1
fi
exec 9> "$QUEUE/lock"
flock 9
id=$((100 + $(ls "$QUEUE" | grep -c '\\.sh$')))
cp "${@: -1}" "$QUEUE/$id.sh"
[ ! -e "$QUEUE/broken" ] || sed -i '2i echo broken host; exit 1' "$QUEUE/$id.sh"
eval out=$(sed -n 's/^#SBATCH -o //p' "$QUEUE/$id.sh" | sed "s/%J/$id/")
setsid bash "$QUEUE/$id.sh" > "$out" 2>&1 < /dev/null 9>&- &
echo $! > "$QUEUE/$id.pid"
echo "Submitted batch job $id"
"""
SQUEUE = """#!/bin/bash
# Waits while its answer is held back.
touch "$QUEUE/asked"
while [ -e "$QUEUE/hold" ]; do sleep 0.05; done
for pid in "$QUEUE"/*.pid; do
    kill -0 $(cat "$pid") 2> /dev/null && basename "$pid" .pid
done
exit 0
"""
SCANCEL = """#!/bin/bash
kill -TERM -- -$(cat "$QUEUE/$1.pid")
echo $1 >> "$QUEUE/cancelled"
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A batch system on PATH; the folder where it keeps its jobs."""
    queue, programs = tmp_path / "queue", tmp_path / "bin"
    queue.mkdir()
    programs.mkdir()
    for name, script in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("QUEUE", str(queue))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    yield queue
    for pid in queue.glob("*.pid"):
        with suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)


def _has_begun(journal):
    """Whether a part is done."""
    return journal.exists() and journal.read_text()


def _assert_no_job_left(queue):
    pids = [int(file.read_text()) for file in queue.glob("*.pid")]
    assert pids
    _, alive = psutil.wait_procs([psutil.Process(p) for p in pids if psutil.pid_exists(p)], 30)
    assert not alive
    cancelled = (queue / "cancelled").read_text().split()
    assert sorted(cancelled) == sorted(file.stem for file in queue.glob("*.pid"))


@pytest.fixture
def predict_by_jobs(photoz, queue, cutouts, tiny_model, tmp_path, monkeypatch):
    """Predict to jobs.parquet by jobs that are looked after often."""

    def run(cluster="slurm:interface=lo", *more):
        options = ("-o", tmp_path / "jobs.parquet", "--model", tiny_model)
        options += ("--batch-size", 4, "--part-size", 1, "--cluster", cluster, *more)
        monkeypatch.setattr("photoz_mmae.survey_run.slurm_watch.LOOK_AGAIN", 0.3)
        with dask.config.set({"distributed.deploy.lost-worker-timeout": "0.3s"}):
            return photoz("predict", cutouts, *options)

    return run


def test_same_rows_as_a_local_run_though_a_job_ends(
    photoz, predict, queue, cutouts, tiny_model, tmp_path, monkeypatch
):
    def end_the_first_job():
        journal = tmp_path / "two words/jobs.run/journal.jsonl"
        wait_until(lambda: _has_begun(journal))
        (queue / "refuse").touch()
        try:
            os.killpg(int((queue / "100.pid").read_text()), signal.SIGKILL)
            wait_until((queue / "refused").exists)
        finally:
            (queue / "refuse").unlink()

    killer = threading.Thread(target=end_the_first_job, daemon=True)
    killer.start()
    output = tmp_path / "two words" / "jobs.parquet"
    output.parent.mkdir()
    options = ("-o", output, "--model", tiny_model, "--batch-size", 4, "--part-size", 1)
    jobs = "slurm:partition=fast,account=me,cores=1,memory=2GB,walltime=00:10:00,jobs=1"
    monkeypatch.setattr("photoz_mmae.survey_run.slurm_watch.LOOK_AGAIN", 0.5)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "0.5s"}):
        code, out, err = photoz(
            "predict", cutouts, *options, "--cluster", f"{jobs},interface=lo,directive=--nice=7"
        )
    assert (code, err) == (0, "")
    killer.join(10)
    folder = tmp_path / "two words/jobs.run/jobs"
    assert f"1 SLURM job submitted (100), logs in {folder}" in out
    assert "workers   SLURM takes no job: sbatch: error: invalid partition: nowhere\n" in out
    _assert_no_job_left(queue)
    script = (queue / "101.sh").read_text()
    for line in ("-p fast", "-A me", "--cpus-per-task=1", "--mem=2G", "-t 00:10:00", "--nice=7"):
        assert f"#SBATCH {line}\n" in script
    assert f"{sys.executable} -m distributed.cli.dask_worker tls://127.0.0.1:" in script
    # Logs stay; certificates, job scripts and Dask's scratch space go.
    logs = ["photoz-mmae-100.out", "photoz-mmae-101.out"]
    assert sorted(path.name for path in folder.iterdir()) == logs
    assert predict(cutouts)[0] == 0
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "c.parquet"))


def test_a_job_of_several_processes_that_ends(predict_by_jobs, predict, queue, cutouts, tmp_path):
    journal = tmp_path / "jobs.run/journal.jsonl"

    def end_the_first_job():
        wait_until(lambda: _has_begun(journal))
        os.killpg(int((queue / "100.pid").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=end_the_first_job, daemon=True)
    killer.start()
    # The limit ends a run that waits for a job which nobody submits.
    code, _, err = predict_by_jobs("slurm:cores=2,interface=lo", "--max-runtime", "3min")
    killer.join(10)
    assert (code, err) == (0, "")
    assert sorted(file.stem for file in queue.glob("*.sh")) == ["100", "101"]
    _assert_no_job_left(queue)
    assert predict(cutouts)[0] == 0
    assert pq.read_table(tmp_path / "jobs.parquet").equals(pq.read_table(tmp_path / "c.parquet"))


def test_a_job_that_dask_forgets_while_the_queue_is_asked(
    predict_by_jobs, predict, queue, cutouts, tmp_path, caplog
):
    journal = tmp_path / "jobs.run/journal.jsonl"
    log = tmp_path / "jobs.run/jobs/photoz-mmae-101.out"

    def end_two_jobs():
        wait_until(lambda: _has_begun(journal))
        (queue / "hold").touch()
        (queue / "asked").unlink(missing_ok=True)
        try:
            os.killpg(int((queue / "100.pid").read_text()), signal.SIGKILL)
            # The queue is asked while the second has no worker yet, and answers after that went.
            wait_until(lambda: (queue / "asked").exists() and "Registered to" in log.read_text())
            os.killpg(int((queue / "101.pid").read_text()), signal.SIGKILL)
            time.sleep(2)  # Dask forgets it
        finally:
            (queue / "hold").unlink()

    killer = threading.Thread(target=end_two_jobs, daemon=True)
    killer.start()
    code, _, err = predict_by_jobs()
    killer.join(10)
    assert (code, err) == (0, "")
    assert (queue / "102.sh").exists()
    assert "Exception in callback" not in caplog.text  # a traceback in the operator's log
    assert predict(cutouts)[0] == 0
    assert pq.read_table(tmp_path / "jobs.parquet").equals(pq.read_table(tmp_path / "c.parquet"))


def test_later_jobs_that_come_to_nothing(predict_by_jobs, predict, queue, cutouts, tmp_path):
    journal = tmp_path / "jobs.run/journal.jsonl"

    def break_the_host():
        wait_until(lambda: _has_begun(journal))
        (queue / "broken").touch()
        os.killpg(int((queue / "100.pid").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=break_the_host, daemon=True)
    killer.start()
    code, _, err = predict_by_jobs()
    killer.join(10)
    assert (code, err.count("\n")) == (75, 1), err
    said = "the SLURM jobs 101, 102, 103 ended before a worker was there"
    assert said in err
    assert "the same command goes on" in err
    assert "broken host" in (tmp_path / "jobs.run/jobs/photoz-mmae-103.out").read_text()
    output = tmp_path / "jobs.parquet"
    assert not output.exists()
    done = len(journal.read_text().splitlines())
    assert 1 <= done < 12
    assert predict(cutouts, "--part-size", 1, output=output)[0] == 0
    assert pq.read_metadata(output).num_rows == 12


def test_stopped_jobs_are_cancelled_and_the_same_command_goes_on(
    predict, queue, cutouts, tiny_model, tmp_path
):
    command = [Path(sys.executable).parent / "photoz-mmae", "predict", cutouts, "-o", "c.parquet"]
    command += ["--model", tiny_model, "--part-size", 1, "--batch-size", 4]
    command += ["--cluster", "slurm:cores=2,interface=lo", "--workers", 2]
    log = tmp_path / "log"
    process = subprocess.Popen(
        [str(word) for word in command], cwd=tmp_path, stdout=log.open("w"), stderr=log.open("a")
    )
    journal = tmp_path / "c.run/journal.jsonl"

    def begun():
        assert process.poll() is None, log.read_text()
        return _has_begun(journal)

    with killed_at_last(process):
        wait_until(begun)
        process.terminate()
        assert process.wait(60) == 75
    assert "the same command goes on" in log.read_text().splitlines()[-1]
    assert "1 SLURM job submitted (100)" in log.read_text()
    _assert_no_job_left(queue)
    assert not (tmp_path / "c.parquet").exists()
    assert predict(cutouts)[0] == 0
    assert pq.read_metadata(tmp_path / "c.parquet").num_rows == 12


@pytest.mark.skipif(torch.cuda.is_available(), reason="the jobs see a GPU here")
def test_jobs_that_see_no_gpu_do_not_take_the_cpu_instead(predict_by_jobs, queue, tmp_path):
    code, _, err = predict_by_jobs("slurm:gpus=1,interface=lo")
    assert (code, err.count("\n")) == (2, 1), err
    assert "device 'cuda' is not there: torch sees 0 GPU(s)" in err
    assert "#SBATCH --gres=gpu:1\n" in (queue / "100.sh").read_text()
    assert not (tmp_path / "jobs.parquet").exists()
    assert predict_by_jobs("slurm:gpus=1,interface=lo", "--device", "cpu")[0] == 0


def test_jobs_that_cannot_be(photoz, queue, cutouts, tiny_model, tmp_path, monkeypatch):
    def run(cluster, *more):
        options = ("-o", tmp_path / "c.parquet", "--model", tiny_model, "--cluster", cluster)
        return photoz("predict", cutouts, *options, *more)

    for cluster, said in (
        ("slurm:partiton=fast", "unknown key 'partiton'; did you mean 'partition'?"),
        ("slurm:cores=none", "cores: must be a valid integer"),
        ("slurm:memory=much", "memory: must be as in 16GB"),
        ("slurm:jobs", "jobs has no value"),
        ("pbs:jobs=1", "unknown batch system 'pbs'"),
    ):
        code, _, err = run(cluster)
        assert code == 2
        assert f"--cluster: {said}" in err
    code, _, err = run("slurm", "--scheduler", "tcp://127.0.0.1:1")
    assert code == 2
    assert "give either --scheduler ADDRESS or --cluster" in err
    code, _, err = run("slurm", "--gpus", 1)
    assert code == 2
    assert "--gpus: is about this machine" in err
    (queue / "refuse").touch()
    code, _, err = run("slurm:partition=nowhere,interface=lo")
    assert code == 4
    assert err == ("photoz-mmae: SLURM takes no job: sbatch: error: invalid partition: nowhere\n")
    (queue / "refuse").unlink()
    # A job whose host lacks what it needs.
    monkeypatch.setattr("photoz_mmae.survey_run.slurm_watch.LOOK_AGAIN", 0.5)
    with dask.config.set({"jobqueue.slurm.job-script-prologue": ["echo no such module", "exit 1"]}):
        code, _, err = run("slurm:interface=lo")
    assert code == 4
    assert "the SLURM jobs 100 ended before a worker was there" in err
    assert "no such module" in (tmp_path / "c.run/jobs/photoz-mmae-100.out").read_text()
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run("slurm")
    assert code == 2
    assert "there is no sbatch here" in err
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)  # as where it is not installed
    code, _, err = run("slurm")
    assert code == 2
    assert "pip install 'photoz-mmae[cluster]'" in err
