"""Checks of a catalogue and how they ended."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "FAILED", "not checked"]

SHOWN = 5
"""Faults of one check that are told, of many."""


@dataclass(frozen=True)
class Check:
    """One check: what it is called, how it ended, and what was found or why it was not done."""

    name: str
    verdict: Verdict
    text: str


@dataclass
class Verification:
    """All checks of a catalogue, in order."""

    catalog: str
    checks: list[Check] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [check.name for check in self.checks if check.verdict == "FAILED"]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "failed": self.failed}

    def judge(self, name: str, problems: list[str], fine: str) -> None:
        """Add a check that failed where there are problems."""
        text = "; ".join(problems[:SHOWN])
        if len(problems) > SHOWN:
            text += f"; and {len(problems) - SHOWN} more"
        self.checks.append(Check(name, "FAILED" if problems else "ok", text or fine))

    def skip(self, names: tuple[str, ...], why: str) -> None:
        """Add checks that cannot be done."""
        self.checks += [Check(name, "not checked", why) for name in names]
