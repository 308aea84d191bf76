"""The quickest stop: against one found by halving, against figures worked out by hand, and against Ruckig."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.brake import Brake, longest_stop
from tests.edge_runtime.stops import quickest_stop

limits = st.floats(-3.0, 3.0).map(lambda x: 10.0**x)
part = st.one_of(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), st.floats(-1.0, 1.0), st.floats(-1e-6, 1e-6))


def planned(p: float, v: float, a: float, acceleration: float, jerk: float) -> Brake:
    brake = Brake(acceleration, jerk)
    brake.plan(p, v, a)
    return brake


@pytest.mark.parametrize("second", [1.0, 0.5])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("v", "a", "duration", "end", "back"),
    [
        (0.0, 0.0, 0.0, 0.0, 0.0),
        (1.0, 0.0, 2.0, 1.0, 0.0),  # down to -1 and back: no middle piece
        (4.0, 0.0, 4.0, 8.0, 0.0),  # down to -2, where the middle piece lasts no time
        (6.0, 0.0, 5.0, 15.0, 0.0),  # one second of -2
        (0.5, -1.0, 1.0, 1 / 6, 0.0),  # the acceleration taken away: nothing else
        (2.5, 1.0, 1.0 + 2.0 * math.sqrt(3.0), 17 / 6 + 3.0 * math.sqrt(3.0), 0.0),  # from 3 once taken away
        (0.0, 1.0, 1.0 + 2.0 * math.sqrt(0.5), 1 / 3 + math.sqrt(0.5) ** 3, 0.0),
        (-0.5, 1.0, 1.0, -1 / 6, 0.0),  # on the verge of turning
        (-0.375, 1.0, 1.0 + 2.0 * math.sqrt(0.125), -1 / 24 + math.sqrt(0.125) ** 3, -1 / 12),  # turns at 0.5 s
        (0.0, 3.0, 3.0 + 4.25, 9.0 + 4.5 * 4.25 / 2, 0.0),  # an acceleration beyond the limit is taken away, too
        (4.5, -3.0, 3.0, 4.5, 0.0),
        (7.5, -3.0, 4.0, 10.5, 0.0),  # or kept for a while, and not passed
    ],
)
def test_figures_worked_out_by_hand(
    v: float, a: float, duration: float, end: float, back: float, sign: float, second: float
) -> None:
    brake = planned(10.0, sign * v / second, sign * a / second**2, 2.0 / second**2, 1.0 / second**3)
    assert brake.duration_s == pytest.approx(duration * second, abs=1e-12)
    assert sign * (brake.end - 10.0) == pytest.approx(end, abs=1e-12)
    low, high = min(back, end), max(end, 0.0)
    assert brake.lowest - 10.0 == pytest.approx(low if sign > 0.0 else -high, abs=1e-12)
    assert brake.highest - 10.0 == pytest.approx(high if sign > 0.0 else -low, abs=1e-12)


@given(limits, limits, limits, part, part)
def test_it_is_the_quickest_stop(speed: float, acceleration: float, jerk: float, v: float, a: float) -> None:
    brake = planned(0.0, v * speed, a * acceleration, acceleration, jerk)
    best = quickest_stop(v * speed, a * acceleration, acceleration, jerk)
    way = abs(best.highest) + abs(best.lowest)
    assert brake.duration_s == pytest.approx(best.duration, rel=1e-6, abs=1e-9)
    assert brake.end == pytest.approx(best.end, rel=1e-6, abs=1e-6 * way + 1e-12)
    assert brake.lowest == pytest.approx(best.lowest, rel=1e-5, abs=1e-5 * way + 1e-12)
    assert brake.highest == pytest.approx(best.highest, rel=1e-5, abs=1e-5 * way + 1e-12)


@given(limits, limits, limits, part, part, st.floats(0.0, 1.0))
def test_along_the_way_it_keeps_to_its_limits_and_its_rest_is_the_same_stop(
    speed: float, acceleration: float, jerk: float, v: float, a: float, x: float
) -> None:
    brake = planned(0.3, v * speed, a * acceleration, acceleration, jerk)
    t = x * brake.duration_s
    state = brake.at(t)
    rest = planned(*state, acceleration, jerk)
    way = brake.highest - brake.lowest
    assert abs(state[2]) <= acceleration * (1 + 1e-9)
    assert brake.lowest - 1e-9 * way - 1e-12 <= state[0] <= brake.highest + 1e-9 * way + 1e-12
    assert t + rest.duration_s == pytest.approx(brake.duration_s, rel=1e-5)
    assert rest.end == pytest.approx(brake.end, abs=1e-7 * way + 1e-12)


def test_states_along_a_stop_of_three_pieces() -> None:
    brake = planned(10.0, 6.0, 0.0, 2.0, 1.0)
    assert brake.at(0.0) == (10.0, 6.0, 0.0)
    assert brake.at(1.0) == pytest.approx((10.0 + 6.0 - 1 / 6, 5.5, -1.0))
    assert brake.at(2.5) == pytest.approx((10.0 + 12.0 - 8 / 6 + 2.0 - 0.25, 3.0, -2.0))
    assert brake.at(4.0) == pytest.approx((25.0 - 1 / 6, 0.5, -1.0))
    assert brake.at(5.0) == pytest.approx((25.0, 0.0, 0.0))
    assert brake.at(5.5) == (25.0, 0.0, 0.0)


def test_rounding_on_the_verge_of_turning_does_no_harm() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        acceleration, jerk = 10.0 ** rng.uniform(-2.0, 2.0), 10.0 ** rng.uniform(-2.0, 3.0)
        a = rng.uniform(-acceleration, acceleration)
        v = -a * abs(a) / (2.0 * jerk) * (1.0 + rng.choice([-1, 0, 1]) * 2.0**-52)
        assert planned(0.0, v, a, acceleration, jerk).duration_s == pytest.approx(abs(a) / jerk, rel=1e-6)


def test_a_new_brake_is_at_rest() -> None:
    brake = Brake(2.0, 1.0)
    assert (brake.duration_s, brake.end, brake.lowest, brake.highest) == (0.0, 0.0, 0.0, 0.0)
    assert brake.at(1.0) == (0.0, 0.0, 0.0)


@given(limits, limits, limits, part, part)
def test_no_stop_takes_a_joint_within_its_limits_farther_or_longer_than_the_longest(
    speed: float, acceleration: float, jerk: float, v: float, a: float
) -> None:
    distance, duration = longest_stop(speed, acceleration, jerk)
    a0, v0 = a * acceleration, v * speed
    if abs(v0 + a0 * abs(a0) / (2.0 * jerk)) <= speed:
        stop = planned(0.0, v0, a0, acceleration, jerk)
        assert max(stop.highest, -stop.lowest) <= distance * (1 + 1e-9)
        assert stop.duration_s <= duration * (1 + 1e-9)


@given(limits, limits, limits)
def test_the_longest_stops_exist(speed: float, acceleration: float, jerk: float) -> None:
    distance, duration = longest_stop(speed, acceleration, jerk)
    most = min(acceleration, 2.0 * math.sqrt(jerk * speed))
    begun = [k / 50 * most for k in range(51)]
    found = [quickest_stop(speed - a * a / (2.0 * jerk), a, acceleration, jerk) for a in begun]
    assert max(stop.end for stop in found) == pytest.approx(distance, rel=2e-3)
    assert max(stop.duration for stop in found) == pytest.approx(duration, rel=1e-6)


def test_ruckig_stops_as_quickly_and_as_far() -> None:
    ruckig = pytest.importorskip("ruckig", reason="the peer is not installed: pip install ruckig")
    rng = random.Random(6)
    for _ in range(2000):
        v, a = rng.uniform(-3.0, 3.0), rng.uniform(-1.0, 1.0)
        acceleration, jerk = 10.0 ** rng.uniform(-1.0, 2.0), 10.0 ** rng.uniform(-1.0, 3.0)
        wanted, trajectory = ruckig.InputParameter(1), ruckig.Trajectory(1)
        wanted.control_interface = ruckig.ControlInterface.Velocity
        wanted.current_position, wanted.current_velocity, wanted.current_acceleration = [0.5], [v], [a * acceleration]
        wanted.max_acceleration, wanted.max_jerk = [acceleration], [jerk]
        assert ruckig.Ruckig(1).calculate(wanted, trajectory) >= 0
        end, *_ = trajectory.at_time(trajectory.duration)
        stop = planned(0.5, v, a * acceleration, acceleration, jerk)
        assert stop.duration_s == pytest.approx(trajectory.duration, rel=1e-6, abs=1e-6)
        assert [stop.end] == pytest.approx(end, rel=1e-6, abs=1e-6)
