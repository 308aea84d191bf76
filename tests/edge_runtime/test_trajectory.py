"""Motions: exact where they must be exact, and with the limiter behind them within every limit at every sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.brake import Brake
from edge_runtime.chunk import Chunk
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from edge_runtime.trajectory import Follow, Motion, Move, Stop, Transfer, evaluate, quintic

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
    """Finite differences against the limits; a tick's mean velocity may be J·T²/12 beyond those at its ends."""
    speed = np.diff(rows, axis=0) / step_s
    bend = np.diff(speed, axis=0) / step_s
    jolt = np.diff(bend, axis=0) / step_s
    noise = 1e-12 / step_s**3
    assert (np.abs(speed) <= at.velocity * 1.0001 + at.jerk * step_s**2 / 12).all()
    assert (np.abs(bend) <= at.acceleration * 1.0001 + 1e-6).all()
    assert (np.abs(jolt) <= at.jerk * 1.0001 + noise).all()


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
        (1e6, 1e6, 1.0, (60 * 2 / 0.85) ** (1 / 3)),
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


def chunk(actions: np.ndarray, dt_ns: int = 50 * MS) -> Chunk:
    made = Chunk(*actions.shape, dt_ns)
    made.actions[:] = actions
    made.capture_ns = made.start_ns = T0
    return made


def follower(actions: np.ndarray, dt_ns: int = 50 * MS, at: Limits = WIDE) -> Follow:
    follow = Follow(limiter(at))
    follow.begin(chunk(actions, dt_ns))
    return follow


@given(st.lists(triple, min_size=2, max_size=12), st.integers(1 * MS, 200 * MS))
def test_a_chunk_is_exact_at_its_actions(rows: list, dt_ns: int) -> None:
    actions, out = np.array(rows), Reference(3)
    follow = follower(actions, dt_ns)
    for k, row in enumerate(actions):
        assert not follow.sample(T0 + k * dt_ns, out)
        assert not out.rest
        np.testing.assert_allclose(out.position_rad, row, atol=1e-12)
    assert not follow.over


def test_between_its_actions_position_velocity_and_acceleration_are_one_smooth_curve() -> None:
    rng = np.random.default_rng(1)
    actions = np.cumsum(rng.normal(size=(8, 3)), axis=0) * 0.05
    follow, rows = follower(actions), []
    for t in range(T0, T0 + 350 * MS, MS // 10):
        out = Reference(3)
        follow.sample(t, out)
        rows.append((out.position_rad, out.velocity_rad_s, out.acceleration_rad_s2))
    p, v, a = (np.array(column) for column in zip(*rows, strict=True))
    np.testing.assert_allclose(np.gradient(p, 1e-4, axis=0)[1:-1], v[1:-1], atol=5e-3)
    np.testing.assert_allclose(np.gradient(v, 1e-4, axis=0)[1:-1], a[1:-1], atol=1.5)
    assert np.abs(np.diff(v, axis=0)).max() < 0.05
    assert np.abs(np.diff(a, axis=0)).max() < 3.0  # no jump, also at the actions
    inner = slice(500, 3000, 500)
    np.testing.assert_allclose(v[inner], (actions[2:7] - actions[:5]) / 0.1, atol=1e-9)


def test_an_even_motion_is_even_between_the_actions_too() -> None:
    follow, out = follower(np.arange(12.0).reshape(4, 3)), Reference(3)
    follow.sample(T0 + 75 * MS, out)
    assert out.position_rad == pytest.approx([4.5, 5.5, 6.5])
    assert out.velocity_rad_s == pytest.approx([60.0] * 3)
    assert out.acceleration_rad_s2 == pytest.approx([0.0] * 3, abs=1e-9)


def test_a_quintic_meets_both_ends() -> None:
    rng = np.random.default_rng(2)
    begin, end, curve, out = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), np.zeros((6, 3)), Reference(3)
    quintic(begin, end, 0.3, curve)
    for t, knot in ((0.0, begin), (0.3, end)):
        evaluate(curve, t, out)
        found = np.array([out.position_rad, out.velocity_rad_s, out.acceleration_rad_s2])
        np.testing.assert_allclose(found, knot, atol=1e-9)


def test_a_chunk_before_its_first_action_and_after_its_last() -> None:
    actions, out = np.arange(12.0).reshape(4, 3), Reference(3)
    follow = follower(actions)
    assert not follow.sample(T0 - 1, out)
    assert (out.position_rad == actions[0]).all()
    assert (out.velocity_rad_s == 0.0).all()
    assert not follow.sample(T0 + 150 * MS, out)
    assert out.position_rad == pytest.approx(actions[3])
    assert not follow.over
    follow.sample(T0 + 150 * MS + 1, out)
    assert follow.over
    assert out.rest


@given(bounds, st.lists(triple, min_size=1, max_size=6))
def test_behind_the_last_action_a_chunk_comes_to_rest_within_the_limits(at: Limits, rows: list) -> None:
    guard = limiter(at, rows[0])
    follow = Follow(guard)
    follow.begin(chunk(np.array(rows)))
    check(emitted(follow, guard, 5 * MS, 60.0), 0.005, at)
    assert follow.over
    assert guard.at_rest


def test_a_chunk_that_rests_holds_its_last_action() -> None:
    actions, out = np.ones((2, 3)), Reference(3)
    follow = Follow(limiter(WIDE))
    made = chunk(actions)
    made.rests = True
    follow.begin(made)
    assert follow.sample(T0 + 60 * MS, out)
    assert (out.position_rad == 1.0).all()
    assert not follow.over
    assert not out.rest


def test_without_a_chunk_the_arm_comes_to_rest() -> None:
    out = Reference(3)
    assert Follow(limiter(WIDE)).sample(T0, out)
    assert out.rest
