"""References at a time: following a chunk, moving from pose to pose, coming to rest.

Each motion has `sample(t_ns, out)`: write the reference due at `t_ns` into `out`, say whether the motion is over.
`postpone` tells a motion that control lost time (skipped slots): a move goes on from where it was instead of jumping
ahead. All of it works in arrays that are allocated once. What of it the joints may do is not asked here: see `safety`.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from edge_runtime.chunk import Chunk
from edge_runtime.limits import Floats, Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter


class Motion(Protocol):
    """What the control tick samples."""

    def sample(self, t_ns: int, out: Reference) -> bool: ...

    def postpone(self, duration_ns: int) -> None: ...


class Stop:
    """Come to rest from whatever was emitted last, each joint as quickly as it may. It needs no beginning."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def sample(self, t_ns: int, out: Reference) -> bool:  # noqa: ARG002 (the next step is the next step)
        out.rest = True
        return self._limiter.at_rest

    def postpone(self, duration_ns: int) -> None:
        """Lost time is no motion."""


class Follow:
    """The curve through a chunk's actions, from the one due now; without a chunk, and behind its last action, rest.

    Quintic from action to action, exact at each, with the velocity and acceleration there of central differences:
    v = (q[k+1] - q[k-1])/(2·dt), a = (q[k+1] - 2·q[k] + q[k-1])/dt². At its ends the chunk is taken to go on evenly.
    """

    def __init__(self, limiter: Limiter) -> None:
        n = len(limiter.position_rad)
        self.chunk: Chunk | None = None
        self.over = False
        """The last action was due."""
        self._stop = Stop(limiter)
        self._k = -1
        self._from: Floats = np.zeros((3, n))
        self._to: Floats = np.zeros((3, n))
        self._curve: Floats = np.zeros((6, n))

    def begin(self, chunk: Chunk | None) -> None:
        """Follow `chunk` from now on; without one come to rest."""
        self.chunk = chunk
        self.over = False
        self._k = -1

    def sample(self, t_ns: int, out: Reference) -> bool:
        """Exact at the actions, and the first one before it is due."""
        chunk = self.chunk
        if chunk is None:
            return self._stop.sample(t_ns, out)
        last = len(chunk.rows) - 1
        k, rest_ns = divmod(t_ns - chunk.start_ns, chunk.dt_ns)
        if k >= last and chunk.rests:
            out.hold(chunk.rows[last])
            return True
        if k > last or (k == last and rest_ns):
            self.over = True
            return self._stop.sample(t_ns, out)
        if k < 0:
            out.hold(chunk.rows[0])
            return False
        k = min(k, max(last - 1, 0))
        self._between(chunk, k, (t_ns - chunk.start_ns - k * chunk.dt_ns) / 1e9, out)
        return False

    def postpone(self, duration_ns: int) -> None:
        """A chunk's actions are due when they are due."""

    def _between(self, chunk: Chunk, k: int, t: float, out: Reference) -> None:
        """The reference `t` seconds after action `k`; what is no number in it safety refuses."""
        with np.errstate(over="ignore", invalid="ignore"):
            if k != self._k:
                self._k = k
                _knot(chunk, k, self._from)
                _knot(chunk, k + 1, self._to)
                quintic(self._from, self._to, chunk.dt_ns / 1e9, self._curve)
            evaluate(self._curve, t, out)


def _knot(chunk: Chunk, k: int, out: Floats) -> None:
    """Position, velocity and acceleration [3, n] at action `k`."""
    rows, last, dt = chunk.rows, len(chunk.rows) - 1, chunk.dt_ns / 1e9
    k = min(k, last)
    before, after = rows[max(k - 1, 0)], rows[min(k + 1, last)]
    out[0] = rows[k]
    np.subtract(after, before, out=out[1])
    out[1] /= dt * max(1, min(k + 1, last) - max(k - 1, 0))
    out[2] = 0.0
    if 0 < k < last:
        np.add(after, before, out=out[2])
        out[2] -= rows[k]
        out[2] -= rows[k]
        out[2] /= dt * dt


