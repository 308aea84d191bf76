"""The motion of an arm that a person drives: it repeats what the hand moves, from where the arm is.

The hand works like a mouse. Where it stood when it took over means nothing, so there is no bump and nothing moves that
the hand does not move; at the end of a joint's range the joint waits, and follows at once when the hand turns back.
Taking the difference away by itself instead would move the arm while the hand is still.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.hand import Reading
from edge_runtime.limits import Floats, Limits
from edge_runtime.slot import Slot
from edge_runtime.tracker import Tracker


class Takeover:
    """A `Motion` that is over once it was released and has come to rest."""

    def __init__(self, limits: Limits, period_s: float, readings: Slot[Reading] | None) -> None:
        n = len(limits.names)
        self._lower, self._upper = limits.lower, limits.upper
        self._readings = readings
        self._tracker = Tracker(limits, period_s)
        self._hand_rad: Floats = np.zeros(n)
        self._moved: Floats = np.zeros(n)
        self._released = False

    def begin(self, position_rad: Floats, velocity_rad_s: Floats) -> None:
        """From `position_rad` at `velocity_rad_s`, with the hand wherever it is."""
        self._released = False
        self._hand_moved()
        self._tracker.begin(position_rad, velocity_rad_s)

    def release(self) -> None:
        """The hand lets go: from now on the arm comes to rest, within its range."""
        self._released = True
        self._tracker.brake()

    def sample(self, t_ns: int, out: Floats) -> bool:  # noqa: ARG002 (one step a tick, whenever that is)
        if not self._released and self._hand_moved():
            goal = self._tracker.goal_rad
            goal += self._moved
            np.maximum(goal, self._lower, out=goal)
            np.minimum(goal, self._upper, out=goal)
        self._tracker.step(out)
        return self._released and self._tracker.arrived(out)

    def postpone(self, duration_ns: int) -> None:
        """Lost time is no motion: the next step goes on from the last."""

    def _hand_moved(self) -> bool:
        """Whether there is a reading; what it differs from the one before is in `_moved` then."""
        reading = self._readings.take() if self._readings is not None else None
        if reading is None:
            return False
        np.subtract(reading.position_rad, self._hand_rad, out=self._moved)
        self._hand_rad[:] = reading.position_rad
        return True
