"""A person takes the arm over and hands it back: without a bump, within the limits, while the hand is there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import Disconnected
from edge_runtime.config import Workspace as Box
from edge_runtime.fence import SLACK_M, TOLERANCE_M, Workspace
from edge_runtime.limits import Limits
from tests.edge_runtime import sim_arm
from tests.edge_runtime.fakes import HORIZON, Rig, robot
from tests.edge_runtime.memory import growth

PERIOD_S = 0.01
MS = 1_000_000


@pytest.fixture
def rig() -> Rig:
    return Rig(robot())


def bend(rig: Rig, first: int = 0) -> np.ndarray:
    """Largest acceleration of each joint from write `first` on, from one setpoint to the next."""
    return np.abs(np.diff(rig.emitted()[first:], n=2, axis=0)).max(axis=0) / PERIOD_S**2


def drift(rig: Rig, speed: float) -> None:
    """At a task, every joint at `speed` rad/s."""
    for _ in range(12):
        rig.chunk(rig.loop.buses.setpoint_rad + speed * (np.arange(HORIZON)[:, None] * 0.05 - 0.1))
        rig.tick(5)


@settings(max_examples=40)
@given(
    st.floats(-0.6, 0.6),
    st.lists(st.floats(-2.0, 2.0), min_size=6, max_size=6),
    st.lists(st.tuples(st.floats(-2.0, 2.0), st.integers(1, 40)), max_size=6),
    st.floats(-0.2, 0.2),
    st.booleans(),
)
def test_no_bump_in_either_direction(
    speed: float, offset: list[float], moves: list[tuple[float, int]], away: float, stopped: bool
) -> None:
    """Any hand anywhere, moved in any way, out of a task that moves and back into it: never beyond acceleration·dt."""
    rig = Rig(robot())
    rig.hand.move(np.array(offset))
    rig.run_task()
    drift(rig, speed)
    if stopped:
        rig.say("stop")
        rig.tick(60)
    first = len(rig.bus.writes) - 2
    assert rig.say("takeover") == ""
    for by, ticks in moves:
        for _ in range(ticks):
            rig.hand.move(by / ticks)
            rig.tick()
    assert rig.mode == "TAKEOVER (task)"
    assert rig.say("handback") == ""
    assert rig.mode == "RUN (task)"
    rig.tick(7)
    for _ in range(20):
        rig.chunk(np.tile(np.clip(rig.emitted()[first] + away, -1.4, 1.4), (HORIZON, 1)), age_ns=50 * MS)
        rig.tick(5)
    assert (bend(rig, first) <= Limits.of(rig.robot).acceleration * 1.001 + 1e-6).all()


def test_the_arm_repeats_what_the_hand_moves_and_not_where_it_is(rig: Rig) -> None:
    rig.hand.move(1.2)
    rig.run_task()
    before = rig.loop.buses.setpoint_rad.copy()
    rig.say("takeover")
    rig.tick(100)
    assert rig.loop.buses.setpoint_rad == pytest.approx(before, abs=1e-9)
    rig.hand.move(np.array([0.2, -0.1, 0.0, 0.3, 0.0, 0.1]))
    rig.tick(150)
    assert rig.loop.buses.setpoint_rad - before == pytest.approx([0.2, -0.1, 0.0, 0.3, 0.0, 0.1], abs=1e-6)


def test_at_the_end_of_its_range_a_joint_waits_and_follows_at_once_when_the_hand_turns_back(rig: Rig) -> None:
    rig.run_task()
    rig.say("takeover")
    rig.hand.move(9.0)
    rig.tick(300)
    assert rig.loop.buses.setpoint_rad == pytest.approx([1.5] * 6, abs=1e-6)
    rig.hand.move(-0.5)
    rig.tick(150)
    assert rig.loop.buses.setpoint_rad == pytest.approx([1.0] * 6, abs=1e-6)


def test_no_hand_leads_the_tip_out_of_the_workspace(tmp_path: Path) -> None:
    """Down to the table and beyond: the arm waits above it, and comes back with the hand."""
    settings = msgspec.structs.replace(sim_arm.robot(tmp_path), workspace=Box(low=(-1, -1, 0.1), high=(1, 1, 1)))
    box = Workspace.of(settings)
    assert box is not None
    rig = Rig(settings)
    rig.bus.position[:] = [joint.start_rad for joint in settings.joints]
    rig.run_task()
    rig.say("takeover")
    before = rig.loop.buses.setpoint_rad.copy()
    down = np.array([0.0, 0.8, 0.0, 0.0, 0.0, 0.0])
    for sign in (1.0, -1.0):
        for _ in range(80):
            rig.hand.move(sign * down / 80)
            rig.tick()
        rig.tick(100)
        if sign > 0.0:
            at = box.tip.at(rig.loop.buses.setpoint_rad[:5].tolist())
            assert 0.1 - SLACK_M <= at[2] < 0.102
            assert rig.loop.limiter.counted()["workspace: tip below z shoulder_lift"] > 50
    assert rig.loop.buses.setpoint_rad == pytest.approx(before, abs=1e-6)
    heights = [box.tip.at(row[:5].tolist())[2] for row in rig.emitted()]
    assert min(heights) >= 0.1 - TOLERANCE_M


def test_a_task_goes_on_with_a_fresh_request_and_the_time_that_was_left(rig: Rig) -> None:
    rig.run_task("fetch")
    for _ in range(100):
        rig.fed()
        rig.tick(5)
    number, episodes = rig.link.request.number, rig.loop.director.episodes
    rig.say("takeover")
    assert rig.link.request == (number, rig.link.request.prompt, True)
    assert rig.link.request.prompt.instruction == "fetch"
    rig.tick(2_000)
    assert rig.loop.buses.setpoint_rad == pytest.approx(np.full(6, 0.1), abs=0.01)
    rig.say("handback")
    assert rig.link.request.number == number + 1
    assert not rig.link.request.person
    assert rig.until("RUN (park)", each=rig.fed) == pytest.approx(750, abs=10)
    assert rig.loop.director.episodes == episodes


def test_a_chunk_of_before_the_takeover_is_not_followed_after_it(rig: Rig) -> None:
    rig.run_task()
    rig.say("takeover")
    rig.chunk(np.full((HORIZON, 6), 1.0))  # of an inference that was in flight
    rig.say("handback")
    rig.tick(30)
    assert rig.loop.buses.setpoint_rad == pytest.approx(np.full(6, 0.1), abs=0.05)


def test_without_a_task_the_arm_is_handed_back_at_rest(rig: Rig) -> None:
    rig.say("arm")
    rig.until("READY")
    assert rig.say("takeover") == ""
    assert rig.mode == "TAKEOVER"
    assert rig.link.request.prompt is None
    for _ in range(30):
        rig.hand.move(0.01)
        rig.tick()
    first = len(rig.bus.writes) - 2
    assert rig.say("handback") == ""
    assert rig.mode == "READY"
    assert rig.say("disarm") == "cannot disarm in READY: still stopping, try again"
    rig.tick(60)
    assert np.abs(np.diff(rig.emitted()[-5:], axis=0)).max() == 0.0
    assert (bend(rig, first) <= 10.0 * 1.001).all()
    assert rig.say("disarm") == ""


def test_a_task_that_the_person_has_done_ends_well_and_the_arm_parks(rig: Rig) -> None:
    rig.run_task()
    rig.say("takeover")
    rig.hand.move(0.3)
    rig.tick(20)
    first = len(rig.bus.writes) - 2
    assert rig.say("done") == ""
    rig.until("READY")
    assert rig.loop.director.successes == 1
    assert (bend(rig, first) <= 10.0 * 1.01).all()


def test_a_stop_ends_a_takeover(rig: Rig) -> None:
    rig.run_task()
    for _ in range(100):
        rig.fed()
        rig.tick(5)
    rig.say("takeover")
    rig.hand.move(0.4)
    rig.tick(20)
    assert rig.say("stop") == ""
    assert rig.mode == "HOLD (task)"
    rig.tick(3_000)
    assert rig.say("resume") == ""
    assert rig.until("RUN (park)", each=rig.fed) == pytest.approx(750, abs=10)


@pytest.mark.parametrize("when", ["RUN (to_start)", "HOLD (to_start)", "RUN (park)", "HOLD (park)"])
def test_a_move_can_be_taken_over_and_ends_in_ready(rig: Rig, when: str) -> None:
    rig.bus.position[:] = 1.0
    rig.tick()
    rig.say("arm")
    if "park" in when:
        rig.until("READY")
        rig.say("task", "x")
        rig.until("RUN (task)")
        rig.say("done")
    rig.tick(10)
    if "HOLD" in when:
        rig.say("stop")
    assert rig.mode == when
    first = len(rig.bus.writes) - 2
    assert rig.say("takeover") == ""
    assert rig.mode == "TAKEOVER"
    rig.tick(100)
    assert (bend(rig, first) <= 10.0 * 1.01).all()
    assert rig.say("handback") == ""
    assert rig.mode == "READY"


def test_a_task_that_had_not_begun_is_dropped_by_a_takeover_and_that_is_said(rig: Rig) -> None:
    rig.bus.position[:] = 1.0
    rig.tick()
    rig.say("arm")
    rig.say("task", "fetch the cup")
    assert rig.say("takeover") == ""
    assert rig.say("handback") == ""
    rig.tick(100)
    assert (rig.mode, rig.loop.director.prompt) == ("READY", None)
    assert rig.named("task dropped") == ["fetch the cup"]


def test_a_hand_that_falls_silent_ends_in_a_bounded_stop_that_latches(rig: Rig) -> None:
    rig.run_task()
    rig.say("takeover")
    for _ in range(40):
        rig.hand.move(0.01)
        rig.tick()
    first = len(rig.bus.writes) - 2
    rig.hand.stopped_ns = rig.clock.now_ns()
    assert rig.until("HOLD") == pytest.approx(20, abs=1)
    assert rig.named("hand late") == rig.named("HOLD")
    assert "newest reading of the hand is 210" in rig.named("HOLD")[0]
    rig.tick(100)
    assert rig.loop.director.still
    assert (bend(rig, first) <= 10.0 * 1.001).all()
    assert "cannot takeover in HOLD: allowed now: disarm, stop, reset, estop" in rig.say("takeover")
    assert rig.say("reset") == ""
    assert rig.mode == "READY"


def test_what_is_not_there_cannot_take_over(rig: Rig) -> None:
    rig.run_task()
    rig.hand.trouble = "bus leader: the port has gone away"
    assert rig.say("takeover") == f"cannot takeover in RUN (task): the hand is lost: {rig.hand.trouble}"
    rig.hand.trouble = ""
    rig.hand.stopped_ns = rig.clock.now_ns() - 400 * MS
    assert "the newest reading of the hand is 4" in rig.say("takeover")
    assert rig.mode == "RUN (task)"
    bare = Rig(robot(), hand=False)
    bare.run_task()
    assert bare.say("takeover") == "cannot takeover in RUN (task): robot.toml has neither [leader] nor [gamepad]"


def test_the_end_of_the_run_stops_a_takeover_first(rig: Rig) -> None:
    rig.run_task()
    rig.say("takeover")
    for _ in range(40):
        rig.hand.move(0.01)
        rig.tick()
    first = len(rig.bus.writes) - 2
    rig.loop.close("SIGTERM")
    rig.loop.run()
    assert (rig.mode, rig.bus.safe) == ("SAFE", True)
    assert (bend(rig, first) <= 10.0 * 1.001).all()
    assert np.abs(np.diff(rig.emitted()[-2:], axis=0)).max() < 1e-4


def test_a_bug_while_a_person_drives_ends_in_the_safe_action(rig: Rig) -> None:
    rig.say("arm")
    rig.until("READY")
    rig.say("takeover")
    rig.bus.fail(ZeroDivisionError("a bug"), "write_setpoints")
    with pytest.raises(ZeroDivisionError):
        rig.loop.run()
    assert (rig.mode, rig.bus.safe) == ("SAFE", True)


def test_a_port_that_goes_while_a_person_drives_ends_in_safe(rig: Rig) -> None:
    rig.run_task()
    rig.say("takeover")
    rig.bus.fail(Disconnected("unplugged"))
    rig.until("SAFE", limit=100)
    assert rig.bus.safe


def test_what_is_commanded_is_there_for_the_recording(rig: Rig) -> None:
    rig.run_task()
    rig.say("takeover")
    rig.hand.move(0.2)
    rig.tick(20)
    assert rig.link.setpoints.take() == pytest.approx(rig.emitted()[-1], abs=0)


def test_a_takeover_keeps_nothing(rig: Rig) -> None:
    rig.run_task()
    rig.say("takeover")

    def work() -> None:
        rig.hand.move(0.0001)
        rig.tick(3)
        for each in (rig.bus.writes, rig.bus.calls, rig.bus.healthy, rig.petted):
            each.clear()

    assert growth(work, times=600) < 2_000
    assert rig.mode == "TAKEOVER (task)"
