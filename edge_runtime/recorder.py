"""What a run did, in arrays that are allocated before it starts: the last N ticks and inferences, and exact counts.

`Ticks` has one writer, the control thread; `Inferences` has one, the inference thread. Arrays are filled when they are
made, so that no page is faulted in while the loop runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.limits import Floats
from edge_runtime.record import Int64s


class Ticks:
    """One row a control tick; fields as in `RunRecord`."""

    def __init__(self, capacity: int, joints: int) -> None:
        self.total = 0
        """Ticks in all, of which the last `capacity` are kept."""
        self._capacity = capacity
        self.t_ns = _times(capacity)
        self.lateness_ns = _times(capacity)
        self.tick_ns = _times(capacity)
        self.serial_ns = _times(capacity)
        self.sensor_age_ns = _times(capacity)
        self.state: NDArray[np.int8] = np.full(capacity, -1, dtype=np.int8)
        self.setpoint_rad: Floats = np.full((capacity, joints), np.nan)
        self.measured_rad: Floats = np.full((capacity, joints), np.nan)

    def add(
        self,
        *,
        t_ns: int,
        lateness_ns: int,
        tick_ns: int,
        serial_ns: int,
        sensor_age_ns: int,
        state: int,
        setpoint_rad: Floats,
        measured_rad: Floats,
    ) -> None:
        """Keep one tick in place of the oldest."""
        row = self.total % self._capacity
        self.t_ns[row] = t_ns
        self.lateness_ns[row] = lateness_ns
        self.tick_ns[row] = tick_ns
        self.serial_ns[row] = serial_ns
        self.sensor_age_ns[row] = sensor_age_ns
        self.state[row] = state
        self.setpoint_rad[row] = setpoint_rad
        self.measured_rad[row] = measured_rad
        self.total += 1

    def order(self) -> NDArray[np.intp]:
        """Rows that hold a tick, oldest first."""
        return _order(self.total, self._capacity)


class Inferences:
    """One row an inference; fields as in `RunRecord`."""

    def __init__(self, capacity: int) -> None:
        self.total = 0
        """Inferences in all, of which the last `capacity` are kept."""
        self._capacity = capacity
        self.t_ns = _times(capacity)
        self.duration_ns = _times(capacity)

    def add(self, t_ns: int, duration_ns: int) -> None:
        """Keep one inference in place of the oldest."""
        row = self.total % self._capacity
        self.t_ns[row] = t_ns
        self.duration_ns[row] = duration_ns
        self.total += 1

    def order(self) -> NDArray[np.intp]:
        """Rows that hold an inference, oldest first."""
        return _order(self.total, self._capacity)


def _times(capacity: int) -> Int64s:
    return np.full(capacity, -1, dtype=np.int64)


def _order(total: int, capacity: int) -> NDArray[np.intp]:
    kept = min(total, capacity)
    return (np.arange(kept) + total - kept) % capacity
