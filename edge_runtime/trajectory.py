"""References at a time: moving from pose to pose, and coming to rest. For following a chunk see `follow`.

Each motion has `sample(t_ns, out)`: write the reference due at `t_ns` into `out`, say whether the motion is over.
`postpone` tells a motion that control lost time (skipped slots): a move goes on from where it was instead of jumping
ahead. All of it works in arrays that are allocated once. What of it the joints may do is not asked here: see `safety`.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from edge_runtime.curve import evaluate, quintic
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


class Move:
    """From rest to rest along a straight line of joint space, as fast as each joint's limits let it.

    The quintic s(x) = 10x³ - 15x⁴ + 6x⁵ has neither velocity nor acceleration at its ends. For a way d in time T its
    peaks are |v| = s'(1/2)·d/T = 1.875·d/T, |a| = s''(1/2 ± √3/6)·d/T² = 5.7735·d/T², |j| = s'''(0)·d/T³ = 60·d/T³;
    T is the least that keeps every joint within all three limits, of jerk within a share.
    """

    _A_PEAK = 10.0 / math.sqrt(3.0)
    _JERK_SHARE = 0.79
    """Of the limit. The limiter makes three even pieces of a tick: a jerk that ends within one takes up to 1.2518 of
    it there, most where 84.7 % of the tick are left."""

    def __init__(self, limits: Limits) -> None:
        n = len(limits.names)
        self._limits = limits
        self._from: Floats = np.zeros((3, n))
        self._to: Floats = np.zeros((3, n))
        self._curve: Floats = np.zeros((3, 6, n))
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
