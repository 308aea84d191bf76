"""What a run leaves behind: the record that the recorder fills and the report reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]


@dataclass(frozen=True)
class Event:
    """Something that a person should be able to read later: when (CLOCK_MONOTONIC ns), which, and why."""

    t_ns: int
    name: str
    cause: str


@dataclass
class RunRecord:
    """One run. Tick arrays [N] hold the last N ticks (all of them on a short run); counts are exact over the whole run.

    `sensor_age_ns` is write-complete time minus capture time of the frame behind the setpoint, -1 where no chunk was
    behind it. `state` holds indices into `state_names`.
    """

    robot: str
    rate_hz: float
    joint_names: tuple[str, ...]
    state_names: tuple[str, ...]
    started_ns: int
    ended_ns: int
    ticks: int
    missed: int
    t_ns: Int64s
    lateness_ns: Int64s
    tick_ns: Int64s
    serial_ns: Int64s
    sensor_age_ns: Int64s
    state: NDArray[np.int8]
    setpoint_rad: NDArray[np.float64]
    """[N, joints]"""
    measured_rad: NDArray[np.float64]
    """[N, joints]"""
    inference_t_ns: Int64s
    """[M] when each inference ended."""
    inference_ns: Int64s
    """[M] how long it took."""
    chunks: int
    episodes: int
    successes: int
    state_seconds: dict[str, float] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    """Counted happenings that are no events: limited setpoints per reason, dropped frames, serial retries."""
    events: list[Event] = field(default_factory=list)
    sent_ns: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    """[N] from a tick's slot until its setpoint was handed to the buses, -1 where none was."""
    cpu_ns: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    """[N] processor time of the control thread from the end of the tick before to the end of this one."""
    machine: dict[str, Any] = field(default_factory=dict)
    """CPU, kernel, versions, real-time settings obtained."""
