"""A training that is stopped or killed anywhere ends with the same bits as one that is not."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest
from blobs import arguments, call, run
from safetensors.numpy import load_file
from waiting import killed_at_last, wait_until

from photoz_mmae.errors import StoppedError
from photoz_mmae.training import trainer
from photoz_mmae.training.checkpoint import differing

COMMAND = [sys.executable, "-m", "photoz_mmae.cli.main"]


def after(looks):
    """Tell to stop when asked for the n-th time."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= looks


def has_checkpoint(folder, process):
    assert process.poll() is None, "it ended before it could be stopped"
    return (folder / "checkpoint.safetensors").exists()


def assert_same_model(first, second):
    one, other = (load_file(folder / "weights.safetensors") for folder in (first, second))
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    records = []
    for folder in (first, second):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        records.append([{**line, "seconds": 0, "objects_per_second": 0} for line in lines])
    assert records[0] == records[1]


def test_stopped_at_every_step(training_file, tmp_path):
    """Three steps and a validation per epoch: each is a place to stop, and all are used."""
    settings = {"epochs": 2, "limit": 56}
    call(training_file, tmp_path / "whole", **settings)
    stops = 0
    while not (tmp_path / "often/model.json").exists():
        try:
            call(training_file, tmp_path / "often", after(2), **settings)
        except StoppedError:
            stops += 1
    assert stops == 7
    assert_same_model(tmp_path / "whole", tmp_path / "often")
    assert not (tmp_path / "often/checkpoint.safetensors").exists()


def test_dropout_is_the_same_after_a_stop(training_file, tmp_path):
    settings = {"preset": "paper", "epochs": 1, "limit": 15, "batch_size": 4, "split": "published"}
    call(training_file, tmp_path / "whole", **settings)
    with pytest.raises(StoppedError):
        call(training_file, tmp_path / "once", after(2), **settings)
    call(training_file, tmp_path / "once", **settings)
    assert_same_model(tmp_path / "whole", tmp_path / "once")


def test_killed_between_checkpoints(training_file, tmp_path, monkeypatch):
    """A checkpoint is written now and then inside an epoch; what came after it is made again."""
    settings = {"epochs": 2, "limit": 56}
    call(training_file, tmp_path / "whole", **settings)
    steps = []

    def die(epoch, objects, loss):
        steps.append((epoch, objects))
        monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1 if len(steps) < 5 else 1e9)
        if len(steps) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1)
    with pytest.raises(KeyboardInterrupt):
        call(training_file, tmp_path / "killed", on_step=die, **settings)
    call(
        training_file,
        tmp_path / "killed",
        on_step=lambda epoch, objects, loss: steps.append((epoch, objects)),
        **settings,
    )
    assert steps[4:] == [(2, 32), (2, 48), (2, 32), (2, 48)]
    assert_same_model(tmp_path / "whole", tmp_path / "killed")


def test_kill_9(training_file, tmp_path):
    options = {"epochs": 4, "limit": 40}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert run(*arguments(training_file, whole, **options)) == 0
    words = [str(word) for word in arguments(training_file, resumed, **options)]
    with killed_at_last(subprocess.Popen([*COMMAND, *words], stderr=subprocess.DEVNULL)) as process:
        wait_until(lambda: has_checkpoint(resumed, process))
    assert not (resumed / "model.json").exists()
    assert run(*arguments(training_file, resumed, **options)) == 0
    assert_same_model(whole, resumed)


