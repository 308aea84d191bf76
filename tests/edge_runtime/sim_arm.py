"""The simulated arm's robot.toml and URDF in a folder, as `edge sim` leaves them there."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from edge_runtime import config_check
from edge_runtime.config import Robot


def robot(folder: Path) -> Robot:
    """The simulated arm, described by files in `folder`."""
    for name in ("robot.toml", "arm.urdf"):
        (folder / name).write_bytes(resources.files("drivers.sim").joinpath(name).read_bytes())
    return config_check.load(folder / "robot.toml")
