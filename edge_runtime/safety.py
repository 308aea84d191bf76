"""The last step before the bus: finite, then range, then velocity. Whatever comes in, what goes out is within bounds.

The velocity clamp is against the setpoint emitted last and one control period, however long ago that was: after a stall
the joints catch up at their highest velocity instead of jumping.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.limits import Floats, Limits

REASONS = ("not finite", "below range", "above range", "velocity")
"""Why a setpoint was changed; rows of `Limiter.counts`."""


class Limiter:
    """Holds setpoints [n] to the joints' limits, in place. Allocates nothing per call."""

    def __init__(self, limits: Limits, period_s: float) -> None:
        n = len(limits.names)
        self._limits = limits
        self._period_s = period_s
        self._reach: Floats = limits.velocity * period_s
        self._edge: Floats = np.zeros(n)
        self._before: Floats = np.zeros(n)
        self._hit: NDArray[np.bool_] = np.zeros(n, dtype=np.bool_)
        self.position_rad: Floats = np.zeros(n)
        """The setpoint emitted last."""
        self.velocity_rad_s: Floats = np.zeros(n)
        """At which the emitted setpoint moves."""
        self.counts: NDArray[np.int64] = np.zeros((len(REASONS), n), dtype=np.int64)
        """[reason, joint]"""
        self._not_finite, self._below, self._above, self._velocity = self.counts

    def start_from(self, position_rad: Floats) -> None:
        """The joints are at rest at `position_rad`: what is emitted next is measured against that."""
        self.position_rad[:] = position_rad
        self.velocity_rad_s[:] = 0.0

    def limit(self, setpoint_rad: Floats) -> str:
        """Hold `setpoint_rad` to the limits. Where one is not finite all stay as they were; returns the names."""
        finite = np.isfinite(setpoint_rad, out=self._hit)
        if not finite.all():
            self._not_finite += ~finite
            self._before[:] = self.position_rad
            setpoint_rad[:] = self.position_rad
            return ", ".join(name for name, good in zip(self._limits.names, finite, strict=True) if not good)
        self._at_least(self._limits.lower, setpoint_rad, self._below)
        self._at_most(self._limits.upper, setpoint_rad, self._above)
        self._at_least(np.subtract(self.position_rad, self._reach, out=self._edge), setpoint_rad, self._velocity)
        self._at_most(np.add(self.position_rad, self._reach, out=self._edge), setpoint_rad, self._velocity)
        np.subtract(setpoint_rad, self.position_rad, out=self.velocity_rad_s)
        self.velocity_rad_s /= self._period_s
        self._before[:] = self.position_rad
        self.position_rad[:] = setpoint_rad
        return ""

    def take_back(self, part: slice) -> None:
        """The setpoint of these joints was not emitted after all: the next is measured against the one before it."""
        self.position_rad[part] = self._before[part]

    def _at_least(self, edge: Floats, value: Floats, count: NDArray[np.int64]) -> None:
        count += np.less(value, edge, out=self._hit)
        np.maximum(value, edge, out=value)

    def _at_most(self, edge: Floats, value: Floats, count: NDArray[np.int64]) -> None:
        count += np.greater(value, edge, out=self._hit)
        np.minimum(value, edge, out=value)

    def counted(self) -> dict[str, int]:
        """What was limited and how often, by reason and joint: {"velocity elbow_flex": 3}."""
        names = self._limits.names
        return {f"{REASONS[r]} {names[j]}": int(self.counts[r, j]) for r, j in np.argwhere(self.counts)}
