"""The contract of a hand: what a thread of its own asks of the device that a person drives the arm with.

A driver file `drivers/hands/<kind>.py` defines one subclass of `Hand` named `Device`. A reading is one figure for each
of the arm's joints, radians, of which only the changes count: where they begin is the device's own affair. Deadlines
are absolute CLOCK_MONOTONIC nanoseconds. Calls raise only `drivers.errors.DriverError` and its subclasses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Hand(ABC):
    """Construct, `open`, then `read_into` at a steady rate; `close` is safe at any time, and twice.

    Constructing one with settings that no such device can have raises `DriverError`; it touches no device.
    """

    @abstractmethod
    def open(self) -> None:
        """Open the device; raise `Disconnected` or what its bus raises where it is absent or another one."""

    @abstractmethod
    def read_into(self, position_rad: Floats, deadline_ns: int) -> None:
        """Write where the hand is now into `position_rad` [n]; raise `Timeout` or `Disconnected` where it is not known.

        What it moved while it was closed is no change: after `open` it begins anew where it last was.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device."""
