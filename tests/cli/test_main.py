"""The command line as a whole: light to load, one line per error, the exit codes of the docs."""

import errno
import signal
import subprocess
import sys

import click
import pytest

from photoz_mmae import __version__
from photoz_mmae.cli import main as cli
from photoz_mmae.errors import (
    CheckError,
    InputError,
    LockedError,
    ModelError,
    OutputError,
    StoppedError,
    UsageError,
)


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    return stop.value.code


def test_loading_the_command_line_loads_nothing_heavy():
    code = (
        "import sys, photoz_mmae.cli.main; "
        "print(*sorted({'torch', 'dask', 'distributed', 'astropy', 'pandas', 'scipy', 'pyarrow', "
        "'matplotlib', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_and_version(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    for verb in ("predict", "verify", "pack", "evaluate", "simulate", "train"):
        assert verb in text
        assert run(verb, "--help") == 0
        assert "--config" in capsys.readouterr().out
    assert run("--version") == 0
    assert __version__ in capsys.readouterr().out


@pytest.fixture
def failing(monkeypatch):
    """Add a verb that raises what it is given."""

    def add(error):
        @click.command()
        def fail():
            raise error

        monkeypatch.setitem(cli.cli.commands, "fail", fail)

    return add


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (InputError("x"), 4),
        (ModelError("x"), 5),
        (OutputError("x"), 6),
        (LockedError("x"), 7),
        (CheckError("x"), 8),
        (StoppedError("x"), 75),
        (KeyboardInterrupt(), 75),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_errors_become_one_line_and_their_exit_code(failing, error, code, capsys):
    failing(error)
    assert run("fail") == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().count("\n") == 0
    assert captured.err.strip().startswith("photoz-mmae: ")


def test_debug_shows_the_traceback_wherever_it_stands(failing, capsys):
    failing(InputError("here"))
    for words in (("--debug", "fail"), ("fail", "--debug")):
        assert run(*words) == InputError.exit_code
        err = capsys.readouterr().err
        assert "Traceback" in err
        assert err.endswith("photoz-mmae: here\n")


def test_a_full_disk_under_the_output_is_no_bug(failing, capsys):
    failing(OSError(errno.ENOSPC, "No space left on device"))
    assert run("fail") == OutputError.exit_code
    assert capsys.readouterr().err == "photoz-mmae: cannot write: No space left on device\n"


def test_unknown_options_and_verbs_are_usage_errors(capsys):
    assert run("predict", "--no-such-option") == 2
    assert run("no-such-verb") == 2
    assert "no-such-verb" in capsys.readouterr().err


def test_closed_pipe_is_no_error():
    """`photoz-mmae ... | head` ends quietly."""
    process = subprocess.run(
        f"{sys.executable} -m photoz_mmae.cli.main --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in process.stderr


def test_a_reader_that_goes_away_is_no_bug(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("object_id,z_best,redshift\n" + "1,0.5,0.5\n2,0.3,0.31\n")
    words = ["evaluate", str(table), "--truth", str(table)]
    program = [sys.executable, "-m", "photoz_mmae.cli.main", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(program, **pipes) as process:
        process.stdout.close()
        assert process.wait() == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""


def test_paths_that_cannot_be_read_are_the_inputs_fault_not_the_usages():
    paths = {
        f"{name} {param.name}": param.type.readable
        for name, command in cli.cli.commands.items()
        for param in command.params
        if isinstance(param.type, click.Path)
    }
    assert len(paths) > 20
    assert not any(paths.values()), paths


LONG = "x" * 300


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("evaluate", f"{LONG}.parquet", "--truth", "t.csv"), 4),
        (("evaluate", "catalogs/sample.parquet", "--truth", f"{LONG}.csv"), 4),
        (("train", f"{LONG}.hdf5", "-o", "model"), 4),
        (("compare-models", f"{LONG}.hdf5", "-o", "report"), 4),
        (("simulate", "-n", "2", "-o", LONG), 6),
        (("simulate", "-n", "2", "-o", f"{LONG}.hdf5"), 6),
        (("train", "--simulate", "100", "-o", LONG), 6),
    ],
)
def test_a_path_out_of_reach_is_no_bug(words, code, capsys):
    assert run(*words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("photoz-mmae: ")
    assert line.count(LONG) == 1
    assert "File name too long" in line
