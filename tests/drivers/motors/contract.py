"""What every motor bus must do, whatever its protocol. Subclass per protocol and supply the `rig` fixture."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import pytest

from drivers.errors import Disconnected, DriverError, Overload, ProtocolError, Timeout
from drivers.motors.base import MotorBus, MotorSettings
from tests.drivers.fake_joints import FakeJoints
from tests.drivers.kept_bytes import KeptBytes

NAMES = ("pan", "lift", "elbow", "flex", "roll", "grip")
LIMIT_RAD = 2.5
SLACK_S = 0.1
"""How much later than its deadline a call may return on a busy test machine."""


def motors(model: str, release: tuple[str, ...] = ("grip",)) -> tuple[MotorSettings, ...]:
    """Six motors with ids from 1; those in `release` let go in their safe action."""
    limits = (-LIMIT_RAD, LIMIT_RAD)
    return tuple(
        MotorSettings(name, i + 1, model, 2048, 1, limits, "release" if name in release else "hold")
        for i, name in enumerate(NAMES)
    )


class Rig(ABC):
    """A bus, and the simulated motors at the other end of its line."""

    bus: MotorBus
    joints: FakeJoints

    @abstractmethod
    def silence(self, on: bool) -> None:
        """No motor answers any more, though all still listen."""

    @abstractmethod
    def drop(self, index: int) -> None:
        """Pull one motor's cable."""

    @abstractmethod
    def unplug(self) -> None:
        """Pull the adapter's cable."""

    def plug_in(self) -> None:
        """Put it back."""
        raise NotImplementedError

    def supply(self, on: bool) -> None:
        """Switch the supply of all motors, but not the adapter's."""
        raise NotImplementedError


def soon(milliseconds: float = 2000) -> int:
    """An absolute deadline."""
    return time.monotonic_ns() + round(milliseconds * 1e6)


def calls(bus: MotorBus) -> list[Callable[[], None]]:
    """Every call that needs the line."""
    return [
        lambda: bus.aim(soon(50)),
        lambda: bus.enable_torque(soon(50)),
        lambda: bus.disable_torque(soon(50)),
        lambda: bus.read_state(soon(50)),
        lambda: bus.read_health(0, soon(50)),
        lambda: bus.safe_action(soon(50)),
        lambda: bus.write_setpoints(np.zeros(len(NAMES)), soon(50)),
        lambda: bus.center(0, soon(50)),
    ]


