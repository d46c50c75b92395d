"""Signals that are noted first, and obeyed at once the second time."""

import os
import signal
import time
from contextlib import suppress

import pytest
from waiting import wait_until

from photoz_mmae.survey_run import stopping
from photoz_mmae.survey_run.stopping import NotedSignals, signals_held, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_noted_once_then_at_once(number):
    outside = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stop_on_signals(), NotedSignals() as noted:
        assert not noted.arrived
        os.kill(os.getpid(), number)
        assert noted.arrived
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == outside


def test_nothing_arrives():
    outside = signal.getsignal(signal.SIGTERM)
    with NotedSignals() as noted:
        pass
    assert not noted.arrived
    assert signal.getsignal(signal.SIGTERM) == outside


@pytest.fixture
def insists_soon(monkeypatch):
    monkeypatch.setattr(stopping, "INSIST", 0.01)


def wait(condition=lambda: False):
    wait_until(condition)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_a_library_drops_is_asked_for_again(number, insists_soon):
    outside = signal.getsignal(signal.SIGALRM)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        for _ in range(3):
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), number)
                wait()
        wait()
    assert signal.getsignal(signal.SIGALRM) == outside
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_follows_a_stop_is_cleared_up_in_peace(insists_soon, monkeypatch):
    alarms = []

    def is_stopping():
        alarms.append(signal.SIGALRM)
        return _is_stopping()

    _is_stopping = stopping._is_stopping
    monkeypatch.setattr(stopping, "_is_stopping", is_stopping)
    cleared = []
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            wait()
        finally:
            with suppress(OSError):
                raise OSError
            try:
                raise ValueError
            except ValueError:
                wait(lambda: len(alarms) > 3)
            wait(lambda: len(alarms) > 6)
            cleared.append(True)
    assert cleared


def test_an_alarm_waits_for_what_is_held(insists_soon):
    done = []
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            wait()
        with signals_held():
            end = time.monotonic() + 0.1
            wait(lambda: time.monotonic() > end)
            done.append(True)
        wait()
    assert done
