"""A joint that swings stays within every limit, and whatever happens ends in the safe action."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.errors import DriverError, Timeout
from edge_runtime import swing
from edge_runtime.brake import longest_stop
from edge_runtime.buses import ATTEMPTS, Buses
from edge_runtime.clock import FakeClock
from edge_runtime.devices import bus_settings
from edge_runtime.errors import EdgeError
from edge_runtime.fence import TOLERANCE_M, Workspace
from edge_runtime.limits import Limits
from edge_runtime.tip import Tip
from edge_runtime.urdf import UrdfJoint
from tests.edge_runtime.fakes import FakeBus, robot

LIMITS = Limits.of(robot())
PERIOD_NS = 10_000_000


class Arm:
    """One bus of motors in fake time, and a joint of it that swings."""

    def __init__(self) -> None:
        self.clock = FakeClock(10**9)
        self.bus = FakeBus(bus_settings(robot().buses[0]), self.clock)
        self.buses = Buses([self.bus], self.clock, 500_000_000)
        self.buses.connect()

    def swing(self, way_rad: float, check: swing.Check = lambda _: None, period_ns: int = PERIOD_NS) -> swing.Swung:
        return swing.swing(self.buses, LIMITS, 2, swing.Way(way_rad), period_ns, self.clock, check)

    @property
    def setpoints(self) -> np.ndarray:
        """Of that joint, [writes]."""
        return np.array([row[2] for _, row in self.bus.writes])


@pytest.fixture
def arm() -> Arm:
    return Arm()


@pytest.mark.parametrize("start", [-1.5, -0.4, 0.0, 1.2, 1.5])
@pytest.mark.parametrize("slow", [1.0, 0.3])
def test_position_velocity_acceleration_and_jerk_stay_within_the_limits(start: float, slow: float) -> None:
    limits = replace(LIMITS, velocity=LIMITS.velocity * slow, jerk=LIMITS.jerk * slow)
    way = swing.plan(limits, 2, np.array([0.0, 0.0, start, 0.0, 0.0, 0.0]))
    dt = 1e-3
    path = start + np.array([way.at(t) for t in np.arange(-0.1, swing.SECONDS + 0.1, dt)])
    assert path.min() >= limits.lower[2]
    assert path.max() <= limits.upper[2]
    assert path[0] == path[-1] == start
    assert np.ptp(path) > 0.8 * abs(way.way_rad)
    for order, most in ((1, limits.velocity[2]), (2, limits.acceleration[2]), (3, limits.jerk[2])):
        assert np.abs(np.diff(path, order)).max() / dt**order <= most


def test_no_room_is_said() -> None:
    narrow = replace(LIMITS, lower=np.full(6, -0.02), upper=np.full(6, 0.02))
    with pytest.raises(EdgeError, match=r"elbow_flex could swing by 1\.0° only"):
        swing.plan(narrow, 2, np.zeros(6))


def test_a_swing_does_not_leave_the_workspace(arm: Arm) -> None:
    """The joint turns a tip, 1 m away, about z. What it was told is written down, so delays are found nevertheless."""
    still = (0.0, 0.0, 0.0)
    needle = Tip(
        [
            UrdfJoint("elbow_flex", still, still, (0.0, 0.0, 1.0), -9.0, 9.0),
            UrdfJoint("tip", (1.0, 0.0, 0.0), still, None, 0.0, 0.0),
        ]
    )
    box = Workspace(needle, (2,), (-9.0, -9.0, -9.0), (9.0, 0.1, 9.0))
    done = swing.swing(arm.buses, LIMITS, 2, swing.Way(0.3), PERIOD_NS, arm.clock, workspace=box)
    assert 0.099 < np.sin(arm.setpoints).max() <= 0.1 + TOLERANCE_M
    np.testing.assert_array_equal(done.commanded_rad, arm.setpoints)


@pytest.mark.parametrize("outside", [-1.51, 1.6, np.nan])
def test_an_arm_outside_its_limits_is_not_moved(outside: float) -> None:
    with pytest.raises(
        EdgeError, match=r"joint wrist_flex is at .*, outside its limits -85\.9° to 85\.9°: move it inside"
    ):
        swing.plan(LIMITS, 2, np.array([0.0, 0.0, 0.0, outside, 0.0, 0.0]))


def test_only_that_joint_moves_and_the_end_is_safe(arm: Arm) -> None:
    arm.swing(0.3)
    rows = np.array([row for _, row in arm.bus.writes])
    others = np.delete(rows, 2, axis=1)
    np.testing.assert_array_equal(others, np.broadcast_to(others[0], others.shape))
    assert np.ptp(rows[:, 2]) == pytest.approx(0.3, abs=0.02)
    assert arm.bus.safe


@pytest.mark.parametrize(
    ("moved_to", "says"), [(1.75, "elbow_flex is at 100.3°, outside"), (1.4, "elbow_flex was moved and has no room")]
)
def test_an_arm_that_was_moved_since_it_was_planned_gets_no_torque(arm: Arm, moved_to: float, says: str) -> None:
    way = swing.plan(LIMITS, 2, np.zeros(6))
    arm.bus.position[2] = moved_to
    with pytest.raises(EdgeError, match=says):
        arm.swing(way.way_rad)
    assert "enable_torque" not in arm.bus.calls


def test_what_ends_it_before_torque_is_raised_without_torque(arm: Arm) -> None:
    def check(now_ns: int) -> None:
        raise EdgeError("e-stop red is pressed")

    with pytest.raises(EdgeError, match="red is pressed"):
        arm.swing(0.3, check)
    assert not {"enable_torque", "write_setpoints"} & set(arm.bus.calls)


@pytest.mark.parametrize("after_s", [0.02, 0.9, 2.2, 3.1, 4.35, 5.5, 6.66, 7.1, 7.99])
@pytest.mark.parametrize("error", [EdgeError("pressed"), KeyboardInterrupt()])
def test_whenever_it_is_ended_the_arm_comes_to_rest_within_the_limits(
    arm: Arm, after_s: float, error: BaseException
) -> None:
    way, end_ns = swing.plan(LIMITS, 2, np.zeros(6)), 10**9 + round(after_s * 1e9)

    def check(now_ns: int) -> None:
        if now_ns >= end_ns:
            assert not arm.bus.safe
            raise error

    with pytest.raises(type(error)):
        arm.swing(way.way_rad, check, 1_000_000)
    path = arm.setpoints
    v, a, j = LIMITS.velocity[2], LIMITS.acceleration[2], LIMITS.jerk[2]
    assert after_s * 1e3 <= len(path) <= (after_s + longest_stop(v, a, j)[1]) * 1e3 + 3
    assert path[-1] == pytest.approx(path[-2], abs=1e-7)
    for order, limit in ((1, v), (2, a), (3, j)):
        assert np.abs(np.diff(path, order)).max() * 1e3**order <= limit * (1 + 1e-6)
    assert arm.bus.calls[-2:] == ["read_state", "safe_action"]


def test_a_joint_that_meets_something_is_made_safe(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm.bus, "write_setpoints", lambda position_rad, deadline_ns: None)
    with pytest.raises(DriverError, match=r"elbow_flex is .*something is in its way"):
        arm.swing(0.5)
    assert arm.bus.safe


def test_a_stall_is_no_jump_and_no_burst(arm: Arm) -> None:
    read, stalls = arm.bus.read_state, iter([0] * 200 + [400_000_000] + [0] * 2000)

    def read_state(deadline_ns: int) -> None:
        arm.clock.advance(next(stalls))
        read(deadline_ns)

    arm.bus.read_state = read_state  # type: ignore[method-assign]
    arm.swing(0.3)
    times, path = np.array([t for t, _ in arm.bus.writes]), arm.setpoints
    smooth = np.diff([swing.Way(0.3).at(t) for t in np.arange(0.0, swing.SECONDS, PERIOD_NS * 1e-9)])
    assert np.diff(times).max() == 400_000_000
    assert np.diff(times).min() >= PERIOD_NS - 1
    assert np.abs(np.diff(path)).max() <= np.abs(smooth).max() * 1.001


@pytest.mark.parametrize("call", ["enable_torque", "write_setpoints", "read_state"])
def test_a_bus_that_fails_under_torque_is_made_safe(arm: Arm, call: str) -> None:
    def check(now_ns: int) -> None:
        arm.bus.trouble[call] = Timeout("no answer")

    with pytest.raises(DriverError, match="no answer"):
        arm.swing(0.3, check)
    assert arm.bus.safe


def test_a_bus_that_stays_silent_at_the_end_is_asked_again_and_the_way_out_is_said(arm: Arm) -> None:
    def check(now_ns: int) -> None:
        arm.bus.fail(Timeout("no answer"), "read_state", "safe_action")

    with pytest.raises(DriverError, match=r"bus arm: Timeout: no answer: torque may still be on: run edge safe-stop"):
        arm.swing(0.3, check)
    assert arm.bus.calls.count("safe_action") == ATTEMPTS
