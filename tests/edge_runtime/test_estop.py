"""E-stops: a press stops whatever drives, latches, and keeps the arm from beginning again while it is held."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from drivers.errors import Disconnected, DriverError
from drivers.estops.base import Estop, EstopSettings
from edge_runtime import device_thread
from edge_runtime.estop import BLIND_NS, Estops, EstopThread
from edge_runtime.link import Order
from edge_runtime.states import Command
from tests.edge_runtime.fakes import Rig, robot


@pytest.fixture
def rig() -> Rig:
    return Rig(robot())


def at(rig: Rig, mode: str) -> None:
    rig.run_task()
    if mode == "RUN (to_start)":
        rig.say("done")
        rig.say("task", "again")
        rig.until(mode)
        rig.tick(3)
    elif mode == "READY":
        rig.say("done")
        rig.until(mode)
    elif mode == "RUN (park)":
        rig.say("done")
        rig.tick(3)
    elif mode == "COAST (task)":
        rig.cameras[0].stop()
        rig.until(mode, each=rig.fed)
    elif mode.startswith("HOLD"):
        rig.say("stop")
    elif mode.startswith("TAKEOVER"):
        rig.say("takeover")
    assert rig.mode == mode


DRIVING = ["READY", "RUN (to_start)", "RUN (task)", "RUN (park)", "COAST (task)", "HOLD (task)", "TAKEOVER (task)"]


@pytest.mark.parametrize("mode", DRIVING)
@pytest.mark.parametrize("how", ["button", "command"])
def test_whatever_drives_comes_to_rest_and_latches(rig: Rig, mode: str, how: str) -> None:
    at(rig, mode)
    first = len(rig.bus.writes) - 2
    if how == "button":
        rig.estop.press()
        rig.tick()
        assert rig.named("HOLD") == ["e-stop red button is pressed"]
    else:
        assert rig.say("estop") == ""
        assert rig.named("HOLD") == ["command estop"]
    assert rig.mode == "HOLD"
    rig.tick(100)
    assert rig.mode == "HOLD"
    assert rig.loop.director.still
    assert np.abs(np.diff(rig.emitted()[first:], n=2, axis=0)).max() <= 10.0 * 0.01**2 * 1.01
    assert rig.bus.torque
    assert "allowed now: disarm, stop, reset, estop" in rig.say("resume")
    rig.estop.press(False)
    rig.tick(100)
    assert rig.mode == "HOLD"
    assert rig.say("reset") == ""
    assert rig.mode == "READY"
    assert rig.say("disarm") == ""
    assert rig.say("arm") == "", "one reset is enough"


def test_a_press_that_is_over_before_the_next_tick_counts(rig: Rig) -> None:
    rig.run_task()
    rig.estop.press()
    rig.estop.press(False)
    rig.tick()
    assert rig.named("HOLD") == ["e-stop red button was pressed"]


@pytest.mark.parametrize("command", ["arm", "reset"])
def test_nothing_begins_while_it_is_pressed(rig: Rig, command: str) -> None:
    if command == "reset":
        rig.run_task()
    rig.estop.press()
    rig.tick(100)
    mode = rig.mode
    assert rig.say(command) == f"cannot {command} in {mode}: e-stop red button is pressed: release it first"
    assert rig.mode == mode
    assert ("enable_torque" in rig.bus.calls) == (command == "reset")
    rig.estop.press(False)
    if command == "arm":
        assert rig.say(command) == "cannot arm in DISARMED: e-stop red button was pressed: reset first"
        assert rig.say("reset") == ""
    assert rig.say(command) == ""


@pytest.mark.parametrize("how", ["button", "command"])
def test_a_press_that_is_over_while_disarmed_takes_a_reset_too(rig: Rig, how: str) -> None:
    if how == "button":
        rig.estop.press()
        rig.tick(3)
        rig.estop.press(False)
        rig.tick(3)
    else:
        assert rig.say("estop") == ""
    said = "e-stop by command" if how == "command" else "e-stop red button was pressed"
    for _ in range(2):
        assert rig.say("arm") == f"cannot arm in DISARMED: {said}: reset first"
    assert rig.mode == "DISARMED"
    assert "enable_torque" not in rig.bus.calls
    assert rig.say("reset") == ""
    assert rig.mode == "DISARMED"
    assert {"safe_action", "enable_torque"}.isdisjoint(rig.bus.calls), "a reset there touches nothing"
    assert rig.say("arm") == ""


def test_a_press_before_the_first_tick_keeps_an_order_that_waits_from_being_done(rig: Rig) -> None:
    """`autostart` arms by such an order, which nobody waits for: that it was refused is said all the same."""
    order = Order(Command.ARM)
    rig.loop.orders.append(order)
    rig.estop.press()
    rig.estop.press(False)
    rig.tick(50)
    assert (rig.mode, rig.bus.torque) == ("DISARMED", False)
    assert order.answer == "arm is not done: e-stop red button was pressed"
    assert rig.named("refused") == [order.answer]


def test_while_it_is_held_or_lost_the_arm_can_be_let_go(rig: Rig) -> None:
    rig.bus.position[:] = 1.0
    rig.tick()
    rig.say("arm")
    rig.tick(20)
    rig.estop.press()
    rig.estop.trouble = "the device has gone away"
    rig.tick()
    assert rig.say("disarm") == "cannot disarm in HOLD: still stopping, try again"
    rig.tick(100)
    assert "release it first" in rig.say("reset")
    assert rig.say("disarm") == ""
    assert (rig.mode, rig.bus.torque) == ("DISARMED", False)
    assert "release it first" in rig.say("arm")
    rig.estop.press(False)
    assert rig.say("arm") == "cannot arm in DISARMED: e-stop red button was lost: reset first"


def test_after_the_reset_the_arm_is_where_it_is_measured(rig: Rig) -> None:
    rig.run_task()
    rig.estop.press()
    rig.tick(100)
    rig.bus.torque, rig.bus.position[:] = False, -0.7  # the supply switch was pressed too, and the arm sank
    rig.estop.press(False)
    rig.tick()
    assert rig.say("reset") == ""
    rig.tick()
    assert rig.bus.torque
    assert rig.emitted()[-1] == pytest.approx([-0.7] * 6, abs=0)


def test_in_safe_it_changes_nothing_but_refuses_the_reset(rig: Rig) -> None:
    rig.run_task()
    rig.bus.fail(Disconnected("unplugged"))
    rig.until("SAFE", limit=100)
    rig.estop.press()
    rig.tick(10)
    assert rig.mode == "SAFE"
    assert "e-stop red button is pressed: release it first" in rig.say("reset")


@pytest.mark.parametrize("mode", ["DISARMED", "SAFE"])
def test_the_command_is_taken_where_nothing_moves_and_does_nothing(rig: Rig, mode: str) -> None:
    if mode == "SAFE":
        rig.run_task()
        rig.bus.fail(Disconnected("unplugged"))
        rig.until("SAFE", limit=100)
    assert rig.say("estop") == ""
    assert rig.mode == mode


def test_an_input_that_is_lost_or_not_looked_at_counts_as_pressed(rig: Rig) -> None:
    estops = Estops([rig.estop])
    rig.estop.blind_ns = 1_000
    assert estops.check(1_000 + BLIND_NS) == ""
    assert estops.check(1_001 + BLIND_NS) == "e-stop red button is not being looked at"
    rig.estop.press()
    rig.estop.trouble = "unplugged"
    assert estops.pressed(1_000) == "e-stop red button lost: unplugged"


# ── the thread of one input ─────────────────────────────────────────────────────────────────────────────────────────


class Scripted(Estop):
    """Answers and raises what a test puts into `script`, then the last answer for good."""

    def __init__(self, *script: bool | Exception) -> None:
        super().__init__(EstopSettings("left", "/dev/none", "17"))
        self.script = list(script)
        self.opened = 0
        self.last = False

    def open(self) -> None:
        self.opened += 1

    def read(self, timeout_s: float) -> bool:
        if not self.script:
            time.sleep(0.001)
            return self.last
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        self.last = said
        return said

    def close(self) -> None: ...


def watch(estop: Estop) -> tuple[EstopThread, list[tuple[str, str]]]:
    events: list[tuple[str, str]] = []
    return EstopThread(estop, lambda name, cause: events.append((name, cause))), events


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_each_press_is_counted_and_an_event() -> None:
    thread, events = watch(Scripted(False, True, True, False, True))
    thread.start()
    until(lambda: len(events) == 3)
    thread.stop()
    assert (thread.pressed, thread.presses) == (True, 2)
    assert events == [("e-stop pressed", "left"), ("e-stop released", "left"), ("e-stop pressed", "left")]


def test_pressed_from_the_start_is_known_before_the_thread_runs() -> None:
    thread, _ = watch(Scripted(True))
    thread.start()
    assert thread.pressed
    thread.stop()


def test_an_input_that_cannot_be_read_at_the_start_is_refused() -> None:
    thread, _ = watch(Scripted(Disconnected("e-stop left: no such device")))
    with pytest.raises(DriverError, match="no such device"):
        thread.start()


@pytest.mark.parametrize("error", [Disconnected("unplugged"), ZeroDivisionError("a bug in a driver")])
def test_a_lost_input_is_pressed_until_it_is_read_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_thread, "BACKOFF_S", (0.01,))
    estop = Scripted(False, error, error, False)
    thread, events = watch(estop)
    thread.start()
    until(lambda: len(events) == 2)
    thread.stop()
    assert events == [("e-stop lost", str(error)), ("e-stop back", "left, released")]
    assert (thread.pressed, thread.presses, thread.trouble) == (False, 1, "")
    assert estop.opened == 3


def test_a_press_during_the_loss_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_thread, "BACKOFF_S", (0.01,))
    thread, events = watch(Scripted(False, Disconnected("unplugged"), True))
    thread.start()
    until(lambda: len(events) == 2)
    thread.stop()
    assert events[1] == ("e-stop back", "left, pressed")
    assert thread.pressed
