"""A signal is told by its name as often as it comes, and interrupts nothing; afterwards everything is as it was."""

from __future__ import annotations

import signal

import pytest

from edge_runtime import signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_is_told_however_often(number: signal.Signals) -> None:
    before, names = signal.getsignal(number), []
    with signals.told(names.append):
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert names == [number.name] * 2
    assert signal.getsignal(number) is before


def test_a_hangup_that_is_ignored_stays_so() -> None:
    before, names = signal.signal(signal.SIGHUP, signal.SIG_IGN), []
    try:
        with signals.told(names.append):
            signal.raise_signal(signal.SIGHUP)
        assert names == []
    finally:
        signal.signal(signal.SIGHUP, before)
