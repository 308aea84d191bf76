"""The fence: whatever the reference, every stop keeps the tip in its box, and the arm comes back from the wall."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime import fence as fences
from edge_runtime.brake import Brake
from edge_runtime.config import Robot
from edge_runtime.config import Workspace as Box
from edge_runtime.errors import ConfigError
from edge_runtime.fence import INSIDE, REASONS, SIDES, SLACK_M, TOLERANCE_M, Fence, Workspace, fastest, pieces, side
from edge_runtime.guard import Guard
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from edge_runtime.tip import Tip
from edge_runtime.urdf import UrdfJoint, Vector
from tests.edge_runtime import sim_arm
from tests.edge_runtime.memory import growth
from tests.edge_runtime.test_tip import sim_arm as sim_chain

PERIOD_S, VELOCITY, ACCELERATION, JERK = 0.01, 2.5, 15.0, 150.0
FAR = 9.0


def needle() -> Tip:
    """One joint about z, and the tip 1 m along x: it is at (cos q, sin q)."""
    return Tip([_joint((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), _joint((1.0, 0.0, 0.0), None)])


def stair() -> Tip:
    """One joint about z and one about y, so that the tip of the second link goes up where q1 goes down."""
    return Tip([_joint((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), _joint((0.0, 0.0, 0.0), (0.0, 1.0, 0.0)), _joint((1, 0, 0))])


def _joint(xyz: Vector, axis: Vector | None = None) -> UrdfJoint:
    return UrdfJoint("j", xyz, (0.0, 0.0, 0.0), axis, -FAR, FAR)


def limiter(
    tip: Tip,
    low: Vector,
    high: Vector,
    at: Sequence[float],
    *,
    lower: float | np.ndarray = -3.0,
    upper: float | np.ndarray = 3.0,
    jerk: float = JERK,
    period_s: float = PERIOD_S,
) -> Limiter:
    """One joint of the robot for each of the chain, in its order, and a gripper before them."""
    n = len(at) + 1
    names = ("grip", *(f"j{k}" for k in range(1, n)))
    every = [np.zeros(n) + x for x in (lower, upper, VELOCITY, ACCELERATION, jerk)]
    made = Limiter(Limits(names, *every), period_s, Workspace(tip, tuple(range(1, n)), low, high))
    made.start_from(np.array([0.0, *at]))
    return made


def wanted(p: Sequence[float], v: Sequence[float] | float = 0.0, a: Sequence[float] | float = 0.0) -> Reference:
    """The gripper stays."""
    made = Reference(len(p) + 1)
    made.hold(np.array([0.0, *p]))
    made.velocity_rad_s[1:] = v
    made.acceleration_rad_s2[1:] = a
    return made


def follow(made: Limiter, reference: Reference, ticks: int) -> list[list[float]]:
    """The positions of the chain's joints at each tick."""
    out, rows = np.zeros(len(made.position_rad)), []
    for _ in range(ticks):
        made.limit(reference, out)
        rows.append(out[1:].tolist())
    return rows


def outside(tip: Vector, low: Vector, high: Vector) -> float:
    """How far out of the box the tip is, m; not above zero inside."""
    return max(*(a - x for a, x in zip(low, tip, strict=True)), *(x - b for b, x in zip(high, tip, strict=True)))


def stop_of(guards: Iterable[Guard], parts: int = 40) -> Iterable[list[float]]:
    """The joints along the quickest stop of all of them."""
    brakes = []
    for guard in guards:
        brakes.append(Brake(guard.acceleration, guard.jerk))
        brakes[-1].plan(guard.p, guard.v, guard.a)
    last = max(brake.duration_s for brake in brakes)
    return [[brake.at(last * k / parts)[0] for brake in brakes] for k in range(parts + 1)]


@pytest.mark.parametrize("axis", range(3))
def test_a_wall_belongs_to_the_inside_and_so_does_what_rounding_adds(axis: int) -> None:
    low, high = (-1.0, -2.0, -3.0), (1.0, 2.0, 3.0)
    for k, wall in ((0, low), (1, high)):
        way = 1.0 if k else -1.0
        tip = [0.0, 0.0, 0.0]
        tip[axis] = wall[axis] + way * SLACK_M
        assert side((tip[0], tip[1], tip[2]), low, high) == INSIDE
        tip[axis] = math.nextafter(tip[axis], way * FAR)
        assert side((tip[0], tip[1], tip[2]), low, high) == 2 * axis + k
    assert SIDES == ("tip below x", "tip above x", "tip below y", "tip above y", "tip below z", "tip above z")
    assert REASONS[4] == "workspace: tip below z"


