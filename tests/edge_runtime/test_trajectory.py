"""Motions: exact where they must be exact, and with the limiter behind them within every limit at every sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.brake import Brake
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from edge_runtime.trajectory import Move, Stop, Transfer
from tests.edge_runtime.motion import MS, ONE, T0, bounds, check, emitted, limiter, limits, periods, triple


@given(bounds, triple, triple, periods)
def test_a_move_is_within_every_limit_by_itself_and_ends_exactly(
    at: Limits, begin: tuple, end: tuple, step_ns: int
) -> None:
    move, guard = Move(at), limiter(at, begin, step_ns)
    move.begin(np.array(begin), np.array(end), T0)
    rows = emitted(move, guard, step_ns, move.duration_ns / 1e9 + 0.02)
    assert (rows[0] == begin).all()
    assert (rows[-1] == end).all()
    check(rows, step_ns / 1e9, at)
    assert guard.counted() == {}


def test_a_move_gives_its_own_derivatives() -> None:
    move, rows, step = Move(ONE), [], MS // 10
    move.begin(np.zeros(3), np.array([1.0, -0.5, 0.0]), T0)
    for t in range(T0, T0 + move.duration_ns, step):
        out = Reference(3)
        move.sample(t, out)
        rows.append((out.position_rad, out.velocity_rad_s, out.acceleration_rad_s2))
    p, v, a = (np.array(column) for column in zip(*rows, strict=True))
    np.testing.assert_allclose(np.gradient(p, 1e-4, axis=0)[1:-1], v[1:-1], atol=1e-4)
    np.testing.assert_allclose(np.gradient(v, 1e-4, axis=0)[1:-1], a[1:-1], atol=1e-3)


def test_a_move_takes_no_longer_than_the_tightest_limit_demands() -> None:
    for v, a, j, seconds in (
        (1.0, 1e6, 1e9, 1.875 * 2),
        (1e6, 1.0, 1e9, np.sqrt(10 / np.sqrt(3) * 2)),
        (1e6, 1e6, 1.0, (60 * 2 / 0.79) ** (1 / 3)),
    ):
        move = Move(limits([v] * 3, [a] * 3, [j] * 3))
        move.begin(np.zeros(3), np.array([2.0, -1.0, 0.0]), T0)
        assert move.duration_ns / 1e9 == pytest.approx(seconds, rel=1e-6)


def test_a_move_to_where_it_is_takes_no_time() -> None:
    move, out = Move(ONE), Reference(3)
    move.begin(np.ones(3), np.ones(3), T0)
    assert move.sample(T0, out)
    assert (out.position_rad == 1.0).all()
    assert not out.rest


def test_a_postponed_move_goes_on_from_where_it_was() -> None:
    move, out = Move(ONE), Reference(3)
    move.begin(np.zeros(3), np.ones(3), T0)
    move.sample(T0 + 300 * MS, out)
    before = out.position_rad.copy()
    move.postpone(400 * MS)
    move.sample(T0 + 700 * MS, out)
    assert (out.position_rad == before).all()


@given(bounds, triple, triple, st.integers(0, 60), periods)
def test_a_stop_is_the_quickest_from_wherever_the_arm_is(
    at: Limits, begin: tuple, goal: tuple, ticks: int, step_ns: int
) -> None:
    """Begun while the joints chase a far goal, with acceleration: it ends where each joint's brake says."""
    guard, wanted, out = limiter(at, begin, step_ns), Reference(3), np.zeros(3)
    wanted.hold(np.array(goal))
    rows = [guard.position_rad.copy()]
    for _ in range(ticks):
        guard.limit(wanted, out)
        rows.append(out.copy())
    ends = []
    for index, joint in enumerate(guard._guards):
        brake = Brake(at.acceleration[index], at.jerk[index])
        brake.plan(joint.p, joint.v, joint.a)
        ends.append(brake.end)
    stop = emitted(Stop(guard), guard, step_ns, 30.0)
    np.testing.assert_allclose(stop[-1], ends, atol=1e-9)
    check(np.vstack([rows, stop[1:]]), step_ns / 1e9, at)


@given(bounds, triple, triple, triple, st.integers(0, 60))
def test_a_transfer_stops_and_then_moves_without_a_seam(
    at: Limits, begin: tuple, goal: tuple, end: tuple, ticks: int
) -> None:
    guard, wanted, out = limiter(at, begin), Reference(3), np.zeros(3)
    wanted.hold(np.array(goal))
    rows = [guard.position_rad.copy()]
    for _ in range(ticks):
        guard.limit(wanted, out)
        rows.append(out.copy())
    transfer = Transfer(at, guard)
    transfer.begin(np.array(end))
    rest = emitted(transfer, guard, 5 * MS, 90.0)
    assert (rest[-1] == end).all()
    check(np.vstack([rows, rest[1:]]), 0.005, at)


# ── chunks ──────────────────────────────────────────────────────────────────────────────────────────────────────────
