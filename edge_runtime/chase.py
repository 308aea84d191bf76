"""The quickest way to a goal that velocity V and acceleration A allow, one step h a control tick.

Seen from the goal, which moves at s, a joint at distance e approaches no faster than the v from which n steps, each
slower by A·h, end in rest after e:

    v = e/(n·h) + A·h·(n - 1)/2,   n = ⌈√(1/4 + 2e/(A·h²)) - 1/2⌉.

Speeds change by at most A·h a step, towards s ± v. So a goal that rests is reached without passing it, and one that
moves as the joint may is caught, and then met exactly.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.limits import Floats


class Chase:
    """State of n joints. `step` allocates nothing lasting."""

    def __init__(self, velocity_rad_s: Floats, acceleration_rad_s2: Floats, period_s: float) -> None:
        n = len(velocity_rad_s)
        self.at_rad: Floats = np.zeros(n)
        self.speed_rad_s: Floats = np.zeros(n)
        self._fastest = velocity_rad_s
        self._period_s = period_s
        self._reach: Floats = acceleration_rad_s2 * period_s
        self._per_reach: Floats = 2.0 / (acceleration_rad_s2 * period_s**2)
        self._way: Floats = np.zeros(n)
        self._wanted: Floats = np.zeros(n)
        self._steps: Floats = np.zeros(n)

    def begin(self, position_rad: Floats, velocity_rad_s: Floats) -> None:
        """At `position_rad`, moving at `velocity_rad_s`, both [n]."""
        self.at_rad[:] = position_rad
        np.clip(velocity_rad_s, -self._fastest, self._fastest, out=self.speed_rad_s)

    def nearest_rest(self, out: Floats) -> None:
        """Write into `out` where the joints come to rest soonest: after ⌊|v|/(A·h)⌋ steps of A·h."""
        speed = np.abs(self.speed_rad_s)
        n = np.floor(speed / self._reach)
        way = self._period_s * (n * speed - self._reach * n * (n + 1.0) / 2.0)
        np.add(self.at_rad, np.copysign(way, self.speed_rad_s), out=out)

    def step(self, goal_rad: Floats, goal_rad_s: Floats) -> None:
        """One tick further, to a goal that is at `goal_rad` at the end of it and moves at `goal_rad_s`."""
        way, wanted, steps = self._way, self._wanted, self._steps
        np.multiply(goal_rad_s, -self._period_s, out=way)
        way += goal_rad
        way -= self.at_rad
        np.abs(way, out=wanted)
        np.multiply(wanted, self._per_reach, out=steps)
        steps += 0.25
        np.sqrt(steps, out=steps)
        steps -= 0.5
        np.ceil(steps, out=steps)
        np.maximum(steps, 1.0, out=steps)
        wanted /= steps
        wanted /= self._period_s
        steps -= 1.0
        steps *= self._reach
        steps *= 0.5
        wanted += steps
        np.copysign(wanted, way, out=wanted)
        wanted += goal_rad_s
        self._move(wanted)

    def _move(self, wanted_rad_s: Floats) -> None:
        """For one tick, at a speed as near to `wanted_rad_s` as the limits let it."""
        change = wanted_rad_s
        np.maximum(change, np.negative(self._fastest, out=self._way), out=change)
        np.minimum(change, self._fastest, out=change)
        change -= self.speed_rad_s
        np.maximum(change, np.negative(self._reach, out=self._way), out=change)
        np.minimum(change, self._reach, out=change)
        self.speed_rad_s += change
        np.multiply(self.speed_rad_s, self._period_s, out=self._way)
        self.at_rad += self._way
