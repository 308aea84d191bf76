"""Delays are measured under torque: only while every e-stop is released, and whatever ends it ends it safely."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from drivers.errors import Disconnected, DriverError, Timeout
from drivers.estops.base import Estop, EstopSettings
from edge_runtime import calibrate, config
from edge_runtime.clock import MonotonicClock
from edge_runtime.devices import bus_settings, camera_settings
from edge_runtime.errors import EdgeError
from tests.edge_runtime.fakes import FakeBus, FakeCamera, robot


class Button(Estop):
    """Pressed while the bench's `down` says so, which may raise."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(EstopSettings("red", "/dev/none", "17"))
        self._bench = bench

    def open(self) -> None: ...

    def read(self, timeout_s: float) -> bool:
        time.sleep(min(timeout_s, 0.005))
        return self._bench.down()

    def close(self) -> None: ...


class Bench:
    """A robot of fakes with one e-stop, and a person who agrees; `when_asked` is done meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        button = config.Estop(name="red", kind="gpio", device="/dev/none", input="17")
        self.robot = msgspec.structs.replace(robot(), estops=(button,))
        self.bus = FakeBus(bus_settings(self.robot.buses[0]), MonotonicClock())
        self.down: Callable[[], bool] = lambda: False
        self.when_asked: Callable[[], object] = lambda: None
        self.asked = 0
        monkeypatch.setattr(calibrate, "make_bus", lambda _: self.bus)
        monkeypatch.setattr(calibrate, "make_camera", lambda c: FakeCamera(camera_settings(c), self._frame))
        monkeypatch.setattr(calibrate, "make_estop", lambda _: Button(self))

    def _frame(self, number: int) -> int:
        time.sleep(0.02)
        return number

    def agree(self, question: str) -> None:
        self.asked += 1
        self.when_asked()

    def measure(self) -> None:
        calibrate.delays(self.robot, 2, self.robot.cameras[0], Path("/nowhere/file.json"), self)

    def is_swinging(self) -> bool:
        return len(self.bus.writes) > 30


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_an_estop_that_is_pressed_is_said_before_anything_is_asked(bench: Bench) -> None:
    bench.down = lambda: True
    with pytest.raises(EdgeError, match="e-stop red is pressed: release it"):
        bench.measure()
    assert bench.asked == 0
    assert "enable_torque" not in bench.bus.calls


def test_an_estop_that_cannot_be_read_is_refused(bench: Bench) -> None:
    def gone() -> bool:
        raise Disconnected("e-stop red: no such device")

    bench.down = gone
    with pytest.raises(DriverError, match="no such device"):
        bench.measure()
    assert bench.bus.calls == []


def test_an_estop_that_is_pressed_while_the_person_is_asked_keeps_torque_off(bench: Bench) -> None:
    def press() -> None:
        bench.down = lambda: True
        time.sleep(0.1)

    bench.when_asked = press
    with pytest.raises(EdgeError, match="e-stop red is pressed"):
        bench.measure()
    assert bench.asked == 1
    assert "enable_torque" not in bench.bus.calls


def at_rest_and_safe(bench: Bench) -> bool:
    path = np.array([row[2] for _, row in bench.bus.writes])
    return bench.bus.calls[-2:] == ["safe_action", "disconnect"] and abs(path[-1] - path[-2]) < 1e-4 < np.ptp(path)


def test_an_estop_that_is_pressed_ends_the_swing(bench: Bench) -> None:
    bench.down = bench.is_swinging
    with pytest.raises(EdgeError, match="e-stop red is pressed"):
        bench.measure()
    assert at_rest_and_safe(bench)
    assert len(bench.bus.writes) < 300


def test_an_estop_that_is_lost_ends_the_swing(bench: Bench) -> None:
    def unplugged() -> bool:
        if bench.is_swinging():
            raise Disconnected("unplugged")
        return False

    bench.down = unplugged
    with pytest.raises(EdgeError, match="e-stop red lost: unplugged"):
        bench.measure()
    assert at_rest_and_safe(bench)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_swing_and_cut_nothing_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    write, make_safe = bench.bus.write_setpoints, bench.bus.safe_action

    def write_setpoints(position_rad: np.ndarray, deadline_ns: int) -> None:
        write(position_rad, deadline_ns)
        if bench.is_swinging():
            signal.raise_signal(number)

    def safe_action(deadline_ns: int) -> None:
        signal.raise_signal(number)
        if bench.bus.calls[-1] != "safe_action":
            bench.bus.calls.append("safe_action")
            raise Timeout("the first attempt is not answered")
        signal.raise_signal(number)
        make_safe(deadline_ns)

    monkeypatch.setattr(bench.bus, "write_setpoints", write_setpoints)
    monkeypatch.setattr(bench.bus, "safe_action", safe_action)
    with pytest.raises(KeyboardInterrupt):
        bench.measure()
    assert bench.bus.safe
    assert at_rest_and_safe(bench)
