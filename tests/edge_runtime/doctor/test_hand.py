"""E-stops, leader and gamepad: what `edge run` would refuse is bad, and nothing is changed in any of them."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from drivers.errors import Disconnected
from drivers.linux_input import AXES, KEYS
from edge_runtime.clock import MonotonicClock
from edge_runtime.config import Estop, Gamepad, GamepadAxis, Leader, LeaderJoint
from edge_runtime.devices import bus_settings
from edge_runtime.doctor import hand
from edge_runtime.doctor.check import Check
from tests.drivers.fake_input import FakeInput
from tests.edge_runtime.fakes import FakeBus, robot

SPACE = KEYS["KEY_SPACE"]


def button(path: Path, key: str = "KEY_SPACE") -> Estop:
    return Estop(name="desk", kind="button", device=str(path), input=key)


def pad(path: Path, axis: str = "ABS_X") -> Check:
    gamepad = Gamepad(device=str(path), axes=(GamepadAxis(axis=axis, joint=robot().joint_names[0], speed=1.0),))
    (only,) = hand.check(msgspec.structs.replace(robot(), gamepad=gamepad))
    return only


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeInput:
    made = FakeInput(tmp_path, monkeypatch)
    made.keys, made.axes = {SPACE}, {AXES["ABS_X"]: [0, -100, 100, 0]}
    return made


def test_an_e_stop_is_looked_at(plugged: FakeInput) -> None:
    path = plugged.path
    assert hand.estop(button(path)) == Check("e-stop desk", "ok", f"{path}, KEY_SPACE: released")
    plugged.key(SPACE, down=True)
    pressed = hand.estop(button(path))
    assert (pressed.level, pressed.found) == ("warn", f"{path}, KEY_SPACE: pressed")


@pytest.mark.parametrize(
    ("key", "says"), [("KEY_ESC", "has no key KEY_ESC"), ("BTN_NONE", 'there is no key "BTN_NONE"')]
)
def test_an_e_stop_without_that_key_is_bad(plugged: FakeInput, key: str, says: str) -> None:
    found = hand.estop(button(plugged.path, key))
    assert found.level == "bad"
    assert says in found.found


def test_an_e_stop_that_is_not_there_is_bad(tmp_path: Path) -> None:
    found = hand.estop(button(tmp_path / "none"))
    assert found.level == "bad"
    assert "is it plugged in" in found.found


def test_a_gpio_e_stop_without_the_library_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    monkeypatch.delitem(sys.modules, "drivers.estops.gpio", raising=False)
    found = hand.estop(Estop(name="desk", kind="gpio", device="/dev/gpiochip0", input="17"))
    assert found.level == "bad"
    assert "pip install '.[gpio]'" in found.found


def test_a_gamepad_is_opened(plugged: FakeInput) -> None:
    assert pad(plugged.path).level == "ok"
    plugged.axes[AXES["ABS_X"]][0] = 90
    assert "not at its middle" in pad(plugged.path).found


@pytest.mark.parametrize(("axis", "says"), [("ABS_RX", "no axis ABS_RX"), ("ABS_Q", 'there is no axis "ABS_Q"')])
def test_a_gamepad_without_that_axis_is_bad(plugged: FakeInput, axis: str, says: str) -> None:
    found = pad(plugged.path, axis)
    assert (found.name, found.level) == ("gamepad", "bad")
    assert says in found.found


def test_a_gamepad_that_is_not_there_is_bad(tmp_path: Path) -> None:
    assert pad(tmp_path / "none").level == "bad"


def test_the_leaders_motors_are_asked_and_its_torque_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = FakeBus(bus_settings(robot().buses[0]), MonotonicClock())
    monkeypatch.setattr(hand, "leader_bus", lambda leader, names: bus)
    leader = Leader(kind="feetech", port="/dev/x", joints=tuple(LeaderJoint(id=j.id) for j in robot().joints))
    led = msgspec.structs.replace(robot(), leader=leader)
    assert [check.level for check in hand.check(led)] == ["ok"] * len(robot().joints)
    assert not {"enable_torque", "disable_torque", "write_setpoints", "safe_action"} & set(bus.calls)
    assert bus.calls[-1] == "disconnect"
    bus.trouble["connect"] = Disconnected("bus leader on /dev/x: there is no such port")
    assert list(hand.check(led)) == [Check("motors leader", "bad", "bus leader on /dev/x: there is no such port")]


def test_what_robot_toml_does_not_name_is_not_looked_at(tmp_path: Path) -> None:
    assert not hand.named(robot())
    assert hand.named(msgspec.structs.replace(robot(), estops=(button(tmp_path),)))
