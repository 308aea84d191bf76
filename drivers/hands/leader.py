"""A leader arm: a second, small arm without torque, whose joints a person moves and the robot's joints repeat.

It is a motor bus like any other, one motor for each joint of the robot, only read. An encoder that passes the end of
its turn is unwrapped: between two readings no joint moves half a turn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from drivers.errors import ProtocolError
from drivers.hands.base import Floats, Hand
from drivers.motors.base import MotorBus

OPEN_NS = 2_000_000_000
"""Longest time to find every motor and to switch its torque off: twice what a bus of the robot is given."""


class Device(Hand):
    """`scale` [n]: radians of the robot's joint for one of the leader's; negative turns the direction around."""

    def __init__(self, bus: MotorBus, scale: Sequence[float]) -> None:
        bus.check()
        self._bus = bus
        self._scale: Floats = np.array(scale)
        self._before: Floats = np.zeros(len(self._scale))
        self._moved: Floats = np.zeros(len(self._scale))
        self._position: Floats = np.zeros(len(self._scale))

    def open(self) -> None:
        """Torque is switched off: a leader that holds cannot be led."""
        deadline_ns = time.monotonic_ns() + OPEN_NS
        self._bus.connect(deadline_ns)
        self._bus.disable_torque(deadline_ns)
        self._before[:] = self._read(deadline_ns)

    def read_into(self, position_rad: Floats, deadline_ns: int) -> None:
        now, moved = self._read(deadline_ns), self._moved
        np.subtract(now, self._before, out=moved)
        self._before[:] = now
        moved += math.pi
        np.remainder(moved, math.tau, out=moved)
        moved -= math.pi
        moved *= self._scale
        self._position += moved
        position_rad[:] = self._position

    def close(self) -> None:
        self._bus.disconnect()

    def _read(self, deadline_ns: int) -> Floats:
        """Where it is now; what is added up must be numbers, or nothing after it is one."""
        self._bus.read_state(deadline_ns)
        position = self._bus.state.position_rad
        if not np.isfinite(position).all():
            raise ProtocolError(f"bus {self._bus.settings.name}: a position of the leader is not finite")
        return position
