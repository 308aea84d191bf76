"""A Debian tree with the package in it, as a person leaves it before the first boot: users, and the simulated arm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.boot import deb, hold_lock, image, laptop
from benchmarks.boot.container import in_tree
from benchmarks.boot.robot import OPERATOR, SIM, STRANGER, TRACE
from edge_runtime.deploy import places
from edge_runtime.deploy.systems import SYSTEMS

SYSTEM = "debian12-amd64"
PACKAGE = "/root/edge-runtime.deb"
PACKAGES = ("apt", "util-linux", *laptop.PACKAGES)
EDITS = {
    "serial_ms = 8.0": "serial_ms = 50.0\nserial_misses = 150\ntick_ms = 50.0\nframe_age_ms = 1000.0",
    "stuck_ms = 1500.0": "stuck_ms = 3000.0\nchunk_age_ms = 2000.0\ncoast_ms = 3000.0\ninference_ms = 2000.0",
    "timeout_s = 15.0": "timeout_s = 120.0",
    **{f"\nid = {number}\n": f'\nid = {number}\nsafe = "release"\n' for number in range(1, 6)},
}
"""Lines of the simulated robot's robot.toml, and what they are here: a shared machine may stand still for a while.
The safe action lets go of the arm and keeps what the gripper holds."""

SIM_UNIT = f"""\
[Unit]
Description=Simulated arm and cameras
Before={places.SERVICE}

[Service]
Type=exec
User={places.USER}
RuntimeDirectory={SIM.name}
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
AmbientCapabilities=CAP_SYS_NICE
ExecStartPre=mkfifo {hold_lock.ORDERS}
ExecStart={places.PYTHON} -I -m drivers.sim --dir {SIM} --trace {TRACE}
ExecStartPost=sh -c 'until test -S {SIM}/camera-wrist.sock && test -L {SIM}/arm; do sleep 0.05; done'

[Install]
WantedBy=multi-user.target
"""
"""The arm belongs to the service's user, as udev's rules give it a real one."""


CAPABLE = """\
[Service]
CapabilityBoundingSet=CAP_SYS_NICE
AmbientCapabilities=CAP_SYS_NICE
"""
"""In the place of LimitRTPRIO= and LimitNICE=: no container may raise limits that its host may not."""


def debian(folder: Path, tree: Path) -> str:
    """Debian 12 as the new folder `tree`."""
    tar = image.root(SYSTEMS[SYSTEM].arch, PACKAGES, folder)
    image.unpack(tar, tree)
    return f"Debian {(tree / 'etc/debian_version').read_text().strip()}, {tar.stat().st_size / 1e6:.0f} MB"


def package(folder: Path, bundle: Path, trust: Path) -> Path:
    """The package of the simulated robot, with that bundle and certificate."""
    return deb.make(SYSTEM, deb.robot_toml(folder / "robot", str(SIM), EDITS), bundle, folder, "--trust", str(trust))


def install(tree: Path, made: Path) -> str:
    """The package in the tree, what it brings switched on; two users, one a member of its group; the simulated arm."""
    shutil.copy(made, tree / PACKAGE.lstrip("/"))
    in_tree(tree, "dpkg", "--install", PACKAGE)
    in_tree(tree, "useradd", "--create-home", "--groups", places.USER, OPERATOR)
    in_tree(tree, "useradd", STRANGER)
    _simulated_arm(tree)
    return f"{made.stat().st_size / 1e6:.0f} MB, installed by dpkg without a network"


def admit(tree: Path, key: str) -> None:
    """The operator comes in by ssh with that public key."""
    folder = tree / "home" / OPERATOR / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "authorized_keys").write_text(key, encoding="utf-8")
    in_tree(tree, "chown", "--recursive", f"{OPERATOR}:", f"/home/{OPERATOR}/.ssh")


def _simulated_arm(tree: Path) -> None:
    (tree / "etc/systemd/system/edge-sim.service").write_text(SIM_UNIT)
    in_tree(tree, "systemctl", "enable", "edge-sim.service")
    site = next((tree / places.PREFIX.relative_to("/")).glob("lib/python3.*/site-packages"))
    shutil.copy(hold_lock.__file__, site / "edge_hold_lock.py")
    (site / "edge_hold_lock.pth").write_text(hold_lock.LINE)
    if not may_raise_limits():
        capable = tree / f"etc/systemd/system/{places.SERVICE}.d/boot-test.conf"
        capable.parent.mkdir()
        capable.write_text(CAPABLE)


def may_raise_limits() -> bool:
    """Whether root of this machine may: a virtual machine's or a container's often lacks CAP_SYS_RESOURCE."""
    return subprocess.run(["prlimit", "--rtprio=99", "true"], capture_output=True, check=False).returncode == 0