def test_the_pieces_of_a_stop() -> None:
    """8 mm/m·s² of bend a second squared is 1 mm of bow: one piece for each second."""
    assert TOLERANCE_M == 1e-3
    assert SLACK_M == 1e-6
    assert fences.MOST_PIECES == 200
    unit = 8.0 * TOLERANCE_M
    assert pieces(0.0, [1.0], [(9.0, 9.0)]) == 1
    assert pieces(9.0, [1.0], [(0.0, 0.0)]) == 1
    assert pieces(3.0, [2.0], [(0.0, 0.5 * unit)]) == 3
    assert pieces(3.0, [2.0], [(0.0, 0.501 * unit)]) == 4
    assert pieces(10.0, [0.5], [(math.sqrt(2.0 * unit), 0.0)]) == 10
    u = math.sqrt(unit)  # 4·(1·1) + 2·(2·(2 + 2·1)) + 1·(1·(1 + 2·3)) = 27
    assert pieces(10.0, [4.0, 2.0, 1.0], [(u, 0.0), (2.0 * u, 0.0), (u, 0.0)]) == math.ceil(10.0 * math.sqrt(27.0))
    assert pieces(10.0, [1.0, 3.0], [(u, unit), (0.0, 0.5 * unit)]) == math.ceil(10.0 * math.sqrt(3.5))


@given(
    st.floats(-1.0, 1.0),
    st.floats(-1.0, 1.0),
    st.floats(-1.0, 2.0).map(lambda x: 10.0**x),
    st.floats(0.0, 3.0).map(lambda x: 10.0**x),
)
def test_nothing_is_faster_during_a_stop_than_is_taken_for_its_bound(
    v: float, a: float, acceleration: float, jerk: float
) -> None:
    guard = Guard(-FAR, FAR, 2.0, acceleration, jerk, PERIOD_S)
    guard.v, guard.a = 2.0 * v, a * acceleration
    speed, pull = fastest(guard)
    brake = Brake(acceleration, jerk)
    brake.plan(0.0, guard.v, guard.a)
    seen = [brake.at(brake.duration_s * k / 500.0) for k in range(500)]
    assert max(abs(state[1]) for state in seen) <= speed * (1 + 1e-9) + 1e-12
    assert max(abs(state[2]) for state in seen) <= pull * (1 + 1e-9) + 1e-12
    assert speed <= max(abs(guard.v), abs(guard.v) + guard.a**2 / (2.0 * jerk)) * (1 + 1e-9)
    assert pull <= acceleration * (1 + 1e-9)


def test_the_bounds_are_met() -> None:
    guard = Guard(-FAR, FAR, 9.0, 4.0, 2.0, PERIOD_S)
    for v, a, bounds in [
        (3.0, 2.0, (4.0, math.sqrt(8.0))),  # 3 and what 2 adds until it is gone; b = √(2·3 + 2)
        (-3.0, -2.0, (4.0, math.sqrt(8.0))),
        (-3.0, 2.0, (3.0, math.sqrt(8.0))),
        (9.0, 0.0, (9.0, 4.0)),
        (0.0, -4.5, (5.0625, 4.5)),  # a limit that the state is beyond
        (0.0, 0.0, (0.0, 0.0)),
    ]:
        guard.v, guard.a = v, a
        assert fastest(guard) == pytest.approx(bounds)


class Counting(Tip):
    """A tip that counts how often it was looked at."""

    looks = 0

    def at(self, q_rad: Sequence[float]) -> Vector:
        self.looks += 1
        return super().at(q_rad)


def begin(made: Fence) -> None:
    """What the limiter does before it follows a reference."""
    for guard in made._guards:
        guard.keep()
    made.keep()
    made.begin()


