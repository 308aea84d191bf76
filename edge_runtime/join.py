"""The motion of a task: it comes to rest, joins the chunks once there is one, and from then on follows the newest.

Joining is a `Chase` of whatever setpoint is due by the newest chunk, from where the arm is and as fast as it moves,
each joint until it is exactly there. A policy that plans from where the arm is measured sees it join, and plans
accordingly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.chase import Chase
from edge_runtime.chunk import Chunk
from edge_runtime.limits import Floats, Limits
from edge_runtime.trajectory import Follow, Motion, Stop

JOINED_RAD = 1e-9
"""Nearer to the chunk than this is there."""


class Join:
    """A `Motion`: `begin` a request, then `take` the chunks that answer it."""

    def __init__(self, limits: Limits, period_ns: int) -> None:
        n = len(limits.names)
        self._period_ns = period_ns
        self._rest: Motion = Stop(limits)
        self._follow = Follow(limits)
        self._chase = Chase(limits.velocity, limits.acceleration, period_ns / 1e9)
        self._joined = False
        self._away: NDArray[np.bool_] = np.ones(n, dtype=np.bool_)
        self._far: NDArray[np.bool_] = np.zeros(n, dtype=np.bool_)
        self._speed: Floats = np.zeros(n)
        self._way: Floats = np.zeros(n)

    @property
    def chunk(self) -> Chunk | None:
        """The one that is followed; None before the first."""
        return self._follow.chunk

    @property
    def over(self) -> bool:
        """The last action of the chunk was due."""
        return self._follow.over

    def begin(self, rest: Motion) -> None:
        """Come to rest as `rest` does, and wait for a chunk."""
        self._follow.begin(None)
        self._rest = rest

    def take(self, chunk: Chunk, position_rad: Floats, velocity_rad_s: Floats) -> None:
        """Follow `chunk` from now on; the last setpoint was `position_rad`, moving at `velocity_rad_s`."""
        if self._follow.chunk is None:
            self._joined = False
            self._away[:] = True
            self._chase.begin(position_rad, velocity_rad_s)
        self._follow.begin(chunk)

    def sample(self, t_ns: int, out: Floats) -> bool:
        if self._follow.chunk is None:
            return self._rest.sample(t_ns, out)
        if self._joined:
            return self._follow.sample(t_ns, out)
        self._follow.sample(t_ns - self._period_ns, self._speed)
        still = self._follow.sample(t_ns, out)
        self._come_nearer(out)
        return still and self._joined

    def postpone(self, duration_ns: int) -> None:
        self._follow.postpone(duration_ns)
        self._rest.postpone(duration_ns)

    def _come_nearer(self, out: Floats) -> None:
        """Replace what is not joined of the chunk's setpoint, `out`, by what is next on the way to it.

        `_speed` is the chunk's setpoint a tick before.
        """
        np.subtract(out, self._speed, out=self._speed)
        self._speed *= 1e9 / self._period_ns
        self._chase.step(out, self._speed)
        np.subtract(out, self._chase.at_rad, out=self._way)
        np.abs(self._way, out=self._way)
        self._away &= np.greater_equal(self._way, JOINED_RAD, out=self._far)
        np.copyto(out, self._chase.at_rad, where=self._away)
        self._joined = not self._away.any()
