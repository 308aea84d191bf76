"""A joint that swings stays within every limit, and whatever happens ends in the safe action."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.errors import DriverError, Timeout
from edge_runtime import swing
from edge_runtime.clock import FakeClock
from edge_runtime.devices import bus_settings
from edge_runtime.errors import EdgeError
from edge_runtime.limits import Limits
from tests.edge_runtime.fakes import FakeBus, robot

LIMITS = Limits.of(robot())
PERIOD_NS = 10_000_000


def fake_bus(clock: FakeClock) -> FakeBus:
    bus = FakeBus(bus_settings(robot().buses[0]), clock)
    bus.connect(10**12)
    return bus


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


@pytest.mark.parametrize("outside", [-1.51, 1.6, np.nan])
def test_an_arm_outside_its_limits_is_not_moved(outside: float) -> None:
    with pytest.raises(
        EdgeError, match=r"joint wrist_flex is at .*, outside its limits -85\.9° to 85\.9°: move it inside"
    ):
        swing.plan(LIMITS, 2, np.array([0.0, 0.0, 0.0, outside, 0.0, 0.0]))


def test_only_that_joint_moves_and_the_end_is_safe() -> None:
    clock = FakeClock(10**9)
    bus = fake_bus(clock)
    swing.swing(bus, LIMITS, 2, swing.Way(0.3), PERIOD_NS, clock)
    rows = np.array([row for _, row in bus.writes])
    others = np.delete(rows, 2, axis=1)
    np.testing.assert_array_equal(others, np.broadcast_to(others[0], others.shape))
    assert np.ptp(rows[:, 2]) == pytest.approx(0.3, abs=0.02)
    assert bus.safe


def test_a_joint_that_meets_something_is_made_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(10**9)
    bus = fake_bus(clock)
    monkeypatch.setattr(bus, "write_setpoints", lambda position_rad, deadline_ns: None)
    with pytest.raises(DriverError, match=r"elbow_flex is .*something is in its way"):
        swing.swing(bus, LIMITS, 2, swing.Way(0.5), PERIOD_NS, clock)
    assert bus.safe


def test_a_stall_is_no_jump_and_no_burst() -> None:
    clock = FakeClock(10**9)
    bus = fake_bus(clock)
    read, stalls = bus.read_state, iter([0] * 200 + [400_000_000] + [0] * 2000)

    def read_state(deadline_ns: int) -> None:
        clock.advance(next(stalls))
        read(deadline_ns)

    bus.read_state = read_state  # type: ignore[method-assign]
    way = swing.Way(0.3)
    swing.swing(bus, LIMITS, 2, way, PERIOD_NS, clock)
    times, path = np.array([t for t, _ in bus.writes]), np.array([row[2] for _, row in bus.writes])
    smooth = np.diff([way.at(t) for t in np.arange(0.0, swing.SECONDS, PERIOD_NS * 1e-9)])
    assert np.diff(times).max() == 400_000_000
    assert np.diff(times).min() >= PERIOD_NS - 1
    assert np.abs(np.diff(path)).max() <= np.abs(smooth).max() * 1.001


@pytest.mark.parametrize("call", ["enable_torque", "write_setpoints", "read_state"])
def test_a_bus_that_fails_is_made_safe(call: str) -> None:
    clock = FakeClock(10**9)
    bus = fake_bus(clock)
    bus.trouble[call] = Timeout("no answer")
    with pytest.raises(Timeout):
        swing.swing(bus, LIMITS, 2, swing.Way(0.3), PERIOD_NS, clock)
    assert bus.safe
