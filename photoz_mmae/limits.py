"""The limits an operator sets to a run: how many objects may be bad, how long it may take."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def tolerated(max_bad: str, rows: int) -> int:
    """Return how many of `rows` may be bad: `max_bad` is a number, or a share such as "1%"."""
    if max_bad.endswith("%"):
        return int(rows * float(max_bad[:-1]) / 100)
    return int(max_bad)


def _max_bad(value: Any) -> str:
    text = str(value)
    if re.fullmatch(r"\d+", text):
        return text
    if re.fullmatch(r"\d+(\.\d+)?%", text) and float(text[:-1]) <= 100:
        return text
    raise ValueError("must be a whole number, or a share such as 1%, of 100% at most")


def _duration(value: Any) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([a-z]*)", str(value))
    if found is None or found[2] not in _SECONDS or float(found[1]) == 0:
        raise ValueError("must be a time with its unit, such as 45s, 90min or 8h")
    return float(found[1]) * _SECONDS[found[2]]


MaxBad = Annotated[str, BeforeValidator(_max_bad)]
"""A number of objects, or a share of them with a % sign."""

Duration = Annotated[float, BeforeValidator(_duration)]
"""Seconds, given with a unit: s, m or min, h, d."""
