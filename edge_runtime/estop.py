"""E-stop inputs: a thread for each, and what the control thread knows of all of them each tick, without a lock.

An input that is lost, or whose thread has not looked at it for a while, counts as pressed: not knowing stops the robot.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from drivers.estops.base import Estop
from edge_runtime.device_thread import DeviceThread
from edge_runtime.events import Report

WAIT_S = 0.2
"""An input is looked at anew after so long without a change: often enough for `BLIND_NS`, and five times a second costs
nothing."""
BLIND_NS = 2_000_000_000
"""An input that nobody looked at for so long counts as pressed: ten waits, so that a busy machine stops no robot."""
JOIN_S = 1.0
"""How long the end of the run waits for the thread: five waits, of which it is in one."""


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


class EstopThread(DeviceThread):
    """One input's thread: it alone writes the fields."""

    def __init__(self, estop: Estop, report: Report) -> None:
        self.name = estop.settings.name
        super().__init__(estop, f"e-stop {self.name}", JOIN_S)
        self.pressed = False
        self.presses = 0
        self.seen_ns = time.monotonic_ns()
        self.trouble = ""
        self._estop = estop
        self._report = report

    def start(self) -> None:
        """Open the input and look at it, then start the thread. Raises `DriverError` where it cannot be read."""
        self._estop.open()
        self._take(self._estop.read(0.0))
        self._thread.start()

    def _step(self) -> None:
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

    def _lose(self, error: Exception, *, first: bool) -> None:
        if first:
            self.trouble = str(error) or type(error).__name__
            self.pressed = True
            self.presses += 1
            self._report("e-stop lost", self.trouble)


class Estops:
    """All inputs, as the control thread sees them."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        self._seen = [0] * len(inputs)
        self.fresh = ""
        """A press that came between the last check and the one before, in words."""
        self.latched = ""
        """The last press since a person's `reset`, in words: in every state it takes one before the arm is armed."""

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
        self.fresh = ""
        for index, one in enumerate(self._inputs):
            presses = one.presses
            if presses != self._seen[index]:
                self._seen[index] = presses
                self.fresh = f"e-stop {one.name} was {'lost' if one.trouble else 'pressed'}"
        self.latched = self.fresh or self.latched
        return self.pressed(now_ns) or self.fresh
