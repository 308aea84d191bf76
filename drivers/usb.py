"""Which USB device is behind a path in /dev: what tells one adapter or camera from another of the same make."""

from __future__ import annotations

import os
from pathlib import Path

_CLASSES = ("tty", "video4linux")
_MOST_PARENTS = 8


def usb_identity(path: str, sysfs: Path = Path("/sys")) -> str:
    """Vendor, product and serial number ("1a86:55d3 5A46081234") of the device at `path`, links followed.

    Empty where it is no USB device, or not there. Without a serial number of its own, two of a make look alike.
    Source: the kernel's sysfs (Documentation/ABI/testing/sysfs-bus-usb): a USB device's folder has `idVendor`; the
    folder of a class (/sys/class/tty/ttyACM0/device) links to the interface below it.
    """
    name = Path(os.path.realpath(path)).name
    for kind in _CLASSES:
        folder = sysfs / "class" / kind / name / "device"
        if folder.exists():
            return _describe(folder.resolve())
    return ""


def _describe(folder: Path) -> str:
    for place in (folder, *folder.parents[:_MOST_PARENTS]):
        vendor = _read(place / "idVendor")
        if vendor:
            return f"{vendor}:{_read(place / 'idProduct')} {_read(place / 'serial')}".rstrip()
    return ""


def _read(file: Path) -> str:
    """One attribute, printable and short whatever a device says of itself."""
    try:
        text = file.read_bytes()[:128].decode(errors="replace").strip()
    except OSError:
        return ""
    return "".join(c if c.isprintable() else "?" for c in text)
