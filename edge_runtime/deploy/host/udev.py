"""udev rules for what robot.toml names: stable names in /dev/edge, who may use it, and adapters that answer at once."""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.config import Robot
from edge_runtime.deploy.host.parts import SERIAL, CanInterface, Part, can_interfaces, parts

FTDI = 'ACTION!="remove", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'
_ARPHRD_CAN = 280
"""Type of a CAN interface (linux/if_arp.h)."""


def rules(robot: Robot) -> str:
    """The whole file. It comes after systemd's own, which give the stable names that are asked for here.

    Raises `EdgeError` as `parts` does.
    """
    return "\n".join(_lines(robot)) + "\n"


def _lines(robot: Robot) -> Iterator[str]:
    yield "# The devices that /etc/edge-runtime/robot.toml names. Made by edge package."
    named = parts(robot)
    if any(part.role is SERIAL for part in named):
        yield "# FTDI adapters keep what they have received for 16 ms by default."
        yield FTDI
    for part in named:
        yield from _part(part)
    for line in can_interfaces(robot):
        yield from _can(line)


def _part(part: Part) -> Iterator[str]:
    match = f'SYMLINK=="{part.link}"' if part.link else f'KERNEL=="{part.node}"'
    words = [f'SUBSYSTEM=="{part.role.subsystem}"', match, f'GROUP="{part.role.group}"', 'MODE="0660"']
    yield f"# {part.name}: {part.path}" if part.name else f"# {part.path}"
    if part.link and part.name:
        words.append(f'SYMLINK+="edge/{part.name}"')
    if part.role is SERIAL:  # ModemManager would talk to the motors to find out whether they are a modem
        words.append('ENV{ID_MM_PORT_IGNORE}="1"')
    yield ", ".join(words)


def _can(line: CanInterface) -> Iterator[str]:
    yield f"# {line.name}: up as soon as it is there; the queue holds a cycle of every motor."
    match = f'ACTION=="add|change", SUBSYSTEM=="net", KERNEL=="{line.name}", ATTR{{type}}=="{_ARPHRD_CAN}"'
    command = f"ip link set {line.name} up txqueuelen 128 type can bitrate {line.bit_rate}"
    yield f'{match}, RUN+="/usr/bin/env {command}"'
