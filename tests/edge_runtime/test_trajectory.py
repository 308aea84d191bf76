"""Motions: exact where they must be exact, and within every limit at every sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.chunk import Chunk
from edge_runtime.limits import Limits
from edge_runtime.trajectory import Follow, Move, Stop, Transfer

MS = 1_000_000
T0 = 5_000 * MS

figure = st.floats(-3.0, 3.0)
velocity = st.floats(0.2, 5.0)
acceleration = st.floats(1.0, 30.0)
jerk = st.floats(10.0, 500.0)
triple = st.tuples(figure, figure, figure)


def limits(v: list[float], a: list[float], j: list[float]) -> Limits:
    n = len(v)
    return Limits(tuple("abcdef"[:n]), np.full(n, -9.0), np.full(n, 9.0), np.array(v), np.array(a), np.array(j))


bounds = st.builds(limits, *(st.lists(kind, min_size=3, max_size=3) for kind in (velocity, acceleration, jerk)))


WIDE = limits([1e3] * 3, [1e6] * 3, [1e9] * 3)


def sampled(motion: Stop | Move | Transfer, step_ns: int, end_ns: int) -> np.ndarray:
    """Positions [samples, joints] from T0 until the motion is over; it must be by `end_ns`."""
    rows, out, t = [], np.zeros(3), T0
    while True:
        over = motion.sample(t, out)
        rows.append(out.copy())
        if over:
            return np.array(rows)
        t += step_ns
        assert t <= end_ns + step_ns


def check(rows: np.ndarray, step_s: float, at: Limits, v_max: np.ndarray | None = None) -> None:
    """Finite differences against the limits; the last samples, cut short by the end, included."""
    speed = np.diff(rows, axis=0) / step_s
    bend = np.diff(speed, axis=0) / step_s
    jolt = np.diff(bend, axis=0) / step_s
    noise = 1e-13 / step_s**3
    assert (np.abs(speed) <= (at.velocity if v_max is None else v_max) * 1.0001 + 1e-9).all()
    assert (np.abs(bend) <= at.acceleration * 1.0001 + 1e-6).all()
    assert (np.abs(jolt) <= at.jerk * 1.0001 + 50 * noise).all()


@given(bounds, triple, triple, st.sampled_from([2 * MS, 5 * MS, 10 * MS]))
def test_a_move_keeps_every_limit_and_ends_exactly(at: Limits, begin: tuple, end: tuple, step_ns: int) -> None:
    move = Move(at)
    move.begin(np.array(begin), np.array(end), T0)
    rows = sampled(move, step_ns, T0 + move.duration_ns)
    assert (rows[0] == begin).all()
    assert (rows[-1] == end).all()
    check(rows, step_ns / 1e9, at)


def test_a_move_takes_no_longer_than_the_tightest_limit_demands() -> None:
    for v, a, j, seconds in (
        (1.0, 1e6, 1e9, 1.875 * 2),
        (1e6, 1.0, 1e9, np.sqrt(10 / np.sqrt(3) * 2)),
        (1e6, 1e6, 1.0, (60 * 2) ** (1 / 3)),
    ):
        move = Move(limits([v] * 3, [a] * 3, [j] * 3))
        move.begin(np.zeros(3), np.array([2.0, -1.0, 0.0]), T0)
        assert move.duration_ns / 1e9 == pytest.approx(seconds, rel=1e-6)


def test_a_move_to_where_it_is_takes_no_time() -> None:
    move, out = Move(limits([1] * 3, [1] * 3, [1] * 3)), np.zeros(3)
    move.begin(np.ones(3), np.ones(3), T0)
    assert move.sample(T0, out)
    assert (out == 1.0).all()


@given(bounds, triple, st.tuples(*[st.floats(-1.0, 1.0)] * 3), st.sampled_from([2 * MS, 5 * MS, 10 * MS]))
def test_a_stop_ends_where_and_when_it_said(at: Limits, begin: tuple, share: tuple, step_ns: int) -> None:
    stop, v0 = Stop(at), np.array(share) * at.velocity
    stop.begin(np.array(begin), v0, T0)
    seconds = max((1.5 * np.abs(v0) / at.acceleration).max(), np.sqrt((6 * np.abs(v0) / at.jerk).max()))
    assert stop.duration_ns == pytest.approx(seconds * 1e9, abs=2)
    assert stop.end_rad == pytest.approx(np.array(begin) + v0 * seconds / 2, abs=1e-8)
    rows = sampled(stop, step_ns, T0 + stop.duration_ns)
    assert (rows[-1] == stop.end_rad).all()
    before = np.array(begin) - v0 * step_ns / 1e9  # where it was one sample before it began to stop
    check(np.vstack([before, rows]), step_ns / 1e9, at, v_max=np.abs(v0) + 1e-6)


def test_a_stop_at_rest_is_over_at_once() -> None:
    stop, out = Stop(limits([1] * 3, [1] * 3, [1] * 3)), np.zeros(3)
    stop.begin(np.ones(3), np.zeros(3), T0)
    assert stop.sample(T0, out)
    assert (out == 1.0).all()


@given(bounds, triple, triple, st.tuples(*[st.floats(-1.0, 1.0)] * 3))
def test_a_transfer_stops_and_then_moves_without_a_seam(at: Limits, begin: tuple, end: tuple, share: tuple) -> None:
    transfer, v0 = Transfer(at), np.array(share) * at.velocity
    transfer.begin(np.array(begin), v0, np.array(end), T0)
    rows = sampled(transfer, 5 * MS, T0 + 60_000 * MS)
    assert (rows[-1] == end).all()
    check(np.vstack([np.array(begin) - v0 * 0.005, rows]), 0.005, at)


def test_a_postponed_move_goes_on_from_where_it_was() -> None:
    move, out = Move(limits([1] * 3, [5] * 3, [50] * 3)), np.zeros(3)
    move.begin(np.zeros(3), np.ones(3), T0)
    move.sample(T0 + 300 * MS, out)
    before = out.copy()
    move.postpone(400 * MS)
    move.sample(T0 + 700 * MS, out)
    assert (out == before).all()


# ── chunks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def chunk(actions: np.ndarray, dt_ns: int = 50 * MS) -> Chunk:
    made = Chunk(*actions.shape, dt_ns)
    made.actions[:] = actions
    made.capture_ns = made.start_ns = T0
    return made


@given(st.lists(triple, min_size=2, max_size=12), st.integers(1 * MS, 200 * MS), st.data())
def test_a_chunk_is_exact_at_its_actions_and_between_its_neighbours(
    rows: list, dt_ns: int, data: st.DataObject
) -> None:
    actions, out = np.array(rows), np.zeros(3)
    follow = Follow(WIDE)
    follow.begin(chunk(actions, dt_ns))
    for k, row in enumerate(actions):
        assert not follow.sample(T0 + k * dt_ns, out)
        assert (out == row).all()
    k = data.draw(st.integers(0, len(actions) - 2))
    rest = data.draw(st.integers(0, dt_ns))
    follow.sample(T0 + k * dt_ns + rest, out)
    low, high = np.minimum(actions[k], actions[k + 1]), np.maximum(actions[k], actions[k + 1])
    assert ((out >= low - 1e-12) & (out <= high + 1e-12)).all()
    assert out == pytest.approx(actions[k] + (actions[k + 1] - actions[k]) * rest / dt_ns, abs=1e-12)


def test_a_chunk_before_its_first_action_and_after_its_last() -> None:
    actions, out = np.arange(12.0).reshape(4, 3), np.zeros(3)
    follow = Follow(WIDE)
    follow.begin(chunk(actions))
    assert not follow.sample(T0 - 1, out)
    assert (out == actions[0]).all()
    assert not follow.sample(T0 + 150 * MS, out)
    assert (out == actions[3]).all()
    assert not follow.over
    assert not follow.sample(T0 + 150 * MS + 1, out)
    assert follow.over
    assert out == pytest.approx(actions[3], abs=1e-6)


def test_behind_the_last_action_a_chunk_comes_to_rest_within_the_limits() -> None:
    at = limits([2.0] * 3, [8.0] * 3, [80.0] * 3)
    speed = np.array([1.0, -1.9, 50.0])  # the last one is faster than the joint may be
    actions = speed * 0.05 * np.arange(5)[:, None]
    follow = Follow(at)
    follow.begin(chunk(actions))
    times = np.arange(T0 + 200 * MS, T0 + 1200 * MS, 5 * MS)
    rows = np.zeros((len(times), 3))
    over = [follow.sample(int(t), row) for t, row in zip(times, rows, strict=True)]
    assert over == sorted(over)  # once at rest, for good
    slow = np.clip(speed, -2.0, 2.0)
    seconds = max((1.5 * np.abs(slow) / 8.0).max(), np.sqrt((6 * np.abs(slow) / 80.0).max()))
    assert rows[-1] == pytest.approx(actions[-1] + slow * seconds / 2, abs=1e-6)
    check(rows, 0.005, at)
    follow.begin(chunk(actions))
    assert not follow.sample(T0 + 100 * MS, rows[0])
    assert rows[0] == pytest.approx(actions[2])
    follow.sample(T0 + 250 * MS, rows[1])
    follow.postpone(400 * MS)  # a stop that lost time goes on from where it was
    follow.sample(T0 + 650 * MS, rows[2])
    assert (rows[1] == rows[2]).all()


def test_a_chunk_of_one_action_stays_there() -> None:
    follow, out = Follow(WIDE), np.zeros(3)
    follow.begin(chunk(np.ones((1, 3))))
    assert not follow.sample(T0, out)
    assert follow.sample(T0 + 1, out)
    assert (out == 1.0).all()


def test_a_chunk_that_starts_late_starts_at_the_action_due_now() -> None:
    follow, out = Follow(WIDE), np.zeros(3)
    follow.begin(chunk(np.arange(12.0).reshape(4, 3)))
    follow.sample(T0 + 75 * MS, out)
    assert out == pytest.approx([4.5, 5.5, 6.5])


def test_without_a_chunk_the_setpoint_stays() -> None:
    out = np.array([1.0, 2.0, 3.0])
    assert Follow(WIDE).sample(T0, out)
    assert out.tolist() == [1.0, 2.0, 3.0]
