"""All of it, in the order in which one would look: the machine first, then the robot on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from drivers.errors import DriverError
from edge_runtime import realtime
from edge_runtime.config import Control, Robot, load
from edge_runtime.doctor import calibration, cameras, disk, hand, kernel, motors, policy, power, running, serial
from edge_runtime.doctor.check import Check, Group
from edge_runtime.doctor.host import Host
from edge_runtime.errors import ConfigError, EdgeError

Told = Callable[[str, float], None]
"""Told what is looked at, and which part of the whole is done."""


def examine(file: Path | None, host: Host, folder: Path, told: Told = lambda _what, _part: None) -> list[Group]:
    """`file`: robot.toml, without which only the machine is looked at. `folder`: where a run would be started."""
    robot, head = _robot(file)
    control = robot.control if robot is not None else Control()
    with realtime.obtain(control.priority, control.cpu) as given:
        pass
    parts: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("robot", lambda: [head]),
        ("kernel", lambda: kernel.check(host, control, given)),
        ("power", lambda: power.check(host)),
        ("disk", lambda: disk.check(robot, folder)),
    ]
    parts += _parts(robot, host) if robot is not None else []
    groups = []
    for index, (name, look) in enumerate(parts):
        told(name, index / len(parts))
        groups.append(Group(name, tuple(_guarded(name, look))))
    return groups


def _robot(file: Path | None) -> tuple[Robot | None, Check]:
    if file is None:
        return None, Check("robot.toml", "unknown", "none named and none here: only the machine was looked at")
    try:
        robot = load(file)
    except ConfigError as error:
        return None, Check("robot.toml", "bad", str(error))
    return robot, Check("robot.toml", "ok", f"{file}: {robot.name}")


def _parts(robot: Robot, host: Host) -> list[tuple[str, Callable[[], Iterable[Check]]]]:
    said = running.status(robot)
    parts: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("policy", lambda: policy.check(robot)),
        ("calibration", lambda: calibration.check(robot)),
        ("serial", lambda: (check for port in serial.ports(robot) for check in serial.check(host, port))),
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
