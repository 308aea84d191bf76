"""The limiter: whatever goes in, what comes out is finite, in range and within reach of the setpoint before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.limits import Limits
from edge_runtime.safety import REASONS, Limiter
from tests.edge_runtime.memory import growth

PERIOD_S = 0.01
LOWER, UPPER, VELOCITY = np.array([-1.0, 0.0, -2.0]), np.array([1.0, 0.5, 3.0]), np.array([1.0, 2.0, 0.1])
REACH = VELOCITY * PERIOD_S
LIMITS = Limits(("pan", "lift", "grip"), LOWER, UPPER, VELOCITY, np.ones(3), np.ones(3))

anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
close = st.floats(-3.5, 3.5)
inputs = st.lists(st.tuples(*[st.one_of(close, close, close, anything)] * 3), min_size=1, max_size=40)
inside = st.tuples(*[st.floats(float(low), float(high)) for low, high in zip(LOWER, UPPER, strict=True)])


def limiter(start: object = (0.0, 0.1, 0.0)) -> Limiter:
    made = Limiter(LIMITS, PERIOD_S)
    made.start_from(np.array(start))
    return made


@given(inside, inputs)
def test_bounds_hold_at_every_step_whatever_comes_in(start: tuple, wanted: list) -> None:
    guard, last = limiter(start), np.array(start)
    for target in wanted:
        setpoint = np.array(target)
        refused = guard.limit(setpoint)
        assert np.isfinite(setpoint).all()
        assert ((setpoint >= LOWER) & (setpoint <= UPPER)).all()
        assert (np.abs(setpoint - last) <= REACH * (1 + 1e-12) + 1e-15).all()
        assert bool(refused) == (not np.isfinite(target).all())
        if refused:
            assert (setpoint == last).all()
        assert (guard.position_rad == setpoint).all()
        last = setpoint


@given(inside, inside)
def test_it_reaches_what_is_allowed_and_leaves_it_alone_there(start: tuple, target: tuple) -> None:
    guard = limiter(start)
    steps = int(np.ceil((np.abs(np.array(target) - start) / REACH).max())) + 1
    for _ in range(steps):
        setpoint = np.array(target)
        guard.limit(setpoint)
    assert (setpoint == target).all()
    before = guard.counts.copy()
    guard.limit(setpoint)
    assert (setpoint == target).all()
    assert (guard.counts == before).all()
    assert (guard.velocity_rad_s == 0.0).all()


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_edges_themselves_are_allowed(side: float) -> None:
    edge = LOWER if side < 0 else UPPER
    guard, setpoint = limiter(edge), edge.copy()
    assert guard.limit(setpoint) == ""
    assert (setpoint == edge).all()
    setpoint = edge - side * REACH
    expected = setpoint.copy()
    guard.limit(setpoint)
    assert (setpoint == expected).all()
    assert guard.counted() == {}
    just_outside = np.nextafter(edge, side * 9.0)
    guard.start_from(edge)
    guard.limit(just_outside)
    assert (just_outside == edge).all()
    assert sum(guard.counted().values()) == 3


def test_every_limit_names_joint_and_reason() -> None:
    guard = limiter()
    assert guard.limit(np.array([np.nan, 0.1, np.inf])) == "pan, grip"
    guard.limit(np.array([-5.0, 0.1, 0.0]))
    guard.limit(np.array([-0.02, 9.0, 0.0]))
    assert guard.counted() == {
        "not finite pan": 1,
        "not finite grip": 1,
        "below range pan": 1,
        "above range lift": 1,
        "velocity pan": 1,
        "velocity lift": 1,
    }
    assert {name.rpartition(" ")[0] for name in guard.counted()} == set(REASONS)


def test_a_joint_found_outside_its_range_comes_back_no_faster_than_it_may() -> None:
    guard = limiter((1.2, 0.1, 0.0))
    setpoint = np.array([1.2, 0.1, 0.0])
    guard.limit(setpoint)
    assert setpoint == pytest.approx([1.19, 0.1, 0.0])


def test_velocity_is_that_of_what_was_emitted_and_survives_a_refusal() -> None:
    guard = limiter()
    guard.limit(np.array([0.005, 9.0, 0.0]))
    assert guard.velocity_rad_s == pytest.approx([0.5, 2.0, 0.0])
    guard.limit(np.full(3, np.nan))
    assert guard.velocity_rad_s == pytest.approx([0.5, 2.0, 0.0])
    guard.start_from(np.zeros(3))
    assert (guard.velocity_rad_s == 0.0).all()


def test_what_was_not_emitted_is_taken_back() -> None:
    guard = limiter()
    guard.limit(np.array([0.005, 0.105, 0.0]))
    guard.limit(np.array([0.015, 0.115, 0.0]))
    guard.take_back(slice(0, 1))
    assert guard.position_rad == pytest.approx([0.005, 0.115, 0.0])
    guard.limit(np.full(3, np.nan))
    guard.take_back(slice(0, 3))  # it was the last setpoint again
    assert guard.position_rad == pytest.approx([0.005, 0.115, 0.0])
    setpoint = np.array([1.0, 0.5, 0.0])
    guard.limit(setpoint)
    assert setpoint == pytest.approx([0.005 + 0.01, 0.115 + 0.02, 0.0])


def test_limiting_keeps_nothing() -> None:
    guard, setpoint = limiter(), np.zeros(3)

    def call() -> None:
        setpoint[:] = 0.3
        guard.limit(setpoint)

    assert growth(call, times=2_000) < 500