def swung(p: float, v: float, high_x: float, a: float = 0.0, sign: float = 1.0) -> tuple[Fence, Guard, Counting]:
    """A needle on its way, and a wall that the middle of its way may be beyond. It was at rest before."""
    tip = Counting([_joint((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), _joint((sign, 0.0, 0.0), None)])
    guard = Guard(-FAR, FAR, 99.0, ACCELERATION, JERK, PERIOD_S)
    box = ((-FAR, -FAR, -FAR), (high_x, FAR, FAR)) if sign > 0.0 else ((-high_x, -FAR, -FAR), (FAR, FAR, FAR))
    made = Fence(Workspace(tip, (0,), *box), [guard])
    guard.rest(p)
    begin(made)
    guard.v, guard.a = v, a
    tip.looks = 0
    return made, guard, tip


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_stop_whose_ends_are_inside_and_whose_middle_is_not_is_not_taken(sign: float) -> None:
    brake = Brake(ACCELERATION, JERK)
    brake.plan(0.0, 2.0, 0.0)
    half = brake.end / 2.0
    wall = math.cos(half)
    for beyond, stands in [(1.0, True), (1e-4, True), (-1.1 * TOLERANCE_M, False), (-5e-3, False)]:
        made, guard, _ = swung(-half, 2.0, max(1.0 + beyond, wall), sign=sign)
        made.hold()
        assert (guard.v == 2.0) is stands, beyond
        assert made.counts.tolist() == [[int(not stands and k == (1 if sign > 0 else 0))] for k in range(6)]
        if not stands:
            assert (guard.p, guard.v, guard.a) == (-half, 0.0, 0.0)


def test_a_bow_within_the_tolerance_may_be_taken() -> None:
    """Between the second and the third tenth of its stop the needle is farthest out: there nobody looks."""
    brake = Brake(ACCELERATION, JERK)
    brake.plan(0.0, 1.5, 0.0)
    second, third = (brake.at(brake.duration_s * k / 10.0)[0] for k in (2, 3))
    wall = math.cos(0.5 * (third - second))
    assert 10.0 * SLACK_M < 1.0 - wall < TOLERANCE_M
    made, guard, tip = swung(-0.5 * (second + third), 1.5, wall)
    made.hold()
    assert guard.v == 1.5
    assert tip.looks == 11


@pytest.mark.parametrize(
    ("wall", "looks"), [(FAR, 2), (1.0963, 2), (1.0961, 3), (1.0229, 3), (1.0226, 5), (1.0 + 2 * SLACK_M, 11)]
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_looks_only_where_the_wall_is_near(sign: float, wall: float, looks: int) -> None:
    """A stop of 0.15 rad in ten pieces: all bow by 99 mm beyond its ends at 0.9972 m, five by 24 mm beyond 0.9988."""
    brake = Brake(ACCELERATION, JERK)
    brake.plan(0.0, 1.5, 0.0)
    made, guard, tip = swung(-brake.end / 2.0, 1.5, wall, sign=sign)
    made.hold()
    assert guard.v == 1.5
    assert tip.looks == looks


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("jerk", [50.0, 150.0, 5000.0])
def test_a_needle_goes_to_the_wall_rests_there_and_comes_back(sign: float, jerk: float) -> None:
    made = limiter(needle(), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR), [0.0], jerk=jerk)
    rows = follow(made, wanted([sign * 1.2]), 300)
    ends = [sign * math.sin(q) for (q,) in rows]
    assert max(ends) <= 0.5 + TOLERANCE_M
    assert made.at_rest
    assert 0.5 - 2.0 * jerk * PERIOD_S**3 <= ends[-1] <= 0.5 + SLACK_M
    found = made.counted()
    reason = f"workspace: tip {'above' if sign > 0 else 'below'} y j1"
    assert found[reason] > 200
    assert [name for name in found if name.startswith("workspace")] == [reason]
    before = found[reason]
    assert follow(made, wanted([-sign * 0.3]), 200)[-1] == [-sign * 0.3]
    assert made.counted()[reason] == before


def test_far_from_the_walls_nothing_is_different() -> None:
    rng = random.Random(4)
    box = limiter(sim(), (-FAR, -FAR, -FAR), (FAR, FAR, FAR), MIDDLE)
    free = limiter(sim(), (-FAR, -FAR, -FAR), (FAR, FAR, FAR), MIDDLE)
    free._fence = None
    for _ in range(20):
        to = wanted([q + rng.uniform(-0.3, 0.3) for q in MIDDLE])
        assert follow(box, to, 20) == follow(free, to, 20)
    assert box.counted() == free.counted()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_joints_that_do_not_carry_the_tip_out_go_on(sign: float) -> None:
    """The first turns about z and takes the tip along; the second would take it below, or above."""
    made = limiter(stair(), (-FAR, -FAR, -0.3), (FAR, FAR, 0.3), [0.0, 0.0])
    rows = follow(made, wanted([1.0, sign * 0.9]), 300)
    assert rows[-1][0] == 1.0
    assert 0.28 < sign * math.sin(rows[-1][1]) <= 0.3 + SLACK_M
    found = {name for name in made.counted() if name.startswith("workspace")}
    assert found == {f"workspace: tip {'below' if sign > 0.0 else 'above'} z j2"}


def test_where_stopping_those_is_not_enough_all_stop() -> None:
    """Both take the tip of a stretched arm on a circle to y; from a bent one the second alone brings it lower."""
    joints = [_joint((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), _joint((0.5, 0.0, 0.0), (0.0, 0.0, 1.0)), _joint((0.5, 0, 0))]
    tip = Tip(joints)
    guards = [Guard(-FAR, FAR, 99.0, ACCELERATION, JERK, PERIOD_S) for _ in range(2)]
    made = Fence(Workspace(tip, (0, 1), (-FAR, -FAR, -FAR), (FAR, 0.6, FAR)), guards)
    guards[0].p, guards[0].v, guards[0].a = 0.5, 1.0, 0.0
    guards[1].p, guards[1].v, guards[1].a = 0.2, -0.1, 0.0
    begin(made)
    guards[0].p, guards[1].p, guards[1].v = 0.51, 0.199, -0.12
    made.hold()
    assert made.counts[3].tolist() == [1, 1]
    assert made.counts.sum() == 2
    for guard, (p, v) in zip(guards, ((0.5, 1.0), (0.2, -0.1)), strict=True):
        brake = Brake(ACCELERATION, JERK)
        brake.plan(p, v, 0.0)
        assert (guard.p, guard.v, guard.a) == brake.at(PERIOD_S)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_arm_found_outside_may_stay_or_come_in_but_not_go_out(sign: float) -> None:
    made = limiter(needle(), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR), [sign * 0.9])
    assert follow(made, wanted([sign * 0.9]), 5)[-1] == [sign * 0.9]
    assert made.counted() == {}
    assert follow(made, wanted([sign * 1.1]), 50)[-1] == [sign * 0.9]
    assert follow(made, wanted([sign * 0.7]), 100)[-1] == [sign * 0.7]
    rows = follow(made, wanted([sign * 0.9]), 50)
    assert max(sign * q for (q,) in rows) < 0.7 + 1e-5
    assert follow(made, wanted([sign * 0.2]), 100)[-1] == [sign * 0.2]
    rows = follow(made, wanted([sign * 0.9]), 300)
    assert max(sign * math.sin(q) for (q,) in rows) <= 0.5 + TOLERANCE_M
    assert sign * math.sin(rows[-1][0]) <= 0.5 + SLACK_M
    rows = follow(made, wanted([-sign * 1.2]), 400)
    assert sign * math.sin(rows[-1][0]) >= -0.5 - SLACK_M


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_on_its_way_in_it_may_be_turned_round_only_where_it_has_not_been(sign: float) -> None:
    made = limiter(needle(), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR), [sign * 1.0])
    rows = follow(made, wanted([0.0]), 20)
    assert sign * rows[-1][0] < 0.95
    rows = follow(made, wanted([sign * 1.0]), 100)
    assert max(sign * q for (q,) in rows) <= sign * rows[0][0] + 1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("v", "a"), [(0.01, 0.0), (0.0, 0.1), (0.0, 0.0)])
