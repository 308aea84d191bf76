"""Following chunks: exact at the actions, smooth between them and across seams, at rest behind the last one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.curve import evaluate, quintic
from edge_runtime.follow import Follow
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from tests.edge_runtime.motion import MS, T0, WIDE, bounds, check, chunk, emitted, limiter, limits, periods, triple

PERIOD = 5 * MS


def following(actions: np.ndarray, dt_ns: int = 50 * MS, at: Limits = WIDE, *, guard: Limiter | None = None) -> Follow:
    """A chunk that is followed as it is, without a seam."""
    follow = Follow(at, guard or limiter(at), PERIOD, blend=False)
    follow.begin(chunk(actions, dt_ns), T0, 0)
    return follow


@given(st.lists(triple, min_size=2, max_size=12), st.integers(1 * MS, 200 * MS))
def test_a_chunk_is_exact_at_its_actions(rows: list, dt_ns: int) -> None:
    actions, out = np.array(rows), Reference(3)
    follow = following(actions, dt_ns)
    for k, row in enumerate(actions):
        assert not follow.sample(T0 + k * dt_ns, out)
        assert not out.rest
        np.testing.assert_allclose(out.position_rad, row, atol=1e-12)
    assert not follow.over


def test_between_its_actions_position_velocity_and_acceleration_are_one_smooth_curve() -> None:
    rng = np.random.default_rng(1)
    actions = np.cumsum(rng.normal(size=(8, 3)), axis=0) * 0.05
    follow, rows = following(actions), []
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
    follow, out = following(np.arange(12.0).reshape(4, 3)), Reference(3)
    follow.sample(T0 + 75 * MS, out)
    assert out.position_rad == pytest.approx([4.5, 5.5, 6.5])
    assert out.velocity_rad_s == pytest.approx([60.0] * 3)
    assert out.acceleration_rad_s2 == pytest.approx([0.0] * 3, abs=1e-9)


def test_a_quintic_meets_both_ends() -> None:
    rng = np.random.default_rng(2)
    begin, end, curve, out = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), np.zeros((3, 6, 3)), Reference(3)
    quintic(begin, end, 0.3, curve)
    for t, knot in ((0.0, begin), (0.3, end)):
        evaluate(curve, t, out)
        found = np.array([out.position_rad, out.velocity_rad_s, out.acceleration_rad_s2])
        np.testing.assert_allclose(found, knot, atol=1e-9)


def test_a_chunk_before_its_first_action_and_after_its_last() -> None:
    actions, out = np.arange(12.0).reshape(4, 3), Reference(3)
    follow = following(actions)
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
    follow = following(np.array(rows), at=at, guard=guard)
    check(emitted(follow, guard, 5 * MS, 60.0), 0.005, at)
    assert follow.over
    assert guard.at_rest


def test_a_chunk_that_rests_holds_its_last_action() -> None:
    out, made = Reference(3), chunk(np.ones((2, 3)))
    made.rests = True
    follow = Follow(WIDE, limiter(WIDE), PERIOD, blend=False)
    follow.begin(made, T0, 0)
    assert not follow.sample(T0 + 40 * MS, out)
    assert follow.sample(T0 + 60 * MS, out)
    assert (out.position_rad == 1.0).all()
    assert not follow.over
    assert not out.rest


def test_without_a_chunk_the_arm_comes_to_rest() -> None:
    out, follow = Reference(3), Follow(WIDE, limiter(WIDE), PERIOD)
    assert follow.sample(T0, out)
    assert out.rest
    follow.begin(chunk(np.ones((3, 3))), T0, 0)
    assert not follow.sample(T0, out)
    follow.forget()
    assert follow.sample(T0 + MS, out)
    assert out.rest


def test_a_setpoint_that_takes_long_to_its_motor_is_the_action_that_is_due_there() -> None:
    actions, out = np.arange(12.0).reshape(4, 3), Reference(3)
    follow = Follow(WIDE, limiter(WIDE), PERIOD, blend=False)
    follow.begin(chunk(actions), T0, 30 * MS)
    follow.sample(T0 + 20 * MS, out)
    np.testing.assert_allclose(out.position_rad, actions[1])
    follow.sample(T0 + 120 * MS, out)
    assert not follow.over
    follow.sample(T0 + 121 * MS, out)
    assert follow.over


def test_a_stepwise_joint_goes_to_the_action_that_was_due_last_and_the_others_do_not() -> None:
    actions, out = np.arange(12.0).reshape(4, 3), Reference(3)
    follow = Follow(WIDE, limiter(WIDE), PERIOD, stepwise=np.array([False, False, True]), blend=False)
    follow.begin(chunk(actions), T0, 0)
    for t_ms, step in ((-10, 2.0), (0, 2.0), (49, 2.0), (50, 5.0), (99, 5.0), (150, 11.0)):
        follow.sample(T0 + t_ms * MS, out)
        assert out.position_rad[2] == step
        assert out.velocity_rad_s[2] == out.acceleration_rad_s2[2] == 0.0
    follow.sample(T0 + 75 * MS, out)
    assert out.position_rad[:2] == pytest.approx([4.5, 5.5])
    assert out.velocity_rad_s[:2] == pytest.approx([60.0] * 2)


EASY = limits([9.0] * 3, [90.0] * 3, [3000.0] * 3)
"""So wide that a smooth chunk and a blend together stay within them."""


def smooth(seed: int, height: float) -> np.ndarray:
    """Actions [60, 3] every 50 ms of slow waves."""
    t = np.arange(60)[:, None] * 0.05
    phase, pace = np.random.default_rng(seed).uniform(0.5, 2.0, (2, 3))
    return 0.1 * np.sin(pace * t + phase) + height


def across(seam: bool, jump: float, step_ns: int = PERIOD) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Setpoints while a chunk takes over that is `jump` away, the second chunk's own curve, and what was limited."""
    guard, wanted, out = limiter(EASY, smooth(1, 0.0)[0], step_ns), Reference(3), np.zeros(3)
    follow = Follow(EASY, guard, step_ns, blend=seam)
    alone = Follow(EASY, guard, step_ns, blend=False)
    first, second = chunk(smooth(1, 0.0)), chunk(smooth(2, jump), start_ns=T0 + 220 * MS)
    alone.begin(second, T0, 0)
    follow.begin(first, T0, 0)
    rows, own = [], []
    for t in range(T0, T0 + 2500 * MS, step_ns):
        if t == T0 + 300 * MS:
            follow.begin(second, t, 0)
            before = guard.counted()
        follow.sample(t, wanted)
        guard.limit(wanted, out)
        rows.append(out.copy())
        alone.sample(t, wanted)
        own.append(wanted.position_rad.copy())
    after = {name: count - before.get(name, 0) for name, count in guard.counted().items()}
    return np.array(rows), np.array(own), {name: count for name, count in after.items() if count}


