"""A robot with a calibration: whose figures hold, and which arms, cameras and files are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.errors import ProtocolError
from drivers.motors.base import Identity
from edge_runtime import calibrated, config, safe_stop
from edge_runtime.buses import Buses
from edge_runtime.calibration_files import BusCalibration, CameraCalibration
from edge_runtime.clock import FakeClock
from edge_runtime.config import Robot
from edge_runtime.devices import bus_settings
from edge_runtime.errors import ConfigError
from tests.edge_runtime.calibrations import BUS, CAMERA, LATENCY, MOTORS, keep, robot_toml
from tests.edge_runtime.fakes import FakeBus

LATE = 10**15


def changed(motor: int, **fields: Any) -> BusCalibration:
    """The bus's calibration with other figures for one motor."""
    motors = list(MOTORS)
    motors[motor] = msgspec.structs.replace(motors[motor], **fields)
    return msgspec.structs.replace(BUS, motors=tuple(motors))


class KnownBus(FakeBus):
    """A bus whose motors say who they are."""

    def __init__(self, robot: Robot) -> None:
        super().__init__(bus_settings(robot.buses[0]), FakeClock())
        self.who = [Identity(m.model, m.firmware, m.homing) for m in MOTORS]

    def identify(self, index: int, deadline_ns: int) -> Identity:
        return self.who[index]


def test_measured_zero_and_direction_take_the_place_of_those_in_robot_toml(tmp_path: Path) -> None:
    file = robot_toml(tmp_path)
    assert config.load(file).buses == config.load(file, calibrated=False).buses, "nothing has been measured yet"
    keep(tmp_path, BUS, CAMERA, LATENCY)
    found, plain = config.load(file), config.load(file, calibrated=False)
    assert [j.zero_step for j in found.joints] == [m.zero_step for m in MOTORS]
    assert {j.direction for j in found.joints} == {-1}
    assert [(j.name, j.position, j.start) for j in found.joints] == [
        (j.name, j.position, j.start) for j in plain.joints
    ]
    assert calibrated.camera(found, "wrist") == CAMERA
    late = calibrated.latency(found, "wrist")
    assert late is not None
    assert late.camera_delay_ns == 31_500_000
    assert calibrated.latency(found, "base") is None


def test_without_a_folder_nothing_is_looked_for(tmp_path: Path) -> None:
    keep(tmp_path, BUS, CAMERA)
    robot = msgspec.structs.replace(config.load(robot_toml(tmp_path), calibrated=False), calibration="")
    assert calibrated.apply(robot) is robot
    assert calibrated.camera(robot, "wrist") is None
    assert calibrated.latency(robot, "wrist") is None
    bus = KnownBus(robot)
    bus.who = [Identity("sts3250", "", 5)] * 6
    calibrated.checker(robot)(bus, LATE)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (msgspec.structs.replace(BUS, motors=MOTORS[:5]), "has 5 joints, bus arm has 6: run edge calibrate joints"),
        (changed(2, id=9), r"has elbow_flex \(id 9, sts3215\) where robot.toml has elbow_flex \(id 3, sts3215\)"),
        (changed(0, joint="base"), r"has base \(id 1, sts3215\) where robot.toml has shoulder_pan"),
        (changed(5, model="sts3250"), "gripper"),
        (
            changed(3, range_rad=(-1.0, 1.7)),
            "joint wrist_flex can move from -1 to 1.7 rad, robot.toml lets it from -1.5",
        ),
        (changed(3, range_rad=(-1.6, 1.48)), "correct its position, or run edge calibrate joints"),
    ],
)
def test_a_calibration_of_other_joints_is_refused(tmp_path: Path, found: BusCalibration, says: str) -> None:
    keep(tmp_path, found)
    with pytest.raises(ConfigError, match=f"bus-arm.json: .*{says}"):
        config.load(robot_toml(tmp_path))


def test_a_stop_may_give_a_little(tmp_path: Path) -> None:
    keep(tmp_path, changed(3, range_rad=(-1.4905, 1.4905)))
    assert config.load(robot_toml(tmp_path)).joints[3].position == (-1.5, 1.5)


def test_limits_in_degrees_are_compared_in_degrees(tmp_path: Path) -> None:
    keep(tmp_path, changed(0, range_rad=(-1.0, 1.0)))
    file = robot_toml(tmp_path, ("position = [-1.5, 1.5]", 'units = "deg"\nposition = [-60, 60]'))
    with pytest.raises(ConfigError, match=r"from -57\.3 to 57\.3 deg, robot.toml lets it from -60 to 60"):
        config.load(file)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (msgspec.structs.replace(CAMERA, width=1280), "was measured at 1280x480, robot.toml has 640x480"),
        (msgspec.structs.replace(LATENCY, joint="x"), ""),
    ],
)
def test_a_camera_in_another_mode_is_refused(tmp_path: Path, found: CameraCalibration, says: str) -> None:
    keep(tmp_path, found)
    if says:
        with pytest.raises(ConfigError, match=f"camera-wrist.json: {says}"):
            config.load(robot_toml(tmp_path))
    else:
        config.load(robot_toml(tmp_path))


