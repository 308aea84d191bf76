"""Linux input devices (buttons, keyboards, gamepads) through /dev/input/event*, without a library.

Structures, codes and ioctls: the kernel's include/uapi/linux/input.h and input-event-codes.h. An event is a struct
timeval, a type, a code and a value: 24 bytes where a long has 64 bits, 16 where it has 32.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from drivers.errors import Disconnected, DriverError
from drivers.suggest import did_you_mean

EVENT = struct.Struct("@llHHi")
EV_SYN, EV_KEY, EV_ABS = 0, 1, 3
SYN_DROPPED = 3
"""The kernel's queue was full: events are missing, the device's state has to be asked for."""
LAST_KEY, LAST_AXIS = 0x2FF, 0x3F
_BATCH = 64
_ABS = struct.Struct("@6i")

KEYS = {
    "KEY_ESC": 1,
    "KEY_ENTER": 28,
    "KEY_SPACE": 57,
    "KEY_PAUSE": 119,
    "KEY_STOP": 128,
    "BTN_0": 0x100,
    "BTN_1": 0x101,
    "BTN_TRIGGER": 0x120,
    "BTN_THUMB": 0x121,
    "BTN_SOUTH": 0x130,
    "BTN_EAST": 0x131,
    "BTN_NORTH": 0x133,
    "BTN_WEST": 0x134,
    "BTN_TL": 0x136,
    "BTN_TR": 0x137,
    "BTN_SELECT": 0x13A,
    "BTN_START": 0x13B,
    "BTN_MODE": 0x13C,
}
"""Keys and buttons that people use; any other goes by its number."""

AXES = {
    "ABS_X": 0,
    "ABS_Y": 1,
    "ABS_Z": 2,
    "ABS_RX": 3,
    "ABS_RY": 4,
    "ABS_RZ": 5,
    "ABS_HAT0X": 0x10,
    "ABS_HAT0Y": 0x11,
}
"""Axes of gamepads: two sticks, two triggers or a third stick, and the cross of four directions."""


class Event(NamedTuple):
    """What changed, without its time."""

    type: int
    code: int
    value: int


class Axis(NamedTuple):
    """What the kernel says of an absolute axis: struct input_absinfo without its fuzz and resolution."""

    value: int
    minimum: int
    maximum: int
    flat: int


def key_code(owner: str, name: str) -> int:
    """The number of a key that is named as in `KEYS` or is a number; raises `DriverError` for others."""
    return _code(owner, "key", name, KEYS, LAST_KEY)


def axis_code(owner: str, name: str) -> int:
    """The number of an axis that is named as in `AXES` or is a number; raises `DriverError` for others."""
    return _code(owner, "axis", name, AXES, LAST_AXIS)


def _code(owner: str, what: str, name: str, known: Mapping[str, int], last: int) -> int:
    number = int(name) if name.isascii() and name.isdecimal() else known.get(name, -1)
    if not 0 <= number <= last:
        near = did_you_mean(name, known)
        raise DriverError(f'{owner}: there is no {what} "{name}"{near} (others go by their number, 0 to {last})')
    return number


class Parser:
    """Events out of bytes, however they were cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Every event that is complete now."""
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        for _, _, kind, number, value in EVENT.iter_unpack(data[:whole]):
            yield Event(kind, number, value)


class InputDevice:
    """One device, opened for reading. `open` and every other call raise only `Disconnected`; `close` never raises."""

    def __init__(self, owner: str, path: str) -> None:
        self._label = f"{owner} on {path}"
        self._path = path
        self._fd = -1
        self._poll = select.poll()
        self._parser = Parser()

    def open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Disconnected(f"{self._label}: {_why(error)}") from None
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._parser = Parser()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def events(self, timeout_s: float) -> list[Event]:
        """Those that came within `timeout_s`; returns with the first."""
        self._check_open()
        try:
            if not self._poll.poll(timeout_s * 1e3):
                return []
            data = os.read(self._fd, _BATCH * EVENT.size)
        except BlockingIOError:
            return []
        except OSError as error:
            raise self._gone(error) from None
        if not data:
            raise self._gone(None)
        return list(self._parser.feed(data))

    def has_key(self, key: int) -> bool:
        """Whether the device has that key: EVIOCGBIT(EV_KEY)."""
        return self._bit(0x20 + EV_KEY, key)

    def key_down(self, key: int) -> bool:
        """Whether that key is down now: EVIOCGKEY."""
        return self._bit(0x18, key)

    def axis(self, axis: int) -> Axis:
        """That axis now: EVIOCGABS. One that the device has not is all zeros."""
        try:
            value, low, high, _, flat, _ = _ABS.unpack(self._ask(0x40 + axis, _ABS.size))
            return Axis(value, low, high, flat)
        except Disconnected as gone:
            if isinstance(gone.__cause__, OSError) and gone.__cause__.errno == errno.EINVAL:
                return Axis(0, 0, 0, 0)
            raise

    def _bit(self, number: int, bit: int) -> bool:
        bits = self._ask(number, LAST_KEY // 8 + 1)
        return bool(bits[bit // 8] >> bit % 8 & 1)

    def _ask(self, number: int, size: int) -> bytes:
        """_IOC(_IOC_READ, 'E', number, size), as every Linux but Alpha, MIPS, PowerPC and SPARC encodes it."""
        self._check_open()
        try:
            return fcntl.ioctl(self._fd, 2 << 30 | size << 16 | ord("E") << 8 | number, bytes(size))
        except OSError as error:
            raise self._gone(error) from error

    def _check_open(self) -> None:
        if self._fd < 0:
            raise Disconnected(f"{self._label}: not open")

    def _gone(self, error: OSError | None) -> Disconnected:
        if error is not None and error.errno == errno.ENOTTY:
            return Disconnected(f"{self._label}: this is no input device: give its name in /dev/input/by-id")
        cause = f" ({error.strerror})" if error is not None else ""
        return Disconnected(f"{self._label}: the device has gone away{cause}: is it plugged in?")


def _why(error: OSError) -> str:
    """One line about why a device does not open."""
    if error.errno == errno.ENOENT:
        return "there is no such device: is it plugged in, and is this its name (ls /dev/input/by-id)?"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied: add this user to the group of input devices (usually `usermod -aG input $USER`)"
    return f"cannot open it: {error.strerror}"
