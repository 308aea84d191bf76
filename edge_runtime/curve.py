"""The curve through a chunk's actions: quintic from action to action, exact at each of them.

Its velocity and acceleration at an action are central differences: v = (q[k+1] - q[k-1])/(2·dt),
a = (q[k+1] - 2·q[k] + q[k-1])/dt². At its ends the chunk is taken to go on evenly.

A tick takes one product of few numbers: a piece of the curve has the polynomials of its velocity and acceleration too.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.chunk import Chunk
from edge_runtime.limits import Floats
from edge_runtime.reference import Reference

HUGE = 1e300
"""A coefficient beyond it is no number."""
_ENDS = np.array([[10.0, -4.0, 1.0], [-15.0, 7.0, -2.0], [6.0, -3.0, 1.0]])
_POWERS = np.arange(1.0, 6.0)[:, None]


class Curve:
    """Samples one chunk after another. Allocates nothing lasting."""

    def __init__(self, n: int) -> None:
        self._k = -1
        self._begin: Floats = np.zeros((3, n))
        self._end: Floats = np.zeros((3, n))
        self._piece: Floats = np.zeros((3, 6, n))

    def forget(self) -> None:
        """Another chunk, or another content of the same one, is sampled from now on."""
        self._k = -1

    def sample(self, chunk: Chunk, t_ns: int, out: Reference) -> bool:
        """Write the reference due at `t_ns` into `out`; False, with `out` as it was, behind the last action.

        Before the first action it is the first action, at rest; so is the last one of a chunk that `rests`, for good.
        """
        last = len(chunk.rows) - 1
        k, rest_ns = divmod(t_ns - chunk.start_ns, chunk.dt_ns)
        if k >= last and chunk.rests:
            out.hold(chunk.rows[last])
            return True
        if k > last or (k == last and rest_ns):
            return False
        if k < 0:
            out.hold(chunk.rows[0])
            return True
        k = min(k, max(last - 1, 0))
        if k != self._k:
            self._take(chunk, k)
        evaluate(self._piece, (t_ns - chunk.start_ns - k * chunk.dt_ns) / 1e9, out)
        return True

    def _take(self, chunk: Chunk, k: int) -> None:
        """The piece that begins at action `k`."""
        self._k = k
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number in it safety refuses
            _knot(chunk, k, self._begin)
            _knot(chunk, k + 1, self._end)
            quintic(self._begin, self._end, chunk.dt_ns / 1e9, self._piece)
            self._piece[~(np.abs(self._piece) < HUGE)] = np.nan  # of which numpy does not warn in every tick


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
    """The polynomial in t that leads from one position, velocity and acceleration [3, n] to another.

    `out` [3, 6, n]: its coefficients, those of its derivative, and those of its second one, by the power of t.

    With d = q1 - q0 - v0·T - a0·T²/2, e = (v1 - v0 - a0·T)·T, f = (a1 - a0)·T²/2: c3 = (10d - 4e + f)/T³,
    c4 = (-15d + 7e - 2f)/T⁴, c5 = (6d - 3e + f)/T⁵.
    """
    t = duration_s
    (q0, v0, a0), (q1, v1, a1) = begin, end
    d = q1 - q0 - t * (v0 + 0.5 * t * a0)
    e = t * (v1 - v0 - t * a0)
    f = 0.5 * t * t * (a1 - a0)
    position, velocity, acceleration = out
    position[:3] = begin
    position[2] *= 0.5
    np.dot(_ENDS, (d, e, f), out=position[3:])
    position[3:] /= ((t**3,), (t**4,), (t**5,))
    np.multiply(position[1:], _POWERS, out=velocity[:5])
    np.multiply(velocity[1:], _POWERS, out=acceleration[:5])


def evaluate(curve: Floats, t: float, out: Reference) -> None:
    """Position, velocity and acceleration at `t` of what `quintic` has made."""
    t2 = t * t
    np.dot((1.0, t, t2, t2 * t, t2 * t2, t2 * t2 * t), curve, out=out.rows)
    out.rest = False
