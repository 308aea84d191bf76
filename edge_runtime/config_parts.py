"""What robot.toml alone cannot tell: whether all that it names can be had here. No device is opened.

Every driver is asked what it knows without its device, the URDF is read, and the calibration folder is compared with
what robot.toml calls its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from drivers.errors import DriverError
from edge_runtime import calibration_files as files
from edge_runtime import config, devices
from edge_runtime.config import Bus, Robot
from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.suggest import did_you_mean
from edge_runtime.urdf import chain


def load(path: str | Path) -> tuple[Robot, list[str]]:
    """`config.load`, and notes on its calibration folder: one line each that stops nothing.

    Raises `ConfigError`, one line that names the file and the key, for a part that this machine can never run.
    """
    robot = config.load(path)
    for key, ask in _questions(robot):
        try:
            ask()
        except (DriverError, EdgeError) as error:
            raise ConfigError(f"{path}: {key}: {error}") from error
    return robot, [f"{path}: {note}" for note in _calibration_notes(robot)]


def _questions(robot: Robot) -> Iterator[tuple[str, Callable[[], object]]]:
    """A key of robot.toml, and what raises where its value cannot be; in the order of the file."""
    for index, camera in enumerate(robot.cameras):
        yield f"cameras[{index}]", partial(devices.make_camera, camera)
    for index, bus in enumerate(robot.buses):
        yield f"buses[{index}]", partial(_ask_bus, bus)
    if robot.kinematics.urdf:
        yield "kinematics", partial(chain, Path(robot.kinematics.urdf), robot.kinematics.tip)
    for index, estop in enumerate(robot.estops):
        yield f"estops[{index}]", partial(devices.make_estop, estop)
    yield "leader" if robot.leader is not None else "gamepad", partial(devices.make_hand, robot)


def _ask_bus(bus: Bus) -> None:
    devices.make_bus(bus).check()


def _calibration_notes(robot: Robot) -> Iterator[str]:
    """What has not been measured yet, and what belongs to nothing."""
    if not robot.calibration:
        return
    folder = Path(robot.calibration)
    buses = [files.bus_file(folder, bus.name).name for bus in robot.buses]
    cameras = [kind(folder, c.name).name for c in robot.cameras for kind in (files.camera_file, files.latency_file)]
    there = sorted(path.name for path in folder.glob("*.json"))
    for name in buses:
        if name not in there:
            yield f"calibration: {folder / name} is not there: not measured yet (edge calibrate joints)"
    for name in there:
        if name not in (*buses, *cameras):
            yield f"calibration: {folder / name} belongs to nothing here{did_you_mean(name, (*buses, *cameras))}"
