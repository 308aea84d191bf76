"""Several buses as one arm: torque comes on all of them or on none, and each is made safe once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import Disconnected, DriverError, ProtocolError, Timeout
from edge_runtime.buses import Buses
from edge_runtime.clock import FakeClock, MonotonicClock
from edge_runtime.devices import bus_settings
from tests.drivers.motors.dynamixel_rig import DynamixelRig
from tests.drivers.motors.feetech_rig import FeetechRig
from tests.drivers.motors.servo_rig import ServoRig
from tests.edge_runtime.fakes import FakeBus, robot

REFUSED = ProtocolError("bus right: joint 'x' stands outside its limits: move it by hand; no torque was switched on")
CYCLE_NS = 8_000_000
STEP_RAD = 2 * np.pi / 4096


class Pair:
    """Two fake buses as one arm."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.left, self.right = (FakeBus(bus_settings(bus), clock) for bus in robot(arms=2).buses)
        self.buses = Buses([self.left, self.right], clock, CYCLE_NS)
        self.buses.connect()

    def refusal(self) -> str:
        with pytest.raises(DriverError) as caught:
            self.buses.enable_torque()
        return str(caught.value)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def two(kind: type[ServoRig], folder: Path) -> Iterator[list[ServoRig]]:
    rigs = []
    for name in ("left", "right"):
        (folder / name).mkdir()
        rigs.append(kind(folder / name))
    yield rigs
    for rig in rigs:
        rig.close()


@pytest.fixture
def feetech(tmp_path: Path) -> Iterator[list[ServoRig]]:
    yield from two(FeetechRig, tmp_path)


@pytest.fixture
def dynamixel(tmp_path: Path) -> Iterator[list[ServoRig]]:
    yield from two(DynamixelRig, tmp_path)


def test_all_buses_are_checked_before_one_is_switched(pair: Pair) -> None:
    pair.right.fail(REFUSED, "aim")
    assert pair.refusal() == str(REFUSED)
    assert "enable_torque" not in pair.left.calls


def test_what_was_switched_on_is_let_go_where_a_later_bus_refuses(pair: Pair) -> None:
    pair.right.fail(REFUSED, "enable_torque")
    assert pair.refusal() == str(REFUSED)
    assert not pair.left.torque


def test_an_arm_that_held_before_goes_on_holding_and_is_named(pair: Pair) -> None:
    pair.left.torque = True
    pair.right.fail(REFUSED, "enable_torque")
    assert pair.refusal() == f"{REFUSED}; bus left has torque as before"
    assert pair.left.torque
    assert "disable_torque" not in pair.left.calls


def test_one_that_cannot_be_let_go_again_is_named(pair: Pair) -> None:
    pair.left.fail(Timeout("no answer"), "disable_torque")
    pair.right.fail(REFUSED, "enable_torque")
    assert pair.refusal() == f"{REFUSED}; bus left may have torque: no answer"


def test_a_bus_that_is_safe_is_left_alone_until_it_gets_torque_or_is_connected_anew(pair: Pair) -> None:
    pair.right.fail(Disconnected("unplugged"), "safe_action")
    for _ in range(2):
        assert pair.buses.safe_action() == ["bus right: Disconnected: unplugged"]
    assert pair.left.calls.count("safe_action") == 1
    pair.right.trouble.clear()
    assert pair.buses.safe_action() == []
    pair.buses.enable_torque()
    assert pair.buses.safe_action() == []
    assert pair.left.calls.count("safe_action") == 2
    pair.buses.renew(pair.buses.lines[0])
    assert pair.buses.safe_action() == []
    assert pair.left.calls.count("safe_action") == 3


def test_a_joint_that_sags_keeps_its_goal_while_another_bus_is_gone(feetech: list[ServoRig]) -> None:
    left, right = feetech
    buses = Buses([left.bus, right.bus], MonotonicClock(), CYCLE_NS)
    buses.connect()
    buses.enable_torque()
    right.unplug()
    before = left.get(1, "GOAL_POSITION")
    for _ in range(3):
        left.joints.position_rad[1] = left.joints.goal_rad[1] - 20 * STEP_RAD
        assert len(buses.safe_action()) == 1
    assert left.get(1, "GOAL_POSITION") == before - 20, "where it was when it was made safe first"


def test_a_bus_that_is_slow_to_get_torque_lets_no_watchdog_expire(dynamixel: list[ServoRig]) -> None:
    left, right = dynamixel
    buses = Buses([left.bus, right.bus], MonotonicClock(), CYCLE_NS)
    buses.connect()
    enable = right.bus.enable_torque

    def slow(deadline_ns: int) -> None:
        left.pass_time(0.5)
        enable(deadline_ns)
        left.pass_time(0.5)

    right.bus.enable_torque = slow  # type: ignore[method-assign]
    buses.enable_torque()
    left.bus.read_health(0, MonotonicClock().now_ns() + 10**9)
    assert [rig.get(i, "BUS_WATCHDOG") for rig in dynamixel for i in range(6)] == [10] * 12


def test_what_makes_servos_slow_is_changed_only_once_they_are_known(dynamixel: list[ServoRig]) -> None:
    left, _ = dynamixel
    left.put(0, RETURN_DELAY=250)

    def verify(bus: object, deadline_ns: int) -> None:
        assert left.get(0, "RETURN_DELAY") == 250
        if not known:
            raise ProtocolError("another arm")

    known, buses = False, Buses([left.bus], MonotonicClock(), CYCLE_NS, verify)
    with pytest.raises(ProtocolError, match="another arm"):
        buses.connect()
    assert left.get(0, "RETURN_DELAY") == 250
    known = True
    buses.connect()
    assert left.get(0, "RETURN_DELAY") == 0


def test_what_is_known_of_each_joint_and_since_when() -> None:
    clock = FakeClock(1_000)
    made = [FakeBus(bus_settings(bus), clock) for bus in robot(arms=2).buses]
    buses = Buses(made, clock, CYCLE_NS)
    made[0].state.velocity_rad_s[:], made[0].state.current_a[:], made[1].state.current_a[:] = 0.5, 1.5, 2.5
    made[1].fail(Timeout("silent"), "read_state")
    buses.read(clock.now_ns())
    assert buses.heard.tolist() == [True] * 6 + [False] * 6
    assert buses.velocity_rad_s.tolist() == [0.5] * 6 + [0.0] * 6
    assert not buses.current_ns.any()
    for _ in range(7):
        buses.read_next_health(clock.now_ns() + CYCLE_NS)
    assert buses.current_a.tolist() == [1.5] * 6 + [2.5] + [0.0] * 5
    assert buses.current_ns.tolist() == [1_000] * 7 + [0] * 5
    made[1].trouble.clear()
    made[1].fail(Timeout("silent"), "read_health")
    clock.advance(500)
    for _ in range(6):
        buses.read_next_health(clock.now_ns() + CYCLE_NS)
    assert buses.current_ns.tolist() == [1_500] + [1_000] * 6 + [0] * 5
    made[1].CURRENT_EACH_CYCLE = True  # type: ignore[misc]
    buses.read(clock.now_ns())
    assert buses.heard.all()
    assert buses.current_a.tolist() == [1.5] * 6 + [2.5] * 6
    assert buses.current_ns.tolist() == [1_500] + [1_000] * 5 + [1_500] * 6
