"""An arm on a CAN line, from robot.toml to its driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.errors import DriverError
from edge_runtime import config
from edge_runtime.devices import bus_settings, make_bus
from edge_runtime.errors import ConfigError, EdgeError
from tests.robot_toml import ROBOT

GAINS = 'model = "dm4310"\nzero_step = 32768\nstiffness = 40.0\ndamping = 1.5\n'
CAN = ROBOT.replace('kind = "feetech"\nport = "./arm"', 'kind = "damiao"\nport = "can0"')
CAN = CAN.replace("velocity = 2.0\n", "velocity = 2.0\n" + GAINS)


def load(folder: Path, text: str) -> config.Robot:
    path = folder / "robot.toml"
    path.write_text(text)
    return config.load(path)


def test_gains_reach_the_driver_and_the_interface_keeps_its_name(tmp_path: Path) -> None:
    settings = bus_settings(load(tmp_path, CAN).buses[0])
    assert settings.port == "can0"
    assert {(m.stiffness, m.damping, m.zero_step) for m in settings.motors} == {(40.0, 1.5, 32768)}


def test_gains_are_for_a_radian_in_degrees_too(tmp_path: Path) -> None:
    joint = load(tmp_path, CAN.replace("velocity = 2.0\n", 'velocity = 2.0\nunits = "deg"\n')).joints[0]
    assert (joint.stiffness, joint.damping) == (40.0, 1.5)


@pytest.mark.parametrize(("key", "value"), [("stiffness", "501.0"), ("stiffness", "-1.0"), ("damping", "5.1")])
def test_gains_that_no_motor_has_are_refused(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(tmp_path, CAN.replace(f"{key} = {'40.0' if key == 'stiffness' else '1.5'}", f"{key} = {value}"))


@pytest.mark.parametrize("key", ["stiffness", "damping"])
def test_gains_for_a_protocol_without_them_are_refused(tmp_path: Path, key: str) -> None:
    robot = load(tmp_path, ROBOT.replace("velocity = 2.0\n", f"velocity = 2.0\n{key} = 1.5\n", 1))
    bus = make_bus(robot.buses[0])  # the safe action is tried all the same
    with pytest.raises(DriverError, match=rf"'shoulder_pan' \(id 1\): feetech motors take no {key}: leave it out"):
        bus.check()


def test_a_gripper_whose_stiffness_limits_its_torque(tmp_path: Path) -> None:
    gripping = load(tmp_path, CAN.replace("velocity = 2.0\n", "velocity = 2.0\ngrip = true\n", 1))
    assert gripping.joints[0].grip
    make_bus(gripping.buses[0]).check()


def test_two_buses_on_one_interface_are_refused(tmp_path: Path) -> None:
    second = CAN[CAN.index("[[buses]]") :].replace('name = "arm"', 'name = "left"')
    with pytest.raises(ConfigError, match=r"buses\[1\].port: can0 is already that of buses\[0\].port"):
        load(tmp_path, CAN + second)
    assert len(load(tmp_path, CAN + second.replace("can0", "can1")).buses) == 2


def test_without_its_library_the_driver_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    bus = load(tmp_path, CAN).buses[0]
    for name in [n for n in sys.modules if n.startswith(("can.", "drivers.can_port", "drivers.damiao.line"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "drivers.motors.damiao", raising=False)
    monkeypatch.setitem(sys.modules, "can", None)
    with pytest.raises(EdgeError, match=r"pip install '\.\[can\]'"):
        make_bus(bus)
