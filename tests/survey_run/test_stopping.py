"""Signals that are noted first, and obeyed at once the second time."""

import os
import signal

import pytest

from photoz_mmae.survey_run.stopping import NotedSignals, stop_on_signals


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
