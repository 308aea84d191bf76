"""What a black box holds of one incident: why it was written, and the last seconds before and after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.record import Event, Int64s

KILLED = "KILLED"
"""In the place of a state: the process ended without a word."""


class Trigger(msgspec.Struct, frozen=True):
    """Why a black box is written: the state that was entered, the cause, and when (CLOCK_MONOTONIC ns)."""

    state: str
    cause: str
    t_ns: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same in every incident of a run."""

    robot: str
    rate_hz: float
    joints: tuple[str, ...]
    states: tuple[str, ...]
    cameras: tuple[str, ...]
    buses: tuple[str, ...]
    seconds: float
    """How far back it reaches."""
    wall_ns: int
    """Wall clock minus CLOCK_MONOTONIC when the run began."""
    config: dict[str, Any]
    """robot.toml as it was in force, with defaults and what was calibrated."""
    seal: str
    """Of the policy bundle, empty where there is none."""
    machine: dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """A picture as JPEG, by when it was captured."""

    t_ns: int
    jpeg: bytes


@dataclass(frozen=True)
class Plan:
    """An action chunk, by when it was ready: row k of `actions` [rows, n], rad, is due at start_ns + k·dt_ns."""

    t_ns: int
    sequence: int
    request: int
    capture_ns: int
    start_ns: int
    dt_ns: int
    actions: NDArray[np.float64]


@dataclass(frozen=True)
class Bytes:
    """What went over a bus at once."""

    t_ns: int
    received: bool
    data: bytes


@dataclass
class Incident:
    """Everything, oldest first; times are CLOCK_MONOTONIC ns. Tick and inference arrays as in `RunRecord`."""

    header: Header
    trigger: Trigger
    t_ns: Int64s
    lateness_ns: Int64s
    tick_ns: Int64s
    serial_ns: Int64s
    sensor_age_ns: Int64s
    sent_ns: Int64s
    cpu_ns: Int64s
    state: NDArray[np.int8]
    setpoint_rad: NDArray[np.float64]
    measured_rad: NDArray[np.float64]
    inference_t_ns: Int64s
    inference_ns: Int64s
    chunks: list[Plan] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    frames: dict[str, list[Frame]] = field(default_factory=dict)
    """By camera."""
    bytes: dict[str, list[Bytes]] = field(default_factory=dict)
    """By bus."""
