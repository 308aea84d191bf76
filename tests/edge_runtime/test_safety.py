"""The limiter: whatever goes in, what comes out is finite, keeps to the limits, and can be stopped inside the range."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.brake import Brake
from edge_runtime.fence import SLACK_M, TOLERANCE_M, Workspace
from edge_runtime.guard import REASONS
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from edge_runtime.tip import Tip
from edge_runtime.urdf import UrdfJoint
from tests.edge_runtime.memory import growth

PERIOD_S = 0.01
LOWER, UPPER, VELOCITY = np.array([-1.0, 0.0, -2.0]), np.array([1.0, 0.5, 3.0]), np.array([1.0, 2.0, 0.1])
ACCELERATION, JERK = np.array([10.0, 20.0, 2.0]), np.array([100.0, 300.0, 40.0])
NAMES = ("pan", "lift", "grip")
LIMITS = Limits(NAMES, LOWER, UPPER, VELOCITY, ACCELERATION, JERK)

anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
close = st.floats(-3.5, 3.5)
figure = st.one_of(close, close, close, anything)
reference = st.tuples(*[st.tuples(figure, figure, figure)] * 3)
steps = st.lists(st.one_of(reference, st.none()), min_size=1, max_size=60)
inside = st.tuples(*[st.floats(float(low), float(high)) for low, high in zip(LOWER, UPPER, strict=True)])


def limiter(start: object = (0.0, 0.1, 0.0)) -> Limiter:
    made = Limiter(LIMITS, PERIOD_S)
    made.start_from(np.array(start, float))
    return made


def wanted(p: object, v: object = (0.0, 0.0, 0.0), a: object = (0.0, 0.0, 0.0)) -> Reference:
    made = Reference(3)
    made.hold(np.array(p, float))
    made.velocity_rad_s[:] = v
    made.acceleration_rad_s2[:] = a
    return made


def stoppable(guard: Limiter) -> None:
    """From what was emitted last a stop within the range exists, for every joint."""
    for index, joint in enumerate(guard._guards):
        brake = Brake(ACCELERATION[index], JERK[index])
        brake.plan(joint.p, joint.v, joint.a)
        assert brake.lowest >= LOWER[index] - 1e-7
        assert brake.highest <= UPPER[index] + 1e-7


@given(inside, steps)
def test_the_invariant_holds_at_every_tick_whatever_comes_in(start: tuple, script: list) -> None:
    guard, out, rows = limiter(start), np.zeros(3), [np.array(start)]
    rest = Reference(3)
    for row in script:
        for _ in range(4):
            refused = guard.limit(rest if row is None else wanted(*row), out)
            good = row is None or np.isfinite(row).all()
            assert bool(refused) == (not good)
            assert np.isfinite(out).all()
            assert (guard.position_rad == out).all()
            rows.append(out.copy())
            stoppable(guard)
    speed = np.diff(rows, axis=0) / PERIOD_S
    assert (np.abs(speed) <= VELOCITY * (1 + 1e-6)).all()
    if len(rows) > 2:
        assert (np.abs(np.diff(speed, axis=0)) / PERIOD_S <= ACCELERATION * (1 + 1e-6) + 1e-6).all()


@given(inside, inside)
def test_it_reaches_what_is_allowed_and_leaves_it_alone_there(start: tuple, target: tuple) -> None:
    guard, out = limiter(start), np.zeros(3)
    for _ in range(6_000):
        guard.limit(wanted(target), out)
        if guard.at_rest and (out == target).all():
            break
    assert (out == target).all()
    before = guard.counts.copy()
    assert guard.limit(wanted(target), out) == ""
    assert (out == target).all()
    assert (guard.counts == before).all()


def test_one_reference_that_is_no_number_brings_the_whole_arm_to_rest() -> None:
    for bad in (
        wanted((np.nan, 0.1, 0.0)),
        wanted((0, 0.1, 0), v=(np.inf, 0, 0)),
        wanted((0, 0.1, 0), a=(np.nan, 0, 0)),
    ):
        guard, out = limiter(), np.zeros(3)
        for _ in range(30):
            guard.limit(wanted((0.5, 0.4, 1.0)), out)
        moving, ends = out.copy(), []
        for index, joint in enumerate(guard._guards):
            brake = Brake(ACCELERATION[index], JERK[index])
            brake.plan(joint.p, joint.v, joint.a)
            ends.append(brake.end)
        assert guard.limit(bad, out) == "pan"
        assert (out > moving).all()
        for _ in range(100):
            guard.limit(bad, out)
        np.testing.assert_allclose(out, ends, atol=1e-9)
        assert guard.at_rest
        assert guard.counted()["not finite pan"] == 101
        assert "not finite lift" not in guard.counted()


def test_at_rest_is_when_no_joint_has_velocity_or_acceleration() -> None:
    guard, out = limiter(), np.zeros(3)
    assert guard.at_rest
    assert guard.position_rad.tolist() == [0.0, 0.1, 0.0]
    guard.limit(wanted((0.0, 0.1, 1.0)), out)
    assert not guard.at_rest  # one of three
    guard.start_from(out)
    assert guard.at_rest
    guard._guards[1].a = 1.0  # where it turns back
    assert not guard.at_rest
    guard._guards[1].a, guard._guards[1].v = 0.0, 1.0
    assert not guard.at_rest


def test_one_joint_yields_and_the_others_go_on() -> None:
    guard, other, out, plain = limiter(), limiter(), np.zeros(3), np.zeros(3)
    for _ in range(30):
        guard.limit(wanted((0.5, 0.4, 1.0)), out)
        other.limit(wanted((0.5, 0.4, 1.0)), plain)
    guard.yield_to(1, -0.2)
    assert guard.position_rad.tolist() == [plain[0], -0.2, plain[2]]
    rest = wanted((0.0, 0.0, 0.0))
    rest.rest = True
    guard.limit(rest, out)
    other.limit(rest, plain)
    assert out.tolist() == [plain[0], -0.2, plain[2]]


def test_the_whole_state_of_the_last_setpoint_can_be_had() -> None:
    guard, out, state = limiter(), np.zeros(3), np.zeros((3, 3))
    for _ in range(5):
        guard.limit(wanted((0.5, 0.4, -1.0)), out)
    guard.emitted(state)
    assert state.tolist() == [[getattr(joint, figure) for joint in guard._guards] for figure in "pva"]
    assert (state[0] == out).all()
    assert (state[1:] != 0.0).all()


def test_a_reference_that_asks_for_rest_says_nothing_else() -> None:
    guard, out, rest = limiter(), np.zeros(3), wanted((np.nan, 0.1, 0.0))
    rest.rest = True
    assert guard.limit(rest, out) == ""
    assert out.tolist() == [0.0, 0.1, 0.0]
    assert guard.counted() == {}


def test_every_limit_names_joint_and_reason() -> None:
    guard, out = limiter(), np.zeros(3)
    assert guard.limit(wanted((np.nan, 0.1, np.inf)), out) == "pan, grip"
    guard.limit(wanted((-5.0, 9.0, 0.0)), out)
    guard.limit(wanted((0.0, 0.1, 0.0), v=(3.0, 0.0, 0.0)), out)
    guard.limit(wanted((0.0, 0.1, 0.0), a=(0.0, 99.0, 0.0)), out)
    guard.limit(wanted((0.0, 0.1, 1.0)), out)
    found = guard.counted()
    assert found["below range pan"] == found["above range lift"] == found["velocity pan"] == 1
    assert found["acceleration lift"] == found["jerk grip"] == 1
    assert {name.rpartition(" ")[0] for name in found} <= set(REASONS)


def test_what_was_not_emitted_is_taken_back_and_the_motion_goes_on_from_the_setpoint_before() -> None:
    guard, out, state = limiter(), np.zeros(3), np.zeros((3, 3))
    for _ in range(20):
        guard.limit(wanted((0.5, 0.4, 1.0)), out)
    before, kept = out.copy(), state.copy()
    guard.emitted(kept)
    guard.limit(wanted((0.5, 0.4, 1.0)), out)
    went_on = out.copy()
    guard.take_back(slice(0, 1))
    guard.emitted(state)
    assert state[:, 0].tolist() == kept[:, 0].tolist()
    assert (state[0, 1:] != kept[0, 1:]).all()
    assert guard.position_rad.tolist() == [before[0], went_on[1], went_on[2]]
    guard.limit(wanted((0.5, 0.4, 1.0)), out)
    assert out[0] == went_on[0]
    assert out[1] > went_on[1]


def test_a_stop_that_was_not_emitted_is_taken_back_too() -> None:
    guard, out, rest = limiter(), np.zeros(3), wanted((0.0, 0.0, 0.0))
    rest.rest = True
    for _ in range(20):
        guard.limit(wanted((0.5, 0.4, 1.0)), out)
    guard.limit(rest, out)
    first = out.copy()
    guard.take_back(slice(0, 3))
    guard.limit(rest, out)
    assert out.tolist() == first.tolist()


def test_a_joint_that_stands_begins_from_rest_where_it_is() -> None:
    guard, out, state = limiter(), np.zeros(3), np.zeros((3, 3))
    for _ in range(20):
        guard.limit(wanted((0.5, 0.4, 1.0)), out)
    before = out.copy()
    guard.stand(1)
    guard.emitted(state)
    assert state[:, 1].tolist() == [before[1], 0.0, 0.0]
    assert (state[1:, [0, 2]] != 0.0).any(axis=0).all()
    assert guard.position_rad.tolist() == before.tolist()
    guard.limit(wanted((0.5, 0.4, 1.0)), out)
    assert 0 < out[1] - before[1] <= JERK[1] * PERIOD_S**3


def test_a_joint_found_outside_its_range_stays_or_comes_in_and_never_jumps() -> None:
    guard, out = limiter((1.2, 0.1, 0.0)), np.zeros(3)
    guard.limit(wanted((1.2, 0.1, 0.0)), out)
    assert out.tolist() == [1.2, 0.1, 0.0]
    rows = [out.copy()]
    for _ in range(300):
        guard.limit(wanted((0.9, 0.1, 0.0)), out)
        rows.append(out.copy())
    assert out[0] == 0.9
    assert np.abs(np.diff(rows, n=2, axis=0)).max() <= 10.0 * PERIOD_S**2 * 1.001
    for _ in range(300):
        guard.limit(wanted((1.2, 0.1, 0.0)), out)
    assert out[0] <= 1.0 + 1e-9


def boxed(high_y: float = 0.5) -> Limiter:
    """The lift turns a tip, 1 m away, about z: it is at (cos, sin) of its angle."""
    joint, tip = UrdfJoint("lift", *[(0.0, 0.0, 0.0)] * 2, (0.0, 0.0, 1.0), -9.0, 9.0), (1.0, 0.0, 0.0)
    needle = Tip([joint, UrdfJoint("tip", tip, (0.0, 0.0, 0.0), None, 0.0, 0.0)])
    low, high = np.full(3, -9.0), np.full(3, 9.0)
    limits = Limits(NAMES, low, high, VELOCITY, ACCELERATION, JERK)
    made = Limiter(limits, PERIOD_S, Workspace(needle, (1,), (-9.0, -9.0, -9.0), (9.0, high_y, 9.0)))
    made.start_from(np.zeros(3))
    return made


def test_a_workspace_holds_the_joint_that_leads_out_of_it_and_counts_it() -> None:
    guard, out = boxed(), np.zeros(3)
    for _ in range(300):
        assert guard.limit(wanted((0.7, 1.5, 0.0)), out) == ""
        assert (guard.position_rad == out).all()
        assert np.sin(out[1]) <= 0.5 + TOLERANCE_M
    assert out[0] == 0.7
    assert 0.499 < np.sin(out[1]) <= 0.5 + SLACK_M
    assert guard.at_rest
    found = guard.counted()
    assert found["workspace: tip above y lift"] > 200
    assert found["jerk pan"] > 0
    for _ in range(300):
        guard.limit(wanted((0.7, 0.2, 0.0)), out)
    assert out.tolist() == [0.7, 0.2, 0.0]


def test_a_workspace_is_looked_at_from_the_state_before_each_reference() -> None:
    """Stopped at the wall again and again, the joint goes on from where it was, and not from an older tick."""
    guard, out, rows = boxed(), np.zeros(3), [np.zeros(3)]
    for k in range(300):
        guard.limit(wanted((0.0, 1.5 if k % 3 else 0.0, 0.0)), out)
        rows.append(out.copy())
    speed = np.diff(rows, axis=0) / PERIOD_S
    assert (np.abs(np.diff(speed, axis=0)) / PERIOD_S <= ACCELERATION * (1 + 1e-6) + 1e-6).all()
    assert max(row[1] for row in rows) > 0.3


def test_a_box_that_has_shrunk_with_what_was_not_emitted_is_as_it_was() -> None:
    """Found outside, the tip comes in: of a box that stayed shrunk, the stop from the setpoint before would be out."""
    guard, twin, out, same = boxed(), boxed(), np.zeros(3), np.zeros(3)
    for each in (guard, twin):
        each.start_from(np.array([0.0, 0.9, 0.0]))
        for _ in range(20):
            each.limit(wanted((0.0, 0.2, 0.0)), out)
    assert 0.65 < out[1] < 0.85
    guard.limit(wanted((0.0, 0.2, 0.0)), same)
    guard.take_back(slice(0, 3))
    for _ in range(300):
        guard.limit(wanted((0.0, 0.6, 0.0)), out)
        twin.limit(wanted((0.0, 0.6, 0.0)), same)
        assert out.tolist() == same.tolist()
    assert guard.counted() == {**twin.counted(), "jerk lift": twin.counted()["jerk lift"] + 1}


def test_without_a_workspace_nothing_holds_the_tip() -> None:
    guard, out = boxed(high_y=2.0), np.zeros(3)
    for _ in range(300):
        guard.limit(wanted((0.0, 1.5, 0.0)), out)
    assert out[1] == 1.5
    assert not any(name.startswith("workspace") for name in guard.counted())


def test_limiting_keeps_nothing() -> None:
    guard, out, far = limiter(), np.zeros(3), wanted((0.3, 0.3, 0.3))
    assert growth(lambda: guard.limit(far, out), times=2_000) < 500
