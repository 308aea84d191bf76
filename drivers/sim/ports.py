"""The servos' end of the line: a pseudo-terminal whose other end is the host's, or a serial port of this machine."""

from __future__ import annotations

import os
import termios
import tty
from pathlib import Path
from typing import Protocol

from drivers.serial_port import SerialPort

_SPEEDS = {int(name[1:]): value for name, value in vars(termios).items() if name[0] == "B" and name[1:].isdigit()}
"""Kernel codes of line speeds in bit/s."""
_OUTPUT_SPEED = 5
"""Its place in what termios.tcgetattr returns."""


class Port(Protocol):
    """What the adapter must know of a line."""

    name: str
    fd: int
    """Bytes come and go here, without blocking; 0 bytes or an error: the line is gone."""

    def is_understood(self) -> bool:
        """Whether the host speaks at the servos' speed, as far as that can be known."""
        ...

    def close(self) -> None: ...


class PseudoTerminal:
    """The host's end has the symbolic link `path` as its name until `close`."""

    def __init__(self, path: Path, baud: int = 1_000_000) -> None:
        self.name = str(path)
        self._path = path
        # The host's end stays open here too: closing it on the host then is no hang-up, and it stays raw.
        self.fd, self._host_end = os.openpty()
        tty.setraw(self._host_end)
        self._speed = _SPEEDS.get(baud, 0)
        self._set_speed()
        os.set_blocking(self.fd, False)
        path.symlink_to(os.ttyname(self._host_end))

    def is_understood(self) -> bool:
        """Where the kernel has a code for both speeds."""
        host = termios.tcgetattr(self._host_end)[_OUTPUT_SPEED]
        return host == self._speed or not self._speed or host not in _SPEEDS.values()

    def close(self) -> None:
        """A host that has it open sees it go away, as if the cable had been pulled."""
        self._path.unlink(missing_ok=True)
        for fd in (self.fd, self._host_end):
            os.close(fd)

    def _set_speed(self) -> None:
        """A host that never sets a speed has the servos'."""
        if self._speed:
            settings = termios.tcgetattr(self._host_end)
            settings[_OUTPUT_SPEED - 1 : _OUTPUT_SPEED + 1] = [self._speed, self._speed]
            termios.tcsetattr(self._host_end, termios.TCSANOW, settings)


class SerialLine:
    """A port of this machine with the host on the other end of its cable, such as /dev/ttyGS0 of a USB gadget."""

    def __init__(self, path: Path, baud: int = 1_000_000) -> None:
        """Opens it for this process alone. Raises `Disconnected`."""
        self.name = str(path)
        self._port = SerialPort("simulated servos", self.name, baud)
        self._port.open()
        self.fd = self._port.descriptor()

    def is_understood(self) -> bool:
        """A host at another speed sends what is no packet, or the line has no speed."""
        return True

    def close(self) -> None:
        self._port.close()
