"""A seam between two chunks: what separates the arm from the new one fades, under bounded jerk.

At the seam the reference is exactly where the arm is: the new chunk plus an offset. The offset is what a critically
damped system of third order makes of its position, velocity and acceleration: x = (c0 + c1·t + c2·t²)·exp(-λt) with
c0 = d, c1 = v + λ·d, c2 = (a + 2λ·v + λ²·d)/2. λ is always the same: so seams that follow before the last
one is over, as they do, change nothing about what is left of it. A polynomial that ends after a time would begin anew
with each of them, and swings up against a policy that sees what comes of it.
"""

from __future__ import annotations

import math

import numpy as np

from edge_runtime.limits import Floats
from edge_runtime.reference import Reference

RATE_PER_S = 18.0
"""λ. Half of an offset is gone after 2.7/λ = 0.15 s, 99 % after 8.4/λ = 0.47 s. A lone distance d asks for jerk λ³·d at
the beginning and for acceleration 0.23·λ²·d: 583 rad/s³ and 7.5 rad/s² for 0.1 rad. Where that is more than a joint
may, safety follows as quickly as it may: a slower fade lags too much behind a policy that sees what comes of it."""
OVER = 20.0
"""λ·t at which less than 10⁻⁶ of it is left."""


class Blend:
    """The offset of one seam of n joints. Allocates nothing lasting."""

    def __init__(self, n: int) -> None:
        self._c: Floats = np.zeros((3, 3, n))
        """By the power of t, for position, velocity and acceleration: what exp(-λt) is multiplied with."""
        self._left: Floats = np.zeros((3, n))
        self._began_ns = 0
        self._fading = False

    def forget(self) -> None:
        """There is no seam."""
        self._fading = False

    def begin(self, offset: Floats, t_ns: int) -> None:
        """Fade `offset` [3, n]: position, velocity and acceleration of the arm less the chunk's at `t_ns`."""
        rate, (d, v, a) = RATE_PER_S, offset
        self._began_ns = t_ns
        self._c[0] = d, v + rate * d, 0.5 * (a + rate * (2.0 * v + rate * d))
        self._fading = bool(np.isfinite(self._c[0]).all())
        if self._fading:
            self._derive(*self._c[:2])
            self._derive(*self._c[1:])

    def _derive(self, p: Floats, out: Floats) -> None:
        """The derivative of p·exp(-λt), which is (p' - λ·p)·exp(-λt), of a polynomial [3, n]."""
        np.multiply(p, -RATE_PER_S, out=out)
        out[0] += p[1]
        out[1] += 2.0 * p[2]

    def add(self, t_ns: int, out: Reference) -> None:
        """Add what is left of the offset at `t_ns`."""
        t, rate = (t_ns - self._began_ns) / 1e9, RATE_PER_S
        if not self._fading or rate * t > OVER:
            return
        left = math.exp(-rate * t)
        np.dot((left, left * t, left * t * t), self._c, out=self._left)
        out.rows += self._left
