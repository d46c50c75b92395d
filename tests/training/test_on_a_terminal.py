"""What `train` leaves on a terminal."""

import os
import pty
import subprocess
import sys

from blobs import arguments


def test_the_bar_is_gone_before_the_result(training_file, tmp_path):
    """It used to be drawn again behind the result, on the same line."""
    words = [str(word) for word in arguments(training_file, tmp_path / "m", epochs=1)]
    command = [sys.executable, "-c", "from photoz_mmae.cli.main import main; main()", *words]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := read(ours):
            shown += chunk
    os.close(ours)
    assert process.returncode == 0
    before, result = shown.decode().split("/m: trained; ")
    assert "epoch 1/1" in before
    assert "loss" not in result


def read(terminal):
    """Whatever comes next; nothing once the other side is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