@pytest.mark.parametrize("moving", [0, 1])
def test_only_where_the_whole_arm_rests_the_box_reaches_out(sign: float, v: float, a: float, moving: int) -> None:
    """A motion may be a tolerance outside in the middle of its stop: that is not where it may stay."""
    links = [_joint((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), _joint((0.5, 0.0, 0.0), (0.0, 0.0, 1.0)), _joint((0.5, 0, 0))]
    guards = [Guard(-FAR, FAR, 99.0, ACCELERATION, JERK, PERIOD_S) for _ in range(2)]
    made = Fence(Workspace(Tip(links), (0, 1), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR)), guards)
    guards[0].rest(sign * math.asin(0.5 + 0.9 * TOLERANCE_M))
    guards[moving].v, guards[moving].a = v, a
    begin(made)
    guards[moving].v, guards[moving].a = 0.0, 0.0
    made.hold()
    assert made.counts.any() == (v != 0.0 or a != 0.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_resting_again_and_again_it_does_not_creep_out(sign: float) -> None:
    guard = Guard(-FAR, FAR, 99.0, ACCELERATION, JERK, PERIOD_S)
    made = Fence(Workspace(needle(), (0,), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR)), [guard])
    for beyond, stands in [(0.9, True), (1.1, False), (1.8, False)]:
        begin(made)
        p, guard.p = guard.p, sign * math.asin(0.5 + beyond * SLACK_M)
        made.hold()
        assert (guard.p != p) is stands


