"""The motion of an arm that a person drives: it repeats what the hand moves, from where the arm is.

The hand works like a mouse. Where it stood when it took over means nothing, so there is no bump and nothing moves that
the hand does not move; at the end of a joint's range the joint waits, and follows at once when the hand turns back.
Taking the difference away by itself instead would move the arm while the hand is still.

What is followed is the mean of the last `SMOOTH_S`: the steps of an encoder, and of readings that come more rarely than
ticks, become slopes. It lags by half of that; the limiter keeps the joints' limits.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.hand import Reading
from edge_runtime.limits import Floats, Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from edge_runtime.slot import Slot
from edge_runtime.trajectory import Stop

SMOOTH_S = 0.1
"""Ten readings of a leader. A step of 12 bits a turn, 1.5 mrad, then asks for 1.5 rad/s² at 100 ticks a second."""


class Takeover:
    """A `Motion` that is over once it was released and has come to rest."""

    def __init__(self, limits: Limits, limiter: Limiter, period_s: float, readings: Slot[Reading] | None) -> None:
        n = len(limits.names)
        self._lower, self._upper = limits.lower, limits.upper
        self._limiter = limiter
        self._stop = Stop(limiter)
        self._period_s = period_s
        self._readings = readings
        self._hand_rad: Floats = np.zeros(n)
        self._moved: Floats = np.zeros(n)
        self._goal: Floats = np.zeros(n)
        self._history: Floats = np.zeros((max(1, round(SMOOTH_S / period_s)), n))
        self._oldest = 0
        self._before: Floats = np.zeros(n)
        self._slower: Floats = np.zeros(n)
        self._released = False

    def begin(self) -> None:
        """From wherever the arm is, with the hand wherever it is."""
        self._released = False
        self._hand_moved()
        self._goal[:] = self._before[:] = self._history[:] = self._limiter.position_rad
        self._slower[:] = 0.0

    def release(self) -> None:
        """The hand lets go: from now on the arm comes to rest."""
        self._released = True

    def sample(self, t_ns: int, out: Reference) -> bool:
        if self._released:
            return self._stop.sample(t_ns, out)
        if self._hand_moved():
            self._goal += self._moved
            np.clip(self._goal, self._lower, self._upper, out=self._goal)
        self._smooth(out)
        return False

    def postpone(self, duration_ns: int) -> None:
        """Lost time is no motion: the next step goes on from the last."""

    def _smooth(self, out: Reference) -> None:
        """The mean of the last goals, and how it moves."""
        self._history[self._oldest] = self._goal
        self._oldest = (self._oldest + 1) % len(self._history)
        np.mean(self._history, axis=0, out=out.position_rad)
        np.subtract(out.position_rad, self._before, out=out.velocity_rad_s)
        out.velocity_rad_s /= self._period_s
        np.subtract(out.velocity_rad_s, self._slower, out=out.acceleration_rad_s2)
        out.acceleration_rad_s2 /= self._period_s
        self._before[:] = out.position_rad
        self._slower[:] = out.velocity_rad_s
        out.rest = False

    def _hand_moved(self) -> bool:
        """Whether there is a reading; what it differs from the one before is in `_moved` then."""
        reading = self._readings.take() if self._readings is not None else None
        if reading is None:
            return False
        np.subtract(reading.position_rad, self._hand_rad, out=self._moved)
        self._hand_rad[:] = reading.position_rad
        return True
