"""Calibration files that fit the robot of `tests/robot_toml.py`, for tests to write, spoil and load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_runtime import calibration_files as files
from edge_runtime.calibration_files import Board, BusCalibration, CameraCalibration, LatencyCalibration, Motor
from tests.robot_toml import NAMES, ROBOT

ABOUT: dict[str, Any] = {"format": 1, "date": "2026-02-03T04:05:06Z", "tool": "edge-runtime 0.1.0"}

MOTORS = tuple(
    Motor(joint=name, id=i + 1, model="sts3215", firmware="3.10", homing=-87 + i, zero_step=2000 + i, direction=-1,
          range_rad=(-1.6, 1.7), noise_steps=0.4) for i, name in enumerate(NAMES)
)  # fmt: skip
BUS = BusCalibration(**ABOUT, bus="arm", adapter="1a86:55d3 5A46081234", motors=MOTORS)
CAMERA = CameraCalibration(
    **ABOUT, camera="wrist", device="046d:0825", width=640, height=480, focal_px=(430.0, 431.0),
    centre_px=(320.0, 241.0), distortion=(0.1, -0.2, 0.001, 0.002), board=Board(), views=25, error_px=0.2,
    focal_error_px=0.5,
)  # fmt: skip
LATENCY = LatencyCalibration(
    **ABOUT, camera="wrist", device="046d:0825", joint="shoulder_pan", camera_delay_ms=31.5, camera_spread_ms=1.0,
    actuator_delay_ms=46.7, actuator_spread_ms=0.5, correlation=0.98, frames=240,
)  # fmt: skip


def robot_toml(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    """A robot.toml that names the folder `calibration` beside it."""
    file = folder / "robot.toml"
    file.write_text('calibration = "calibration"\n' + ROBOT.replace(*change))
    return file


def keep(folder: Path, *found: BusCalibration | CameraCalibration | LatencyCalibration) -> Path:
    """Write them where that robot.toml looks for them; the folder."""
    place = folder / "calibration"
    for one in found:
        if isinstance(one, BusCalibration):
            files.write(files.bus_file(place, one.bus), one)
        elif isinstance(one, CameraCalibration):
            files.write(files.camera_file(place, one.camera), one)
        else:
            files.write(files.latency_file(place, one.camera), one)
    return place
