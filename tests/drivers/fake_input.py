"""A Linux input device out of a pipe: events are bytes that a test writes, state is what the ioctls answer."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from drivers import linux_input
from drivers.linux_input import EV_ABS, EV_KEY, EV_SYN, EVENT, SYN_DROPPED


class FakeInput:
    """`path` is what the driver opens. Keys are numbers; axes are [value, minimum, maximum, flat] by number."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "event0"
        self.keys: set[int] = set()
        self.down: set[int] = set()
        self.axes: dict[int, list[int]] = {}
        os.mkfifo(self.path)
        self._pipe = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        monkeypatch.setattr(linux_input.fcntl, "ioctl", self._ioctl)

    def send(self, kind: int, code: int, value: int) -> None:
        os.write(self._pipe, EVENT.pack(12, 345, kind, code, value))

    def key(self, code: int, down: bool) -> None:
        (self.down.add if down else self.down.discard)(code)
        self.send(EV_KEY, code, down)
        self.send(EV_SYN, 0, 0)

    def axis(self, code: int, value: int) -> None:
        self.axes[code][0] = value
        self.send(EV_ABS, code, value)

    def dropped(self) -> None:
        self.send(EV_SYN, SYN_DROPPED, 0)

    def unplug(self) -> None:
        """The next call sees a device that is gone."""
        os.close(self._pipe)
        self.path.unlink()

    def _ioctl(self, fd: int, request: int, buffer: bytes) -> bytes:
        number = request & 0xFF
        assert request >> 30 == 2
        assert request >> 8 & 0xFF == ord("E")
        assert request >> 16 & 0x3FFF == len(buffer)
        if number in (0x18, 0x20 + EV_KEY):
            bits = sum(1 << code for code in (self.down if number == 0x18 else self.keys))
            return bits.to_bytes(len(buffer), "little")
        if not self.axes:
            raise OSError(errno.EINVAL, "no axes at all")
        value, low, high, flat = self.axes.get(number - 0x40, [0, 0, 0, 0])
        return struct.pack("@6i", value, low, high, 0, flat, 0)
