"""Setpoints that follow a goal which moves at will: never faster, harder or more abruptly than the joints may.

Two stages. A `Chase` with velocity V and acceleration A, in steps of h; and the mean over its last N positions. The
mean keeps velocity and acceleration within the same bounds and changes the acceleration by at most 2A in N steps, so
N·h = 2A/J bounds the jerk by J; it also makes the steps of an encoder, or of readings that come more rarely than ticks,
into slopes. The lag behind a goal that moves at v is v/(2A) + (N - 1)·h/2.

A is each joint's own limit, but no more than √(V·J/2), at which that lag is least at full speed V.
"""

from __future__ import annotations

import math

import numpy as np

from edge_runtime.chase import Chase
from edge_runtime.limits import Floats, Limits

ARRIVED_RAD = 1e-9
"""Nearer to the goal than this is at the goal."""


class Tracker:
    """State of n joints. `step` allocates nothing lasting."""

    def __init__(self, limits: Limits, period_s: float) -> None:
        n = len(limits.names)
        self.goal_rad: Floats = np.zeros(n)
        """Where to go. Written by whoever has the goal."""
        best = np.minimum(limits.acceleration, np.sqrt(limits.velocity * limits.jerk / 2.0))
        steps = max(1, math.ceil(float(np.max(2.0 * best / limits.jerk)) / period_s))
        self.window_s = steps * period_s
        """Over which positions are averaged, the same for all joints."""
        self._period_s = period_s
        self._chase = Chase(limits.velocity, np.minimum(best, limits.jerk * self.window_s / 2.0), period_s)
        self._rest: Floats = np.zeros(n)
        self._way: Floats = np.zeros(n)
        self._history: Floats = np.zeros((steps, n))
        self._sum: Floats = np.zeros(n)
        self._oldest = 0

    def begin(self, position_rad: Floats, velocity_rad_s: Floats) -> None:
        """At `position_rad` and `velocity_rad_s`, both [n], with the goal where the joints come to rest from there."""
        steps = len(self._history)
        for k in range(steps):  # as if they had come this way: their mean is `position_rad`, moving at that velocity
            self._history[k] = position_rad + velocity_rad_s * ((k + 1 - (steps + 1) / 2) * self._period_s)
        np.sum(self._history, axis=0, out=self._sum)
        self._oldest = 0
        self._chase.begin(self._history[-1], velocity_rad_s)
        self.brake()

    def brake(self) -> None:
        """Make the goal where the joints come to rest soonest."""
        self._chase.nearest_rest(self.goal_rad)

    def arrived(self, setpoint_rad: Floats) -> bool:
        """Whether the last setpoint is the goal, with nothing left to come."""
        np.subtract(self.goal_rad, setpoint_rad, out=self._way)
        np.abs(self._way, out=self._way)
        return bool(self._way.max() < ARRIVED_RAD) and not self._chase.speed_rad_s.any()

    def step(self, out: Floats) -> None:
        """One tick further; the setpoint [n] goes to `out`."""
        self._chase.step(self.goal_rad, self._rest)
        row = self._history[self._oldest]
        self._sum -= row
        row[:] = self._chase.at_rad
        self._sum += row
        self._oldest = (self._oldest + 1) % len(self._history)
        np.divide(self._sum, len(self._history), out=out)
