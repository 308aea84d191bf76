"""What a run did, in arrays that are allocated before it starts: the last N ticks and inferences, and exact counts.

`Ticks` has one writer, the control thread; `Inferences` has one, the inference thread. Arrays are filled when they are
made, so that no page is faulted in while the loop runs. A row's time is written first: another process that copies the
arrays meanwhile knows by it which rows are whole (`whole_rows`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.arena import Allocate, private
from edge_runtime.limits import Floats
from edge_runtime.record import Int64s

TICK_TIMES = ("t_ns", "lateness_ns", "tick_ns", "serial_ns", "sensor_age_ns", "sent_ns", "cpu_ns")


class Ticks:
    """One row a control tick; fields as in `RunRecord`."""

    def __init__(self, capacity: int, joints: int, allocate: Allocate = private) -> None:
        self.total = 0
        """Ticks in all, of which the last `capacity` are kept."""
        self._capacity = capacity
        times = (_times(allocate, f"ticks.{name}", capacity) for name in TICK_TIMES)
        self.t_ns, self.lateness_ns, self.tick_ns, self.serial_ns, self.sensor_age_ns, self.sent_ns, self.cpu_ns = times
        self.state: NDArray[np.int8] = allocate("ticks.state", (capacity,), np.int8)
        self.setpoint_rad: Floats = allocate("ticks.setpoint_rad", (capacity, joints), np.float64)
        self.measured_rad: Floats = allocate("ticks.measured_rad", (capacity, joints), np.float64)
        self.state.fill(-1)
        self.setpoint_rad.fill(np.nan)
        self.measured_rad.fill(np.nan)

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
        sent_ns: int = -1,
        cpu_ns: int = -1,
    ) -> None:
        """Keep one tick in place of the oldest."""
        row = self.total % self._capacity
        self.t_ns[row] = t_ns
        self.lateness_ns[row] = lateness_ns
        self.tick_ns[row] = tick_ns
        self.serial_ns[row] = serial_ns
        self.sensor_age_ns[row] = sensor_age_ns
        self.sent_ns[row] = sent_ns
        self.cpu_ns[row] = cpu_ns
        self.state[row] = state
        self.setpoint_rad[row] = setpoint_rad
        self.measured_rad[row] = measured_rad
        self.total += 1

    def order(self) -> NDArray[np.intp]:
        """Rows that hold a tick, oldest first."""
        return _order(self.total, self._capacity)


class Inferences:
    """One row an inference; fields as in `RunRecord`."""

    def __init__(self, capacity: int, allocate: Allocate = private) -> None:
        self.total = 0
        """Inferences in all, of which the last `capacity` are kept."""
        self._capacity = capacity
        self.t_ns = _times(allocate, "inferences.t_ns", capacity)
        self.duration_ns = _times(allocate, "inferences.duration_ns", capacity)

    def add(self, t_ns: int, duration_ns: int) -> None:
        """Keep one inference in place of the oldest."""
        row = self.total % self._capacity
        self.t_ns[row] = t_ns
        self.duration_ns[row] = duration_ns
        self.total += 1

    def order(self) -> NDArray[np.intp]:
        """Rows that hold an inference, oldest first."""
        return _order(self.total, self._capacity)


def whole_rows(before_ns: Int64s, after_ns: Int64s, since_ns: int) -> NDArray[np.intp]:
    """Rows since `since_ns`, oldest first, that were whole from one copy of their times to another.

    Another process copies the times, then everything else, then the times again. Not among them is the newest row of
    the first copy, which may have been half written, nor any that got another time meanwhile.
    """
    whole = (before_ns == after_ns) & (before_ns >= max(since_ns, 0)) & (before_ns != before_ns.max(initial=-1))
    rows = np.flatnonzero(whole)
    return np.asarray(rows[np.argsort(before_ns[rows], kind="stable")])


def _times(allocate: Allocate, name: str, capacity: int) -> Int64s:
    times: Int64s = allocate(name, (capacity,), np.int64)
    times.fill(-1)
    return times


def _order(total: int, capacity: int) -> NDArray[np.intp]:
    kept = min(total, capacity)
    return (np.arange(kept) + total - kept) % capacity
