"""The parts of a robot that Linux has a device for, and what it takes to use each: subsystem, group, kind of node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from edge_runtime.config import Camera, Robot
from edge_runtime.errors import EdgeError

_NAME = re.compile(r"/dev/[A-Za-z0-9#+.:=@_/-]+")
"""What udev itself names devices by (udev(7): every other character becomes "_"): no rule and no unit can be spoilt."""
_IN_PIPELINE = re.compile(r"/dev/[^\s!,;\"']+")


@dataclass(frozen=True)
class Role:
    """`group` may use such devices; `subsystem` is the kernel's word for them."""

    subsystem: str
    group: str


SERIAL = Role("tty", "dialout")
CAMERA = Role("video4linux", "video")
INPUT = Role("input", "input")
GPIO = Role("gpio", "gpio")


@dataclass(frozen=True)
class Part:
    """`name` as robot.toml has it, "" where another device of the same part has that name already."""

    name: str
    role: Role
    path: str

    @property
    def node(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name

    @property
    def link(self) -> str:
        """What udev calls it beside its node ("serial/by-id/…"); "" where `path` is the node itself."""
        inner = self.path.removeprefix("/dev/")
        return inner if "/by-id/" in inner or "/by-path/" in inner else ""


def parts(robot: Robot) -> tuple[Part, ...]:
    """Every device below /dev that `robot` names, in the file's order.

    Raises `EdgeError` for a name that udev gives no device, and where two parts would be called the same in /dev/edge.
    """
    found = tuple(part for part in _parts(robot) if not part.path.startswith("/dev/pts/"))
    names: dict[str, str] = {}
    for part in found:
        if not _NAME.fullmatch(part.path):
            raise EdgeError(f"{part.path}: udev gives no device such a name: take one of `ls /dev/*/by-id`")
        if part.name and names.setdefault(part.name, part.path) != part.path:
            raise EdgeError(f"{part.path} and {names[part.name]} are both called {part.name}: rename one of them")
    return found


def _parts(robot: Robot) -> Iterator[Part]:
    ports = [(bus.name, bus.port) for bus in robot.buses if bus.kind != "null"]
    ports += [("leader", robot.leader.port)] if robot.leader is not None else []
    for name, port in ports:
        if port.startswith("/dev/"):
            yield Part(name, SERIAL, port)
    for camera in robot.cameras:
        for place, path in enumerate(_nodes(camera)):
            yield Part("" if place else camera.name, CAMERA, path)
    for estop in robot.estops:
        if estop.device.startswith("/dev/"):
            yield Part(estop.name, GPIO if estop.kind == "gpio" else INPUT, estop.device)
    if robot.gamepad is not None and robot.gamepad.device.startswith("/dev/"):
        yield Part("gamepad", INPUT, robot.gamepad.device)


def _nodes(camera: Camera) -> list[str]:
    if camera.device.startswith("pipeline:"):
        return _IN_PIPELINE.findall(camera.device)
    return [camera.device] if camera.device.startswith("/dev/") else []


@dataclass(frozen=True)
class CanInterface:
    """A line of motors that Linux has no device for, but a network interface."""

    name: str
    bit_rate: int


def can_interfaces(robot: Robot) -> tuple[CanInterface, ...]:
    """Of every bus that is one: its port has neither a path nor a bus within one process (`virtual:`)."""
    return tuple(
        CanInterface(bus.port, bus.baud) for bus in robot.buses if bus.kind != "null" and not set("/:") & set(bus.port)
    )
