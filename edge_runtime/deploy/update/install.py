"""`edge update install`: the checks whose answer a person should read, then RAUC, which checks for itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_runtime.deploy import tools
from edge_runtime.deploy.update import rauc
from edge_runtime.deploy.update.before_install import UNKNOWN, refuse_on_trial, refuse_other, running_version
from edge_runtime.deploy.update.version import refuse_older
from edge_runtime.errors import EdgeError, UpdateError, one_line

_PERCENT = re.compile(r"\s*(\d{1,3})% (.+)")
_INFO_S = 120.0
_INSTALL_S = 3600.0
"""Longer than the slowest storage takes for a system of several GB."""


def install(
    bundle: Path, told: Callable[[str, float], None] = lambda _what, _part: None, root: Path = Path("/")
) -> dict[str, Any]:
    """Write the update to the slot that does not run; it starts there next. Raises `EdgeError`.

    `told` is called with what RAUC does and which part of it is done.
    """
    if os.geteuid() != 0:
        raise UpdateError(f"{bundle}: only root writes system slots: sudo edge update install {bundle}")
    if not bundle.is_file():
        raise UpdateError(f"{bundle}: there is no such file")
    before, old = rauc.status(root), running_version(root)
    refuse_on_trial(before.booted.bootname, root)
    version = check(bundle.resolve(), before.compatible, old)
    _write(bundle, told)
    after = rauc.status(root)
    if after.primary != before.other.bootname:
        raise UpdateError(f"{bundle}: is installed, but slot {before.other.bootname} is not to start next: rauc status")
    return {"version": version, "slot": before.other.bootname, "running": before.booted.bootname, "before": old}


def _write(bundle: Path, told: Callable[[str, float], None]) -> None:
    """RAUC passes on that its handler refused a bundle, and only to the journal why."""
    command = ["rauc", "install", str(bundle.resolve())]
    try:
        tools.follow(command, lambda line: _progress(line, told), timeout_s=_INSTALL_S, what=str(bundle))
    except EdgeError as error:
        raise UpdateError(f"{error} (journalctl -u rauc says more)") from error


def _progress(line: str, told: Callable[[str, float], None]) -> None:
    """RAUC prints " 40% Verifying signature" as it goes."""
    found = _PERCENT.match(line)
    if found:
        told(found[2], int(found[1]) / 100)


def check(bundle: Path, compatible: str, running: str | None) -> str:
    """The version of a bundle that this robot would take; RAUC checks its signature. Raises `EdgeError`."""
    said = tools.run(["rauc", "info", "--output-format=json", bundle], timeout_s=_INFO_S, what=str(bundle))
    try:
        manifest = json.loads(said)
        made_for, version = str(manifest["compatible"]), str(manifest["version"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UpdateError(f"{bundle}: rauc info says what is not understood here: {one_line(said, 120)}") from error
    refuse_other(made_for, compatible)
    refuse_older(version, running)
    return version


def text(done: dict[str, Any]) -> str:
    """For people."""
    said = (
        f"version {done['version']} is in slot {done['slot']}: it starts, on trial, at the next reboot; "
        f"slot {done['running']} comes back by itself if it does not prove itself"
    )
    return said if done["before"] else f"{said}\n{UNKNOWN}"
