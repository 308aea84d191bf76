"""The quickest stop of one joint with bounded acceleration A and jerk J, in closed form.

Acceleration goes from a to -b with jerk -J, stays there, and goes back to zero with jerk J (or the mirror image).
Taking the acceleration away at once would leave the velocity w = v + a·|a|/(2J): the stop brakes against the sign of w.
For w > 0, b²/J - a²/(2J) of velocity is lost without a middle piece, so b = √(J·v + a²/2); where that is more than A,
the rest is lost at -A. Positions are the integrals. The joint may turn back once, in the first piece.
"""

from __future__ import annotations

import math


class Brake:
    """The stop from one state in three pieces of constant jerk. `plan` it, then ask; nothing is allocated to stay."""

    def __init__(self, acceleration: float, jerk: float) -> None:
        self.acceleration = acceleration
        self.jerk = jerk
        self.plan(0.0, 0.0, 0.0)

    def plan(self, p: float, v: float, a: float) -> None:
        """The stop from position `p` at velocity `v` and acceleration `a`; an `a` beyond A goes no farther.

        `end` is where it comes to rest after `duration_s`, `lowest` and `highest` are how far it goes to either side.
        """
        jerk = self.jerk
        sign = math.copysign(1.0, v + a * abs(a) / (2.0 * jerk))
        v0, a0 = sign * v, sign * a
        b = max(math.sqrt(max(jerk * v0 + 0.5 * a0 * a0, 0.0)), -a0)
        t2 = 0.0
        limit = max(self.acceleration, -a0)
        if b > limit:
            b = limit
            t2 = (v0 + (0.5 * a0 * a0 - b * b) / jerk) / b
        t1, t3 = (a0 + b) / jerk, b / jerk
        v1 = v0 + t1 * (a0 - 0.5 * jerk * t1)
        v2 = v1 - b * t2
        way = t1 * (v0 + t1 * (0.5 * a0 - jerk * t1 / 6.0)) + 0.5 * t2 * (v1 + v2) + t3 * (v2 - b * t3 / 3.0)
        back = 0.0
        if v0 < 0.0:  # it turns where v0 + a0·t - J·t²/2 is zero for the first time
            t = (a0 - math.sqrt(max(a0 * a0 + 2.0 * jerk * v0, 0.0))) / jerk
            back = t * (v0 + t * (0.5 * a0 - jerk * t / 6.0))
        self._p, self._v, self._a = p, v, a
        self._t1, self._t2, self._t3, self._j = t1, t2, t3, -sign * jerk
        self.duration_s = t1 + t2 + t3
        self.end = p + sign * way
        turned, reached = p + sign * back, p + sign * max(way, 0.0)
        self.lowest, self.highest = min(turned, reached), max(turned, reached)

    def at(self, t: float) -> tuple[float, float, float]:
        """Position, velocity and acceleration `t` seconds into the stop."""
        p, v, a = self._p, self._v, self._a
        for duration, jerk in ((self._t1, self._j), (self._t2, 0.0), (self._t3, -self._j)):
            dt = min(t, duration)
            p += dt * (v + dt * (0.5 * a + dt * jerk / 6.0))
            v += dt * (a + 0.5 * dt * jerk)
            a += dt * jerk
            t -= dt
            if t <= 0.0:
                return p, v, a
        return self.end, 0.0, 0.0


def longest_stop(velocity: float, acceleration: float, jerk: float) -> tuple[float, float]:
    """How far (rad) and for how long (s) the stop of a joint with the limits V, A and J can take it, from any state.

    The limits are kept where both v and the velocity v + a²/(2J) that is left once a > 0 is taken away are within ±V.
    At worst V is left. Taking a away adds the way V·a/J - a³/(6J²), which grows with a while v = V - a²/(2J) > 0: the
    farthest stop begins at a = min(A, √(2JV)). It adds the time a/J, and v is -V at the lowest: the longest stop begins
    at a = min(A, 2·√(JV)).
    """
    far = min(acceleration, math.sqrt(2.0 * jerk * velocity))
    long = min(acceleration, 2.0 * math.sqrt(jerk * velocity))
    return _worst(velocity, acceleration, jerk, far).end, _worst(velocity, acceleration, jerk, long).duration_s


def _worst(velocity: float, acceleration: float, jerk: float, a: float) -> Brake:
    """The stop that begins at `a` and leaves the highest velocity once `a` is taken away."""
    brake = Brake(acceleration, jerk)
    brake.plan(0.0, velocity - a * a / (2.0 * jerk), a)
    return brake
