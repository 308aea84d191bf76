"""A package in the root file system that will be flashed: the board installs it itself, at its first boot.

Nothing of the board's is run here: files are copied, and a unit that dpkg is started by.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.deploy.flash.deb_file import DebFile
from edge_runtime.deploy.places import SERVICE, USER, under
from edge_runtime.errors import EdgeError
from edge_runtime.files import write_whole

FOLDER = Path("/opt/edge-install")
UNIT = "edge-install.service"
TRIES, PAUSE_S = 20, 30
"""Ten minutes, for which a board's own first upgrades may hold dpkg's lock."""
_LIMIT_S = 24 * 3600
"""Longer than all tries take, however slow dpkg is."""
_UNIT_PATH = Path("/etc/systemd/system") / UNIT
_WANTED = Path("/etc/systemd/system/multi-user.target.wants") / UNIT


def lay(rootfs: Path, packages: Sequence[DebFile], user: str) -> tuple[Path, ...]:
    """Lay `packages` into `rootfs`; what was written. `user` may command the robot. Twice is no different.

    Raises `EdgeError` where another package lies there already, or nothing may be written; nothing has changed then.
    """
    targets = {package: under(rootfs, FOLDER) / f"{package.name}.deb" for package in packages}
    for there in sorted(under(rootfs, FOLDER).glob("*.deb")):
        wanted = next((package.path for package, target in targets.items() if target == there), None)
        if wanted is None or not filecmp.cmp(there, wanted, shallow=False):
            raise EdgeError(f"{there}: another package lies there already: remove {there.parent} first")
    if not os.access(rootfs / "etc", os.W_OK) or not os.access(rootfs, os.W_OK):
        raise EdgeError(f"{rootfs}: may only be written by root, as it must be: run this with sudo")
    for package, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _copy(package.path, target)
    unit, wanted = under(rootfs, _UNIT_PATH), under(rootfs, _WANTED)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    write_whole(unit, first_boot([package.name for package in packages], user))
    if not wanted.is_symlink():
        wanted.symlink_to(_UNIT_PATH)
    return (*targets.values(), unit, wanted)


def first_boot(names: Sequence[str], user: str) -> str:
    """The unit that installs the packages of these names, once, and boots anew."""
    files = " ".join(f"{FOLDER}/{name}.deb" for name in names)
    said = f"the package is not installed: what dpkg says is above. There are {TRIES} tries, {PAUSE_S} s apart."
    return f"""\
[Unit]
Description=Install the robot's package, once
ConditionPathExists={FOLDER}
StartLimitIntervalSec={_LIMIT_S}
StartLimitBurst={TRIES}

[Service]
Type=oneshot
# Something else may hold dpkg's lock at the first boot.
Restart=on-failure
RestartSec={PAUSE_S}
# Whoever has a screen on the board, and no network yet, sees why.
StandardOutput=journal+console
Environment=DEBIAN_FRONTEND=noninteractive
# Until the boot after this one: the robot does not move between its installation and that.
ExecStart=/usr/bin/systemctl mask --runtime {SERVICE}
ExecStart=/usr/bin/dpkg --force-confdef --force-confold --install {files}
ExecStart=/usr/sbin/usermod --append --groups {USER} {user}
ExecStart=/usr/bin/rm --recursive {FOLDER}
ExecStart=/usr/bin/systemctl disable {UNIT}
# The control thread's core, the hardware watchdog and the disk's partitions are there from a boot's beginning on.
ExecStart=/usr/bin/systemctl --no-block reboot
ExecStopPost=/bin/sh -c '[ "$$SERVICE_RESULT" = success ] || echo "{said}"'

[Install]
WantedBy=multi-user.target
"""


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all."""
    beside = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, beside)
        beside.chmod(0o644)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
