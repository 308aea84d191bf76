"""A task's motion: rest until the first chunk, which is joined within the limits, and then exactly the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.chunk import Chunk
from edge_runtime.join import Join
from edge_runtime.limits import Limits
from edge_runtime.trajectory import Stop
from tests.edge_runtime.test_trajectory import MS, T0, bounds, limits, triple

PERIOD_NS = 5 * MS
PERIOD_S = PERIOD_NS / 1e9
LIMITS = limits([2.0] * 3, [10.0] * 3, [100.0] * 3)
share = st.tuples(*[st.floats(-1.0, 1.0)] * 3)


def waiting(at: Limits, position: np.ndarray, velocity: np.ndarray) -> Join:
    """A request that has just begun, of an arm that is still moving."""
    join, stop = Join(at, PERIOD_NS), Stop(at)
    stop.begin(position, velocity, T0)
    join.begin(stop)
    return join


def ramp(begin: np.ndarray, speed: np.ndarray) -> Chunk:
    """A minute of steady motion; at `T0` it is at `begin`."""
    chunk = Chunk(61, 3, 1_000 * MS)
    chunk.actions[:] = begin + speed * np.arange(61)[:, None]
    chunk.capture_ns = chunk.start_ns = T0
    return chunk


def sampled(join: Join, first: int, ticks: int) -> np.ndarray:
    """Setpoints [ticks, 3] from tick `first` on."""
    out, rows = np.zeros(3), []
    for k in range(first, first + ticks):
        join.sample(T0 + k * PERIOD_NS, out)
        rows.append(out.copy())
    return np.array(rows)


def bounded(rows: np.ndarray, at: Limits) -> None:
    speed = np.diff(rows, axis=0) / PERIOD_S
    assert (np.abs(speed) <= at.velocity * 1.0001 + 1e-9).all()
    assert (np.abs(np.diff(speed, axis=0)) / PERIOD_S <= at.acceleration * 1.0001 + 1e-6).all()


@settings(max_examples=50)
@given(bounds, triple, triple, share, share)
def test_the_first_chunk_is_joined_within_the_limits_and_then_followed_exactly(
    at: Limits, here: tuple, there: tuple, speed: tuple, chunk_speed: tuple
) -> None:
    moving, along = np.array(speed) * at.velocity, np.array(chunk_speed) * at.velocity * 0.7
    join = waiting(at, np.array(here), moving)
    join.take(ramp(np.array(there), along), np.array(here), moving)
    before = np.array(here) + moving * PERIOD_S * np.arange(-2, 1)[:, None]
    gap = np.abs(np.subtract(there, here))
    seconds = float(np.max(gap / (0.3 * at.velocity) + 4.0 * at.velocity / at.acceleration)) + 0.1
    rows = sampled(join, 1, min(round(seconds / PERIOD_S), 10_000))
    bounded(np.concatenate([before, rows]), at)
    assert rows[-1] == pytest.approx(np.array(there) + along * len(rows) * PERIOD_S, abs=1e-6)


def test_a_chunk_that_begins_where_the_arm_is_needs_no_join() -> None:
    join, out = waiting(LIMITS, np.ones(3), np.zeros(3)), np.zeros(3)
    join.take(ramp(np.ones(3), np.zeros(3)), np.ones(3), np.zeros(3))
    join.sample(T0 + PERIOD_NS, out)
    assert (out == 1.0).all()


def test_while_it_joins_the_newest_chunk_counts_without_a_bump() -> None:
    """As of a policy that plans from where the arm is: each chunk starts behind the one before."""
    join = waiting(LIMITS, np.zeros(3), np.zeros(3))
    speed, rows = np.array([1.0, -0.5, 0.0]), np.zeros((3, 3))
    for n in range(40):
        chunk = ramp(np.zeros(3), speed)
        chunk.actions[:] += rows[-1] - speed * n * 4 * PERIOD_S  # planned from the setpoint of this moment
        join.take(chunk, rows[-1], (rows[-1] - rows[-2]) / PERIOD_S)
        rows = np.concatenate([rows, sampled(join, 1 + 4 * n, 4)])
    bounded(rows, LIMITS)
    assert np.diff(rows[-8:], axis=0) / PERIOD_S == pytest.approx(np.tile(speed, (7, 1)), abs=1e-6)
    assert (np.diff(rows[:, 0]) >= -1e-12).all()  # never backwards


def test_once_joined_chunks_are_followed_as_they_are() -> None:
    join, out = waiting(LIMITS, np.ones(3), np.zeros(3)), np.zeros(3)
    join.take(ramp(np.ones(3), np.zeros(3)), np.ones(3), np.zeros(3))
    join.sample(T0 + PERIOD_NS, out)
    join.take(ramp(np.full(3, 2.0), np.zeros(3)), np.ones(3), np.zeros(3))
    join.sample(T0 + 2 * PERIOD_NS, out)
    assert (out == 2.0).all()


def test_without_a_chunk_it_comes_to_rest() -> None:
    join, out = waiting(LIMITS, np.zeros(3), np.ones(3)), np.zeros(3)
    rows = np.concatenate([[np.full(3, -PERIOD_S), np.zeros(3)], sampled(join, 1, 200)])
    bounded(rows, LIMITS)
    assert join.sample(T0 + 201 * PERIOD_NS, out)
    assert join.chunk is None


def test_joining_keeps_nothing() -> None:
    from tests.edge_runtime.memory import growth

    join, out = waiting(LIMITS, np.zeros(3), np.zeros(3)), np.zeros(3)
    chunk = ramp(np.full(3, 1.0), np.zeros(3))

    def work() -> None:
        join.begin(join._rest)
        join.take(chunk, np.zeros(3), np.zeros(3))
        join.sample(T0 + PERIOD_NS, out)

    assert growth(work, times=2_000) < 1_000
