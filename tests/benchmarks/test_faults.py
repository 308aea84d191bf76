"""What `make faults` holds a fault against, on traces made up here, and two faults from the first to the way back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import bounds, boxes
from benchmarks.faults.__main__ import main, named
from benchmarks.faults.bounds import Trace
from benchmarks.faults.cases import CASES
from benchmarks.faults.rig import ENDED, Rig, Seen
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
    assert [what for what in result.broken if "black boxes" in what] == []
    assert result.black_boxes == 1 or case.ends == (ENDED,)


def looks(*states: tuple[float, str]) -> list[Seen]:
    return [Seen(round(s * 1e9), state, "", {}) for s, state in states]


@pytest.mark.parametrize(
    ("seen", "due"),
    [
        (looks((0.0, "RUN (task)"), (0.2, "COAST"), (0.3, "RUN (task)")), 0),
        (looks((0.0, "RUN (task)"), (0.2, "HOLD"), (2.0, "HOLD")), 1),
        (looks((0.0, "RUN (task)"), (0.2, "HOLD"), (1.1, "SAFE")), 1),
        (looks((0.0, "RUN (task)"), (0.2, "HOLD"), (1.3, "SAFE")), 2),
        (looks((0.0, "RUN (task)"), (0.2, "SAFE"), (0.3, "ended")), 1),
        (looks((0.0, "RUN (task)"), (0.2, "HOLD"), (9.0, "ended")), 2),
    ],
)
def test_how_many_black_boxes_a_fault_has_to_leave(seen: list[Seen], due: int) -> None:
    assert boxes.due(seen) == due


def test_a_black_box_that_is_missing_one_too_many_and_one_that_failed_break_the_bound(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "WAIT_S", 0.0)
    folder = Path(robot.black_box.folder)
    folder.mkdir()
    (folder / "old.mcap").touch()
    before = boxes.files(robot)
    assert boxes.new(robot, before, 1) == 0
    (folder / "old.mcap").unlink()  # the oldest go
    for name in ("a.mcap", "b.mcap"):
        (folder / name).touch()
    assert boxes.new(robot, before, 1) == 2
    assert list(boxes.broken(1, 0, 0)) == ["black boxes written: 0, not 1"]
    assert list(boxes.broken(1, 2, 1)) == ["black boxes written: 2, not 1", "black boxes failed: 1"]
    assert list(boxes.broken(1, 1, 0)) == []


def test_a_name_that_no_fault_has_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["faults", "--only", "nosuch"])
    assert main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith('faults: no fault has "nosuch" in its name; known: inference stalls, ')
    assert said.err.count("\n") == 1


def test_capitals_make_no_difference() -> None:
    assert [case.name for case in named("KILL")] == [case.name for case in named("kill")] == ["kill -9"]