def test_what_was_not_emitted_is_proved_anew() -> None:
    """The arm rests where a bus that took no setpoint has left it, be that a tolerance outside, and comes back."""
    made = limiter(needle(), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR), [0.0])
    follow(made, wanted([1.2]), 30)
    made.start_from(np.array([0.0, math.asin(0.5 + TOLERANCE_M)]))
    assert follow(made, wanted([0.1]), 200)[-1] == [0.1]


MIDDLE = [0.0, -0.13, 1.895, 1.377, 0.0]
SIM_LOWER, SIM_UPPER = np.array([0.0, -1.6, -1.2, 0.3, -0.6, -1.6]), np.array([1.1, 1.6, 1.5, 2.7, 2.4, 1.6])
SIM_LOW, SIM_HIGH = (0.05, -0.25, 0.0), (0.45, 0.25, 0.4)


def sim() -> Tip:
    return Tip(sim_chain())


figure = st.one_of(*[st.floats(-1.5, 2.5)] * 8, st.floats())
motion = st.tuples(*[st.tuples(figure, st.floats(-2.5, 2.5), st.floats(-15.0, 15.0))] * 5)
resting = st.tuples(*[st.tuples(figure, st.just(0.0), st.just(0.0))] * 5)
script = st.lists(st.tuples(st.one_of(resting, motion, st.none()), st.integers(1, 60)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(
    st.tuples(*[st.floats(0.02, 0.3)] * 6),
    st.sampled_from([(0.001, 1500.0), (0.01, 30.0), (0.01, 150.0), (0.01, 1500.0), (0.02, 150.0)]),
    script,
)
def test_no_stop_begun_at_any_tick_takes_the_tip_out(room: tuple, pace: tuple, wishes: list) -> None:
    at = sim().at(MIDDLE)
    low = tuple(x - r for x, r in zip(at, room[:3], strict=True))
    high = tuple(x + r for x, r in zip(at, room[3:], strict=True))
    made = limiter(sim(), low, high, MIDDLE, lower=SIM_LOWER, upper=SIM_UPPER, period_s=pace[0], jerk=pace[1])
    tip, out = sim(), np.zeros(6)
    for wish, ticks in wishes:
        reference = Reference(6) if wish is None else wanted(*zip(*wish, strict=True))
        for _ in range(ticks):
            made.limit(reference, out)
            way = stop_of(made._guards[1:], 12)
            assert max(outside(tip.at(q), low, high) for q in way) <= TOLERANCE_M
            assert outside(tip.at(way[-1]), low, high) <= 2.0 * SLACK_M


@pytest.mark.parametrize("seed", range(8))
def test_after_any_time_at_the_walls_it_gets_to_where_it_may_be(seed: int) -> None:
    rng, tip = random.Random(seed), sim()
    made = limiter(tip, SIM_LOW, SIM_HIGH, MIDDLE, lower=SIM_LOWER, upper=SIM_UPPER, jerk=rng.choice([150.0, 1500.0]))

    def pose() -> list[float]:
        return [rng.uniform(low, high) for low, high in zip(SIM_LOWER[1:], SIM_UPPER[1:], strict=True)]

    for _ in range(5):
        rows = follow(made, wanted(pose()), 80)
        assert max(outside(tip.at(q), SIM_LOW, SIM_HIGH) for q in rows) <= TOLERANCE_M
    back = next(q for q in iter(pose, None) if outside(tip.at(q), SIM_LOW, SIM_HIGH) < 0.0)
    assert follow(made, wanted(back), 600)[-1] == back
    assert any(name.startswith("workspace") for name in made.counted())


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_box_that_has_shrunk_with_a_setpoint_that_was_not_emitted_is_as_it_was(sign: float) -> None:
    made, twin = (limiter(needle(), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR), [0.9 * sign]) for _ in range(2))
    for each in (made, twin):
        follow(each, wanted([0.0]), 10)
    follow(made, wanted([0.0]), 1)
    made.take_back(slice(0, 2))
    assert follow(made, wanted([0.85 * sign]), 100) == follow(twin, wanted([0.85 * sign]), 100)
    counts = [{k: n for k, n in each.counted().items() if k.startswith("workspace")} for each in (made, twin)]
    assert counts[0] == counts[1]


def test_what_is_no_number_stops_the_arm_inside() -> None:
    made = limiter(needle(), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR), [-0.4])
    follow(made, wanted([0.4]), 30)
    rows = follow(made, wanted([math.nan]), 100)
    assert made.at_rest
    assert max(math.sin(q) for (q,) in rows) <= 0.5 + SLACK_M
    assert made.counted()["not finite j1"] == 100


