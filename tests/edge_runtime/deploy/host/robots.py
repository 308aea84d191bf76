"""Robots of several kinds, as `edge package` hands them on: every path is absolute."""

from __future__ import annotations

from pathlib import Path

from edge_runtime import config
from edge_runtime.config import Robot
from tests.robot_toml import ROBOT

ARM = "/dev/serial/by-id/usb-1a86_USB_Single_Serial_5A46081234-if00"
FTDI = "/dev/serial/by-id/usb-FTDI_USB__-__Serial_Converter_FT1-if00-port0"
CAMERA = "/dev/v4l/by-id/usb-Acme_Cam-video-index0"
_SIM = 'kind = "sim"\ndevice = "./camera-base.sock"'
_RTSP = 'kind = "gstreamer"\ndevice = "rtsp://user:secret@10.0.0.5/live"'
_CSI = 'kind = "gstreamer"\ndevice = "csi:0"'
_GPIO = '[[estops]]\nname = "red"\nkind = "gpio"\ndevice = "/dev/gpiochip0"\ninput = "17"\n'
_KEY = (
    '[[estops]]\nname = "button"\nkind = "button"\ndevice = "/dev/input/by-id/usb-B-event-kbd"\ninput = "KEY_SPACE"\n'
)

_SERIAL = ('port = "./arm"', f'port = "{ARM}"')
CHANGES: dict[str, tuple[tuple[str, str], ...]] = {
    "serial": (_SERIAL,),
    "ftdi": (('port = "./arm"', f'port = "{FTDI}"'),),
    "camera": (_SERIAL, (_SIM, f'kind = "opencv"\ndevice = "{CAMERA}"')),
    "rtsp": (_SERIAL, (_SIM, _RTSP)),
    "csi": (_SERIAL, (_SIM, _CSI)),
    "can": (('kind = "feetech"\nport = "./arm"', 'kind = "damiao"\nport = "can0"'),),
    "estop": (_SERIAL, ("[episode]", f"{_GPIO}{_KEY}\n[episode]")),
    "autostart": (_SERIAL, ("[policy]", "[policy]\nautostart = true")),
    "core": (_SERIAL, ("[control]", "[control]\ncpu = 3")),
    "trt": (_SERIAL, ("[policy]", '[policy]\nbackend = "trt"')),
    "sim": (),
}
"""Name of a robot → what makes it of the tests' own."""


def robot(name: str, folder: Path) -> Robot:
    """That robot, read from a robot.toml in `folder`."""
    return changed(CHANGES[name], folder)


def changed(changes: tuple[tuple[str, str], ...], folder: Path) -> Robot:
    """The tests' robot with each first text in the place of the second."""
    text = ROBOT
    for before, after in changes:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    (folder / "robot.toml").write_text(text)
    return config.load(folder / "robot.toml")
