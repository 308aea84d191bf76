"""What of the machine the service may use: nothing but what its robot.toml names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_runtime.config import Camera, Robot
from edge_runtime.deploy.host.parts import CAMERA, INPUT, SERIAL, Part, can_interfaces, parts
from edge_runtime.deploy.systems import System
from edge_runtime.plugins import file_name

CHARACTERS = "char-"
"""Begins the name of a whole class of devices as /proc/devices has it (systemd.resource-control(5), DeviceAllow=)."""
MODULES = {"char-ttyACM": "cdc_acm", "char-ttyUSB": "usbserial", "char-video4linux": "videodev"}
"""Kernel module that registers a class when it is loaded, before there is any device of it (Linux: usb/class/cdc-acm.c,
usb/serial/usb-serial.c, media/v4l2-core/v4l2-dev.c in drivers). `input` is a part of the kernel itself."""
_OF_THE_BOARD = re.compile(r"tty(?!ACM|USB)[A-Z]+\d+")
_USB_SERIAL = re.compile(r"-port\d+|ttyUSB\d+")
"""Ends the stable name of an adapter that usb-serial drives (systemd's 60-serial.rules); cdc_acm's have no such end."""
_NETWORK = re.compile(r"://|\b(udp|tcp|rtsp|rtp|srt|http|soup)\w*src\b")
"""In a pipeline: it fetches its frames from elsewhere."""

_IGPU = (
    *("as", "ctrl", "ctxsw", "dbg", "nvsched", "nvsched_ctrl_fifo"),
    *("power", "prof", "prof-ctx", "prof-dev", "sched", "tsg"),
)
JETSON_GPU = (
    *("/dev/nvmap", "/dev/nvsciipc", "/dev/host1x-fence", "/dev/dri/renderD128", "/dev/dri/renderD129"),
    *("/dev/nvgpu/igpu0/channel", *(f"/dev/nvgpu/igpu0/{node}" for node in _IGPU)),
    *("/dev/nvhost-gpu", *(f"/dev/nvhost-{node}-gpu" for node in _IGPU)),
    *("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm"),
)
"""What CUDA opens on Orin and Thor, as NVIDIA's container toolkit hands it to containers there. They never come and go,
and systemd passes over those that a board has not: paths, because nvgpu names its classes by the chip's addresses."""
_ENGINES = ("nvhost-ctrl", "nvhost-vic", "nvhost-nvdec", "nvhost-nvjpg", "nvhost-nvjpg1", "nvhost-msenc", "v4l2-nvdec")
JETSON_VIDEO = ("/dev/nvmap", *(f"/dev/{node}" for node in _ENGINES))
"""What GStreamer's elements of a Jetson open to convert and decode."""


@dataclass(frozen=True)
class Access:
    """`devices` as DeviceAllow= takes them, `groups` that the service is in, `families` of sockets.

    `can`: of the host's network it needs its CAN interfaces, and `network`: all of it. `argus`: the socket in /tmp of
    the Jetson's camera daemon. `compiles`: a library in the process may write machine code and run it.
    """

    devices: tuple[str, ...]
    groups: tuple[str, ...]
    families: tuple[str, ...]
    can: bool
    network: bool
    argus: bool
    compiles: bool

    @property
    def modules(self) -> tuple[str, ...]:
        """Kernel modules without which the classes of `devices` do not exist yet."""
        return tuple(MODULES[entry] for entry in self.devices if entry in MODULES)


def access(robot: Robot, system: System) -> Access:
    """What `robot` needs on `system`."""
    named, gpu = parts(robot), file_name(robot.policy.backend) != "ort"
    piped = [camera for camera in robot.cameras if camera.kind == "gstreamer"]
    devices = [entry for part in named for entry in _entries(part)]
    devices += [f"{CHARACTERS}video4linux"] if any("v4l2src" in camera.device for camera in piped) else []
    devices += _gpu(system) if gpu else []
    devices += JETSON_VIDEO if piped and system.jetpack else []
    groups = [part.role.group for part in named]
    groups += ["video", "render"] if gpu or (piped and system.jetpack) else []
    can, network = bool(can_interfaces(robot)), any(map(_fetches, piped))
    families = ["AF_UNIX", *(["AF_CAN"] if can else []), *(["AF_INET", "AF_INET6"] if network else [])]
    return Access(
        devices=tuple(dict.fromkeys(devices)),
        groups=tuple(dict.fromkeys(groups)),
        families=tuple(families),
        can=can,
        network=network,
        argus=any(camera.device.startswith("csi:") or "nvargus" in camera.device for camera in piped),
        compiles=gpu or bool(piped),
    )


def _fetches(camera: Camera) -> bool:
    return bool(_NETWORK.search(camera.device))


def _gpu(system: System) -> tuple[str, ...]:
    return JETSON_GPU if system.jetpack else (f"{CHARACTERS}nvidia*",)


def _entries(part: Part) -> tuple[str, ...]:
    """What can be plugged in again comes back under another minor number: its class; what cannot: its path."""
    if part.role is SERIAL:
        return _serial(part)
    if part.role is CAMERA and (part.link or part.node.startswith("video")):
        return (f"{CHARACTERS}video4linux",)
    return (f"{CHARACTERS}input",) if part.role is INPUT else (part.path,)


def _serial(part: Part) -> tuple[str, ...]:
    if _OF_THE_BOARD.fullmatch(part.node) or ("/by-path/" in part.path and "usb" not in part.node):
        return (part.path,)
    if _USB_SERIAL.search(part.node):
        return (f"{CHARACTERS}ttyUSB",)
    if part.link or part.node.startswith("ttyACM"):
        return (f"{CHARACTERS}ttyACM",)
    return f"{CHARACTERS}ttyACM", f"{CHARACTERS}ttyUSB"
