"""`run.json`: the settings that decide a run's values, and how its last command went.

Written when a command begins, when it knows what there is to do, and when it ends, however: a
file whose `exit` is null is that of a command that is at work, or was killed.
"""

import json
import os
import platform
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from photoz_mmae import __version__
from photoz_mmae.catalog.writer import atomic_text
from photoz_mmae.errors import OutputError, PhotozError
from photoz_mmae.provenance import now

LIBRARIES = ("torch", "numpy", "pyarrow", "dask", "distributed", "fitsio", "astropy")
"""Whose versions are noted."""


class RunRecord:
    """The file, and what it says: `facts`, empty where it is not there.

    `output` is the name of the run's output, beside the run folder.
    """

    def __init__(self, path: Path, output: str) -> None:
        self.path = path
        self.output = output
        self.facts: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Read the file; raises OutputError when it cannot be read, or is damaged."""
        try:
            facts = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            facts = {}
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise OutputError(
                f"{self.path}: damaged ({error}); --overwrite to start anew"
            ) from error
        if not isinstance(facts, dict) or (facts and not isinstance(facts.get("settings"), dict)):
            raise OutputError(f"{self.path}: damaged; --overwrite to start anew")
        self.facts = facts
        return facts

    def begin(self, settings: dict[str, Any]) -> None:
        """Write down what decides the values, and that a command is at work.

        Raises OutputError where that cannot be, as `note` does.
        """
        self.facts = {
            "settings": settings,
            "output": self.output,
            "command": sys.argv,
            "folder": str(Path.cwd()),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": now(),
            "ended": None,
            "exit": None,
            "message": None,
            "versions": {
                "photoz_mmae": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
        }
        self._write()

    def note(self, **facts: Any) -> None:
        """Write down more."""
        self.facts.update(facts)
        self._write()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Write down how the command ends; the failure itself goes on.

        A success says its exit code by `note`.
        """
        start = time.monotonic()
        try:
            yield
        except BaseException as error:
            if self.facts:
                if isinstance(error, PhotozError):
                    code, message = error.exit_code, str(error)
                elif isinstance(error, KeyboardInterrupt):
                    code, message = 75, "stopped"
                else:
                    code, message = 1, f"{type(error).__name__}: {error}"
                with suppress(OutputError):  # a full disk is told by the failure
                    self.note(
                        exit=code,
                        message=message,
                        ended=now(),
                        seconds=round(time.monotonic() - start, 3),
                    )
            raise

    def _write(self) -> None:
        try:
            with atomic_text(self.path) as file:
                file.write(json.dumps(self.facts, indent=1) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error})") from error