def test_stopped_by_a_batch_system_and_asked_for_something_else(training_file, tmp_path, capsys):
    options = {"preset": "small", "epochs": 60, "limit": 40}
    folder = tmp_path / "m"
    words = [str(word) for word in arguments(training_file, folder, **options)]
    with (
        (tmp_path / "log").open("w") as log,
        killed_at_last(subprocess.Popen([*COMMAND, *words], stdout=log, stderr=log)) as process,
    ):
        wait_until(lambda: has_checkpoint(folder, process))
        before = (folder / "checkpoint.safetensors").read_bytes()
        process.terminate()
        assert process.wait(120) == 75
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-1] == "photoz-mmae: stopped; the same command goes on from here"
    # A log holds lines, no half-drawn bar.
    assert lines[3] == "preset small, 60 epochs"
    assert all(line.startswith("epoch ") for line in lines[4:-1])
    # Stopping saved the steps since the epoch's end.
    assert (folder / "checkpoint.safetensors").read_bytes() != before
    assert run(*arguments(training_file, folder, **{**options, "epochs": 7})) == 6
    assert "(epochs was 60, is 7)" in capsys.readouterr().err
    assert run(*arguments(training_file, folder, **options, dust="none")) == 6
    assert "(dust was deredden, is none)" in capsys.readouterr().err
    assert run(*arguments(training_file, folder, **{**options, "preset": "paper"})) == 6
    error = capsys.readouterr().err
    assert "kind was mmae, is published" in error
    assert error.splitlines()[-1].startswith(f"photoz-mmae: {folder}: holds an unfinished training")


def test_checkpoint_that_does_not_fit_on_the_disk(training_file, tmp_path):
    folder = tmp_path / "m"
    with pytest.raises(StoppedError):
        call(training_file, folder, after(2), epochs=1)
    before = (folder / "checkpoint.safetensors").read_bytes()
    words = [str(word) for word in arguments(training_file, folder, epochs=1)]

    def limit():
        most = len(before) // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = subprocess.run(
        [*COMMAND, *words], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 6
    assert "cannot write the checkpoint (File too large)" in done.stderr.splitlines()[-1]
    assert (folder / "checkpoint.safetensors").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint.safetensors", "metrics.jsonl"]
    call(training_file, folder, epochs=1)


def test_damaged_checkpoint(training_file, tmp_path, capsys):
    with pytest.raises(StoppedError):
        call(training_file, tmp_path / "m", after(2), epochs=1)
    path = tmp_path / "m/checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert run(*arguments(training_file, tmp_path / "m", epochs=1)) == 4
    assert "damaged checkpoint" in capsys.readouterr().err


def test_the_average_follows_the_weights(training_file, tmp_path):
    """As defined: the mean moves to the weights by 1 - min(0.998, (1 + n) / (10 + n))."""
    states = []
    for _ in range(3):
        with pytest.raises(StoppedError):
            call(training_file, tmp_path / "m", after(2), epochs=9)
        states.append(load_file(tmp_path / "m/checkpoint.safetensors"))
    name = "norm.weight"
    mean = states[0][f"average/module.{name}"]
    np.testing.assert_array_equal(mean, states[0][f"network/{name}"])
    for n, state in enumerate(states[1:], start=1):
        decay = (1 + n) / (10 + n)
        mean = decay * mean + (1 - decay) * state[f"network/{name}"]
        np.testing.assert_allclose(state[f"average/module.{name}"], mean, rtol=1e-6)
        assert not np.array_equal(mean, state[f"network/{name}"])


@pytest.mark.parametrize("name", ["colours", "dropout", "seeing", "image_dropped"])
def test_what_was_begun_before_there_was_a_setting_goes_on(name):
    group = "training" if name == "image_dropped" else "network"
    before = {"seed": 0, "network": {"width": 96}, "training": {"epochs": 3}}
    usual, other = (json.loads(json.dumps(before)) for _ in range(2))
    usual[group][name] = {"dropout": 0.0, "image_dropped": 0.0}.get(name, False)
    other[group][name] = {"dropout": 0.1, "image_dropped": 0.1}.get(name, True)
    assert not differing(before, usual)
    assert not differing(usual, before)
    assert f"{name} was" in differing(before, other)


def test_a_setting_that_came_later_is_no_difference_at_its_default_in_any_group():
    before = {"network": {"network": {"width": 3}}, "epochs": 2}
    now = {"network": {"network": {"width": 3, "seeing": False}}, "epochs": 2}
    assert differing(before, now) == ""
    now["network"]["network"]["seeing"] = True
    assert differing(before, now) == "seeing was False, is True"


def test_settings_of_one_name_in_two_groups_are_two_settings():
    network = {"training": {"epochs": 120, "most_steps": 9}}
    before, now = {"epochs": 2, "network": network}, {"epochs": None, "network": network}
    assert differing(before, now) == "epochs was 2, is not given"
    assert differing(now, before) == "epochs was not given, is 2"
