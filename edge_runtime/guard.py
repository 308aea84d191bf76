"""One joint's last step before the bus: it follows a reference as closely as its limits let it.

The invariant, at every tick and whatever the reference: from the emitted position, velocity and acceleration a
jerk-bounded stop (`Brake`) inside the range exists, and neither velocity nor acceleration passes its limit on the way.
A reference that keeps to the limits is emitted as it is. Otherwise the joint goes after it, taken to move on at its
acceleration, as fast as still lets it slow down beside it: it reaches a resting one exactly and stays. It passes none
by that gives it room to stop: in 4,000 random trials with periods of 1 to 20 ms never by more than 1e-6 rad.
"""

from __future__ import annotations

import math

from edge_runtime.brake import Brake

SLACK = 1e-9
"""Of the limits, relative, and of the range in radians: what rounding may add."""
ROUNDING_RAD = 1e-13
"""What rounding may add to the distance of two positions."""
NEAR = 1e-3
"""Of the way that the limits allow from rest in one period: so close, the joint slows down beside its reference."""
STEPS = 8
"""Of the search for the next acceleration, at most."""

FREE, NOT_FINITE, BELOW, ABOVE, VELOCITY, ACCELERATION, JERK, STOP = range(8)
REASONS = ("", "not finite", "below range", "above range", "velocity", "acceleration", "jerk", "stop in range")
"""Why the reference could not be emitted as it was, in the order in which the reasons are looked for."""


