"""A CAN interface with deadlines: python-can on SocketCAN (`can0`), or on its bus within one process (`virtual:NAME`).

Deadlines are absolute and monotonic; python-can's own timeouts run on the wall clock, so what they would wait for is
waited for here, wherever the interface has a file descriptor.
"""

from __future__ import annotations

import errno
import logging
import select
import struct
import time

import can

from drivers.errors import Disconnected, Timeout
from drivers.tap import NOBODY, Tap

_VIRTUAL = "virtual:"
_BUS_OFF = 0x40
"""In the id of an error frame (CAN_ERR_BUSOFF, linux/can/error.h): the controller has left the bus."""
_ID = struct.Struct("<I")
_CLASSIC = 8
"""Data bytes of a classic CAN frame."""
_FULL = (errno.ENOBUFS, None)
"""python-can gives no number where the socket takes no more."""

logging.getLogger("can").addHandler(logging.NullHandler())  # python-can logs what it also raises


class CanPort:
    """One interface. Calls raise only `Disconnected` and `Timeout`; `close` never raises."""

    def __init__(self, owner: str, name: str, bit_rate: int) -> None:
        """`bit_rate` is for messages: whoever brings the interface up sets it."""
        self._label = f"{owner} on {name}"
        self._name = name
        self._remedy = f"sudo ip link set {name} up type can bitrate {bit_rate}"
        self._bus: can.BusABC | None = None
        self._fds: list[int] = []
        self._lost = ""
        self._frame = bytearray(_ID.size + _CLASSIC)
        self._shown = memoryview(self._frame)
        self.tap: Tap = NOBODY
        """Is shown every frame: four bytes of id, lowest first and with the flags of linux/can.h, then its data."""

    @property
    def is_open(self) -> bool:
        return self._bus is not None

    def open(self) -> None:
        """Open the interface, which must be up already."""
        self._lost = ""
        virtual = self._name.startswith(_VIRTUAL)
        channel = self._name.removeprefix(_VIRTUAL)
        try:
            bus = can.Bus(channel, "virtual" if virtual else "socketcan", ignore_config=True)
        except (OSError, can.CanError) as error:
            raise Disconnected(f"{self._label}: {self._why(error)}") from None
        self._bus = bus
        self._fds = [] if virtual else [bus.fileno()]

    def close(self) -> None:
        """Close the interface if it is open."""
        bus, self._bus, self._fds = self._bus, None, []
        if bus is not None:
            bus.shutdown()

    def send(self, message: can.Message, deadline_ns: int) -> None:
        """Hand one frame to the interface."""
        try:
            self._opened().send(message, _left_s(deadline_ns))
            self.tap.sent(self._seen(message))
        except can.CanOperationError as error:
            if error.error_code in _FULL and self._fds:
                raise Timeout(
                    f"{self._label}: the interface takes no more frames: is the motors' supply on, and is the line "
                    f"terminated at both ends?"
                ) from None
            raise self._gone(str(error)) from None

    def receive(self, deadline_ns: int) -> can.Message | None:
        """Wait for a frame; None once the deadline has passed. Frames that report errors come too, except bus-off."""
        bus = self._opened()
        try:
            left_s = _left_s(deadline_ns)
            if self._fds:
                if not select.select(self._fds, [], [], left_s)[0]:
                    return None
                left_s = 0.0
            message = bus.recv(left_s)
        except (OSError, ValueError, can.CanError) as error:
            raise self._gone(str(error)) from None
        if message is not None:
            self.tap.received(self._seen(message))
        if message is not None and message.is_error_frame and message.arbitration_id & _BUS_OFF:
            raise self._gone("bus-off: too many errors")
        return message

    def discard_input(self, deadline_ns: int) -> None:
        """Throw away what has arrived so far."""
        while self.receive(0) is not None and time.monotonic_ns() < deadline_ns:
            pass

    def _seen(self, message: can.Message) -> memoryview:
        """A frame for the tap, in a buffer that the next one uses again."""
        size = min(len(message.data), _CLASSIC)
        flags = message.is_extended_id << 31 | message.is_remote_frame << 30 | message.is_error_frame << 29
        _ID.pack_into(self._frame, 0, message.arbitration_id | flags)
        self._frame[_ID.size : _ID.size + size] = message.data[:size]
        return self._shown[: _ID.size + size]

    def _opened(self) -> can.BusABC:
        if self._bus is None:
            raise Disconnected(f"{self._label}: not open; call connect first")
        if self._lost:
            raise Disconnected(self._lost)
        return self._bus

    def _gone(self, cause: str) -> Disconnected:
        """From now on, until it is opened again, every call says so."""
        self._lost = (
            f"{self._label}: the interface is gone or down ({cause}): check adapter, cable and termination, then "
            f"`{self._remedy}` and start again"
        )
        return Disconnected(self._lost)

    def _why(self, error: Exception) -> str:
        """One line about why an interface does not open."""
        number = getattr(error, "errno", None)
        if number == errno.EAFNOSUPPORT:
            return "this kernel has no CAN: load or build can and can_raw (modprobe can_raw)"
        if number == errno.ENODEV:
            return f"there is no such interface: plug the adapter in, see `ip link`, then `{self._remedy}`"
        return f"cannot open it: {error}"


def _left_s(deadline_ns: int) -> float:
    return max(0.0, (deadline_ns - time.monotonic_ns()) * 1e-9)
