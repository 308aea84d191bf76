"""The hand's thread: reads what a person drives the arm with at a steady rate, newest reading wins."""

from __future__ import annotations

import threading
import time
from typing import Protocol

import numpy as np

from drivers.errors import DriverError, ProtocolError
from drivers.hands.base import Hand
from edge_runtime.events import Report
from edge_runtime.limits import Floats
from edge_runtime.realtime import helper
from edge_runtime.slot import Slot

PERIOD_NS = 10_000_000
"""Between two readings, where the device takes no longer than that."""
READ_NS = 50_000_000
"""Longest reading."""
TRIES = 3
"""Readings in a row that may fail before the device is opened anew."""
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits before opening a lost device again; the last one from then on."""
JOIN_S = 3.0


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


class HandThread:
    """The thread that owns the device; it alone writes the fields."""

    def __init__(self, hand: Hand, n: int, report: Report) -> None:
        self.readings = Slot(Reading(n), Reading(n), Reading(n))
        self.stamp_ns = 0
        self.trouble = ""
        self.lost = 0
        """Times that it was opened anew."""
        self._hand = hand
        self._report = report
        self._stop = threading.Event()
        self._thread = helper(self._run, "hand")

    def start(self) -> None:
        """Open the device and read it once, then start the thread. Raises `DriverError`."""
        self._hand.open()
        self.read()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the device."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        self._hand.close()

    def read(self) -> None:
        """One reading into the slot. Raises `DriverError`."""
        reading = self.readings.back
        self._hand.read_into(reading.position_rad, time.monotonic_ns() + READ_NS)
        if not np.isfinite(reading.position_rad).all():
            raise ProtocolError("the hand's reading is not finite")
        reading.stamp_ns = time.monotonic_ns()
        self.readings.publish()
        self.stamp_ns, self.trouble = reading.stamp_ns, ""

    def _read_on(self) -> None:
        """Readings at a steady rate until `stop`, or until `TRIES` in a row failed."""
        failures, due_ns = 0, time.monotonic_ns()
        while not self._stop.is_set():
            try:
                self.read()
                failures = 0
            except DriverError:
                failures += 1
                if failures == TRIES:
                    raise
            due_ns = max(due_ns + PERIOD_NS, time.monotonic_ns())
            self._stop.wait((due_ns - time.monotonic_ns()) * 1e-9)

    def _run(self) -> None:
        waits = 0
        while not self._stop.is_set():
            try:
                if self.trouble:
                    self._hand.open()
                    self.read()
                    self._report("hand back", "it can be taken again")
                    waits = 0
                self._read_on()
            except Exception as error:  # noqa: BLE001  whatever a driver raises, the hand is to come back
                if not self.trouble:
                    self.lost += 1
                    self._report("hand lost", str(error))
                self.trouble = str(error) or type(error).__name__
                self._hand.close()
                self._stop.wait(BACKOFF_S[min(waits, len(BACKOFF_S) - 1)])
                waits += 1
