"""What Linux says of its cameras and OpenCV does not: which there are, their stable names, and the modes they have.

Questions are the ioctls of the V4L2 API (Linux userspace API, part I; layouts from linux/videodev2.h, the same on every
64-bit Linux). They are asked of a device that may be streaming elsewhere; nothing is changed.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

DEV = Path("/dev")
FORMATS = {"yuyv": "YUYV", "mjpg": "MJPG"}
"""Pixel formats by the name they have in robot.toml: four-character codes of videodev2.h. The first is preferred."""
MOST, MOST_MODES = 256, 10_000
"""No list of a device is read further: a driver that never says "no more" must not hang us. `vivid` has 3486 modes."""

PERMISSION = "add this user to the device's group (usually `sudo usermod -aG video $USER`)"

_CAPABILITY = struct.Struct("16s32s32s3I12x")
_FORMAT = struct.Struct("3I32s4sI12x")
_SIZE = struct.Struct("I4sI6I8x")
_INTERVAL = struct.Struct("I4s3I6I8x")
_BUFFER_TYPE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_DISCRETE = 1  # V4L2_FRMSIZE_TYPE_DISCRETE and V4L2_FRMIVAL_TYPE_DISCRETE
_VIDEO_CAPTURE = 1
_DEVICE_CAPS = 1 << 31
_USUAL_SIZES = ((320, 240), (640, 480), (800, 600), (1280, 720), (1920, 1080), (3840, 2160))
"""What is listed of a camera that takes any size."""

Ask = Callable[[int, bytes], bytes]
"""A request and its argument → what the device answers. Raises `OSError`."""


def _request(number: int, size: int, writes: bool = True) -> int:
    """The code of a V4L2 ioctl: direction, size, type "V", number (asm-generic/ioctl.h)."""
    return (3 if writes else 2) << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP = _request(0, _CAPABILITY.size, writes=False)
ENUM_FMT = _request(2, _FORMAT.size)
ENUM_FRAMESIZES = _request(74, _SIZE.size)
ENUM_FRAMEINTERVALS = _request(75, _INTERVAL.size)


class Mode(NamedTuple):
    """One way in which a camera can deliver; `format` is its four-character code, such as MJPG."""

    format: str
    width: int
    height: int
    fps: float

    def __str__(self) -> str:
        return f"{self.format} {self.width}x{self.height} at {self.fps:g}"


@dataclass(frozen=True)
class Found:
    """One camera of this machine."""

    path: str
    """Such as /dev/video0: another one after the next boot, perhaps."""
    stable: str
    """Its name that stays, under /dev/v4l/by-id; "" where udev gave none."""
    name: str
    bus: str
    modes: tuple[Mode, ...]


def cameras(dev: Path = DEV) -> list[Found]:
    """Every device that captures video and may be opened, in the order of its number."""
    paths = sorted((p for p in dev.glob("video*") if p.name[5:].isdecimal()), key=lambda p: int(p.name[5:]))
    return [found for path in paths if (found := _camera(path, dev)) is not None]


def modes(path: str | Path) -> tuple[Mode, ...]:
    """What the device at `path` can deliver; nothing where it cannot be asked."""
    with suppress(OSError), _Device(path) as ask:
        return tuple(list_modes(ask))
    return ()


def stable_name(path: str | Path, dev: Path = DEV) -> str:
    """The name under /dev/v4l/by-id that leads to `path`, "" where there is none."""
    device = Path(path).resolve()
    links = sorted((dev / "v4l" / "by-id").glob("*"))
    return next((str(link) for link in links if link.resolve() == device), "")


def nearest(modes: tuple[Mode, ...], width: int, height: int, fps: float, most: int = 3) -> str:
    """In words: the modes most like the one that was asked for, of those that robot.toml can name if there are any."""
    modes = tuple(mode for mode in modes if mode.format in FORMATS.values()) or modes
    if not modes:
        return "the device lists no modes"

    def unlike(mode: Mode) -> tuple[float, float]:
        return abs(mode.width * mode.height - width * height), abs(mode.fps - fps)

    shown = sorted(modes, key=unlike)[:most]
    more = f" and {len(modes) - len(shown)} more (edge cameras)" if len(modes) > len(shown) else ""
    return f"it can do {', '.join(map(str, shown))}{more}"


def list_modes(ask: Ask) -> Iterator[Mode]:
    """Every mode of the device behind `ask`."""
    return itertools.islice(_modes(ask), MOST_MODES)


def parse_capability(data: bytes) -> tuple[str, str, bool]:
    """Name, bus, and whether this device (not only another one of the same camera) captures video."""
    _, card, bus, _, whole, device = _CAPABILITY.unpack(data)
    return _text(card), _text(bus), bool((device if whole & _DEVICE_CAPS else whole) & _VIDEO_CAPTURE)


def parse_code(code: bytes) -> str:
    """Four letters; the highest bit says that the format is the big-endian one (v4l2_fourcc_be)."""
    text = bytes(byte & 0x7F for byte in code).decode("ascii").rstrip()
    return f"{text}-BE" if code[3] & 0x80 else text


def parse_size(data: bytes) -> list[tuple[int, int]]:
    """Width and height; of a camera that takes any size in a range its smallest, its largest and the usual ones."""
    _, _, kind, width, height_or_most, _, low, high, _ = _SIZE.unpack(data)
    if kind == _DISCRETE:
        return [(width, height_or_most)]
    smallest, largest = (width, low), (height_or_most, high)
    usual = [(w, h) for w, h in _USUAL_SIZES if smallest[0] <= w <= largest[0] and low <= h <= high]
    return sorted({smallest, largest, *usual})


def parse_interval(data: bytes) -> list[float]:
    """Frames a second; of a camera that takes any interval in a range its fastest and its slowest."""
    *_, kind, numerator, denominator, most_numerator, most_denominator, _, _ = _INTERVAL.unpack(data)
    intervals = [(numerator, denominator)]
    if kind != _DISCRETE:
        intervals.append((most_numerator, most_denominator))
    return [round(bottom / top, 3) for top, bottom in intervals if top]


def _camera(path: Path, dev: Path) -> Found | None:
    try:
        with _Device(path) as ask:
            name, bus, captures = parse_capability(ask(QUERYCAP, bytes(_CAPABILITY.size)))
            if not captures:
                return None
            return Found(str(path), stable_name(path, dev), name, bus, tuple(list_modes(ask)))
    except OSError as error:
        remedy = f": {PERMISSION}" if error.errno == errno.EACCES else ""
        return Found(str(path), stable_name(path, dev), f"cannot be asked: {error.strerror}{remedy}", "", ())


def _modes(ask: Ask) -> Iterator[Mode]:
    for code in _formats(ask):
        for width, height in _sizes(ask, code):
            for fps in _rates(ask, code, width, height):
                yield Mode(parse_code(code), width, height, fps)


def _formats(ask: Ask) -> Iterator[bytes]:
    for data in _each(ask, ENUM_FMT, lambda k: _FORMAT.pack(k, _BUFFER_TYPE, 0, b"", b"", 0)):
        yield _FORMAT.unpack(data)[4]


def _sizes(ask: Ask, code: bytes) -> Iterator[tuple[int, int]]:
    for data in _each(ask, ENUM_FRAMESIZES, lambda k: _SIZE.pack(k, code, *[0] * 7)):
        yield from parse_size(data)


def _rates(ask: Ask, code: bytes, width: int, height: int) -> Iterator[float]:
    for data in _each(ask, ENUM_FRAMEINTERVALS, lambda k: _INTERVAL.pack(k, code, width, height, *[0] * 7)):
        yield from parse_interval(data)


def _each(ask: Ask, request: int, question: Callable[[int], bytes]) -> Iterator[bytes]:
    """Answers to `question` 0, 1, … until the device says that there are no more (EINVAL) or knows no such list."""
    for index in range(MOST):
        try:
            answer = ask(request, question(index))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                return
            raise
        yield answer
        if request != ENUM_FMT and struct.unpack_from("I", answer, 8 if request == ENUM_FRAMESIZES else 16) != (1,):
            return  # a range is one answer


def _text(data: bytes) -> str:
    return "".join(c if c.isprintable() else "?" for c in data.split(b"\0")[0].decode("utf-8", "replace"))


class _Device:
    """An open device as an `Ask`."""

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def __enter__(self) -> Ask:
        self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return lambda request, argument: fcntl.ioctl(self._fd, request, argument)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
