"""What was calibrated: whether it is this arm's, and how old it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from drivers.errors import DriverError
from drivers.motors.base import MotorBus
from edge_runtime import calibrated
from edge_runtime import calibration_files as files
from edge_runtime.calibration_files import BusCalibration, Calibration, CameraCalibration, LatencyCalibration
from edge_runtime.config import Camera, Robot
from edge_runtime.doctor.check import Check
from edge_runtime.errors import ConfigError

OLD_DAYS = 180
"""Screws work loose and horns slip: half a year of work is long."""


def check(robot: Robot) -> Iterator[Check]:
    """When the joints of each bus were measured, and what else was."""
    if not robot.calibration:
        yield Check(
            "calibration",
            "unknown",
            "robot.toml names no folder for it",
            "set calibration there, then run edge calibrate",
        )
        return
    folder = Path(robot.calibration)
    for bus in robot.buses:
        yield age(f"joints {bus.name}", files.bus_file(folder, bus.name), BusCalibration, "joints")
    for camera in robot.cameras:
        lens, late = (kind(folder, camera.name) for kind in (files.camera_file, files.latency_file))
        if lens.exists():
            yield age(f"lens {camera.name}", lens, CameraCalibration, "camera")
        if late.exists():
            yield age(f"latency {camera.name}", late, LatencyCalibration, "latency")


def motors(robot: Robot, bus: MotorBus, deadline_ns: int) -> Check:
    """Whether the motors of a connected bus are those that were calibrated."""
    name = f"calibrated {bus.settings.name}"
    try:
        calibrated.checker(robot)(bus, deadline_ns)
    except (ConfigError, DriverError) as error:
        return Check(name, "bad", str(error))
    return Check(name, "ok", "these are the motors that were calibrated")


def camera(robot: Robot, one: Camera) -> Check | None:
    """Whether a camera is the one that was calibrated; None where none was."""
    folder, name = Path(robot.calibration), f"calibrated {one.name}"
    if not robot.calibration or not any(f(folder, one.name).exists() for f in (files.camera_file, files.latency_file)):
        return None
    try:
        calibrated.check_cameras(msgspec.structs.replace(robot, cameras=(one,)))
    except ConfigError as error:
        return Check(name, "bad", str(error))
    return Check(name, "ok", "this is the camera that was calibrated")


def age(name: str, path: Path, kind: type[Calibration], command: str) -> Check:
    """When a file was measured."""
    how = f"edge calibrate {command}"
    try:
        found = files.read(path, kind)
    except ConfigError as error:
        return Check(name, "bad", str(error))
    if found is None:
        return Check(name, "unknown", "not measured", how)
    days = (datetime.now(timezone.utc) - found.measured).days
    if days < 0:
        return Check(name, "warn", f"measured {found.date}, which is to come: the clock is wrong", "set the date")
    if days > OLD_DAYS:
        return Check(name, "warn", f"measured {days} days ago", how)
    return Check(name, "ok", f"measured {days} days ago")
