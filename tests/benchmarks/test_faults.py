"""What `make faults` holds a fault against, on traces made up here, and two faults from the first to the way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import bounds
from benchmarks.faults.bounds import Trace
from benchmarks.faults.cases import CASES
from benchmarks.faults.rig import Rig
from benchmarks.faults.trial import run
from drivers.sim.servos import DAMPING_NM_S, GAIN_NM_RAD
from drivers.sim.trace import ROW
from edge_runtime.brake import Brake
from edge_runtime.config import Robot
from tests.edge_runtime.sim_arm import robot as sim_robot

MS = 1_000_000
SPEED = 0.8


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return sim_robot(tmp_path)


def made(goals: np.ndarray, period_ms: float = 10.0) -> Trace:
    """A joint whose link is where its goal is, told `goals` [n] one a period."""
    rows = np.zeros(len(goals), ROW)
    rows["t_ns"] = 1_000 * MS + np.round(np.arange(len(goals)) * period_ms * MS)
    rows["told"], rows["torque_on"] = True, True
    rows["goal_rad"][:, 0] = rows["link_rad"][:, 0] = goals
    return Trace(rows)


def test_an_even_motion_breaks_nothing(robot: Robot) -> None:
    trace = made(np.arange(100) * SPEED * 0.01)
    assert list(bounds.burst(robot, trace, safe_at_speed=False)) == []
    assert trace.speed()[0] == pytest.approx(SPEED)
    assert trace.closest_ns() == 10 * MS


def test_two_setpoints_at_once_are_a_burst_unless_the_first_may_have_come_earlier(robot: Robot) -> None:
    trace = made(np.zeros(100))
    trace.rows["t_ns"][50] = trace.rows["t_ns"][51] - 2 * MS
    assert list(bounds.burst(robot, trace, safe_at_speed=False)) == ["two setpoints 2.00 ms apart, the period is 10 ms"]
    trace.rows["away_ns"][50] = 3 * MS
    assert list(bounds.burst(robot, trace, safe_at_speed=False)) == []


def test_a_step_of_more_than_a_period_is_named_with_its_joint(robot: Robot) -> None:
    goals = np.arange(100) * SPEED * 0.01
    goals[50:] += 0.03
    trace = made(goals)
    assert [text.split(":")[0] for text in bounds.burst(robot, trace, safe_at_speed=False)] == ["shoulder_pan"]
    trace.rows["torque_on"][:51] = False
    assert list(bounds.burst(robot, trace, safe_at_speed=False)) == []


def test_a_stop_of_the_limiters_own_is_within_the_bound_and_one_that_goes_on_for_longer_is_not(robot: Robot) -> None:
    joint = robot.joints[0]
    brake = Brake(joint.acceleration_rad_s2, joint.jerk_rad_s3)
    brake.plan(0.0, SPEED, 0.0)
    lag_rad = SPEED * DAMPING_NM_S[0] / GAIN_NM_RAD[0]
    speed = np.array([SPEED, *[0.0] * 5])
    for noticed_s, within in ((0.1, True), (0.4, False)):
        moved = SPEED * noticed_s + brake.end + lag_rad
        assert bool(moved <= bounds.may_move(robot, speed, 0.1)[0]) is within


def test_when_and_where_a_motion_ends() -> None:
    goals = np.minimum(np.arange(200) * 0.01, 0.5)
    trace = made(goals)
    begin_ns = int(trace.rows["t_ns"][0])
    assert trace.rest_ns() - begin_ns == 490 * MS
    assert trace.last_new_goal_ns() - begin_ns == 500 * MS
    assert trace.moved(begin_ns + 195 * MS)[0] == pytest.approx(0.5 - 0.195)


@pytest.mark.parametrize("name", ["serial port unplugged", "kill -9"])
def test_a_fault_from_its_beginning_to_the_way_back(name: str, tmp_path: Path) -> None:
    """Where it leads and how far the arm goes; how soon is for a machine that does nothing else."""
    case = next(case for case in CASES if case.name == name)
    with Rig(tmp_path / "sim") as rig:
        result = run(case, rig)
    assert result.path[-1] in case.ends
    assert result.detected_ms is not None
    assert result.moved_rad is not None
    assert result.bound_rad is not None
    assert result.moved_rad <= result.bound_rad
    assert result.back_s is not None, result.broken
