"""E-stop inputs: a thread for each, and what the control thread knows of all of them each tick, without a lock.

An input that is lost, or whose thread has not looked at it for a while, counts as pressed: not knowing stops the robot.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from drivers.estops.base import Estop
from edge_runtime.events import Report
from edge_runtime.realtime import helper

WAIT_S = 0.2
"""An input is looked at anew after so long without a change."""
BLIND_NS = 2_000_000_000
"""An input that nobody looked at for so long counts as pressed."""
BACKOFF_S = (0.2, 0.5, 1.0, 2.0)
"""Waits before opening a lost input again; the last one from then on."""
JOIN_S = 1.0


class Input(Protocol):
    """What control must know of an input."""

    name: str
    pressed: bool
    presses: int
    """In all: one that was over within a tick counts too."""
    seen_ns: int
    """When it was last looked at."""
    trouble: str
    """Why it cannot be read, empty where it can."""


class EstopThread:
    """One input's thread: it alone writes the fields."""

    def __init__(self, estop: Estop, report: Report) -> None:
        self.name = estop.settings.name
        self.pressed = False
        self.presses = 0
        self.seen_ns = time.monotonic_ns()
        self.trouble = ""
        self._estop = estop
        self._report = report
        self._stop = threading.Event()
        self._thread = helper(self._run, f"e-stop {self.name}")

    def start(self) -> None:
        """Open the input and look at it, then start the thread. Raises `DriverError` where it cannot be read."""
        self._estop.open()
        self._take(self._estop.read(0.0))
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the input."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        self._estop.close()

    def look(self) -> None:
        """Wait for a change, `WAIT_S` at most, and take it. Raises `DriverError`."""
        self._take(self._estop.read(WAIT_S))

    def _take(self, pressed: bool) -> None:
        if self.trouble:
            self._report("e-stop back", f"{self.name}, {'pressed' if pressed else 'released'}")
        elif pressed and not self.pressed:
            self.presses += 1
            self._report("e-stop pressed", self.name)
        elif self.pressed and not pressed:
            self._report("e-stop released", self.name)
        self.trouble, self.pressed = "", pressed
        self.seen_ns = time.monotonic_ns()

    def _lose(self, error: Exception) -> None:
        self.trouble = str(error)
        self.pressed = True
        self.presses += 1
        self._report("e-stop lost", self.trouble)

    def _run(self) -> None:
        lost = 0
        while not self._stop.is_set():
            try:
                if lost:
                    self._estop.open()
                while not self._stop.is_set():
                    self.look()
                    lost = 0
            except Exception as error:  # noqa: BLE001  whatever a driver raises, this input is to come back
                if not lost:
                    self._lose(error)
                self._estop.close()
                self._stop.wait(BACKOFF_S[min(lost, len(BACKOFF_S) - 1)])
                lost += 1


class Estops:
    """All inputs, as the control thread sees them."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        self._seen = [0] * len(inputs)

    def pressed(self, now_ns: int) -> str:
        """The first input that is pressed or cannot be known, in words; empty where all are released."""
        for one in self._inputs:
            if one.pressed:
                return f"e-stop {one.name} lost: {one.trouble}" if one.trouble else f"e-stop {one.name} is pressed"
            if now_ns - one.seen_ns > BLIND_NS:
                return f"e-stop {one.name} is not being looked at"
        return ""

    def check(self, now_ns: int) -> str:
        """Once a tick: as `pressed`, and also an input that was pressed and released since the last tick."""
        cause = self.pressed(now_ns)
        for index, one in enumerate(self._inputs):
            presses = one.presses
            if presses != self._seen[index]:
                self._seen[index] = presses
                cause = cause or f"e-stop {one.name} was pressed"
        return cause
