"""Setpoints at a time: following a chunk, moving from pose to pose, stopping.

Each motion has `sample(t_ns, out)`: write the setpoint due at `t_ns` into `out` [n], say whether the motion is over.
`postpone` tells a motion that control lost time (skipped slots): a move or a stop goes on from where it was instead of
jumping ahead. All of it works in arrays that are allocated once.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from edge_runtime.chunk import Chunk
from edge_runtime.limits import Floats, Limits


class Motion(Protocol):
    """What the control tick samples."""

    def sample(self, t_ns: int, out: Floats) -> bool: ...

    def postpone(self, duration_ns: int) -> None: ...


class Stop:
    """Come to rest with bounded acceleration and jerk: v(t) = v0·(1 - smoothstep(t/T)), smoothstep(x) = 3x² - 2x³.

    Derivatives: |a| = |v0|·6x(1 - x)/T, at most 1.5·|v0|/T at x = 1/2; |j| = |v0|·|6 - 12x|/T², at most 6·|v0|/T² at
    both ends. The integral is v0·T·(x - x³ + x⁴/2), so the way to rest is v0·T/2. All joints come to rest together.
    It starts at zero acceleration: the acceleration at which it found the joints is not made smooth.
    """

    def __init__(self, limits: Limits) -> None:
        n = len(limits.names)
        self._limits = limits
        self._from: Floats = np.zeros(n)
        self._travel: Floats = np.zeros(n)
        self.end_rad: Floats = np.zeros(n)
        """Where it comes to rest, known from the start."""
        self._began_ns = 0
        self.duration_ns = 0

    def begin(self, position_rad: Floats, velocity_rad_s: Floats, t_ns: int) -> None:
        """From `position_rad` at `velocity_rad_s` at time `t_ns`."""
        speed = np.abs(velocity_rad_s)
        by_acceleration = float(np.max(1.5 * speed / self._limits.acceleration))
        by_jerk = math.sqrt(float(np.max(6.0 * speed / self._limits.jerk)))
        longest = max(by_acceleration, by_jerk)  # not finite where the chunk is not: safety refuses what comes of it
        self.duration_ns = math.ceil(longest * 1e9) if math.isfinite(longest) else 0
        self._began_ns = t_ns
        self._from[:] = position_rad
        np.multiply(velocity_rad_s, self.duration_ns / 1e9, out=self._travel)
        np.multiply(self._travel, 0.5, out=self.end_rad)
        self.end_rad += position_rad

    def sample(self, t_ns: int, out: Floats) -> bool:
        elapsed_ns = t_ns - self._began_ns
        if elapsed_ns >= self.duration_ns:
            out[:] = self.end_rad
            return True
        x = max(elapsed_ns, 0) / self.duration_ns
        np.multiply(self._travel, x - x**3 + 0.5 * x**4, out=out)
        out += self._from
        return False

    def postpone(self, duration_ns: int) -> None:
        self._began_ns += duration_ns


class Follow:
    """Linear interpolation through a chunk's actions, from the one due now; behind the last one it comes to rest."""

    def __init__(self, limits: Limits) -> None:
        self.chunk: Chunk | None = None
        self.over = False
        """The last action was due: what is sampled is a stop."""
        self._fastest = limits.velocity
        self._stop = Stop(limits)
        self._step: Floats = np.zeros(len(limits.names))

    def begin(self, chunk: Chunk | None) -> None:
        """Follow `chunk` from now on; without one the setpoint stays where it is."""
        self.chunk = chunk
        self.over = False

    def sample(self, t_ns: int, out: Floats) -> bool:
        """Exact at the actions, and the first one before it is due."""
        chunk = self.chunk
        if chunk is None:
            return True
        rows, last = chunk.rows, len(chunk.rows) - 1
        k, rest_ns = divmod(t_ns - chunk.start_ns, chunk.dt_ns)
        if k >= last and chunk.rests:
            out[:] = rows[last]
            return True
        if k > last or (k == last and rest_ns):
            return self._brake(chunk, t_ns, out)
        if k < 0:
            out[:] = rows[0]
        elif k == last:
            out[:] = rows[last]
        else:
            np.subtract(rows[k + 1], rows[k], out=out)
            out *= rest_ns / chunk.dt_ns
            out += rows[k]
        return False

    def postpone(self, duration_ns: int) -> None:
        """A chunk's actions are due when they are due; only its stop can wait."""
        self._stop.postpone(duration_ns)

    def _brake(self, chunk: Chunk, t_ns: int, out: Floats) -> bool:
        if not self.over:
            self.over = True
            last = len(chunk.rows) - 1
            np.subtract(chunk.rows[last], chunk.rows[max(last - 1, 0)], out=self._step)
            self._step *= 1e9 / chunk.dt_ns
            np.clip(self._step, -self._fastest, self._fastest, out=self._step)
            self._stop.begin(chunk.rows[last], self._step, chunk.start_ns + last * chunk.dt_ns)
        return self._stop.sample(t_ns, out)