def test_holding_keeps_nothing() -> None:
    made, out = limiter(needle(), (-FAR, -0.5, -FAR), (FAR, 0.5, FAR), [0.0]), np.zeros(2)
    to = wanted([1.2])
    assert growth(lambda: made.limit(to, out), times=2_000) < 500


def boxed(robot: Robot, **limits: float) -> Robot:
    pan = msgspec.structs.replace(robot.joints[0], **limits)
    bus = msgspec.structs.replace(robot.buses[0], joints=(pan, *robot.joints[1:])[::-1])
    return msgspec.structs.replace(robot, buses=(bus,), workspace=Box(low=SIM_LOW, high=SIM_HIGH))


def test_the_box_of_robot_toml_and_where_the_tip_is_in_it(tmp_path: object) -> None:
    robot = sim_arm.robot(tmp_path)  # type: ignore[arg-type]
    assert Workspace.of(robot) is None
    box = Workspace.of(boxed(robot))
    assert box is not None
    assert (box.low, box.high, box.joints) == (SIM_LOW, SIM_HIGH, (5, 4, 3, 2, 1))
    assert box.leaves([0.5, *MIDDLE[::-1]]) == INSIDE
    assert SIDES[box.leaves([0.5, *MIDDLE[:0:-1], 1.5])] == "tip below x"


def test_an_arm_that_hangs_on_two_buses_has_no_box(tmp_path: object) -> None:
    robot = boxed(sim_arm.robot(tmp_path))  # type: ignore[arg-type]
    one = robot.buses[0]
    buses = [msgspec.structs.replace(one, name=f"b{k}", joints=one.joints[k : k + 1]) for k in range(2)]
    grip_alone = buses[0], msgspec.structs.replace(one, name="rest", joints=one.joints[1:])
    assert Workspace.of(msgspec.structs.replace(robot, buses=grip_alone)) is not None
    split = *buses, msgspec.structs.replace(one, name="a", joints=one.joints[2:])
    with pytest.raises(ConfigError) as caught:
        Workspace.of(msgspec.structs.replace(robot, buses=split))
    assert str(caught.value) == (
        "the joints that move grip_point are on buses a and b1, and where one loses a setpoint their stop "
        "may leave the box: put them on one bus, or leave [workspace] out"
    )


def test_an_arm_whose_stops_could_not_be_looked_at_in_time_is_refused(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = sim_arm.robot(tmp_path)  # type: ignore[arg-type]
    slow = {"velocity": 0.5, "acceleration": 0.2, "jerk": 0.2}
    with pytest.raises(ConfigError) as caught:
        Workspace.of(boxed(robot, **slow))
    assert str(caught.value) == (
        "a stop of shoulder_pan takes 4.5 s, and other joints move so quickly meanwhile that it would be looked at in "
        "266 pieces a tick, limit 200: raise its limits, or lower those of the others"
    )
    monkeypatch.setattr(fences, "MOST_PIECES", 266)
    assert Workspace.of(boxed(robot, **slow)) is not None
    monkeypatch.setattr(fences, "MOST_PIECES", 265)
    with pytest.raises(ConfigError):
        Workspace.of(boxed(robot, **slow))
