"""The ports that the motors hang on, as the system sees them: whether this user may open them, and their adapter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_runtime import plugins
from edge_runtime.config import Robot
from edge_runtime.doctor.check import Check
from edge_runtime.doctor.host import Host, read

_FTDI_MS = "1"
_CAN_TYPE = "280"
"""ARPHRD_CAN (linux/if_arp.h), in /sys/class/net/<name>/type."""


class Port(NamedTuple):
    """What hangs on a port, where that is (a path, or the name of a CAN interface), and its line speed, bit/s."""

    name: str
    port: str
    baud: int


def ports(robot: Robot) -> list[Port]:
    """Of every bus, and of the arm that a person takes over with."""
    found = [Port(bus.name, bus.port, bus.baud) for bus in robot.buses]
    return found + ([Port("leader", robot.leader.port, robot.leader.baud)] if robot.leader is not None else [])


def check(host: Host, bus: Port, *, installed: bool = False) -> Iterator[Check]:
    """One port. `installed`: of a robot whose package says who may use it."""
    interface = host.path(f"/sys/class/net/{bus.port}")
    if "/" not in bus.port and read(interface / "type") == _CAN_TYPE:
        yield can(bus, read(interface / "operstate") or "")
        return
    if "/" not in bus.port:
        how = "plug its adapter in; `ip link` lists the interfaces that are there"
        yield Check(f"port {bus.name}", "bad", f"{bus.port}: there is no such CAN interface", how)
        return
    if not host.path(bus.port).exists():
        how = "plug it in; `ls /dev/serial/by-id` lists those that are there"
        yield Check(f"port {bus.name}", "bad", f"{bus.port} is not there", how)
        return
    yield permission(f"port {bus.name}", host.path(bus.port), bus.port, installed)
    yield adapter(host, bus)


def can(bus: Port, state: str) -> Check:
    """An interface that is down takes no frames."""
    if state in ("up", "unknown"):  # drivers without a carrier say unknown while they are up
        return Check(f"port {bus.name}", "ok", f"{bus.port}: CAN interface, {state or 'no state'}")
    remedy = f"sudo ip link set {bus.port} up type can bitrate {bus.baud}"
    return Check(f"port {bus.name}", "bad", f"{bus.port}: CAN interface, {state or 'state unknown'}", remedy)


def permission(name: str, path: Path, said: str, installed: bool) -> Check:
    """Whether this user may read and write a device."""
    if os.access(path, os.R_OK | os.W_OK):
        return Check(name, "ok", f"{said}: may be read and written")
    owner = _group(path)
    remedy = "sudo udevadm trigger" if installed else f"sudo usermod -aG {owner} $USER, and log in again"
    return Check(name, "bad", f"{said}: no permission (group {owner})", remedy)


def adapter(host: Host, bus: Port) -> Check:
    """What kind of adapter, by its kernel driver in /sys/class/tty/<name>/device, and how long it holds bytes back.

    FTDI's timer is 16 ms unless it is set to 1 (`latency_timer` of ftdi_sio); a CDC-ACM adapter's bytes wait for a USB
    frame, 1 ms at full speed (USB 2.0, 5.11.3).
    """
    name, tty = f"adapter {bus.name}", os.path.realpath(host.path(bus.port))
    device = host.path(f"/sys/class/tty/{Path(tty).name}/device")
    if not device.exists():
        return Check(name, "unknown", "the kernel names no adapter (a pseudo-terminal, or a port of the board's own)")
    driver = Path(os.path.realpath(device / "driver")).name if (device / "driver").exists() else "no driver named"
    who = plugins.require("drivers.usb").usb_identity(tty, host.path("/sys"))
    found = f"{who or 'no USB device'}, {driver}"
    timer = read(device / "latency_timer")
    if timer is not None:
        return _ftdi(name, f"{found}, latency timer {timer} ms", timer, Path(tty).name)
    if driver == "cdc_acm":
        return Check(name, "ok", f"{found}: each answer waits for a USB frame, 1 ms")
    return Check(name, "unknown" if driver == "no driver named" else "ok", found)


def _ftdi(name: str, found: str, timer: str, tty: str) -> Check:
    if timer == _FTDI_MS:
        return Check(name, "ok", found)
    file = f"/sys/class/tty/{tty}/device/latency_timer"
    rule = 'for good, by udev: SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'
    return Check(name, "bad", found, f"echo 1 | sudo tee {file}; {rule}")


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return "unknown"
