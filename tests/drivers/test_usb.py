"""Who is behind a path in /dev, read from a sysfs as the kernel lays it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.usb import usb_identity


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A USB serial adapter ttyACM0, a camera video2 without a serial number, and a serial port of the board itself."""
    adapter = {"idVendor": "1a86\n", "idProduct": "55d3\n", "serial": "5A46\x07 81\n"}
    for kind, name, place, attributes in (
        ("tty", "ttyACM0", "usb1/1-2/1-2:1.0", adapter),
        ("video4linux", "video2", "usb1/1-3/1-3:1.0", {"idVendor": "046d\n", "idProduct": "0825\n"}),
        ("tty", "ttyS0", "platform/serial8250", {}),
    ):
        interface = tmp_path / "devices" / place
        interface.mkdir(parents=True)
        for attribute, text in attributes.items():
            (interface.parent / attribute).write_text(text)
        (tmp_path / "class" / kind / name).mkdir(parents=True)
        (tmp_path / "class" / kind / name / "device").symlink_to(interface)
    return tmp_path


def test_vendor_product_and_serial_are_those_of_the_device_above_the_interface(sysfs: Path) -> None:
    assert usb_identity("/dev/ttyACM0", sysfs) == "1a86:55d3 5A46? 81"
    assert usb_identity("/dev/video2", sysfs) == "046d:0825"


def test_a_stable_link_is_followed(sysfs: Path) -> None:
    link = sysfs / "usb-Logitech-video-index0"
    link.symlink_to("/dev/video2")
    assert usb_identity(str(link), sysfs) == "046d:0825"


@pytest.mark.parametrize("path", ["/dev/ttyS0", "/dev/nothing", "", "rtsp://camera/stream"])
def test_what_is_no_usb_device_has_no_identity(sysfs: Path, path: str) -> None:
    assert usb_identity(path, sysfs) == ""
