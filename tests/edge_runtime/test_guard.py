"""The guard: whatever the reference, a stop inside all limits exists; and it follows what may be followed."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime import guard as guards
from edge_runtime.guard import REASONS, SLACK, Guard
from tests.edge_runtime.memory import growth
from tests.edge_runtime.stops import quickest_stop

State = tuple[float, float, float]
LOWER, UPPER, VELOCITY, ACCELERATION, JERK, PERIOD_S = -1.0, 1.2, 2.5, 15.0, 150.0, 0.01

ten_to = st.floats(-3.0, 3.0).map(lambda x: 10.0**x)
periods = st.sampled_from([0.001, 0.002, 0.005, 0.01, 0.02])
edges = st.sampled_from([LOWER, UPPER, math.nextafter(LOWER, -9.0), math.nextafter(UPPER, 9.0), 0.0])
position = st.one_of(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0), edges, st.floats())
rate = st.one_of(st.floats(-1.2, 1.2), st.sampled_from([-1.0, 0.0, 1.0]), st.floats())
resting = position.map(lambda p: (p, 0.0, 0.0))
held = st.tuples(st.one_of(resting, st.tuples(position, rate, rate)), st.integers(1, 20))


def guard(
    p: float = 0.0,
    velocity: float = VELOCITY,
    acceleration: float = ACCELERATION,
    jerk: float = JERK,
    period_s: float = PERIOD_S,
) -> Guard:
    made = Guard(LOWER, UPPER, velocity, acceleration, jerk, period_s)
    made.rest(p)
    return made


def state(made: Guard) -> State:
    return made.p, made.v, made.a


def trace(made: Guard, references: Iterable[State]) -> tuple[list[State], list[int]]:
    """What is emitted for each reference, and why it is not the reference."""
    states, reasons = [], []
    for reference in references:
        reasons.append(made.follow(*reference))
        states.append(state(made))
    return states, reasons


def sine(amplitude: float, hz: float, phase: float = 0.0, period_s: float = PERIOD_S) -> Callable[[int], State]:
    w = 2.0 * math.pi * hz

    def at(k: int) -> State:
        x = w * k * period_s + phase
        return amplitude * math.sin(x), amplitude * w * math.cos(x), -amplitude * w * w * math.sin(x)

    return at


def step(*targets: float) -> Callable[[int], State]:
    """From target to target every hundred ticks, and again."""
    return lambda k: (targets[k // 100 % len(targets)], 0.0, 0.0)


def saw(begin: float, end: float, speed: float, period_s: float) -> Callable[[int], State]:
    """From `begin` to `end` at `speed`, and again."""
    ticks = round(abs(end - begin) / abs(speed) / period_s)
    return lambda k: (begin + k % ticks * period_s * speed, speed, 0.0)


def check_step(made: Guard, before: State) -> None:
    """The invariant, and that bounded jerk leads from `before` to what was emitted."""
    t, (p, v, a) = made.period_s, before
    rounding = 3e-12 / t**2
    assert abs(made.a) <= made.acceleration * (1 + 2 * SLACK)
    assert abs(made.v) <= made.velocity * (1 + 2 * SLACK)
    assert abs(made.v + made.a * abs(made.a) / (2 * made.jerk)) <= made.velocity * (1 + 2 * SLACK)
    stop = quickest_stop(made.v, made.a, made.acceleration, made.jerk)
    assert made.p + stop.highest <= UPPER + 2 * SLACK
    assert made.p + stop.lowest >= LOWER - 2 * SLACK
    slack_a = 2 * SLACK * made.acceleration + rounding
    slack_v = slack_a * t + 2 * SLACK * made.velocity
    assert abs(made.a - a) <= made.jerk * t * (1 + 1e-6) + slack_a
    assert abs(made.v - v - 0.5 * t * (a + made.a)) <= made.jerk * t**2 / 4 * (1 + 1e-5) + slack_v
    assert abs(made.p - p - t * v - 0.5 * t**2 * a) <= made.jerk * t**3 / 6 * (1 + 1e-5) + slack_v * t + 1e-12


# What was emitted when this was written: sums of p, |v| and |a| over the ticks, and how many ticks had which reason. A
# change of how it chases shows here first.
@pytest.mark.parametrize(
    ("limits", "reference", "ticks", "sums", "counts"),
    [
        (
            (2.5, 15.0, 150.0, 0.01),
            step(1.0, 0.0),
            300,
            (167.163592244, 300.010000378, 1504.3950525),
            {"": 95, "jerk": 205},
        ),
        (
            (2.5, 15.0, 1000.0, 0.02),
            step(1.15, -0.95),
            600,
            (92.747, 582.637573448, 1509.11493451),
            {"": 312, "jerk": 288},
        ),
        (
            (0.7, 3.0, 5.0, 0.005),
            step(0.4, -0.3, 0.35),
            1500,
            (319.873824798, 508.395873238, 1561.66293096),
            {"jerk": 1500},
        ),
        (
            (9.0, 40.0, 9000.0, 0.02),
            step(0.9, 0.1),
            200,
            (98.1090042184, 85.4917100842, 1169.06477662),
            {"": 170, "jerk": 30},
        ),
        (
            (2.5, 15.0, 50.0, 0.01),
            sine(0.5, 0.5, 1.0),
            400,
            (-18.2292888485, 385.966829217, 1390.60974496),
            {"": 258, "jerk": 142},
        ),
        (
            (3.0, 20.0, 300.0, 0.01),
            sine(1.6, 0.4, 0.5),
            500,
            (3.30269395415, 889.960378336, 2705.9697406),
            {"below range": 144, "above range": 116, "velocity": 222, "jerk": 18},
        ),
        (
            (3.0, 8.0, 300.0, 0.01),
            sine(0.5, 0.55, 1.0),
            200,
            (-2.71178412436, 207.290170815, 1109.98156258),
            {"": 76, "jerk": 124},
        ),
        (
            (3.0, 20.0, 2000.0, 0.02),
            sine(0.5, 0.5, 2.0, 0.02),
            120,
            (1.71608989269, 122.0711622, 582.930275179),
            {"": 104, "jerk": 16},
        ),
        (
            (2.5, 15.0, 150.0, 0.01),
            saw(0.4, 1.2, 1.0, 0.01),
            400,
            (370.663503438, 424.100497466, 2692.17547538),
            {"": 100, "jerk": 295, "stop in range": 5},
        ),
        (
            (2.5, 15.0, 150.0, 0.01),
            saw(-0.2, -1.0, -1.0, 0.01),
            400,
            (-298.958328265, 404.100901315, 2680.50211142),
            {"": 113, "jerk": 282, "stop in range": 5},
        ),
        (
            (2.5, 15.0, 700.0, 0.02),
            saw(-0.9, 0.3, 0.8, 0.02),
            300,
            (-29.4625303679, 303.389544427, 1288.39724449),
            {"": 186, "jerk": 114},
        ),
        (
            (1.1, 1.2, 2900.0, 0.02),
            step(0.5, -0.5, 0.2),
            600,
            (53.8968529588, 209.930202468, 527.858454226),
            {"": 156, "jerk": 444},
        ),
        (
            (2.5, 30.0, 5000.0, 0.005),
            step(0.5, -0.4, 0.1, 0.13),
            500,
            (85.7342016544, 460.076539638, 4361.98717359),
            {"": 230, "jerk": 270},
        ),
        (
            (1.0, 6.0, 65.0, 0.02),
            sine(0.3, 1.0, 2.0),
            300,
            (-2.04626498243, 197.32267901, 774.735488743),
            {"velocity": 192, "acceleration": 108},
        ),
    ],
)
def test_it_goes_the_way_it_always_went(
    limits: tuple[float, float, float, float],
    reference: Callable[[int], State],
    ticks: int,
    sums: State,
    counts: dict[str, int],
) -> None:
    states, reasons = trace(guard(0.0, *limits), (reference(k) for k in range(1, ticks + 1)))
    assert [sum(abs(x[i]) if i else x[0] for x in states) for i in range(3)] == pytest.approx(sums, rel=1e-9)
    assert {REASONS[r]: reasons.count(r) for r in sorted(set(reasons))} == counts


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_limits_themselves_are_allowed_and_what_rounding_adds_and_no_more(sign: float) -> None:
    beyond = 1.0 + SLACK
    edge = sign * (1.0 + SLACK)
    for reference, reason in [
        ((edge, 0.0, 0.0), "above range" if sign > 0.0 else "below range"),
        ((0.0, sign * VELOCITY * beyond, 0.0), "velocity"),
        ((0.0, 0.0, sign * ACCELERATION * beyond), "acceleration"),
    ]:
        quick = Guard(-1.0, 1.0, VELOCITY, ACCELERATION, 1e12, 1.0)
        assert quick.follow(*reference) == guards.FREE
        assert state(quick) == reference
        quick.rest(0.0)
        outside = [math.nextafter(x, x * 9.0) if x else x for x in reference]
        assert REASONS[quick.follow(*outside)] == reason
        assert state(quick) != tuple(outside)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_velocity_is_held_once_acceleration_is_taken_away_too(sign: float) -> None:
    def follows(a: float, v: float) -> int:
        made = Guard(-1e9, 1e9, 2.0, 4.0, 1.0, 1e3)
        return made.follow(0.0, sign * v, sign * a)

    left = 2.0 * (1.0 + SLACK) - 0.5  # of a = 1 with a jerk of 1, 0.5 rad/s is left
    assert follows(1.0, left) == guards.FREE
    assert follows(1.0, left + 1e-12) == guards.STOP
    assert follows(-1.0, 2.0) == guards.FREE


def test_rounding_is_not_taken_for_jerk() -> None:
    t, made = 0.001, guard(period_s=0.001)
    made.rest(0.7)
    for j in itertools.chain([JERK] * 90, [-JERK] * 180, [JERK] * 90):
        p, v, a = state(made)
        assert made.follow(p + t * (v + t * (a / 2 + t * j / 6)), v + t * (a + t * j / 2), a + t * j) == guards.FREE


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_reference_is_taken_that_is_farther_than_velocity_leads_in_a_period(sign: float) -> None:
    made = Guard(-9.0, 9.0, VELOCITY, 1e9, 1e12, 0.5)
    step = sign * (VELOCITY * 0.5 * (1.0 + SLACK) + guards.ROUNDING_RAD)
    assert made.follow(step, 0.0, 0.0) == guards.FREE
    made.rest(0.0)
    assert made.follow(math.nextafter(step, sign * 9.0), 0.0, 0.0) == guards.JERK


@pytest.mark.parametrize(
    "limits", [(0.2, 100.0, 20000.0, 0.02), (0.5, 20.0, 2000.0, 0.02), (0.103, 97.1, 29700.0, 0.02)]
)
def test_no_step_is_longer_than_velocity_leads_in_a_period_and_at_its_limit_it_is_steady(limits: State) -> None:
    for seed in range(20):
        rng, made = random.Random(seed), guard(0.0, *limits)
        for k in range(150):
            if k == 0 or rng.random() < 0.3:
                wanted = rng.uniform(-1.4, 1.4), rng.choice([0.0, rng.uniform(-1.3, 1.3) * limits[0]]), 0.0
            before = made.p
            made.follow(*wanted)
            assert abs(made.p - before) <= limits[0] * limits[3] * (1 + 2 * SLACK)
        states, _ = trace(made, [(math.copysign(1.0, -made.p), 0.0, 0.0)] * 8)
        assert [a for _, _, a in states[-3:]] == pytest.approx([0.0] * 3, abs=1e-9)
        assert abs(states[-1][1]) == pytest.approx(limits[0], rel=1e-9)


def test_jerk_is_held_to_the_last_bit() -> None:
    made = Guard(-1e9, 1e9, 1e9, 1e9, 4.0, 3.0)  # three pieces of a second: j, -2j, j lead to a step of j
    step = 0.5 * (4.0 * (1.0 + SLACK) + guards.ROUNDING_RAD)
    assert made.follow(step, 0.0, 0.0) == guards.FREE
    made.rest(0.0)
    assert made.follow(math.nextafter(step, 9.0), 0.0, 0.0) == guards.JERK


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ((0.0, 0.0, 0.0), ""),
        ((math.nan, 0.0, 0.0), "not finite"),
        ((0.0, math.inf, 0.0), "not finite"),
        ((0.0, 0.0, -math.inf), "not finite"),
        ((-1.1, 9.0, 0.0), "below range"),
        ((1e300, 0.0, 99.0), "above range"),
        ((LOWER, 0.0, 0.0), "jerk"),
        ((UPPER, 0.0, 0.0), "jerk"),
        ((0.5, VELOCITY, ACCELERATION), "jerk"),
        ((0.5, -2.6, 99.0), "velocity"),
        ((0.5, 0.0, 15.1), "acceleration"),
        ((0.0, 0.0, -15.1), "acceleration"),
    ],
)
def test_what_cannot_be_emitted_has_a_reason(reference: State, reason: str) -> None:
    assert REASONS[guard().follow(*reference)] == reason


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_reference_that_could_not_stop_in_its_range_is_left_in_time(sign: float) -> None:
    made = Guard(-1.0, 1.0, VELOCITY, ACCELERATION, JERK, PERIOD_S)
    ramp = [(sign * (-0.9 + 0.5 * 1e-2 * k), sign * 0.5, 0.0) for k in range(400)]
    made.rest(-0.9 * sign)
    states, reasons = trace(made, ramp)
    assert REASONS[reasons[0]] == "jerk"
    assert [REASONS[r] for r, _ in itertools.groupby(reasons)][1:] == [
        "",
        "stop in range",
        "jerk",
        "above range" if sign > 0.0 else "below range",
    ]
    assert states[-1] == (pytest.approx(sign, abs=2 * SLACK), 0.0, 0.0)


@settings(max_examples=60)
@given(st.floats(LOWER, UPPER), st.tuples(ten_to, ten_to, ten_to), periods, st.lists(held, min_size=1, max_size=6))
def test_a_stop_within_all_limits_exists_at_every_tick(
    p: float, limits: State, period_s: float, wanted: list[tuple[State, int]]
) -> None:
    made = guard(p, *limits, period_s)
    for (to, v, a), ticks in wanted:
        for _ in range(ticks):
            before = state(made)
            made.follow(to, v * made.velocity, a * made.acceleration)
            check_step(made, before)


@settings(max_examples=40)
@given(st.floats(LOWER, UPPER), periods, st.lists(st.floats(-1.1, 1.1), min_size=20, max_size=60))
def test_at_the_limit_of_jerk_it_follows_or_keeps_to_its_limits(p: float, t: float, jerks: list[float]) -> None:
    made = guard(p, 2.5, 15.0, 150.0, t)
    for j in (150.0 * x for x in jerks):
        before, (p, v, a) = state(made), state(made)
        wanted = p + t * (v + t * (a / 2 + t * j / 6)), v + t * (a + t * j / 2), a + t * j
        if made.follow(*wanted) == guards.FREE:
            assert state(made) == wanted
            assert abs(j) <= 150.0 * (1 + 1e-6)
        check_step(made, before)


@pytest.mark.parametrize("period_s", [0.001, 0.005, 0.02])
def test_a_reference_within_the_limits_is_emitted_as_it_is(period_s: float) -> None:
    made = guard(period_s=period_s)
    swing = sine(0.7, 0.5, -math.pi / 2.0, period_s)
    made.p, made.v, made.a = swing(0)
    wanted = [swing(k) for k in range(1, 500)]
    states, reasons = trace(made, wanted)
    assert set(reasons) == {guards.FREE}
    assert states == wanted


def settle(made: Guard, target: float, most: int) -> list[float]:
    """The positions until the target itself is emitted, at most `most`."""
    way = []
    for _ in range(most):
        reason = made.follow(target, 0.0, 0.0)
        way.append(made.p)
        if reason == guards.FREE:
            return way
    raise AssertionError(f"{state(made)} is not yet at rest at {target}")


@pytest.mark.parametrize("seed", range(60))
def test_a_resting_target_is_reached_in_time_exactly_and_from_one_side(seed: int) -> None:
    rng = random.Random(seed)
    t = rng.choice([0.001, 0.002, 0.005, 0.01, 0.02])
    velocity, acceleration, jerk = (10.0 ** rng.uniform(*x) for x in ((-1.0, 1.0), (0.0, 2.0), (1.0, 4.0)))
    made = guard(rng.uniform(LOWER, UPPER), velocity, acceleration, jerk, t)
    for _ in range(rng.randrange(30)):
        made.follow(rng.uniform(LOWER, UPPER), 0.0, 0.0)
    target = rng.choice([rng.uniform(LOWER, UPPER), LOWER, UPPER, made.p, made.p + 10.0 ** rng.uniform(-12.0, -2.0)])
    target = min(max(target, LOWER), UPPER)
    stop = quickest_stop(made.v, made.a, acceleration, jerk)
    way = abs(target - made.p - stop.end)
    most = stop.duration + way / velocity + 4.0 * math.sqrt(way / acceleration) + 6.0 * (way / jerk) ** (1 / 3)
    side = 1.0 if made.p + stop.highest <= target else -1.0 if made.p + stop.lowest >= target else 0.0
    passed = settle(made, target, round(most / t) + 20)
    assert max(side * (p - target) for p in passed) <= 1e-5
    for _ in range(3):
        assert made.follow(target, 0.0, 0.0) == guards.FREE
        assert state(made) == (target, 0.0, 0.0)


def test_from_rest_to_rest_it_takes_little_longer_than_the_quickest_way() -> None:
    made = guard(-1.0)
    way = settle(made, 1.0, 1000)
    quickest = 2.0 / VELOCITY + VELOCITY / ACCELERATION + ACCELERATION / JERK
    assert quickest <= len(way) * PERIOD_S <= quickest + 4 * PERIOD_S
    assert way == sorted(way)


def test_it_cruises_at_its_limits_exactly() -> None:
    states, _ = trace(guard(-1.0), [(1.0, 0.0, 0.0)] * 200)
    assert max(v for _, v, _ in states) == pytest.approx(VELOCITY, rel=1e-12)
    assert max(a for _, _, a in states) == pytest.approx(ACCELERATION, rel=1e-12)
    assert min(a for _, _, a in states) == pytest.approx(-ACCELERATION, rel=1e-12)
    assert sum(v > VELOCITY * (1 - 1e-12) for _, v, _ in states) > 25


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_catches_up_with_what_moves_on(sign: float) -> None:
    ramp = [(sign * (-0.5 + 0.01 * k), sign * 1.0, 0.0) for k in range(100)]
    states, reasons = trace(guard(-sign * 0.8), ramp)
    met = reasons.index(guards.FREE)
    assert met < 60
    assert set(reasons[met:]) == {guards.FREE}
    assert all(sign * (p - q) <= 1e-5 for (p, _, _), (q, _, _) in zip(states, ramp, strict=True))
    _, reasons = trace(guard(0.2, jerk=1000.0), [sine(0.5, 0.5, sign)(k) for k in range(200)])
    met = reasons.index(guards.FREE)
    assert met < 60
    assert set(reasons[met:]) == {guards.FREE}


def test_it_turns_round_with_what_moves_to_and_fro() -> None:
    zigzag = [(0.8 * (0.3 - abs(k * PERIOD_S % 1.2 - 0.6)), 0.8 if k % 120 < 60 else -0.8, 0.0) for k in range(960)]
    states, reasons = trace(guard(), zigzag)
    for k in range(59, 960, 60):
        assert reasons[k] == guards.FREE
        assert states[k] == zigzag[k]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_joint_found_outside_its_range_may_stay_or_come_in_but_not_go_out(sign: float) -> None:
    made = Guard(-1.0, 1.0, VELOCITY, ACCELERATION, JERK, PERIOD_S)
    made.rest(sign * 1.3)
    assert made.follow(sign * 1.3, 0.0, 0.0) == guards.FREE
    assert REASONS[made.follow(sign * 1.4, 0.0, 0.0)] == ("above range" if sign > 0.0 else "below range")
    assert state(made) == (sign * 1.3, 0.0, 0.0)
    way = [sign * p for p in settle(made, sign * 1.2, 100)]
    assert way == sorted(way, reverse=True)
    assert abs(way[0] - 1.3) < JERK * PERIOD_S**3
    assert REASONS[made.follow(sign * 1.25, 0.0, 0.0)] == ("above range" if sign > 0.0 else "below range")
    assert made.p == pytest.approx(sign * 1.2, abs=2 * SLACK)
    settle(made, 0.0, 200)
    trace(made, [(sign * 1.2, 0.0, 0.0)] * 200)
    assert state(made) == (sign, 0.0, 0.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_other_end_of_the_range_holds_for_a_joint_found_outside(sign: float) -> None:
    made = Guard(-1.0, 1.0, VELOCITY, ACCELERATION, JERK, PERIOD_S)
    made.rest(sign * 3.0)
    states, _ = trace(made, [(-sign * 2.0, 0.0, 0.0)] * 400)
    assert states[-1] == (-sign, 0.0, 0.0)


@pytest.mark.parametrize("reference", [(math.nan, 0.0, 0.0), (0.0, math.nan, 0.0), (0.0, 0.0, math.nan)])
def test_what_is_not_finite_stops_the_joint_as_quickly_as_it_may(reference: State) -> None:
    made, stopped = guard(-0.8), guard(-0.8)
    for each in (made, stopped):
        trace(each, [(1.0, 0.0, 0.0)] * 40)
    assert state(made) == state(stopped)
    ticks = math.ceil(quickest_stop(made.v, made.a, ACCELERATION, JERK).duration / PERIOD_S)
    for k in range(ticks):
        assert made.v != 0.0, k
        assert made.follow(*reference) == guards.NOT_FINITE
        stopped.stop()
        assert state(made) == state(stopped)
    assert state(made)[1:] == (0.0, 0.0)


def test_a_new_guard_is_at_rest_at_zero() -> None:
    made = Guard(LOWER, UPPER, VELOCITY, ACCELERATION, JERK, PERIOD_S)
    assert state(made) == (0.0, 0.0, 0.0)


def test_following_keeps_nothing() -> None:
    made, targets = guard(), itertools.cycle([0.3] * 50 + [-0.3] * 50)
    assert growth(lambda: made.follow(next(targets), 0.0, 0.0), times=2_000) < 500


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_kept_is_gone_back_to_with_the_range_that_it_had(sign: float) -> None:
    made = Guard(-1.0, 1.0, VELOCITY, ACCELERATION, JERK, PERIOD_S)
    made.rest(sign * 1.3)
    made.follow(sign * 0.9, 0.0, 0.0)
    made.keep()
    kept, at = state(made), made.kept
    twin = Guard(-1.0, 1.0, VELOCITY, ACCELERATION, JERK, PERIOD_S)
    twin.rest(sign * 1.3)
    twin.follow(sign * 0.9, 0.0, 0.0)
    settle(made, 0.0, 200)
    made.go_back()
    assert state(made) == kept
    assert at == kept[0]
    there = [(sign * 1.25, 0.0, 0.0)] * 50
    assert trace(made, there) == trace(twin, there)
    assert state(made) == (sign * 1.25, 0.0, 0.0)


def test_a_new_guard_has_kept_where_it_is() -> None:
    made = guard()
    made.follow(0.5, 0.0, 0.0)
    made.go_back()
    assert state(made) == (0.0, 0.0, 0.0)