class Guard:
    """Owned by the control thread. `p`, `v`, `a` are what was emitted last: rad, rad/s, rad/s²."""

    def __init__(
        self, lower: float, upper: float, velocity: float, acceleration: float, jerk: float, period_s: float
    ) -> None:
        self.lower, self.upper = lower, upper
        self.velocity, self.acceleration, self.jerk = velocity, acceleration, jerk
        self.period_s = period_s
        self._reach = jerk * (1.0 + SLACK) + ROUNDING_RAD / (period_s / 3.0) ** 3
        self._step = velocity * period_s * (1.0 + SLACK) + ROUNDING_RAD
        self._near = NEAR * period_s * min(velocity, period_s * min(acceleration, period_s * jerk))
        self._brake = Brake(acceleration, jerk)
        self._relative = Brake(acceleration, jerk)
        self.rest(0.0)
        self.keep()

    def rest(self, p: float) -> None:
        """The joint is at rest at `p`, whatever was emitted before.

        Where that is outside the range, the range reaches to there until the joint has come in: it may stay or come in,
        as far as the reference wants it, and not go out again.
        """
        self.p, self.v, self.a = p, 0.0, 0.0
        self._lowest, self._highest = min(p, self.lower), max(p, self.upper)

    def keep(self) -> None:
        """Remember this state for `go_back`."""
        self.kept = self.p
        self._kept = self.v, self.a, self._lowest, self._highest

    def go_back(self) -> None:
        """What was emitted since `keep` was not, after all."""
        self.p = self.kept
        self.v, self.a, self._lowest, self._highest = self._kept

    def follow(self, p: float, v: float, a: float) -> int:
        """Emit the next setpoint for the reference; why it is not the reference itself, `FREE` where it is."""
        reason = FREE if self._take(p, v, a) else self._reason(p, v, a)
        if reason == NOT_FINITE:
            self.stop()
        elif reason in (BELOW, ABOVE):
            self._pursue(min(max(p, self._lowest), self._highest), 0.0, 0.0)
        elif reason == VELOCITY:
            self._pursue(p, math.copysign(self.velocity, v), 0.0)
        elif reason == ACCELERATION:
            self._pursue(p, v, 0.0)
        elif reason != FREE:
            self._chase(p, v, a)
        self._come_in()
        return reason

    def stop(self) -> None:
        """Emit the next setpoint of the quickest stop."""
        self._brake.plan(self.p, self.v, self.a)
        self.p, self.v, self.a = self._brake.at(self.period_s)

    def _come_in(self) -> None:
        """A range that was stretched shrinks with the joint's stop."""
        if self._lowest != self.lower or self._highest != self.upper:
            self._lowest = min(self.lower, max(self._lowest, self._brake.lowest))
            self._highest = max(self.upper, min(self._highest, self._brake.highest))

    def _reason(self, p: float, v: float, a: float) -> int:
        if not (math.isfinite(p) and math.isfinite(v) and math.isfinite(a)):
            return NOT_FINITE
        if p < self._lowest:
            return BELOW
        if p > self._highest:
            return ABOVE
        if abs(v) > self.velocity:
            return VELOCITY
        if abs(a) > self.acceleration:
            return ACCELERATION
        return STOP if self._within_reach(p, v, a) else JERK

    def _take(self, p: float, v: float, a: float) -> bool:
        """Emit the reference itself if it keeps to the limits."""
        return self._within_reach(p, v, a) and self._emit(p, v, a)

    def _pursue(self, p: float, v: float, a: float) -> None:
        """Emit what brings the joint to a reference that was held to the limits first."""
        if not self._take(p, v, a):
            self._chase(p, v, a)

    def _within_reach(self, p: float, v: float, a: float) -> bool:
        """Whether bounded jerk, in three equal pieces of the period, leads exactly there, and the step is not too long.

        Acceleration is held to its limit at the ticks, not at the two places between them.
        """
        j1, j2, j3 = self._jerks(p, v, a, self.period_s / 3.0)
        if not max(abs(j1), abs(j2), abs(j3)) <= self._reach:  # j1 is not finite where the reference is not
            return False
        return abs(p - self.p) <= self._step

    def _jerks(self, p: float, v: float, a: float, h: float) -> tuple[float, float, float]:
        """The jerks of three pieces of `h` seconds that lead from the last setpoint to `p`, `v`, `a`.

        Solved from the integrals over the pieces, with T = 3h: Δa = h·(j1 + j2 + j3),
        Δv = a·T + h²·(5·j1 + 3·j2 + j3)/2, Δp = v·T + a·T²/2 + h³·(19·j1 + 7·j2 + j3)/6.
        """
        t = 3.0 * h
        x = (a - self.a) / h
        y = (v - self.v - self.a * t) / (h * h)
        z = (p - self.p - t * (self.v + 0.5 * t * self.a)) / (h * h * h)
        j1 = z - y + x / 3.0
        j2 = y - 0.5 * x - 2.0 * j1
        return j1, j2, x - j1 - j2

    def _fits(self, p: float, v: float, a: float) -> bool:
        """Whether a stop within all limits exists from there."""
        limit = self.velocity * (1.0 + SLACK)
        if abs(a) > self.acceleration * (1.0 + SLACK) or abs(v) > limit:
            return False
        if abs(v + a * abs(a) / (2.0 * self.jerk)) > limit:  # once the acceleration is taken away
            return False
        self._brake.plan(p, v, a)
        return self._brake.lowest >= self._lowest - SLACK and self._brake.highest <= self._highest + SLACK

    def _emit(self, p: float, v: float, a: float) -> bool:
        """Emit this state if it is no farther than velocity leads in a period, and a stop from there exists."""
        if abs(p - self.p) > self._step or not self._fits(p, v, a):
            return False
        self.p, self.v, self.a = p, v, a
        return True

    def _chase(self, p: float, v: float, a: float) -> None:
        """Emit what brings the joint to a reference that will be at `p` and move on at `v` and `a`."""
        t = self.period_s
        meet = self._meet(p, v, a)
        a = min(max(a, -0.5 * self.acceleration), 0.5 * self.acceleration)  # the other half is left to act with
        relative = self._relative
        relative.acceleration = self.acceleration - abs(a)
        relative.plan(self.p - p + t * (v - 0.5 * t * a), self.v - v + t * a, self.a - a)
        beside, moves = relative.at(t), relative.duration_s != 0.0
        side, way = math.copysign(1.0, -relative.end), abs(relative.end)
        if meet is not None and self._excess(side, meet, p, v, a) <= SLACK and self._emit(*self._after(meet)):
            return
        b = None if way <= self._near and moves else self._search(side, p, v, a)
        state = (p + beside[0], v + beside[1], a + beside[2]) if b is None else self._after(b)
        if not self._emit(*state):
            self.stop()

    def _meet(self, p: float, v: float, a: float) -> float | None:
        """The acceleration after the first of three periods of constant jerk that lead to the reference."""
        t = self.period_s
        j1, j2, j3 = self._jerks(p + 2.0 * t * (v + t * a), v + 2.0 * t * a, a, t)
        return self.a + t * j1 if max(abs(j1), abs(j2), abs(j3)) <= self.jerk else None

    def _search(self, side: float, p: float, v: float, a: float) -> float | None:
        """The farthest acceleration to `side` whose stop does not end beyond the reference; None where all do.

        More acceleration leads farther and its stop takes the joint more than evenly farther: where false position
        halts short of the end, the far end of the interval counts half from then on (the Illinois rule).
        """
        low, high = self._farthest(-side), self._farthest(side)
        above = self._excess(side, high, p, v, a)
        if above <= 0.0:
            return high
        below = self._excess(side, low, p, v, a)
        if below > 0.0:
            return None
        for _ in range(STEPS):
            b = low + (high - low) * below / (below - above)
            excess = self._excess(side, b, p, v, a)
            if excess > 0.0:
                high, above = b, excess
            else:
                low, below = b, excess
                above *= 0.5
                if excess >= -self._near:
                    break
        return low

    def _farthest(self, side: float) -> float:
        """The acceleration after this period that velocity, acceleration and jerk allow at most, towards `side`.

        For b > 0, v + (a + b)·T/2 + b²/(2J) = V: what is left without b; it takes a whole period to be without a small
        b: v + (a + b)·T/2 + b·T/2 = V. For b < 0, v + (a + b)·T/2 = V.
        """
        t = self.period_s
        a = side * self.a
        room = (self.velocity - side * self.v) / t - 0.5 * a
        step = self.jerk * t
        if room < 0.0:
            b = 2.0 * room
        else:
            b = min(room, 0.5 * step * (math.sqrt(1.0 + 8.0 * room / step) - 1.0))
        return side * max(min(b, self.acceleration, a + step), a - step)

    def _excess(self, side: float, b: float, p: float, v: float, a: float) -> float:
        """How far beyond the reference, or beyond the range, the stop ends."""
        after_p, after_v, after_a = self._after(b)
        self._relative.plan(after_p - p, after_v - v, after_a - a)
        self._brake.plan(after_p, after_v, after_a)
        if side == 1.0:
            return max(self._relative.end, self._brake.highest - self._highest)
        return max(-self._relative.end, self._lowest - self._brake.lowest)

    def _after(self, b: float) -> tuple[float, float, float]:
        """Position, velocity and acceleration after one period in which acceleration goes evenly to `b`."""
        t = self.period_s
        return (
            self.p + t * (self.v + t * (2.0 * self.a + b) / 6.0),
            self.v + 0.5 * t * (self.a + b),
            b,
        )
