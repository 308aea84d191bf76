"""The simulated USB adapter: the host's port on one side, a line of servos on the other.

Bytes take their time on the wire, and the adapter hands over what it has received once per USB frame, counted from the
end of the request: a request of a few bytes is answered one frame later, as on a CDC-ACM adapter. A host that has set
another line speed than the servos' is not understood.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

from drivers.sim.device import BITS_PER_BYTE, Reply
from drivers.sim.ports import Port

TURN_S = 0.001
"""How often it turns at least where somebody wants to know that it does."""
_PAUSE_NS = 20_000_000
"""A packet that pauses longer than this was cut off."""


class Adapter:
    """Serves one port until `close`."""

    def __init__(
        self,
        port: Port,
        feed: Callable[[bytes], list[Reply]],
        idle: Callable[[], None],
        baud: int = 1_000_000,
        usb_latency_ns: int = 1_000_000,
        turned: Callable[[], None] | None = None,
    ) -> None:
        """`turned` is called whenever it has waited for bytes, which it then does for `TURN_S` at most."""
        self.gone = False
        """Whether the port has gone away by itself, with whatever it was of."""
        self._port = port
        self._turned = turned
        self._feed = feed
        self._idle = idle
        self._byte_ns = BITS_PER_BYTE * 1_000_000_000 / baud
        self._frame_ns = usb_latency_ns
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="sim-serial", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Remove the port. A host that has it open sees it go away, as if the cable had been pulled."""
        os.write(self._waker, b"x")
        self._thread.join()
        self._port.close()
        for fd in (self._wake, self._waker):
            os.close(fd)

    def _serve(self) -> None:
        outgoing: deque[tuple[int, bytes]] = deque()
        line_free_ns = heard_ns = 0
        while True:
            wait_s = max(0.0, (outgoing[0][0] - time.monotonic_ns()) * 1e-9) if outgoing else None
            if self._turned is not None:
                wait_s = TURN_S if wait_s is None else min(wait_s, TURN_S)
            ready, _, _ = select.select([self._port.fd, self._wake], [], [], wait_s)
            if self._turned is not None:
                self._turned()
            if self._wake in ready:
                return
            now_ns = time.monotonic_ns()
            if self._port.fd in ready:
                if now_ns - heard_ns > _PAUSE_NS:
                    self._idle()
                heard_ns = now_ns
                data = self._heard()
                if self.gone:
                    return
                line_free_ns = round(max(now_ns, line_free_ns) + len(data) * self._byte_ns)
                if self._port.is_understood():
                    outgoing.extend((line_free_ns + self._framed(r.end_ns), r.packet) for r in self._feed(data))
            due = bytearray()
            while outgoing and outgoing[0][0] <= time.monotonic_ns():
                due += outgoing.popleft()[1]
            if due:
                self._hand_over(due)

    def _heard(self) -> bytes:
        """The bytes that are there; `gone` is set where there will be none any more."""
        data = b""
        try:
            data = os.read(self._port.fd, 4096)
            self.gone = not data
        except BlockingIOError:  # the host has taken back what it had sent
            pass
        except OSError:
            self.gone = True
        return data

    def _framed(self, end_ns: int) -> int:
        """When the host gets what left the wire `end_ns` after the request: at the end of that USB frame."""
        return -(-end_ns // self._frame_ns) * self._frame_ns if self._frame_ns else end_ns

    def _hand_over(self, data: bytearray) -> None:
        with contextlib.suppress(
            OSError
        ):  # nobody reads and the buffer is full, or it is gone: real ones drop bytes too
            os.write(self._port.fd, data)
