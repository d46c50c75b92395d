"""Stopping on request: SIGTERM is treated like Ctrl-C. For the main thread."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)

INSIST = 0.5
"""Seconds after which a stop that nobody is obeying is asked for again."""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM or SIGINT, once: what follows is cleared up in peace.

    Compiled code of a library may drop an exception that is raised while it calls Python; then
    the alarm clock raises it again.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        if not _is_stopping():
            signal.setitimer(signal.ITIMER_REAL, INSIST, INSIST)
            raise KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in (*SIGNALS, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)


def _is_stopping() -> bool:
    """Whether some frame is clearing up after a KeyboardInterrupt."""
    error = sys.exception()
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


class TimeLimit:
    """A context that is stopped as by SIGTERM when it takes longer than `seconds`.

    Attributes
    ----------
    over : bool
    """

    def __init__(self, seconds: float | None) -> None:
        self.over = False
        self._timer = threading.Timer(seconds, self._stop) if seconds is not None else None

    def __enter__(self) -> Self:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *problem: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _stop(self) -> None:
        self.over = True
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let SIGTERM and SIGINT wait for the end of what must not be left half done."""
    arrived: list[int] = []
    held = (*SIGNALS, signal.SIGALRM)
    before = {each: signal.signal(each, lambda n, _: arrived.append(n)) for each in held}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if arrived:
        signal.raise_signal(arrived[0])


class NotedSignals:
    """A context in which SIGTERM or SIGINT is noted, for whom it suits to stop a little later.

    The second one does what it did before the context.

    Attributes
    ----------
    arrived : bool
    """

    def __init__(self) -> None:
        self.arrived = False

    def __enter__(self) -> Self:
        self._before = {each: signal.signal(each, self._note) for each in SIGNALS}
        return self

    def __exit__(self, *problem: object) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.arrived = True
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
