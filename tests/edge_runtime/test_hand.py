"""The hand's thread: newest reading wins, a lost device is opened anew, and nothing that is no number gets through."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from drivers.errors import Disconnected, DriverError, Timeout
from drivers.hands.base import Floats, Hand
from edge_runtime import device_thread
from edge_runtime import hand as module
from edge_runtime.hand import HandThread


class Scripted(Hand):
    """Reads what `script` holds, or raises it; then the last reading for good."""

    def __init__(self, *script: float | Exception) -> None:
        self.script = list(script)
        self.open_errors: list[Exception] = []
        self.opened = self.closed = 0
        self.last = 0.0

    def open(self) -> None:
        self.opened += 1
        if self.open_errors:
            raise self.open_errors.pop(0)

    def read_into(self, position_rad: Floats, deadline_ns: int) -> None:
        said = self.script.pop(0) if self.script else self.last
        if isinstance(said, Exception):
            raise said
        self.last = said
        position_rad[:] = said

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD_NS", 1_000_000)
    monkeypatch.setattr(device_thread, "BACKOFF_S", (0.01,))


def made(device: Hand) -> tuple[HandThread, list[tuple[str, str]]]:
    events: list[tuple[str, str]] = []
    return HandThread(device, 2, lambda name, cause: events.append((name, cause))), events


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def newest(thread: HandThread) -> float:
    reading = thread.readings.take()
    assert reading is not None
    return float(reading.position_rad[0])


def test_the_newest_reading_is_there_with_its_time() -> None:
    thread, events = made(Scripted(0.1, 0.2, 0.3))
    thread.start()
    assert thread.stamp_ns
    until(lambda: newest(thread) == 0.3)
    reading = thread.readings.take()
    assert reading is not None
    assert 0 <= time.monotonic_ns() - reading.stamp_ns < 5_000_000_000
    thread.stop()
    assert events == []


def test_a_device_that_is_not_there_at_the_start_is_refused() -> None:
    device = Scripted()
    device.open_errors = [Disconnected("bus leader: there is no such port")]
    with pytest.raises(DriverError, match="no such port"):
        made(device)[0].start()


def test_a_reading_or_two_that_fail_are_nothing() -> None:
    device = Scripted(0.1, Timeout("silent"), Timeout("silent"), 0.4)
    thread, events = made(device)
    thread.start()
    until(lambda: newest(thread) == 0.4)
    thread.stop()
    assert (events, device.opened) == ([], 1)


def test_a_device_that_is_lost_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Disconnected("unplugged")
    device = Scripted(0.1, gone, gone, gone, 0.5)
    device.open_errors = []
    thread, events = made(device)
    thread.start()
    device.open_errors = [Disconnected("no such port")] * 2
    until(lambda: len(events) == 2)
    thread.stop()
    assert [name for name, _ in events] == ["hand lost", "hand back"]
    assert events[0][1] == "unplugged"
    assert (thread.lost, thread.trouble, device.opened) == (1, "", 4)
    assert newest(thread) == 0.5


def test_while_it_is_lost_its_trouble_is_known_and_its_readings_grow_old() -> None:
    device = Scripted(0.1)
    thread, events = made(device)
    thread.start()
    device.open_errors = [Disconnected("no such port")] * 10_000
    device.script = [ZeroDivisionError("a bug in a driver")]
    until(lambda: thread.trouble == "no such port")
    stamp_ns = thread.stamp_ns
    time.sleep(0.03)
    assert thread.stamp_ns == stamp_ns
    thread.stop()
    assert [name for name, _ in events] == ["hand lost"]


def test_a_reading_that_is_no_number_is_none() -> None:
    device = Scripted(0.1, float("nan"), float("inf"), 0.2)
    thread, _ = made(device)
    thread.start()
    until(lambda: newest(thread) == 0.2)
    thread.stop()
    assert np.isfinite(newest(thread))
