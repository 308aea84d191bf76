"""What joins simulated motors to a CAN interface: a thread that takes frames, feeds them, and sends the answers.

On python-can's virtual bus that interface lives in this process; on vcan any program on this machine can speak to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import can

from drivers.damiao.frames import Frame

_POLL_S = 0.05
"""How soon `close` is noticed."""


class CanWire:
    """One interface, and what answers on it. `feed` runs on the wire's own thread."""

    def __init__(self, interface: str, channel: str, feed: Callable[[Frame], list[Frame]]) -> None:
        """`interface` as python-can names it: "virtual" or "socketcan"."""
        self._bus = can.Bus(channel, interface, ignore_config=True)
        self._feed = feed
        self._open = True
        self._thread = threading.Thread(target=self._serve, name=f"can wire {channel}", daemon=True)
        self._thread.start()

    def send(self, message: can.Message) -> None:
        """Put a frame on the wire that nobody asked for."""
        self._bus.send(message)

    def close(self) -> None:
        """Leave the interface. Safe twice."""
        if self._open:
            self._open = False
            self._thread.join()
            self._bus.shutdown()

    def _serve(self) -> None:
        while self._open:
            received = self._bus.recv(_POLL_S)
            if received is not None and not received.is_error_frame:
                for id, data in self._feed(Frame(received.arbitration_id, bytes(received.data))):
                    self._bus.send(can.Message(arbitration_id=id, data=data, is_extended_id=False))
