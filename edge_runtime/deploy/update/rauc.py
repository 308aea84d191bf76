"""What RAUC says of the slots, and what it is told (RAUC reference, "rauc status")."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.deploy import tools
from edge_runtime.deploy.places import under
from edge_runtime.deploy.update import layout
from edge_runtime.errors import UpdateError, one_line

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Slot:
    """`bootname`: A or B; `good`: the bootloader would start it; `version`: of the update in it, "" where unknown."""

    name: str
    bootname: str
    device: str
    booted: bool
    good: bool
    version: str = ""
    installed: str = ""


@dataclass(frozen=True)
class Status:
    """`primary`: bootname of the slot that starts next, "" where RAUC finds none."""

    compatible: str
    primary: str
    slots: tuple[Slot, ...]

    @property
    def booted(self) -> Slot:
        """The slot that runs. Raises `UpdateError` where the machine was started from elsewhere."""
        for slot in self.slots:
            if slot.booted:
                return slot
        raise UpdateError("rauc status: this machine runs from none of its slots")

    @property
    def other(self) -> Slot:
        """The slot that does not run. Raises `UpdateError` where there is none."""
        for slot in self.slots:
            if not slot.booted:
                return slot
        raise UpdateError("rauc status: there is only one slot")


def status(root: Path) -> Status:
    """Raises `EdgeError` with what is missing where this machine takes no system updates, or with RAUC's words."""
    tools.need("rauc")
    if not under(root, layout.SYSTEM_CONFIG).is_file():
        raise UpdateError(
            f"{layout.SYSTEM_CONFIG}: not there: this machine has one system slot; "
            "edge package --updates makes a package for a robot with two"
        )
    command = ["rauc", "status", "--detailed", "--output-format=json"]
    said = tools.run(command, timeout_s=_TIMEOUT_S, what="rauc status")
    try:
        return _status(json.loads(said))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UpdateError(f"rauc status: says what is not understood here: {one_line(said, 120)}") from error


def mark(verdict: str) -> None:
    """The slot that runs is "good" or "bad" to the bootloader. Raises `EdgeError`."""
    tools.run(["rauc", "status", f"mark-{verdict}", "booted"], timeout_s=_TIMEOUT_S, what=f"rauc mark-{verdict}")


def mark_other_bad() -> None:
    """The bootloader does not start the other slot. Raises `EdgeError`."""
    tools.run(["rauc", "status", "mark-bad", "other"], timeout_s=_TIMEOUT_S, what="rauc mark-bad")


def _status(said: dict[str, Any]) -> Status:
    slots = [_slot(name, facts) for entry in said["slots"] for name, facts in entry.items() if facts["bootname"]]
    slots.sort(key=lambda slot: slot.bootname)
    names = {slot.name: slot.bootname for slot in slots}
    return Status(str(said["compatible"]), names.get(said["boot_primary"], ""), tuple(slots))


def _slot(name: str, facts: dict[str, Any]) -> Slot:
    kept = facts.get("slot_status") or {}
    return Slot(
        name=name,
        bootname=str(facts["bootname"]),
        device=str(facts["device"]),
        booted=facts["state"] == "booted",
        good=facts["boot_status"] == "good",
        version=str((kept.get("bundle") or {}).get("version") or ""),
        installed=str((kept.get("installed") or {}).get("timestamp") or ""),
    )