def test_a_file_that_was_renamed_is_refused(tmp_path: Path) -> None:
    for found in (BUS, CAMERA, LATENCY):
        folder = keep(tmp_path, found)
        (file,) = folder.iterdir()
        other = file.with_name(file.name.replace("wrist", "base").replace("-arm", "-left"))
        file.rename(other)
        with pytest.raises(ConfigError, match=f"{other.name}: is of "):
            config.load(robot_toml(tmp_path, ('[[buses]]\nname = "arm"', '[[buses]]\nname = "left"')))
        other.unlink()


def test_a_camera_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    """The robot's cameras are simulated, so their identity is their driver's name."""
    mine = [msgspec.structs.replace(one, device="sim") for one in (CAMERA, LATENCY)]
    keep(tmp_path, *mine)
    robot = config.load(robot_toml(tmp_path))
    calibrated.check_cameras(robot)
    for found, file in ((CAMERA, "camera-wrist.json"), (LATENCY, "latency-wrist.json")):
        keep(tmp_path, *mine, found)
        with pytest.raises(ConfigError, match=f"{file} belongs to another camera: .* is sim, the file says 046d:0825"):
            calibrated.check_cameras(robot)


def test_the_motors_are_asked_who_they_are(tmp_path: Path) -> None:
    keep(tmp_path, BUS)
    robot = config.load(robot_toml(tmp_path))
    bus = KnownBus(robot)
    calibrated.checker(robot)(bus, LATE)
    bus.who[2] = Identity("sts3215", "3.10", 120)
    with pytest.raises(ProtocolError) as caught:
        calibrated.checker(robot)(bus, LATE)
    file = tmp_path / "calibration" / "bus-arm.json"
    assert str(caught.value) == (
        f"{file} belongs to another arm: joint elbow_flex (id 3) has homing offset 120, the file says -85: "
        f"run edge calibrate joints"
    )
    bus.who[2] = Identity("sts3250", "3.10", -85)
    with pytest.raises(ProtocolError, match="is a sts3250, the file says sts3215"):
        calibrated.checker(robot)(bus, LATE)
    bus.who[2] = Identity("sts3215", "3.11", -85)
    calibrated.checker(robot)(bus, LATE)  # new firmware is the same motor


def test_the_files_are_read_once_and_never_again(tmp_path: Path) -> None:
    """The control thread connects again, and waits for no disk."""
    folder = keep(tmp_path, BUS)
    robot = config.load(robot_toml(tmp_path))
    check = calibrated.checker(robot)
    (folder / "bus-arm.json").write_text("{ half a file")
    check(KnownBus(robot), LATE)
    with pytest.raises(ConfigError, match="bus-arm"):
        calibrated.checker(robot)


def test_another_arm_is_refused_at_the_start_and_after_a_cable_was_pulled(tmp_path: Path) -> None:
    keep(tmp_path, BUS)
    robot = config.load(robot_toml(tmp_path))
    bus = KnownBus(robot)
    buses = Buses([bus], bus.clock, 10**7, calibrated.checker(robot))
    buses.connect()
    assert bus.calls[-1] != "disconnect"
    bus.who[0] = Identity("sts3215", "3.10", 1)
    buses.lines[0].misses = 1
    with pytest.raises(ProtocolError, match=r"another (arm|motor)"):
        buses.reconnect()
    assert bus.calls[-1] == "disconnect"
    assert buses.lines[0].misses, "the next try connects and asks again"
    with pytest.raises(ProtocolError, match="belongs to another arm"):
        Buses([bus], bus.clock, 10**7, calibrated.checker(robot)).connect()
    assert "enable_torque" not in bus.calls


def test_a_damaged_calibration_stops_a_run_but_never_the_safe_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = keep(tmp_path, BUS)
    (folder / "bus-arm.json").write_text("{")
    file = robot_toml(tmp_path)
    with pytest.raises(ConfigError, match=r"bus-arm\.json"):
        config.load(file)
    bus = KnownBus(config.load(file, calibrated=False))
    monkeypatch.setattr(sys.modules["edge_runtime.safe_stop"], "make_bus", lambda settings: bus)
    assert safe_stop.main([str(file)]) == 0
    assert "safe_action" in bus.calls
    assert "bus arm: safe" in capsys.readouterr().out
