"""A seam between two chunks: what separates the arm from the new one is taken out smoothly, under bounded jerk.

At the seam the reference is exactly where the arm is: the new chunk plus an offset. The offset is a quintic that leads
its position, velocity and acceleration to zero, and the whole arm does it in one time.
"""

from __future__ import annotations

import math

import numpy as np

from edge_runtime.curve import evaluate, quintic
from edge_runtime.limits import Floats, Limits
from edge_runtime.reference import Reference

SHARE = 0.5
"""Of the limits of acceleration and jerk, for the offset alone: the rest is for the chunk itself."""
GROWTH = 1.1
"""From one duration that is tried to the next."""
LONGEST_S = 60.0
"""An offset that would take longer, or is no number, is no seam: safety copes with the jump."""
ROUNDING = 1e-9
"""So that a lone demand, met exactly, counts as met."""
ROUNDS = 12
"""Of them at most: three demands, met one by one, are met together in less than 3 times the longest (1.1¹² = 3.1)."""


class Blend:
    """The offset of one seam. Allocates nothing lasting.

    Peaks of a quintic that leads an offset d, v, a to zero in time T, of each alone (s = t/T, from the second and third
    derivatives of 1 - 10s³ + 15s⁴ - 6s⁵, s - 6s³ + 8s⁴ - 3s⁵ and (s² - 3s³ + 3s⁴ - s⁵)/2):
    acceleration 5.7735·d/T², 3.94·v/T, a; jerk 60·d/T³, 36·v/T², 9·a/T.
    """

    def __init__(self, limits: Limits) -> None:
        n = len(limits.names)
        self._acceleration = SHARE * limits.acceleration
        self._jerk = SHARE * limits.jerk
        self._zero: Floats = np.zeros((3, n))
        self._curve: Floats = np.zeros((6, n))
        self._offset = Reference(n)
        self._began_ns = 0
        self.duration_ns = 0

    def forget(self) -> None:
        """There is no seam."""
        self.duration_ns = 0

    def begin(self, offset: Floats, t_ns: int) -> None:
        """Take out `offset` [3, n]: position, velocity and acceleration of the arm less the chunk's at `t_ns`."""
        self._began_ns = t_ns
        duration_s = self._duration_s(offset)
        self.duration_ns = math.ceil(duration_s * 1e9) if duration_s <= LONGEST_S else 0
        if self.duration_ns:
            quintic(offset, self._zero, self.duration_ns / 1e9, self._curve)

    def add(self, t_ns: int, out: Reference) -> None:
        """Add what is left of the offset at `t_ns`."""
        elapsed_ns = t_ns - self._began_ns
        if elapsed_ns >= self.duration_ns:
            return
        offset = self._offset
        evaluate(self._curve, elapsed_ns / 1e9, offset)
        out.position_rad += offset.position_rad
        out.velocity_rad_s += offset.velocity_rad_s
        out.acceleration_rad_s2 += offset.acceleration_rad_s2

    def _duration_s(self, offset: Floats) -> float:
        """The time, 10 % more than need be at most, in which every joint keeps its share of the limits.

        Not finite where the offset is not.
        """
        d, v, a = np.abs(offset)
        t = (1.0 + ROUNDING) * max(
            _root(60.0 * d / self._jerk, 3),
            _root(36.0 * v / self._jerk, 2),
            _root(9.0 * a / self._jerk, 1),
            _root(5.7735 * d / self._acceleration, 2),
            _root(3.94 * v / self._acceleration, 1),
        )
        if not 0.0 < t < math.inf:
            return t
        for _ in range(ROUNDS):
            jerk = (60.0 * d / t + 36.0 * v) / t + 9.0 * a
            acceleration = 5.7735 * d / t + 3.94 * v
            if (jerk <= self._jerk * t).all() and (acceleration <= self._acceleration * t).all():
                break
            t *= GROWTH
        return t


def _root(powers: Floats, power: int) -> float:
    """The greatest of `powers`, and its root."""
    return math.pow(float(np.max(powers)), 1.0 / power)
