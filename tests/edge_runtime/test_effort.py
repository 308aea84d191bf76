"""Stall, following error and overload: just below each limit and just above it, and what the arm does about it."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.config import Robot
from edge_runtime.effort import Effort
from edge_runtime.limits import Limits
from tests.edge_runtime.fakes import HORIZON, Rig, robot

MS = 1_000_000
PERIOD_NS = 10 * MS
DELAY_NS = 80 * MS
ELBOW = 2


def with_joint(index: int, **changes: object) -> Robot:
    """The test robot with one joint changed."""
    one = robot()
    joints = list(one.buses[0].joints)
    joints[index] = msgspec.structs.replace(joints[index], **changes)
    return msgspec.structs.replace(one, buses=(msgspec.structs.replace(one.buses[0], joints=tuple(joints)),))


class Bench:
    """A judge, and joints that a test puts where it likes; one `tick` is one period."""

    def __init__(self, settings: Robot | None = None, delay_ns: int = DELAY_NS) -> None:
        self.events: list[tuple[str, str]] = []
        self.now_ns = 1_000 * MS
        self.setpoint, self.measured, self.current = np.zeros((3, 6))
        self.heard = np.ones(6, bool)
        self.told_ns = np.zeros(6, np.int64)
        self.effort = Effort(
            settings or robot(), PERIOD_NS, delay_ns, lambda name, cause: self.events.append((name, cause))
        )

    def tick(self, count: int = 1) -> str:
        """The first cause of so many ticks."""
        first = ""
        for _ in range(count):
            self.now_ns += PERIOD_NS
            cause = self.effort.judge(self.now_ns, self.setpoint, self.measured, self.heard, self.current, self.told_ns)
            first = first or cause
            if cause:
                break
        return first

    def draw(self, current_a: float, index: int = ELBOW) -> str:
        """A new reading of a current."""
        self.current[index], self.told_ns[index] = current_a, self.now_ns
        return self.tick()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_joint_that_is_held_back_for_too_long_has_stalled(bench: Bench, side: float) -> None:
    bench.setpoint[ELBOW] = side * 0.31
    assert bench.tick(8) == ""  # it may follow so late
    assert bench.tick(30) == ""  # 300 ms from the first tick at which it should have followed
    cause = "joint elbow_flex: stalled: 0.31 rad behind its setpoint for 300 ms, limit 0.25 rad"
    assert bench.tick() == cause
    assert bench.effort.pushing == [ELBOW]
    assert bench.events == [("stalled", cause)]
    assert bench.effort.counted() == {"stalled elbow_flex": 1}
    assert bench.tick(30) == ""
    assert bench.effort.pushing == []
    assert bench.tick() == cause  # as long as it is not let off
    assert bench.effort.counted() == {"stalled elbow_flex": 2}


@pytest.mark.parametrize(("error", "stalls"), [(0.25, False), (0.25 + 1e-9, True)])
def test_the_limit_is_of_the_error(bench: Bench, error: float, stalls: bool) -> None:
    bench.setpoint[ELBOW] = error
    assert bool(bench.tick(100)) is stalls


@pytest.mark.parametrize(("way", "word"), [(0.02, "stalled"), (0.021, "does not follow"), (-0.021, "does not follow")])
def test_one_that_moves_all_the_same_does_not_follow(bench: Bench, way: float, word: str) -> None:
    bench.setpoint[ELBOW] = 1.0
    bench.tick(20)
    bench.measured[ELBOW] += way
    assert bench.tick(100).startswith(f"joint elbow_flex: {word}: ")
    assert bench.effort.counted() == {f"{word} elbow_flex": 1}


def test_time_begins_anew_where_it_was_there_for_once(bench: Bench) -> None:
    bench.setpoint[ELBOW] = 0.3
    assert bench.tick(38) == ""
    bench.measured[ELBOW] = 0.2
    assert bench.tick() == ""
    bench.measured[ELBOW] = 0.0
    assert bench.tick(30) == ""
    assert bench.tick() != ""


@given(delay=st.integers(0, 8), speed=st.floats(-20.0, 20.0), turn=st.integers(1, 200))
def test_a_joint_that_follows_within_the_delay_has_no_error(delay: int, speed: float, turn: int) -> None:
    """However fast it is told to move, and to and fro."""
    bench = Bench()
    told = [0.0] * 9
    for tick in range(400):
        told.append(told[-1] + speed * 0.01 * (1 if tick // turn % 2 else -1))
        bench.setpoint[:] = told[-1]
        bench.measured[:] = told[-1 - delay]
        assert bench.tick() == ""
    assert bench.effort.counted() == {}


@given(late=st.integers(1, 60))
def test_one_that_follows_later_is_found_out_where_that_is_far(late: int) -> None:
    bench = Bench()
    told = [0.0] * 80
    caught = False
    for _ in range(200):
        told.append(told[-1] + 0.02)
        bench.setpoint[:] = told[-1]
        bench.measured[:] = told[-1 - 8 - late]
        caught = caught or bool(bench.tick())
    assert caught is (late * 0.02 > 0.25 + 1e-9)


@given(st.lists(st.tuples(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.booleans()), max_size=120))
def test_any_verdict_has_its_reason(ticks: list[tuple[float, float, bool]]) -> None:
    """Against the definition in plain words, tick by tick."""
    bench = Bench()
    told, since = [0.0] * 9, None
    for setpoint, measured, heard in ticks:
        told.append(setpoint)
        bench.setpoint[0], bench.measured[0], bench.heard[0] = setpoint, measured, heard
        cause = bench.tick()
        error = max(min(told[-9:]) - measured, measured - max(told[-9:]))
        if heard:
            since = None if error <= 0.25 else (since or bench.now_ns)
        due = heard and since is not None and bench.now_ns - since >= 300 * MS
        assert bool(cause) is due
        since = None if due else since


def test_motors_that_were_measured_to_lead_are_motors_without_a_delay() -> None:
    bench = Bench(delay_ns=-50 * MS)
    bench.setpoint[ELBOW] = 0.3
    assert bench.tick(30) == ""
    assert bench.tick() != ""


def test_whatever_else_is_beyond_its_limit_then_pushes_on_no_more_either(bench: Bench) -> None:
    bench.setpoint[ELBOW] = 1.0
    bench.tick(30)
    bench.setpoint[0], bench.setpoint[1] = 0.26, 0.25
    bench.tick(8)
    assert "elbow_flex" in bench.tick(30)
    assert bench.effort.pushing == [ELBOW, 0]
    assert bench.effort.counted() == {"stalled elbow_flex": 1}
    bench.setpoint[ELBOW] = 0.0
    assert bench.tick(30) == ""  # it begins anew
    assert "shoulder_pan" in bench.tick()


def test_an_answer_that_did_not_come_is_no_news(bench: Bench) -> None:
    bench.setpoint[ELBOW] = 1.0
    bench.heard[:] = False
    assert bench.tick(200) == ""
    bench.heard[:] = True
    assert bench.tick(30) == ""
    bench.heard[:] = False
    assert bench.tick(50) == ""
    bench.heard[:] = True
    assert bench.tick() != ""


def test_nothing_that_is_not_commanded_is_judged(bench: Bench) -> None:
    bench.setpoint[ELBOW] = 1.0
    bench.tick(38)
    bench.effort.rest(bench.measured)
    assert bench.tick(8) == ""
    assert bench.tick(30) == ""
    assert bench.tick() != ""
    bench.effort.rest(bench.measured)
    assert bench.effort.pushing == []


def test_a_time_that_began_before_counts_for_nothing_afterwards(bench: Bench) -> None:
    bench.setpoint[ELBOW] = 1.0
    bench.tick(38)
    bench.effort.rest(bench.measured)
    bench.heard[:] = False
    bench.tick(20)
    bench.heard[:] = True
    assert bench.tick() == ""


@pytest.mark.parametrize("delay_ms", [0, 10, 70, 80])
def test_the_delay_comes_on_top_of_the_time(delay_ms: int) -> None:
    bench = Bench(delay_ns=delay_ms * MS)
    bench.setpoint[ELBOW], bench.measured[ELBOW] = -0.2, 0.2
    assert bench.tick(delay_ms // 10 + 30) == ""
    assert bench.tick() != ""


def test_every_joint_is_named_by_its_own_figures() -> None:
    bench = Bench(with_joint(0, units="deg", following=5.0))
    bench.setpoint[:] = math.radians(6.0)
    assert bench.tick(60) == "joint shoulder_pan: stalled: 6 deg behind its setpoint for 300 ms, limit 5 deg"
    bench = Bench(with_joint(0, units="deg"))
    bench.setpoint[:] = 0.3
    assert bench.tick(60) == "joint shoulder_pan: stalled: 17.2 deg behind its setpoint for 300 ms, limit 14.3 deg"
    assert bench.events[-1][1].startswith("joint gripper: stalled: ")
    assert bench.effort.pushing == [0, 1, 2, 3, 4, 5]
    assert [name for name, _ in bench.events] == ["stalled"] * 6


def test_what_grips_is_held_back_and_has_not_stalled() -> None:
    bench = Bench(with_joint(5, grip=True, torque_limit=0.4))
    bench.setpoint[5] = -3.0
    assert bench.tick(1000) == ""


# ── overload ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def drawing() -> Bench:
    return Bench(with_joint(ELBOW, current_a=1.5))


def test_current_above_the_limit_at_every_reading_for_too_long_is_an_overload(drawing: Bench) -> None:
    assert drawing.draw(1.6) == ""
    drawing.tick(98)
    assert drawing.draw(1.7) == ""  # 990 ms
    cause = "joint elbow_flex: overloaded: 1.92 A for 1000 ms, limit 1.5 A"
    assert drawing.draw(1.92) == cause
    assert drawing.effort.pushing == [ELBOW]
    assert drawing.events == [("overloaded", cause)]
    assert drawing.effort.counted() == {"overloaded elbow_flex": 1}
    assert drawing.draw(1.92) == ""
    assert drawing.effort.pushing == []


def test_one_reading_is_a_peak_however_long_the_next_one_takes(drawing: Bench) -> None:
    drawing.draw(2.0)
    assert drawing.tick(500) == ""
    assert drawing.draw(1.5) == ""
    drawing.tick(200)
    assert drawing.draw(2.0) == ""
    drawing.tick(99)
    assert drawing.draw(2.0) != ""


def test_currents_are_judged_where_a_limit_is_set_and_something_is_commanded(drawing: Bench) -> None:
    for _ in range(50):
        assert drawing.draw(9.0, index=0) == ""
        drawing.tick(10)
    drawing.draw(2.0)
    drawing.tick(98)
    drawing.effort.rest(drawing.measured)
    assert drawing.draw(2.0) == ""
    drawing.tick(98)
    assert drawing.draw(2.0) == ""
    assert drawing.draw(2.0) != ""


# ── the loop ────────────────────────────────────────────────────────────────────────────────────────────────────────


def reach(rig: Rig, to: float) -> None:
    """At a task that asks for `to` and keeps asking."""
    rig.run_task()
    for _ in range(100):
        if rig.mode == "HOLD":
            return
        rig.chunk(np.full((HORIZON, 6), to))
        rig.tick(2)


def test_a_joint_that_is_blocked_stops_the_arm_and_pushes_on_no_more() -> None:
    rig = Rig(robot())
    rig.bus.blocked[ELBOW] = 0.3
    reach(rig, 1.2)
    (cause,) = rig.named("HOLD")
    assert cause.startswith("joint elbow_flex: stalled: ")
    assert cause.endswith(" rad behind its setpoint for 300 ms, limit 0.25 rad")
    assert rig.loop.watchdog.cause == cause
    rig.tick()
    assert rig.emitted()[-1][ELBOW] == pytest.approx(0.3, abs=0)
    rig.tick(200)
    sent = rig.emitted()
    assert sent[-1][ELBOW] == pytest.approx(0.3, abs=0)
    others, at = np.delete(sent, ELBOW, axis=1), Limits.of(rig.robot)
    most = np.delete(at.velocity, ELBOW) * 0.01 + 1e-9
    assert (np.abs(np.diff(others, axis=0)) <= most).all()
    assert others[-1] == pytest.approx(others[-2], abs=0)
    assert (others[-1] > 0.5).all()  # where their own stops ended
    assert rig.loop.effort.counted() == {"stalled elbow_flex": 1}
    assert rig.mode == "HOLD"
    rig.bus.blocked[ELBOW] = np.inf
    assert rig.say("reset") == ""
    assert rig.say("task", "again") == ""
    rig.until("RUN (task)")


def test_one_that_is_blocked_while_the_arm_is_held_lets_off_too() -> None:
    rig = Rig(robot())
    rig.run_task()
    rig.chunk(np.full((HORIZON, 6), 1.2))
    rig.tick(20)
    rig.bus.blocked[ELBOW] = rig.bus.position[ELBOW]
    assert rig.say("estop") == ""
    rig.bus.position[ELBOW] = rig.bus.blocked[ELBOW] = -0.5  # and pushed back
    rig.tick(60)
    assert rig.mode == "HOLD"
    assert rig.emitted()[-1][ELBOW] == pytest.approx(-0.5, abs=0)
    assert rig.loop.effort.counted() == {"stalled elbow_flex": 1}
    assert len(rig.named("stalled")) == 1
    assert len(rig.named("HOLD")) == 1


def test_a_joint_that_never_arrives_at_the_start_pose_is_named() -> None:
    rig = Rig(with_joint(ELBOW, start=1.0))
    rig.bus.blocked[ELBOW] = 0.5
    assert rig.say("arm") == ""
    rig.until("HOLD")
    assert "joint elbow_flex: stalled: " in rig.named("HOLD")[0]
    assert rig.named("READY") == []


def test_an_overload_of_one_motor_stops_the_arm() -> None:
    rig = Rig(with_joint(ELBOW, current_a=1.5))
    rig.run_task()
    rig.bus.state.current_a[:] = 2.0
    ticks = rig.until("HOLD", limit=400, each=rig.fed)
    assert rig.named("HOLD")[0].startswith("joint elbow_flex: overloaded: 2.00 A for 1")
    assert ticks <= 100 + 2 * 100  # its time, and twice the time between two readings


def test_a_gripper_that_closes_on_something_goes_on() -> None:
    rig = Rig(with_joint(5, grip=True, torque_limit=0.4))
    rig.bus.blocked[5] = 0.3
    reach(rig, 1.2)
    assert rig.mode == "RUN (task)"
    assert rig.loop.effort.counted() == {}
