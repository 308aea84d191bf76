"""A serial port with deadlines: opened once and exclusively, then bytes in and out without allocating.

pyserial opens and configures the port; reading and writing use its file descriptor, because pyserial's own calls take
relative timeouts, reconfigure the port when a timeout changes, and return a new object per read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import termios
import time
from array import array

import serial

from drivers.errors import Disconnected, Timeout
from drivers.tap import NOBODY, Tap

BITS_PER_BYTE = 10
"""8N1: a start bit, eight of data, a stop bit."""

_WHY = {
    errno.ENOENT: "there is no such port: is the cable plugged in, and is this its name (ls /dev/serial/by-id)?",
    errno.EACCES: "permission denied: add this user to the port's group (usually `sudo usermod -aG dialout $USER`)",
    errno.EPERM: "permission denied: add this user to the port's group (usually `sudo usermod -aG dialout $USER`)",
    errno.EAGAIN: "the port is busy: another program has opened it; end that program first",
    errno.EBUSY: "the port is busy: another program has opened it; end that program first",
    errno.ENOTTY: "this is not a serial port: correct the port's name",
    errno.EISDIR: "this is not a serial port: correct the port's name",
}


class SerialPort:
    """One port. `open` and every other call raise only `Disconnected` and `Timeout`; `close` never raises."""

    def __init__(self, owner: str, path: str, baud: int) -> None:
        self._label = f"{owner} on {path}"
        self._path = path
        self._baud = baud
        self._port: serial.Serial | None = None
        self._fd = -1
        self._fds: list[int] = []
        self._count = array("i", [0])
        self.tap: Tap = NOBODY
        """Is shown every byte, also those that are thrown away."""

    @property
    def is_open(self) -> bool:
        return self._port is not None

    def open(self) -> None:
        """Open with an exclusive lock, 8N1, and the adapter's latency timer at its shortest where it has one."""
        try:
            port = serial.Serial(self._path, self._baud, timeout=0, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise Disconnected(f"{self._label}: {_why(error)}") from None
        with contextlib.suppress(OSError, ValueError):  # pseudo-terminals and CDC-ACM adapters have no such timer
            port.set_low_latency_mode(True)
        self._port = port
        self._fd = port.fileno()
        self._fds = [self._fd]

    def descriptor(self) -> int:
        """The file descriptor of the open port, which does not block."""
        self._check_open()
        return self._fd

    def close(self) -> None:
        """Close the port if it is open."""
        port, self._port, self._fd, self._fds = self._port, None, -1, []
        if port is not None:
            with contextlib.suppress(OSError, termios.error):  # an unplugged adapter complains even here
                port.close()

    def set_baud(self, baud: int) -> bool:
        """Change the line speed of the open port for now; `False` where this port or its adapter has no such speed."""
        self._check_open()
        try:
            assert self._port is not None
            self._port.baudrate = baud
        except (OSError, ValueError, termios.error):
            return False
        return True

    def write(self, data: bytes | bytearray | memoryview, deadline_ns: int) -> None:
        """Hand all of `data` to the port."""
        self._check_open()
        view = memoryview(data)
        while True:
            try:
                count = os.write(self._fd, view)
                self.tap.sent(view[:count])
                view = view[count:]
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._gone(error) from None
            if not view:
                return
            if not self._wait([], self._fds, deadline_ns):
                raise Timeout(f"{self._label}: the port takes no more bytes")

    def read_into(self, view: memoryview, deadline_ns: int) -> int:
        """Wait for bytes and put those that are there into `view`: how many; 0 once the deadline has passed."""
        self._check_open()
        while True:
            if not self._wait(self._fds, [], deadline_ns):
                return 0
            try:
                count = os.readv(self._fd, [view])
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone(error) from None
            if count == 0:  # readable, and nothing to read: the other end is gone
                raise self._gone(None)
            self.tap.received(view[:count])
            return count

    def discard_input(self, scratch: memoryview, deadline_ns: int) -> None:
        """Throw away what has arrived so far, until the deadline where it does not end.

        Whether there is anything is asked first: reading an empty terminal waits for the kernel's own worker, which has
        no priority (tty_buffer_flush_work).
        """
        self._check_open()
        while self._waiting() and time.monotonic_ns() < deadline_ns:
            try:
                count = os.readv(self._fd, [scratch])
                self.tap.received(scratch[:count])
                if count < len(scratch):
                    return
            except BlockingIOError:
                return
            except OSError as error:
                raise self._gone(error) from None

    def _waiting(self) -> int:
        """How many bytes are there to be read."""
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, self._count)
        except OSError as error:
            raise self._gone(error) from None
        return self._count[0]

    def _wait(self, readers: list[int], writers: list[int], deadline_ns: int) -> bool:
        left_s = max(0.0, (deadline_ns - time.monotonic_ns()) * 1e-9)
        try:
            readable, writable, _ = select.select(readers, writers, [], left_s)
        except (OSError, ValueError) as error:
            raise self._gone(error) from None
        return bool(readable or writable)

    def _check_open(self) -> None:
        if self._port is None:
            raise Disconnected(f"{self._label}: not open; call connect first")

    def _gone(self, error: BaseException | None) -> Disconnected:
        cause = f" ({error})" if error is not None else ""
        return Disconnected(f"{self._label}: the port has gone away{cause}; check the cable and start again")


def _why(error: BaseException) -> str:
    """One line about why a port does not open."""
    number = getattr(error, "errno", None)
    if number is None and "Inappropriate ioctl" in str(error):  # pyserial drops the number of this one
        number = errno.ENOTTY
    return _WHY.get(number or 0, f"cannot open it: {error}")
