"""Ports and adapters, by the folders that the kernel makes for them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from edge_runtime.config import Leader, LeaderJoint
from edge_runtime.doctor import serial
from edge_runtime.doctor.serial import Port
from tests.edge_runtime.doctor.machine import Machine
from tests.edge_runtime.fakes import robot


def bus(port: str) -> Port:
    return Port("arm", port, 1_000_000)


def plugged(root: Path, tty: str, driver: str, **attributes: str) -> tuple[Machine, Port]:
    """A machine with a USB adapter, as /sys has it: the tty's device below the interface below the USB device."""
    usb = "/sys/devices/usb1/1-1"
    folder = f"{usb}/1-1:1.0/{tty}" if driver == "ftdi_sio" else f"{usb}/1-1:1.0"
    files = {f"{usb}/idVendor": "0403", f"{usb}/idProduct": "6014", f"{usb}/serial": "FT1"}
    files |= {f"{folder}/{name}": text for name, text in attributes.items()}
    host = Machine(root, {**files, f"/dev/{tty}": "", f"/sys/bus/{driver}/module": ""})
    (host.path(folder)).mkdir(parents=True, exist_ok=True)
    (host.path(folder) / "driver").symlink_to(host.path(f"/sys/bus/{driver}"))
    host.path(f"/sys/class/tty/{tty}").mkdir(parents=True)
    host.path(f"/sys/class/tty/{tty}/device").symlink_to(host.path(folder))
    return host, bus(f"/dev/{tty}")


def test_the_timer_of_an_ftdi_adapter_must_be_1(tmp_path: Path) -> None:
    good = serial.adapter(*plugged(tmp_path / "a", "ttyUSB0", "ftdi_sio", latency_timer="1\n"))
    assert (good.level, good.found) == ("ok", "0403:6014 FT1, ftdi_sio, latency timer 1 ms")
    slow = serial.adapter(*plugged(tmp_path / "b", "ttyUSB0", "ftdi_sio", latency_timer="16\n"))
    assert slow.level == "bad"
    assert "latency timer 16 ms" in slow.found
    assert "echo 1 | sudo tee /sys/class/tty/ttyUSB0/device/latency_timer" in slow.remedy


def test_a_cdc_acm_adapter_waits_for_frames(tmp_path: Path) -> None:
    found = serial.adapter(*plugged(tmp_path, "ttyACM0", "cdc_acm"))
    assert (found.level, found.found) == ("ok", "0403:6014 FT1, cdc_acm: each answer waits for a USB frame, 1 ms")


def test_a_pseudo_terminal_has_no_adapter_that_could_be_judged(tmp_path: Path) -> None:
    assert serial.adapter(Machine(tmp_path, {"/dev/pts/3": ""}), bus("/dev/pts/3")).level == "unknown"


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    (found,) = serial.check(Machine(tmp_path, {}), bus("/dev/ttyUSB0"))
    assert (found.name, found.level) == ("port arm", "bad")


def test_a_can_interface_that_is_not_there(tmp_path: Path) -> None:
    (found,) = serial.check(Machine(tmp_path, {}), bus("can0"))
    assert (found.name, found.level) == ("port arm", "bad")
    assert "`ip link`" in found.remedy
    assert "serial" not in found.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_no_permission(tmp_path: Path) -> None:
    host = Machine(tmp_path, {"/dev/ttyUSB0": ""})
    host.path("/dev/ttyUSB0").chmod(0)
    found, _ = serial.check(host, bus("/dev/ttyUSB0"))
    assert found.level == "bad"
    assert "usermod -aG" in found.remedy


@pytest.mark.parametrize(("state", "level"), [("up", "ok"), ("unknown", "ok"), ("down", "bad")])
def test_a_can_interface(tmp_path: Path, state: str, level: str) -> None:
    host = Machine(tmp_path, {"/sys/class/net/can0/type": "280\n", "/sys/class/net/can0/operstate": state})
    (found,) = serial.check(host, bus("can0"))
    assert found.level == level


def test_the_arm_that_a_person_takes_over_with_has_a_port_too() -> None:
    settings = robot()
    leader = Leader(kind="feetech", port="/dev/leader", joints=tuple(LeaderJoint(id=j.id) for j in settings.joints))
    found = serial.ports(msgspec.structs.replace(settings, leader=leader))
    assert found[:-1] == serial.ports(settings)
    assert found[-1] == Port("leader", "/dev/leader", leader.baud)
