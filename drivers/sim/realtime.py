"""A world that keeps up with the clock, shared by the threads of the simulator.

Whoever needs the world brings it up to date first; a thread of its own does so when nobody else does. A simulator that
was starved of processor time catches up in bounded steps, and beyond that lets simulated time slip: it never spirals.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from drivers.sim.device import Device, Joints, Reply

STEP_NS = 1_000_000
_LONGEST_CATCH_UP = 100
"""Steps done in one go; what is older than that is skipped."""
_PROTECT_EVERY = 20
_TICK_S = 0.004


class Stepped(Joints, Protocol):
    """What this module needs of a world besides its joints."""

    def step(self, dt_s: float, /) -> None: ...
    def reset(self, seed: int, /) -> None: ...


class RealTime:
    """World and servos under one lock, stepped to the present by every call."""

    def __init__(self, world: Stepped, device: Device[Any], now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.world = world
        self.device = device
        self.lock = threading.Lock()
        self.steps = 0
        self.slipped_ns = 0
        self.now_ns = now_ns
        self.looked: Callable[[], None] = _nobody
        """Called under the lock whenever `run` has brought the world to the present."""
        self._due_ns = now_ns()
        self._since_protect = 0

    def advance(self) -> None:
        """Step to the present. The caller holds `lock`."""
        behind = (self.now_ns() - self._due_ns) // STEP_NS
        if behind <= 0:
            return
        steps = min(behind, _LONGEST_CATCH_UP)
        self.world.step(steps * STEP_NS * 1e-9)
        self.steps += steps
        self.slipped_ns += (behind - steps) * STEP_NS
        self._due_ns += behind * STEP_NS
        self._since_protect += steps
        if self._since_protect >= _PROTECT_EVERY:
            self.device.protect(self._since_protect * STEP_NS * 1e-9)
            self._since_protect = 0

    def feed(self, data: bytes) -> list[Reply]:
        """Bytes from the line, answered from the present state."""
        with self.lock:
            self.advance()
            return self.device.feed(data)

    def idle(self) -> None:
        with self.lock:
            self.device.idle()

    def reset(self, seed: int) -> None:
        """A new layout. What the servos' tables say stays: torque that was on is on again, with its goal."""
        with self.lock:
            self.advance()
            self.world.reset(seed)
            self.device.obey()

    def run(self, stop: threading.Event, seconds: float) -> None:
        """Keep the world moving for so long, or until `stop`."""
        end_ns = self.now_ns() + round(seconds * 1e9)
        while self.now_ns() < end_ns and not stop.wait(_TICK_S):
            with self.lock:
                self.advance()
                self.looked()


def _nobody() -> None:
    """Nobody looks."""