class Move:
    """From rest to rest along a straight line of joint space, as fast as each joint's limits let it.

    The quintic s(x) = 10x³ - 15x⁴ + 6x⁵ has neither velocity nor acceleration at its ends. For a way d in time T its
    peaks are |v| = s'(1/2)·d/T = 1.875·d/T, |a| = s''(1/2 ± √3/6)·d/T² = 5.7735·d/T², |j| = s'''(0)·d/T³ = 60·d/T³;
    T is the least that keeps every joint within all three.
    """

    _A_PEAK = 10.0 / math.sqrt(3.0)

    def __init__(self, limits: Limits) -> None:
        n = len(limits.names)
        self._limits = limits
        self._from: Floats = np.zeros(n)
        self._way: Floats = np.zeros(n)
        self._to: Floats = np.zeros(n)
        self._began_ns = 0
        self.duration_ns = 0

    def begin(self, from_rad: Floats, to_rad: Floats, t_ns: int) -> None:
        """At rest at `from_rad` at time `t_ns`, at rest at `to_rad` after `duration_ns`."""
        self._from[:] = from_rad
        self._to[:] = to_rad
        np.subtract(to_rad, from_rad, out=self._way)
        way = np.abs(self._way)
        seconds = max(
            float(np.max(1.875 * way / self._limits.velocity)),
            math.sqrt(float(np.max(self._A_PEAK * way / self._limits.acceleration))),
            float(np.max(60.0 * way / self._limits.jerk)) ** (1.0 / 3.0),
        )
        self.duration_ns = math.ceil(seconds * 1e9)
        self._began_ns = t_ns

    def sample(self, t_ns: int, out: Floats) -> bool:
        elapsed_ns = t_ns - self._began_ns
        if elapsed_ns >= self.duration_ns:
            out[:] = self._to
            return True
        x = max(elapsed_ns, 0) / self.duration_ns
        np.multiply(self._way, x * x * x * (10.0 + x * (6.0 * x - 15.0)), out=out)
        out += self._from
        return False

    def postpone(self, duration_ns: int) -> None:
        self._began_ns += duration_ns


class Transfer:
    """Stop first where the arm is still moving, then move to a pose: one motion, planned whole at its start."""

    def __init__(self, limits: Limits) -> None:
        self._stop = Stop(limits)
        self._move = Move(limits)

    def begin(self, position_rad: Floats, velocity_rad_s: Floats, to_rad: Floats, t_ns: int) -> None:
        """From `position_rad` at `velocity_rad_s` at time `t_ns` to rest at `to_rad`."""
        self._stop.begin(position_rad, velocity_rad_s, t_ns)
        self._move.begin(self._stop.end_rad, to_rad, t_ns + self._stop.duration_ns)

    def sample(self, t_ns: int, out: Floats) -> bool:
        return self._stop.sample(t_ns, out) and self._move.sample(t_ns, out)

    def postpone(self, duration_ns: int) -> None:
        self._stop.postpone(duration_ns)
        self._move.postpone(duration_ns)
