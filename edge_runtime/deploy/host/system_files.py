"""The files that make a Linux system into the robot's, beside the runtime: path on the robot → text."""

from __future__ import annotations

from edge_runtime.config import Robot
from edge_runtime.deploy.host import udev, unit
from edge_runtime.deploy.host.access import access
from edge_runtime.deploy.host.cores import all_but
from edge_runtime.deploy.places import SERVICE, STATE, SYSTEMD, UNITS, USER, WRITTEN
from edge_runtime.deploy.systems import System

RULES = "/usr/lib/udev/rules.d/90-edge-runtime.rules"
HARDWARE_WATCHDOG_S = 30
"""A kernel or an init that hangs for this long is reset; every hardware watchdog in use can wait as long."""

_SLICE = """\
[Unit]
Description=The robot's own processes
# No CPUWeight= here: it would switch the cpu controller on, under which RT_GROUP_SCHED kernels refuse SCHED_FIFO.
"""

_JOURNAL = """\
[Journal]
# What led to an incident outlives the power cut after it.
Storage=persistent
SyncIntervalSec=30s
# A robot that runs for years must not fill its disk with its diary.
SystemMaxUse=500M
SystemKeepFree=1G
"""


def files(robot: Robot, system: System, *, updates: bool) -> dict[str, str]:
    """Everything of the system that `robot` needs; with `updates` its failure is the system's (`update.units`).

    Raises `EdgeError` where robot.toml names a device that no rule can name.
    """
    return {
        f"{UNITS}/{SERVICE}": unit.service(robot, system, updates=updates),
        f"{UNITS}/{unit.SLICE}": _SLICE,
        f"{SYSTEMD}/system.conf.d/edge-runtime.conf": _manager(robot),
        f"{SYSTEMD}/journald.conf.d/edge-runtime.conf": _JOURNAL,
        "/usr/lib/sysusers.d/edge-runtime.conf": _users(robot, system),
        "/usr/lib/tmpfiles.d/edge-runtime.conf": _folders(),
        "/usr/lib/modules-load.d/edge-runtime.conf": _modules(robot, system),
        RULES: udev.rules(robot),
    }


def _manager(robot: Robot) -> str:
    """Of systemd itself."""
    lines = [
        "[Manager]",
        "# The board's own watchdog resets it where even systemd hangs; without such hardware it changes nothing.",
        f"RuntimeWatchdogSec={HARDWARE_WATCHDOG_S}",
    ]
    if robot.control.cpu >= 0:
        lines.append(f"# Core {robot.control.cpu} is the control thread's: systemd and all that it starts keep off.")
        lines.append(f"CPUAffinity={all_but(robot.control.cpu)}")
    return "\n".join(lines) + "\n"


def _users(robot: Robot, system: System) -> str:
    """The service's user, and the groups it is in, where the system has not got them already (`gpio`, `render`)."""
    lines = [f"g {group} -" for group in access(robot, system).groups]
    lines.append(f'u {USER} - "Edge runtime" {STATE} /usr/sbin/nologin')
    return "\n".join(lines) + "\n"


def _folders() -> str:
    """There before the first start, so that a bundle can be deployed to a robot that has none yet.

    The other of two systems may have given the user another number, by which what it left belongs to nobody here.
    """
    lines = [f"d {place} 2775 {USER} {USER} -" for place in WRITTEN]
    lines.append("# Modes stay as they are.")
    lines.append(f"Z {STATE} - {USER} {USER} -")
    return "\n".join(lines) + "\n"


def _modules(robot: Robot, system: System) -> str:
    """At power-on (modules-load.d(5)), before any service starts (systemd-modules-load.service, bootup(7))."""
    lines = (
        "# systemd drops from DeviceAllow= what /proc/devices has not when the service starts, and an adapter that is",
        "# plugged in later would bring its class too late.",
        *access(robot, system).modules,
    )
    return "\n".join(lines) + "\n"