def quintic(begin: Floats, end: Floats, duration_s: float, out: Floats) -> None:
    """Coefficients [6, n] of the polynomial in t that leads from one position, velocity and acceleration to another.

    With d = q1 - q0 - v0·T - a0·T²/2, e = v1 - v0 - a0·T, f = a1 - a0: c3 = (10d - 4eT + fT²/2)/T³,
    c4 = (-15d + 7eT - fT²)/T⁴, c5 = (6d - 3eT + fT²/2)/T⁵.
    """
    t = duration_s
    (q0, v0, a0), (q1, v1, a1) = begin, end
    d = q1 - q0 - t * (v0 + 0.5 * t * a0)
    e = t * (v1 - v0 - t * a0)
    f = 0.5 * t * t * (a1 - a0)
    out[0], out[1] = q0, v0
    np.multiply(a0, 0.5, out=out[2])
    out[3] = (10.0 * d - 4.0 * e + f) / t**3
    out[4] = (-15.0 * d + 7.0 * e - 2.0 * f) / t**4
    out[5] = (6.0 * d - 3.0 * e + f) / t**5


def evaluate(curve: Floats, t: float, out: Reference) -> None:
    """Position, velocity and acceleration of a polynomial [6, n] at `t`, by Horner's rule."""
    c0, c1, c2, c3, c4, c5 = curve
    out.position_rad[:] = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * c5))))
    out.velocity_rad_s[:] = c1 + t * (2.0 * c2 + t * (3.0 * c3 + t * (4.0 * c4 + t * 5.0 * c5)))
    out.acceleration_rad_s2[:] = 2.0 * c2 + t * (6.0 * c3 + t * (12.0 * c4 + t * 20.0 * c5))
    out.rest = False


class Move:
    """From rest to rest along a straight line of joint space, as fast as each joint's limits let it.

    The quintic s(x) = 10x³ - 15x⁴ + 6x⁵ has neither velocity nor acceleration at its ends. For a way d in time T its
    peaks are |v| = s'(1/2)·d/T = 1.875·d/T, |a| = s''(1/2 ± √3/6)·d/T² = 5.7735·d/T², |j| = s'''(0)·d/T³ = 60·d/T³;
    T is the least that keeps every joint within all three limits, of jerk within a share.
    """

    _A_PEAK = 10.0 / math.sqrt(3.0)
    _JERK_SHARE = 0.85
    """Of the limit. The limiter makes three even pieces of a tick: a jerk that ends within one may take 9/8 of it."""

    def __init__(self, limits: Limits) -> None:
        n = len(limits.names)
        self._limits = limits
        self._from: Floats = np.zeros((3, n))
        self._to: Floats = np.zeros((3, n))
        self._curve: Floats = np.zeros((6, n))
        self._began_ns = 0
        self.duration_ns = 0

    def begin(self, from_rad: Floats, to_rad: Floats, t_ns: int) -> None:
        """At rest at `from_rad` at time `t_ns`, at rest at `to_rad` after `duration_ns`."""
        self._from[0] = from_rad
        self._to[0] = to_rad
        way = np.abs(to_rad - from_rad)
        seconds = max(
            float(np.max(1.875 * way / self._limits.velocity)),
            math.sqrt(float(np.max(self._A_PEAK * way / self._limits.acceleration))),
            float(np.max(60.0 * way / (self._JERK_SHARE * self._limits.jerk))) ** (1.0 / 3.0),
        )
        self.duration_ns = math.ceil(seconds * 1e9)
        self._began_ns = t_ns
        if self.duration_ns:
            quintic(self._from, self._to, self.duration_ns / 1e9, self._curve)

    def sample(self, t_ns: int, out: Reference) -> bool:
        elapsed_ns = t_ns - self._began_ns
        if elapsed_ns >= self.duration_ns:
            out.hold(self._to[0])
            return True
        evaluate(self._curve, max(elapsed_ns, 0) / 1e9, out)
        return False

    def postpone(self, duration_ns: int) -> None:
        self._began_ns += duration_ns


class Transfer:
    """Stop first where the arm is still moving, then move to a pose."""

    def __init__(self, limits: Limits, limiter: Limiter) -> None:
        self._limiter = limiter
        self._stop = Stop(limiter)
        self._move = Move(limits)
        self._to: Floats = np.zeros(len(limits.names))
        self._stopping = True

    def begin(self, to_rad: Floats) -> None:
        """From wherever the arm is and however it moves to rest at `to_rad`."""
        self._to[:] = to_rad
        self._stopping = True

    def sample(self, t_ns: int, out: Reference) -> bool:
        if self._stopping:
            if not self._stop.sample(t_ns, out):
                return False
            self._stopping = False
            self._move.begin(self._limiter.position_rad, self._to, t_ns)
        return self._move.sample(t_ns, out) and self._there()

    def postpone(self, duration_ns: int) -> None:
        self._move.postpone(duration_ns)

    def _there(self) -> bool:
        """Whether the setpoint has arrived: the limiter may have let it follow later."""
        return self._limiter.at_rest and bool(np.array_equal(self._limiter.position_rad, self._to))
