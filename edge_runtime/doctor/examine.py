"""All of it, in the order in which one would look: the machine first, then the robot on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from drivers.errors import DriverError
from edge_runtime import realtime
from edge_runtime.config import Control, Robot, load
from edge_runtime.doctor import (
    calibration,
    cameras,
    disk,
    hand,
    kernel,
    motors,
    policy,
    power,
    running,
    serial,
    service,
)
from edge_runtime.doctor.check import Check, Group
from edge_runtime.doctor.host import Host
from edge_runtime.errors import ConfigError, EdgeError

Told = Callable[[str, float], None]
"""Told what is looked at, and which part of the whole is done."""
_Part = tuple[str, Callable[[], Iterable[Check]]]
"""A group's name, and what looks at it."""


def examine(file: Path | None, host: Host, folder: Path, told: Told = lambda _what, _part: None) -> list[Group]:
    """`file`: robot.toml, without which only the machine is looked at. `folder`: where a run would be started."""
    robot, head = _robot(file)
    if robot is None or not service.installed(robot):
        parts = [*_machine(robot, host), ("disk", lambda: disk.check(robot, folder))]
        return _groups([head], [*parts, *(_parts(robot, host) if robot is not None else ())], told)
    if os.geteuid() != 0:
        found = "it is for its service, not for this user, to reach disk, ports, motors and cameras: not looked at"
        parts = [*_machine(robot, host, asked=False), ("disk", lambda: disk.of_service(robot, host, judged=False))]
        return _groups([head, Check("service", "unknown", found, "sudo edge doctor")], parts, told)
    with service.stood_in_for(host) as limited:
        parts = [*_machine(robot, host), ("disk", lambda: disk.of_service(robot, host, judged=True))]
        return _groups([head, *limited], [*parts, *_parts(robot, host)], told)


def _groups(heads: list[Check], parts: Sequence[_Part], told: Told) -> list[Group]:
    groups = []
    for index, (name, look) in enumerate([("robot", lambda: heads), *parts]):
        told(name, index / (len(parts) + 1))
        groups.append(Group(name, tuple(_guarded(name, look))))
    return groups


def _machine(robot: Robot | None, host: Host, *, asked: bool = True) -> list[_Part]:
    """`asked`: the kernel, for what the control thread needs."""
    control, given = robot.control if robot is not None else Control(), None
    if asked:
        with realtime.obtain(control.priority, control.cpu) as given:
            pass
    return [("kernel", lambda: kernel.check(host, control, given)), ("power", lambda: power.check(host))]


def _robot(file: Path | None) -> tuple[Robot | None, Check]:
    if file is None:
        return None, Check("robot.toml", "unknown", "none named and none here: only the machine was looked at")
    try:
        robot = load(file)
    except ConfigError as error:
        return None, Check("robot.toml", "bad", str(error))
    return robot, Check("robot.toml", "ok", f"{file}: {robot.name}")


def _parts(robot: Robot, host: Host) -> list[_Part]:
    said, installed = running.status(robot), service.installed(robot)
    parts: list[_Part] = [
        ("policy", lambda: policy.check(robot)),
        ("calibration", lambda: calibration.check(robot)),
        ("serial", lambda: (c for port in serial.ports(robot) for c in serial.check(host, port, installed=installed))),
    ]
    if said is not None:
        return [*parts, ("running", lambda: running.check(said))]
    return [
        *parts,
        ("motors", lambda: (check for bus in robot.buses for check in motors.check(robot, bus))),
        ("cameras", lambda: cameras.check(robot)),
        *([("hand", lambda: hand.check(robot))] if hand.named(robot) else []),
    ]


def _guarded(name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """What a group finds, and in its place an error that ends it: the next group is looked at all the same."""
    try:
        yield from look()
    except (EdgeError, DriverError, OSError) as error:
        yield Check(name, "bad", " ".join(str(error).split()))
    except Exception as error:  # noqa: BLE001  a fault of ours in one check must not hide the others
        said = " ".join(f"{type(error).__name__}: {error}".split())
        yield Check(name, "unknown", f"this examination broke off: {said}", "report it, with this line")
