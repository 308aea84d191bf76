"""The simulated USB adapter: a pseudo-terminal on the host's side, a line of servos on the other.

Bytes take their time on the wire, and the adapter hands over what it has received once per USB frame, counted from the
end of the request: a request of a few bytes is answered one frame later, as on a CDC-ACM adapter. A host that has set
another line speed than the servos' is not understood.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path

from drivers.sim.device import BITS_PER_BYTE, Reply

_SPEEDS = {int(name[1:]): value for name, value in vars(termios).items() if name[0] == "B" and name[1:].isdigit()}
"""Kernel codes of line speeds in bit/s."""
_OUTPUT_SPEED = 5
"""Its place in what termios.tcgetattr returns."""
TURN_S = 0.001
"""How often it turns at least where somebody wants to know that it does."""
_PAUSE_NS = 20_000_000
"""A packet that pauses longer than this was cut off."""


class Adapter:
    """Serves one pseudo-terminal, whose name for the host is the symbolic link `path`, until `close`."""

    def __init__(
        self,
        path: Path,
        feed: Callable[[bytes], list[Reply]],
        idle: Callable[[], None],
        baud: int = 1_000_000,
        usb_latency_ns: int = 1_000_000,
        turned: Callable[[], None] | None = None,
    ) -> None:
        """`turned` is called whenever it has waited for bytes, which it then does for `TURN_S` at most."""
        self._path = path
        self._turned = turned
        self._feed = feed
        self._idle = idle
        self._byte_ns = BITS_PER_BYTE * 1_000_000_000 / baud
        self._frame_ns = usb_latency_ns
        # The host's end stays open here too: closing it on the host then is no hang-up, and it stays raw.
        self._master, self._host_end = os.openpty()
        tty.setraw(self._host_end)
        self._speed = _SPEEDS.get(baud, 0)
        self._set_speed()
        os.set_blocking(self._master, False)
        self._wake, self._waker = os.pipe()
        path.symlink_to(os.ttyname(self._host_end))
        self._thread = threading.Thread(target=self._serve, name="sim-serial", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Remove the port. A host that has it open sees it go away, as if the cable had been pulled."""
        os.write(self._waker, b"x")
        self._thread.join()
        self._path.unlink(missing_ok=True)
        for fd in (self._master, self._host_end, self._wake, self._waker):
            os.close(fd)

    def _serve(self) -> None:
        outgoing: deque[tuple[int, bytes]] = deque()
        line_free_ns = heard_ns = 0
        while True:
            wait_s = max(0.0, (outgoing[0][0] - time.monotonic_ns()) * 1e-9) if outgoing else None
            if self._turned is not None:
                wait_s = TURN_S if wait_s is None else min(wait_s, TURN_S)
            ready, _, _ = select.select([self._master, self._wake], [], [], wait_s)
            if self._turned is not None:
                self._turned()
            if self._wake in ready:
                return
            now_ns = time.monotonic_ns()
            if self._master in ready:
                if now_ns - heard_ns > _PAUSE_NS:
                    self._idle()
                heard_ns = now_ns
                data = os.read(self._master, 4096)
                line_free_ns = round(max(now_ns, line_free_ns) + len(data) * self._byte_ns)
                if self._is_understood():
                    outgoing.extend((line_free_ns + self._framed(r.end_ns), r.packet) for r in self._feed(data))
            due = bytearray()
            while outgoing and outgoing[0][0] <= time.monotonic_ns():
                due += outgoing.popleft()[1]
            if due:
                self._hand_over(due)

    def _set_speed(self) -> None:
        """A host that never sets a speed has the servos'."""
        if self._speed:
            settings = termios.tcgetattr(self._host_end)
            settings[_OUTPUT_SPEED - 1 : _OUTPUT_SPEED + 1] = [self._speed, self._speed]
            termios.tcsetattr(self._host_end, termios.TCSANOW, settings)

    def _is_understood(self) -> bool:
        """Whether the host speaks at the servos' speed, as far as the kernel has a code for both."""
        host = termios.tcgetattr(self._host_end)[_OUTPUT_SPEED]
        return host == self._speed or not self._speed or host not in _SPEEDS.values()

    def _framed(self, end_ns: int) -> int:
        """When the host gets what left the wire `end_ns` after the request: at the end of that USB frame."""
        return -(-end_ns // self._frame_ns) * self._frame_ns if self._frame_ns else end_ns

    def _hand_over(self, data: bytearray) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads and the buffer is full: real adapters drop bytes too
            os.write(self._master, data)
