"""Whether anybody is at work in a run folder: told without touching its lock."""

import json
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from photoz_mmae.lock import HOLDER_FILE

State = Literal["running", "unknown", "died", "ended"]

_LATER = 2.0
"""Seconds after its holder's start from which on a process of that number is another one."""


@dataclass(frozen=True)
class Holder:
    """Who holds, or held, a run folder: `holder.json`."""

    pid: int
    host: str
    started: str

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether that process is there, and no later one of the same number."""
        try:
            process = psutil.Process(self.pid)
            born, status = float(process.create_time()), process.status()
        except psutil.NoSuchProcess:
            return False
        start = datetime.fromisoformat(self.started).timestamp()
        return status != psutil.STATUS_ZOMBIE and born < start + _LATER

    def wrote(self, facts: dict[str, Any]) -> bool:
        """Whether `run.json` is of this command, and not of an earlier one."""
        of_it = (facts.get("process"), facts.get("host")) == (self.pid, self.host)
        return of_it and facts["started"] >= self.started


def read_holder(folder: Path) -> Holder | None:
    """Return who holds the folder, or held it and died; None where nobody left a word."""
    try:
        said = json.loads((folder / HOLDER_FILE).read_text())
        datetime.fromisoformat(said["started"])
        return Holder(int(said["pid"]), str(said["host"]), str(said["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def state_of(holder: Holder | None, facts: dict[str, Any]) -> State:
    """Say how a run stands.

    Parameters
    ----------
    holder : Holder or None
    facts : dict
        Of `run.json`; empty where the command did not come so far.

    Returns
    -------
    str
        `running`; `ended`, as `run.json` says; `died`: neither; `unknown`: a process of another
        host had begun and did not say that it ended.
    """
    has_ended = facts.get("exit") is not None
    if holder is None or (has_ended and holder.wrote(facts)):
        return "ended" if has_ended else "died"
    if not holder.is_here:
        return "unknown"
    return "running" if holder.is_alive else "died"
