"""What is told of a run that is at work, ended or died."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Rows and parts: of the plan, of what the last command had to do, and what is left.

    None where the command did not come so far as to know it.
    """

    rows: int | None
    rows_done: int
    parts: int | None
    parts_done: int
    rows_to_do: int | None
    rows_done_now: int
    parts_to_do: int | None
    parts_done_now: int


@dataclass(frozen=True)
class SlowPart:
    """A part that took long.

    Attributes
    ----------
    part, rows : int
    seconds : float
        That its worker took.
    first, last : str or None
        Its sources; None where the plan cannot be read.
    """

    part: int
    rows: int
    seconds: float
    first: str | None
    last: str | None


@dataclass(frozen=True)
class CatalogueState:
    """The catalogue beside the run folder.

    Attributes
    ----------
    path : str
    rows : int or None
        None where there is no such file, or it is not readable.
    created : str or None
        When, UTC, where the file says it.
    up_to_date : bool
        The last command ended with it, and it has the size that was written.
    says : str
        The same in words.
    """

    path: str
    rows: int | None
    created: str | None
    up_to_date: bool
    says: str


@dataclass(frozen=True)
class Status:
    """How a run stands.

    Attributes
    ----------
    run : str
        The run folder.
    state : str
        `running`, `ended`, `died` or `unknown` (at work or dead on another host).
    thing : str
        What rows have: `redshift` or `embedding`.
    host, process, since : str, int, str, or None
        Of the command that is, or was last, at work; UTC.
    ended, exit, message : str, int, str, or None
        Of one that ended.
    last_part : str or None
        When the last part was finished, UTC.
    last_part_age : float or None
        Seconds since then.
    progress : Progress
    rate, rate_now : float or None
        Objects per second, of the command, and of its last parts.
    seconds_left : float or None
        Of a command that is at work.
    rows_bad : int
        Without redshift, so far.
    flags : dict of str to int
        How many rows have each flag, so far; of the catalogue where that is up to date.
    slowest : sequence of SlowPart
    catalogue : CatalogueState
    """

    run: str
    state: str
    thing: str
    host: str | None
    process: int | None
    since: str | None
    ended: str | None
    exit: int | None
    message: str | None
    last_part: str | None
    last_part_age: float | None
    progress: Progress
    rate: float | None
    rate_now: float | None
    seconds_left: float | None
    rows_bad: int
    flags: dict[str, int]
    slowest: Sequence[SlowPart]
    catalogue: CatalogueState

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)
