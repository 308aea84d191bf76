"""What the tests of motions share: limits, a limiter at some place, and the limits held against what was emitted."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from edge_runtime.chunk import Chunk
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from edge_runtime.trajectory import Motion

MS = 1_000_000
T0 = 5_000 * MS

figure = st.floats(-3.0, 3.0)
velocity = st.floats(0.2, 5.0)
acceleration = st.floats(1.0, 30.0)
jerk = st.floats(10.0, 500.0)
triple = st.tuples(figure, figure, figure)
periods = st.sampled_from([2 * MS, 5 * MS, 10 * MS])


def limits(v: list[float], a: list[float], j: list[float]) -> Limits:
    n = len(v)
    return Limits(tuple("abcdef"[:n]), np.full(n, -9.0), np.full(n, 9.0), np.array(v), np.array(a), np.array(j))


bounds = st.builds(limits, *(st.lists(kind, min_size=3, max_size=3) for kind in (velocity, acceleration, jerk)))
ONE = limits([1.0] * 3, [5.0] * 3, [50.0] * 3)
WIDE = limits([1e3] * 3, [1e6] * 3, [1e9] * 3)


def limiter(at: Limits, start: object = (0.0, 0.0, 0.0), period_ns: int = 5 * MS) -> Limiter:
    made = Limiter(at, period_ns / 1e9)
    made.start_from(np.array(start, float))
    return made


def emitted(motion: Motion, guard: Limiter, step_ns: int, seconds: float) -> np.ndarray:
    """Setpoints [samples, joints] from T0 until the motion is over; it must be within `seconds`."""
    wanted, out, rows = Reference(3), np.zeros(3), [guard.position_rad.copy()]
    for t in range(T0, T0 + round(seconds * 1e9), step_ns):
        over = motion.sample(t, wanted)
        guard.limit(wanted, out)
        rows.append(out.copy())
        if over:
            return np.array(rows)
    raise AssertionError("it does not end")


def check(rows: np.ndarray, step_s: float, at: Limits) -> None:
    """Finite differences against the limits."""
    speed = np.diff(rows, axis=0) / step_s
    bend = np.diff(speed, axis=0) / step_s
    jolt = np.diff(bend, axis=0) / step_s
    noise = 1e-12 / step_s**3
    assert (np.abs(speed) <= at.velocity * (1 + 1e-6) + 1e-12 / step_s).all()
    assert (np.abs(bend) <= at.acceleration * 1.0001 + 1e-6).all()
    assert (np.abs(jolt) <= at.jerk * 1.0001 + noise).all()


def chunk(actions: np.ndarray, dt_ns: int = 50 * MS, start_ns: int = T0) -> Chunk:
    made = Chunk(*actions.shape, dt_ns)
    made.actions[:] = actions
    made.capture_ns = made.start_ns = start_ns
    return made
