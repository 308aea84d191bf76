"""Where a run writes: its control socket where robot.toml says, reports and recordings in the folder it starts in; of
an installed robot the folders of its service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.config import Robot
from edge_runtime.deploy import places
from edge_runtime.doctor.check import Check
from edge_runtime.doctor.host import Host

_GB = 1_000_000_000
LITTLE_GB, FULL_GB = 10.0, 1.0
JPEG_BYTES_PER_PIXEL = 0.3
"""Of a recording: 92 kB for 640 × 480 from the simulator."""


def check(robot: Robot | None, folder: Path) -> Iterator[Check]:
    """`folder`: where reports and recordings go unless they are told otherwise."""
    yield writable("disk", folder, "start from a folder of your own") or space(folder, robot)
    if robot is not None:
        place = Path(robot.control.socket).parent
        remedy = "set control.socket to a path in a folder of your own"
        yield writable("control socket", place, remedy) or Check("control socket", "ok", f"{place}: may be written")


def of_service(robot: Robot, host: Host, *, judged: bool) -> Iterator[Check]:
    """Of an installed robot. `judged`: by what this process may do, so may the service."""
    remedy = "sudo systemd-tmpfiles --create edge-runtime.conf"
    for place in places.WRITTEN if judged else ():
        if wrong := writable(place.name, host.path(str(place)), remedy):
            yield wrong
    yield space(host.path(str(places.STATE)), robot)


def writable(name: str, folder: Path, remedy: str) -> Check | None:
    """What is wrong, or None."""
    if not folder.is_dir():
        return Check(name, "bad", f"{folder}: no such folder", remedy)
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check(name, "bad", f"{folder}: may not be written", remedy)
    return None


def space(folder: Path, robot: Robot | None) -> Check:
    """What is free for this user, and how long a recording of the robot's cameras at their full rate could be."""
    free = os.statvfs(folder)
    left_gb = free.f_bavail * free.f_frsize / _GB
    found = f"{folder}: {left_gb:.1f} GB free"
    if robot is not None:
        rate = sum(c.width * c.height * c.fps for c in robot.cameras) * JPEG_BYTES_PER_PIXEL
        found += f", {left_gb * _GB / rate / 3600:.1f} h of recording at the cameras' rate"
    remedy = "make room, or record to another disk"
    if left_gb < FULL_GB:
        return Check("disk", "bad", found, remedy)
    return Check("disk", "warn", found, remedy) if left_gb < LITTLE_GB else Check("disk", "ok", found)