@pytest.mark.parametrize("jump", [0.0, 0.02, -0.2, 0.5])
def test_a_blended_seam_takes_the_new_chunk_up_within_the_limits_of_the_arm(jump: float) -> None:
    rows, own, limited = across(True, jump)
    assert limited == {}  # the reference itself keeps to them: the limiter had nothing to do
    check(rows, PERIOD / 1e9, EASY)
    np.testing.assert_allclose(rows[-1], own[-1], atol=1e-9)  # and it is on the new chunk in the end
    assert np.abs(np.diff(rows[58:62], axis=0)).max() < 0.005  # nothing happens in the tick of the seam


def test_a_chunk_that_begins_between_two_setpoints_is_joined_as_if_it_had_gone_on_evenly_before() -> None:
    """As deltas do: of two chunks that agree, nothing is felt."""
    guard, wanted, out = limiter(EASY), Reference(3), np.zeros(3)
    follow, even = Follow(EASY, guard, PERIOD), np.arange(40.0)[:, None] * 0.05 * np.array([1.0, -0.5, 0.0])
    follow.begin(chunk(even), T0, 0)
    rows = []
    for t in range(T0, T0 + 1500 * MS, PERIOD):
        if t == T0 + 1000 * MS:
            start_ns = t - 2 * MS
            follow.begin(chunk(even + even[1] * (start_ns - T0) / (50 * MS), start_ns=start_ns), t, 0)
        follow.sample(t, wanted)
        guard.limit(wanted, out)
        rows.append(out.copy())
    speed = np.diff(rows[180:], axis=0) / (PERIOD / 1e9)
    np.testing.assert_allclose(speed, np.broadcast_to([1.0, -0.5, 0.0], speed.shape), atol=1e-3)


def test_without_a_seam_the_limiter_copes_with_the_jump() -> None:
    rows, own, limited = across(False, 0.2)
    assert limited
    check(rows, PERIOD / 1e9, EASY)
    np.testing.assert_allclose(rows[-1], own[-1], atol=1e-9)


@given(bounds, st.lists(triple, min_size=2, max_size=5), st.lists(triple, min_size=2, max_size=5), periods)
def test_whatever_chunks_come_the_setpoints_keep_to_the_limits(
    at: Limits, one: list, other: list, step_ns: int
) -> None:
    """Chunks that disagree, each taking over from one that is not finished."""
    guard, wanted, out = limiter(at, one[0], step_ns), Reference(3), np.zeros(3)
    follow, rows = Follow(at, guard, step_ns), [np.array(one[0])]
    for n, t in enumerate(range(T0, T0 + 400 * MS, step_ns)):
        if n % 12 == 0:
            follow.begin(chunk(np.array((one, other)[n // 12 % 2]), start_ns=t - 30 * MS), t, 0)
        follow.sample(t, wanted)
        guard.limit(wanted, out)
        rows.append(out.copy())
    check(np.array(rows), step_ns / 1e9, at)


def test_what_is_no_number_goes_on_to_safety_and_raises_nothing() -> None:
    for bad in (np.nan, np.inf, 1e308):
        guard, wanted = limiter(EASY), Reference(3)
        follow = Follow(EASY, guard, PERIOD)
        follow.begin(chunk(np.full((4, 3), bad)), T0, 0)
        follow.sample(T0, wanted)
        assert guard.limit(wanted, np.zeros(3)) == "a, b, c"
        assert (guard.position_rad == 0.0).all()
