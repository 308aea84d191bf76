"""Whether the joints are where their setpoints have arrived: the end of a move is not what was said but what was done.

A joint that stands farther from there than its limit never arrives: `effort` names it before long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.limits import Floats

SLOW_RAD_S = 0.1
"""A joint that moves more slowly than this has come to rest: a few counts of what servos measure as speed."""
SETTLE_NS = 1_000_000_000
"""Joints within their limits have arrived after this much, though one of them trembles."""


class Arrival:
    """Of n joints. Allocates nothing lasting."""

    def __init__(self, limit_rad: Floats) -> None:
        """`limit_rad` [n]: how far from its setpoint a joint may come to rest."""
        self._limit_rad = limit_rad
        self._off: Floats = np.zeros(len(limit_rad))
        self._within: NDArray[np.bool_] = np.zeros(len(limit_rad), dtype=np.bool_)
        self._since_ns = -1

    def begin(self) -> None:
        """A move begins."""
        self._since_ns = -1

    def check(self, now_ns: int, setpoint_rad: Floats, measured_rad: Floats, velocity_rad_s: Floats) -> bool:
        """Whether all joints have arrived, for a setpoint [n] that has."""
        if self._since_ns < 0:
            self._since_ns = now_ns
        np.subtract(setpoint_rad, measured_rad, out=self._off)
        np.abs(self._off, out=self._off)
        if not np.less_equal(self._off, self._limit_rad, out=self._within).all():
            return False
        np.abs(velocity_rad_s, out=self._off)
        return now_ns - self._since_ns >= SETTLE_NS or bool(self._off.max() <= SLOW_RAD_S)
