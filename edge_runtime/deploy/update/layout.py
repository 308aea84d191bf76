"""The disk of a robot with two system slots, and where what belongs to updates is on it.

Slots are found by the label of their partition. On a Jetson they and their names are NVIDIA's (flashed with
ROOTFS_AB=1); on other robots the disk has, in this order, the EFI system partition, edge-a, edge-b and edge-data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.deploy.places import CONFIG
from edge_runtime.deploy.systems import System

DATA_LABEL = "edge-data"
"""Partition that both systems share."""
DATA = Path("/data")
"""Where it is mounted, root's alone; the runtime's state is the folder edge-runtime of it."""
RECORDS = DATA / "rauc"
SLOT_STATUS = RECORDS / "slots.raucs"
"""What RAUC remembers of each slot."""
TRIAL = RECORDS / "trial.json"
"""There while a slot is on trial."""
LAST = RECORDS / "last.json"
"""How the last trial ended."""
ESP_LABEL = "edge-esp"
ESP = Path("/boot/efi")
GRUB_FOLDER = ESP / "EFI/BOOT"
GRUB_ENVIRONMENT = GRUB_FOLDER / "grubenv"

HELPERS = Path("/usr/lib/edge-runtime")
BEFORE_INSTALL = HELPERS / "before-install"
GIVE_UP = HELPERS / "give-up"
NVBOOT = HELPERS / "nvboot"
GRUB_CONFIG = HELPERS / "grub.cfg"
"""To be laid on the EFI system partition when a robot's disk is made: it is in neither slot."""

STARTS = (Path("/sbin/init"), Path("/bin/sh"))
"""What must be in a slot besides the kernel: what that runs first, and what runs every script of ours."""
SYSTEM_CONFIG = Path("/etc/rauc/system.conf")
SYSTEM_VERSION = CONFIG / "system-version"
"""Written into a slot by the update that fills it, and by hand into a robot's first system."""


@dataclass(frozen=True)
class Slot:
    """`bootname`: what the bootloader calls it; `label`: its partition's."""

    bootname: str
    label: str

    @property
    def device(self) -> Path:
        """The partition."""
        return Path("/dev/disk/by-partlabel", self.label)


def kernel(system: System) -> Path:
    """What its bootloader starts in a slot: by NVIDIA's extlinux.conf, or by our grub.cfg."""
    return Path("/boot/Image" if system.jetpack else "/vmlinuz")


def slots(system: System) -> tuple[Slot, Slot]:
    """The two slots of a robot with that system (APP, APP_b: NVIDIA's rootfs A/B layouts)."""
    labels = ("APP", "APP_b") if system.jetpack else ("edge-a", "edge-b")
    return Slot("A", labels[0]), Slot("B", labels[1])


def compatible(system_name: str) -> str:
    """What RAUC compares to keep another machine's update off this one."""
    return f"edge-runtime {system_name}"
