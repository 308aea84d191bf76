"""The tracker: whatever its goal does, every limit holds; noise is smoothed; the lag is what the file says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.limits import Limits
from edge_runtime.tracker import Tracker
from tests.edge_runtime.test_trajectory import acceleration, bounds, check, figure, jerk, limits, triple, velocity

PERIODS_S = (0.004, 0.01)
STEP_RAD = 2 * np.pi / 4096
"""Of a 12-bit encoder."""


def run(tracker: Tracker, goals: np.ndarray) -> np.ndarray:
    """Setpoints [ticks, 3] for goals [ticks, 3]."""
    out, rows = np.zeros(3), []
    for goal in goals:
        tracker.goal_rad[:] = goal
        tracker.step(out)
        rows.append(out.copy())
    return np.array(rows)


def slowest_s(at: Limits) -> float:
    """Longer than from rest to full speed and back to rest."""
    a = np.minimum(at.acceleration, np.sqrt(at.velocity * at.jerk / 2))
    return float(3.0 * np.max(at.velocity / a) + 3.0 * np.max(2 * a / at.jerk))


def lag_s(tracker: Tracker, at: Limits, period_s: float, speed: float) -> float:
    """What the file promises, for the first joint."""
    slowest = min(at.acceleration[0], np.sqrt(at.velocity[0] * at.jerk[0] / 2), at.jerk[0] * tracker.window_s / 2)
    return float(speed / (2 * slowest) + (tracker.window_s - period_s) / 2)


@settings(max_examples=50)
@given(
    bounds,
    triple,
    st.tuples(*[st.floats(-1.0, 1.0)] * 3),
    st.lists(st.tuples(triple, st.integers(1, 60)), min_size=1, max_size=8),
    st.sampled_from(PERIODS_S),
)
def test_whatever_the_goal_does_every_limit_holds(
    at: Limits, begin: tuple, speed: tuple, goals: list, period_s: float
) -> None:
    tracker = Tracker(at, period_s)
    moving = np.array(speed) * at.velocity
    tracker.begin(np.array(begin), moving)
    before = np.array(begin) + moving * period_s * np.arange(-3, 1)[:, None]
    rows = run(tracker, np.concatenate([np.tile(goal, (ticks, 1)) for goal, ticks in goals]))
    check(np.concatenate([before, rows]), period_s, at)  # from the very tick before on: a beginning without a bump


@settings(max_examples=25)
@given(bounds, triple, triple, st.sampled_from(PERIODS_S))
def test_it_comes_to_the_goal_without_passing_it_and_stays(
    at: Limits, begin: tuple, goal: tuple, period_s: float
) -> None:
    tracker = Tracker(at, period_s)
    tracker.begin(np.array(begin), np.zeros(3))
    seconds = np.max(np.abs(np.subtract(goal, begin)) / at.velocity) + slowest_s(at)
    rows = run(tracker, np.tile(goal, (round(seconds / period_s), 1)))
    low, high = np.minimum(begin, goal), np.maximum(begin, goal)
    assert (rows >= low - 1e-9).all()
    assert (rows <= high + 1e-9).all()
    assert rows[-1] == pytest.approx(np.array(goal), abs=1e-6)


@settings(max_examples=25)
@given(bounds, st.tuples(*[st.floats(-1.0, 1.0)] * 3), st.sampled_from(PERIODS_S))
def test_left_alone_it_comes_to_rest_without_turning_back(at: Limits, speed: tuple, period_s: float) -> None:
    tracker = Tracker(at, period_s)
    moving = np.array(speed) * at.velocity
    tracker.begin(np.zeros(3), moving)
    rows = run(tracker, np.tile(tracker.goal_rad.copy(), (round(slowest_s(at) / period_s), 1)))
    way = np.diff(np.concatenate([np.zeros((1, 3)), rows]), axis=0) * np.sign(moving)
    assert (way >= -1e-9).all()
    assert np.abs(way[-1]).max() < 1e-9


@settings(max_examples=25)
@given(velocity, acceleration, jerk, st.floats(0.1, 0.9), st.sampled_from(PERIODS_S))
def test_behind_a_goal_that_moves_steadily_it_is_late_by_what_the_file_says(
    v: float, a: float, j: float, share: float, period_s: float
) -> None:
    at = limits([v] * 3, [a] * 3, [j] * 3)
    tracker, speed = Tracker(at, period_s), share * v
    tracker.begin(np.zeros(3), np.zeros(3))
    ticks = round(2 * slowest_s(at) / period_s)
    goals = np.tile(speed * period_s * np.arange(1, ticks + 1)[:, None], (1, 3))
    late_s = (goals[-1] - run(tracker, goals)[-1]) / speed
    assert late_s == pytest.approx(lag_s(tracker, at, period_s, speed), abs=1.5 * period_s)


def test_the_lag_of_the_simulated_arm() -> None:
    """The figures of docs/hand.md: 2.5 rad/s, 15 rad/s², 150 rad/s³ at 100 Hz."""
    at = limits([2.5] * 3, [15.0] * 3, [150.0] * 3)
    tracker = Tracker(at, 0.01)
    assert lag_s(tracker, at, 0.01, 1e-9) == pytest.approx(0.090, abs=0.001)
    assert lag_s(tracker, at, 0.01, 1.0) == pytest.approx(0.127, abs=0.001)
    assert lag_s(tracker, at, 0.01, 2.5) == pytest.approx(0.182, abs=0.001)


@settings(max_examples=10)
@given(figure, st.integers(0, 2**32 - 1))
def test_noise_of_an_encoder_read_at_50_hz_makes_no_steps(place: float, seed: int) -> None:
    at = limits([2.5] * 3, [15.0] * 3, [150.0] * 3)
    tracker = Tracker(at, 0.005)
    tracker.begin(np.full(3, place), np.zeros(3))
    flicker = np.random.default_rng(seed).integers(0, 2, (200, 3)) * STEP_RAD
    rows = run(tracker, np.repeat(place + flicker, 4, axis=0))
    assert np.abs(np.diff(rows, axis=0)).max() < STEP_RAD / 30
    check(rows, 0.005, at)


def test_a_step_keeps_nothing() -> None:
    from tests.edge_runtime.memory import growth

    tracker, out = Tracker(limits([1.0] * 3, [10.0] * 3, [100.0] * 3), 0.01), np.zeros(3)
    assert growth(lambda: tracker.step(out), times=2_000) < 1_000
