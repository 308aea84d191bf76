"""Where a run writes: its control socket where robot.toml says, reports and recordings in the folder it starts in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.config import Robot
from edge_runtime.doctor.check import Check

_GB = 1_000_000_000
LITTLE_GB, FULL_GB = 10.0, 1.0
JPEG_BYTES_PER_PIXEL = 0.3
"""Of a recording: 92 kB for 640 × 480 from the simulator."""


def check(robot: Robot | None, folder: Path) -> Iterator[Check]:
    """`folder`: where reports and recordings go unless they are told otherwise."""
    places = {"disk": folder}
    if robot is not None:
        places["control socket"] = Path(robot.control.socket).parent
    for name, place in places.items():
        yield writable(name, place) or space(name, place, robot)


def writable(name: str, folder: Path) -> Check | None:
    """What is wrong, or None."""
    if not folder.is_dir():
        return Check(name, "bad", f"{folder}: no such folder", f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check(name, "bad", f"{folder}: this user may not write there", f"sudo chown $USER {folder}")
    return None


def space(name: str, folder: Path, robot: Robot | None) -> Check:
    """What is free for this user, and how long a recording of the robot's cameras at their full rate could be."""
    free = os.statvfs(folder)
    left_gb = free.f_bavail * free.f_frsize / _GB
    found = f"{folder}: {left_gb:.1f} GB free"
    if robot is not None and name == "disk":
        rate = sum(c.width * c.height * c.fps for c in robot.cameras) * JPEG_BYTES_PER_PIXEL
        found += f", {left_gb * _GB / rate / 3600:.1f} h of recording at the cameras' rate"
    remedy = "make room, or record to another disk"
    if left_gb < FULL_GB:
        return Check(name, "bad", found, remedy)
    return Check(name, "warn", found, remedy) if left_gb < LITTLE_GB else Check(name, "ok", found)