class MotorBusContract:
    """The contract of `drivers.motors.base`, as behaviour."""

    STEP_RAD: float
    """What one count of the encoder is worth."""
    LINE = True
    """It has a line, and bytes go over it."""
    SPEED_STEP_RAD_S = 0.002
    """What one count of speed is worth."""

    def test_connect_reads_the_present_and_leaves_torque_as_found(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=self.STEP_RAD)
        assert not rig.joints.torque_on.any()
        rig.bus.enable_torque(soon())
        rig.bus.disconnect()
        rig.bus.connect(soon())
        assert rig.joints.torque_on.all()

    def test_a_tap_is_shown_both_ways_from_before_connecting_on_and_after_it_anew(self, rig: Rig) -> None:
        tap = KeptBytes()
        rig.bus.show(tap)
        for _ in range(2):
            for call in (rig.bus.connect, rig.bus.read_state):
                tap.seen.clear()
                call(soon())
                assert (len(tap.all(">")) > 0) is self.LINE
                assert (len(tap.all("<")) >= len(NAMES)) is self.LINE

    def test_enabling_torque_moves_nothing(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.joints.position_rad[:] += 0.3  # moved by hand since
        rig.bus.enable_torque(soon())
        assert rig.joints.torque_on.all()
        np.testing.assert_allclose(rig.joints.goal_rad, rig.joints.position_rad, atol=self.STEP_RAD)

    def test_aiming_says_whether_there_is_torque_and_switches_none(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        assert not rig.bus.aim(soon())
        assert not rig.joints.torque_on.any()
        rig.bus.enable_torque(soon())
        assert rig.bus.aim(soon())
        assert rig.joints.torque_on.all()
        rig.bus.safe_action(soon())  # lets one go
        assert rig.bus.aim(soon())
        assert rig.joints.torque_on.tolist() == [True] * 5 + [False]

    def test_disabling_torque(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.bus.disable_torque(soon())
        assert not rig.joints.torque_on.any()

    def test_setpoints_arrive_and_are_clamped(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        wanted = np.array([-3.0, -1.0, 0.0, 0.001, 1.0, 1e9])
        rig.bus.write_setpoints(wanted, soon())
        rig.bus.read_state(soon())  # its answer comes after the setpoints were taken
        expected = np.clip(wanted, -LIMIT_RAD, LIMIT_RAD)
        np.testing.assert_allclose(rig.joints.goal_rad, expected, atol=self.STEP_RAD / 2 + 1e-9)
        assert np.abs(rig.joints.goal_rad).max() <= LIMIT_RAD + self.STEP_RAD / 2

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_setpoint_that_is_no_number_is_refused_and_nothing_is_sent(self, rig: Rig, bad: float) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        before = rig.joints.goal_rad.copy()
        with pytest.raises(DriverError, match="elbow"):
            rig.bus.write_setpoints(np.array([1.0, 1.0, bad, 1.0, 1.0, 1.0]), soon())
        rig.bus.read_state(soon())
        np.testing.assert_array_equal(rig.joints.goal_rad, before)

    def test_state_is_read_in_place_and_stamped(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        position, velocity = rig.bus.state.position_rad, rig.bus.state.velocity_rad_s
        rig.joints.position_rad[:] = np.linspace(1.0, -1.0, len(NAMES))
        rig.joints.velocity_rad_s[:] = np.linspace(-2.0, 2.0, len(NAMES))
        before = time.monotonic_ns()
        rig.bus.read_state(soon())
        assert before < rig.bus.state.stamp_ns <= time.monotonic_ns()
        np.testing.assert_allclose(position, rig.joints.position_rad, atol=self.STEP_RAD)
        np.testing.assert_allclose(velocity, rig.joints.velocity_rad_s, atol=self.SPEED_STEP_RAD_S)

    def test_health(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.joints.current_a[2], rig.joints.temperature_c[2] = 0.5, 41.0
        rig.bus.read_health(2, soon())
        assert rig.bus.state.current_a[2] == pytest.approx(0.5, abs=0.01)
        assert rig.bus.state.temperature_c[2] == pytest.approx(41.0, abs=1.0)
        assert rig.bus.state.voltage_v[2] > 0

    def test_a_hot_motor_is_named(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.joints.temperature_c[2] = 120.0
        rig.bus.read_health(1, soon())
        with pytest.raises(Overload, match="elbow"):
            rig.bus.read_health(2, soon())

    def test_silence_is_a_timeout_at_the_deadline_and_changes_nothing(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        before, stamp = rig.bus.state.position_rad.copy(), rig.bus.state.stamp_ns
        rig.joints.position_rad[:] += 0.5
        rig.silence(True)
        start = time.monotonic()
        with pytest.raises(Timeout):
            rig.bus.read_state(soon(10))
        assert 0.01 <= time.monotonic() - start < 0.01 + SLACK_S
        np.testing.assert_array_equal(rig.bus.state.position_rad, before)
        assert rig.bus.state.stamp_ns == stamp
        rig.silence(False)
        rig.bus.read_state(soon())
        np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=self.STEP_RAD)

    def test_a_dropped_motor_is_named(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.drop(3)
        with pytest.raises(Timeout, match=r"flex.*id 4"):
            rig.bus.read_state(soon(50))
        with pytest.raises(Timeout, match=r"flex.*id 4"):
            rig.bus.read_health(3, soon(20))

    def test_connect_names_the_motors_that_are_missing(self, rig: Rig) -> None:
        rig.drop(1)
        rig.drop(4)
        with pytest.raises(Timeout, match=r"lift.*id 2.*roll.*id 5"):
            rig.bus.connect(soon())
        with pytest.raises(Disconnected):
            rig.bus.read_state(soon())

    def test_safe_action_holds_and_releases(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.bus.write_setpoints(np.full(len(NAMES), 1.0), soon())
        rig.bus.safe_action(soon())
        assert rig.joints.torque_on.tolist() == [True] * 5 + [False]
        np.testing.assert_allclose(rig.joints.goal_rad[:5], rig.joints.position_rad[:5], atol=self.STEP_RAD)

    def test_safe_action_leaves_a_limp_arm_limp(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.safe_action(soon())
        assert not rig.joints.torque_on.any()

    def test_safe_action_reaches_the_others_past_a_dead_motor(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.drop(0)
        with pytest.raises(Timeout, match="pan"):
            rig.bus.safe_action(soon(500))
        assert rig.joints.torque_on.tolist() == [False] + [True] * 4 + [False]
        np.testing.assert_allclose(rig.joints.goal_rad[1:5], rig.joints.position_rad[1:5], atol=self.STEP_RAD)

    def test_safe_action_releases_even_while_no_motor_is_heard(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.silence(True)
        with pytest.raises(Timeout):
            rig.bus.safe_action(soon(100))
        assert rig.joints.torque_on.tolist() == [True] * 5 + [False]

    def test_safe_action_needs_no_connect(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.bus.disconnect()
        rig.drop(0)
        with pytest.raises(Timeout, match="pan"):
            rig.bus.safe_action(soon(500))
        assert rig.joints.torque_on.tolist() == [False, True, True, True, True, False]

    def test_dead_motors_do_not_use_up_the_time_of_the_others(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.drop(0)
        rig.drop(1)
        with pytest.raises(Timeout, match="pan"):
            rig.bus.safe_action(soon(200))
        assert rig.joints.torque_on.tolist() == [False, False, True, True, True, False]

    def test_a_motor_says_who_it_is(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        first = rig.bus.identify(1, soon())
        assert first.model == rig.bus.settings.motors[1].model
        rig.bus.disconnect()
        rig.bus.connect(soon())
        assert rig.bus.identify(1, soon()) == first

    def test_centering_makes_this_the_middle_and_moves_nothing(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        before = rig.joints.position_rad.copy()
        rig.bus.center(1, soon())
        rig.bus.read_state(soon())
        middle_rad = 0.0  # of an encoder whose zero_step is its middle
        assert rig.bus.state.position_rad[1] == pytest.approx(middle_rad, abs=self.STEP_RAD)
        assert rig.bus.state.position_rad[0] == pytest.approx(before[0], abs=self.STEP_RAD), "the others stay"
        np.testing.assert_array_equal(rig.joints.position_rad, before)
        assert not rig.joints.torque_on.any()

    def test_no_centering_under_torque(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        before = rig.bus.identify(1, soon())
        with pytest.raises(ProtocolError, match=r"lift.*torque"):
            rig.bus.center(1, soon())
        assert rig.bus.identify(1, soon()) == before

    def test_unplugged_every_call_says_so(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.unplug()
        for call in calls(rig.bus):
            with pytest.raises(Disconnected):
                call()

    def test_not_connected_and_disconnected_twice(self, rig: Rig) -> None:
        rig.bus.disconnect()
        with pytest.raises(Disconnected, match="connect"):
            rig.bus.read_state(soon())
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.bus.disconnect()
        rig.bus.disconnect()
        assert rig.joints.torque_on.all(), "disconnecting changes no torque"
        with pytest.raises(Disconnected):
            rig.bus.write_setpoints(np.zeros(len(NAMES)), soon())


class ComesAndGoesContract:
    """Of a bus whose rig can `plug_in` and `supply`."""

    STEP_RAD: float

    def test_supply_loss_is_told_from_serial_loss(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.supply(False)
        for says in (*["no motor answered in time"] * 2, *["though the port is there: is their supply on"] * 2):
            with pytest.raises(Timeout, match=says):
                rig.bus.read_state(soon(20))
        rig.supply(True)
        rig.bus.connect(soon())
        assert not rig.joints.torque_on.any(), "torque does not come back by itself"
        rig.unplug()
        with pytest.raises(Disconnected):
            rig.bus.read_state(soon(20))

    def test_plugged_in_again_it_connects_again(self, rig: Rig) -> None:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        who = rig.bus.identify(3, soon())
        rig.unplug()
        with pytest.raises(Disconnected):
            rig.bus.read_state(soon(20))
        with pytest.raises(Disconnected):
            rig.bus.connect(soon())
        rig.plug_in()
        rig.joints.position_rad[:] += 0.2
        rig.bus.connect(soon())
        np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=self.STEP_RAD)
        assert rig.bus.identify(3, soon()) == who
        assert rig.joints.torque_on.all(), "torque stays as found"
