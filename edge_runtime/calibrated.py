"""A robot as it was measured: what the calibration folder says takes the place of robot.toml's figures.

A calibration belongs to the devices that it was made on. Its names, models and modes are compared where robot.toml is
loaded; who a motor really is only the motor can say, so that is asked whenever a bus has been connected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from drivers.errors import ProtocolError
from drivers.masked import masked
from edge_runtime import calibration_files as files
from edge_runtime import plugins
from edge_runtime.calibration_files import BusCalibration, CameraCalibration, LatencyCalibration, Motor
from edge_runtime.config import Bus, Camera, Joint, Robot
from edge_runtime.errors import ConfigError

if TYPE_CHECKING:
    from drivers.motors.base import MotorBus

SLACK_RAD = 0.01
"""By how much a limit of robot.toml may pass a measured stop: half a degree, which a stop gives when pressed on."""


def apply(robot: Robot) -> Robot:
    """`robot` with the measured zero and direction of every joint that has been calibrated.

    Raises `ConfigError` for a file that is damaged, that is of another robot, or that robot.toml contradicts.
    """
    if not robot.calibration:
        return robot
    for fault in _camera_faults(robot):
        raise ConfigError(fault)
    return msgspec.structs.replace(robot, buses=tuple(_apply(robot, bus) for bus in robot.buses))


def checker(robot: Robot) -> Callable[[MotorBus, int], None]:
    """What asks the motors of a bus that has just been connected whether they are those that were calibrated.

    The files are read here, once: raises `ConfigError`. The call reads none: it raises `ProtocolError` where a motor is
    another one, and whatever else the bus raises; it changes nothing.
    """
    return partial(_check, {bus.name: _bus(robot, bus.name) for bus in robot.buses})


def _check(known: Mapping[str, tuple[Path, BusCalibration | None]], bus: MotorBus, deadline_ns: int) -> None:
    file, found = known[bus.settings.name]
    if found is None:
        return
    for index, motor in enumerate(found.motors):
        identity = bus.identify(index, deadline_ns)
        who = f"{file} belongs to another arm: joint {motor.joint} (id {motor.id})"
        if identity.model != motor.model:
            raise ProtocolError(f"{who} is a {identity.model}, the file says {motor.model}: run edge calibrate joints")
        if identity.homing != motor.homing:
            raise ProtocolError(
                f"{who} has homing offset {identity.homing}, the file says {motor.homing}: run edge calibrate joints"
            )


def check_cameras(robot: Robot) -> None:
    """Whether the cameras that are plugged in are those that were calibrated. Raises `ConfigError`; opens nothing."""
    folder = Path(robot.calibration)
    for one in robot.cameras:
        lens, late, here = camera(robot, one.name), latency(robot, one.name), camera_identity(one)
        for file, found in ((files.camera_file, lens), (files.latency_file, late)):
            if found is not None and found.device != here:
                command = f"run edge calibrate {'camera' if found is lens else 'latency'}"
                raise ConfigError(
                    f"{file(folder, one.name)} belongs to another camera: {masked(one.device)} is {here}, "
                    f"the file says {found.device}: {command}"
                )


def camera_identity(one: Camera) -> str:
    """Which camera this is: of USB what it says of itself, of others the driver's name."""
    identity: str = plugins.require("drivers.usb").usb_identity(one.device)
    return identity or one.kind


def camera(robot: Robot, name: str) -> CameraCalibration | None:
    """What is known of a camera's lens and mount; None where it was not measured."""
    folder = Path(robot.calibration)
    return files.read(files.camera_file(folder, name), CameraCalibration) if robot.calibration else None


def latency(robot: Robot, name: str) -> LatencyCalibration | None:
    """How late a camera's stamps are; None where it was not measured."""
    folder = Path(robot.calibration)
    return files.read(files.latency_file(folder, name), LatencyCalibration) if robot.calibration else None


def actuator_delay_ns(robot: Robot) -> int | None:
    """How much later than their setpoints the motors move, ns: the median of what was measured; None if nothing was."""
    found = [late.actuator_delay_ms for one in robot.cameras if (late := latency(robot, one.name)) is not None]
    return round(median(found) * 1e6) if found else None


def _bus(robot: Robot, name: str) -> tuple[Path, BusCalibration | None]:
    file = files.bus_file(Path(robot.calibration), name)
    return file, files.read(file, BusCalibration) if robot.calibration else None


def _apply(robot: Robot, bus: Bus) -> Bus:
    file, found = _bus(robot, bus.name)
    if (begun := files.unfinished(file)).exists():
        raise ConfigError(f"{begun}: bus {bus.name} may count anew since this was begun: finish edge calibrate joints")
    if found is None:
        return bus
    for fault in _bus_faults(bus, found):
        raise ConfigError(f"{file}: {fault}")
    pairs = zip(bus.joints, found.motors, strict=True)
    joints = (msgspec.structs.replace(j, zero_step=m.zero_step, direction=m.direction) for j, m in pairs)
    return msgspec.structs.replace(bus, joints=tuple(joints))


def _bus_faults(bus: Bus, found: BusCalibration) -> Iterator[str]:
    """What makes it another bus than robot.toml's."""
    again = "run edge calibrate joints"
    if found.bus != bus.name:
        yield f"is of bus {found.bus}, not {bus.name}: {again}"
    named = [(j.name, j.id, j.model) for j in bus.joints]
    measured = [(m.joint, m.id, m.model) for m in found.motors]
    if len(named) != len(measured):
        yield f"has {len(measured)} joints, bus {bus.name} has {len(named)}: {again}"
    for wanted, has in zip(named, measured, strict=False):
        if wanted != has:
            there, here = ("{} (id {}, {})".format(*one) for one in (has, wanted))
            yield f"has {there} where robot.toml has {here}: {again}"
    for joint, motor in zip(bus.joints, found.motors, strict=False):
        yield from range_faults(joint, motor)


def range_faults(joint: Joint, motor: Motor) -> Iterator[str]:
    """Limits that lie beyond what the joint was found to do."""
    (low, high), (least, most) = joint.position_rad, motor.range_rad
    if low < least - SLACK_RAD or high > most + SLACK_RAD:
        shown = [f"{value / joint.scale_rad:.4g}" for value in (least, most)]
        yield (
            f"joint {joint.name} can move from {shown[0]} to {shown[1]} {joint.units}, robot.toml lets it from "
            f"{joint.position[0]:g} to {joint.position[1]:g}: correct its position, or run edge calibrate joints"
        )


def _camera_faults(robot: Robot) -> Iterator[str]:
    for one in robot.cameras:
        lens, late = camera(robot, one.name), latency(robot, one.name)
        folder = Path(robot.calibration)
        if lens is not None:
            yield from _lens_faults(f"{files.camera_file(folder, one.name)}", one, lens)
        if late is not None and late.camera != one.name:
            yield f"{files.latency_file(folder, one.name)}: is of camera {late.camera}: run edge calibrate latency"


def _lens_faults(file: str, wanted: Camera, found: CameraCalibration) -> Iterator[str]:
    if found.camera != wanted.name:
        yield f"{file}: is of camera {found.camera}: run edge calibrate camera"
    if (found.width, found.height) != (wanted.width, wanted.height):
        yield (
            f"{file}: was measured at {found.width}x{found.height}, robot.toml has {wanted.width}x{wanted.height}: "
            f"run edge calibrate camera"
        )
