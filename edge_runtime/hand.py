"""The hand's thread: reads what a person drives the arm with at a steady rate, newest reading wins."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from drivers.errors import DriverError, ProtocolError
from drivers.hands.base import Hand
from edge_runtime.device_thread import DeviceThread
from edge_runtime.events import Report
from edge_runtime.limits import Floats
from edge_runtime.slot import Slot

PERIOD_NS = 10_000_000
"""Between two readings, where the device takes no longer than that: as often as a small arm's control loop ticks."""
READ_NS = 50_000_000
"""Longest reading: three times the 16 ms that a USB adapter may keep an answer (FTDI's latency timer as it comes)."""
TRIES = 3
"""Readings in a row that may fail before the device is opened anew: one disturbed answer is no lost cable, and three
that time out are over within `hand_age_ms` (200)."""
JOIN_S = 3.0
"""How long the end of the run waits for the thread: a leader may be in the two seconds of being opened."""


class Reading:
    """Where the hand was, and when. Only changes of its position count."""

    __slots__ = ("position_rad", "stamp_ns")

    def __init__(self, n: int) -> None:
        self.position_rad: Floats = np.zeros(n)
        self.stamp_ns = 0


class HandSource(Protocol):
    """What control must know of a hand."""

    readings: Slot[Reading]
    stamp_ns: int
    """Of the newest reading, 0 before the first."""
    trouble: str
    """Why it cannot be read, empty where it can."""


class HandThread(DeviceThread):
    """The thread that owns the device; it alone writes the fields."""

    def __init__(self, hand: Hand, n: int, report: Report) -> None:
        super().__init__(hand, "hand", JOIN_S)
        self.readings = Slot(Reading(n), Reading(n), Reading(n))
        self.stamp_ns = 0
        self.trouble = ""
        self.lost = 0
        """Times that it was opened anew."""
        self._hand = hand
        self._report = report
        self._failures = 0
        self._due_ns = 0

    def start(self) -> None:
        """Open the device and read it once, then start the thread. Raises `DriverError`."""
        self._hand.open()
        self.read()
        self._thread.start()

    def read(self) -> None:
        """One reading into the slot. Raises `DriverError`."""
        reading = self.readings.back
        self._hand.read_into(reading.position_rad, time.monotonic_ns() + READ_NS)
        if not np.isfinite(reading.position_rad).all():
            raise ProtocolError("the hand's reading is not finite")
        reading.stamp_ns = time.monotonic_ns()
        self.readings.publish()
        if self.trouble:
            self._report("hand back", "it can be taken again")
        self.stamp_ns, self.trouble = reading.stamp_ns, ""

    def _step(self) -> None:
        """One reading at its time; of those that fail in a row, the last of `TRIES` is raised."""
        try:
            self.read()
            self._failures = 0
        except DriverError:
            self._failures += 1
            if self.trouble or self._failures >= TRIES:
                raise
        self._due_ns = max(self._due_ns + PERIOD_NS, time.monotonic_ns())
        self._over.wait((self._due_ns - time.monotonic_ns()) * 1e-9)

    def _lose(self, error: Exception, *, first: bool) -> None:
        if first:
            self.lost += 1
            self._report("hand lost", str(error))
        self.trouble = str(error) or type(error).__name__
