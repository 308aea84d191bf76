"""What every bus of servos on a serial line must do besides: all that can be wrong with servos and with the line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from drivers.errors import Corrupt, Disconnected, DriverError, Overload, ProtocolError, Timeout
from tests.drivers.motors.contract import ComesAndGoesContract, MotorBusContract, motors, soon
from tests.drivers.motors.servo_rig import ServoRig


class ServoBusContract(MotorBusContract, ComesAndGoesContract):
    """Subclass per protocol with its rig's class."""

    RIG: ClassVar[type[ServoRig]]
    STEP_RAD = 2 * np.pi / 4096

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[ServoRig]:
        rig = self.RIG(tmp_path)
        yield rig
        rig.close()

    def refused(self, rig: ServoRig, error: type[DriverError], says: str) -> None:
        """`connect` says so in one line, in time; nothing has torque, and the port is closed again."""
        start = time.monotonic()
        with pytest.raises(error, match=says) as caught:
            rig.bus.connect(soon(1000))
        assert time.monotonic() - start < 1.5
        assert "\n" not in str(caught.value)
        assert not rig.joints.torque_on.any()
        with pytest.raises(Disconnected):
            rig.bus.read_state(soon())

    def test_two_servos_with_one_id(self, tmp_path: Path) -> None:
        rig = self.RIG(tmp_path, ids=(1, 2, 3, 3, 5, 6))
        try:
            self.refused(rig, Corrupt, r"'elbow' \(id 3\).*two motors have this id")
            rig.device.servos[3].put(rig.REGISTERS.RETURN_DELAY, 250)  # one after the other instead of at once
            self.refused(rig, ProtocolError, r"'elbow' \(id 3\).*two motors have this id")
        finally:
            rig.close()

    def test_a_wrong_baud_rate(self, tmp_path: Path) -> None:
        rig = self.RIG(tmp_path, baud=57_600)
        try:
            self.refused(rig, Timeout, r"no motor answers at 57600 bit/s, but one does at 1000000: correct baud")
        finally:
            rig.close()

    def test_no_supply(self, rig: ServoRig) -> None:
        rig.supply(False)
        self.refused(rig, Timeout, r"no motor answers at 1000000 bit/s or \d+ other speeds.*supply")

    def test_a_servo_of_another_model(self, rig: ServoRig) -> None:
        other = rig.BUS.FAMILY.models[rig.OTHER_MODEL]
        rig.put(1, MODEL=other)
        self.refused(rig, ProtocolError, rf"'lift' \(id 2\): is model {other} \({rig.OTHER_MODEL}\), not .*{rig.MODEL}")
        rig.put(1, MODEL=4711)
        self.refused(rig, ProtocolError, r"lift.*4711 \(unknown")

    def test_another_model_after_an_unplug(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        rig.unplug()
        rig.put(2, MODEL=rig.BUS.FAMILY.models[rig.OTHER_MODEL])
        rig.plug_in()
        self.refused(rig, ProtocolError, "elbow")

    def test_a_servo_that_is_not_in_position_mode(self, rig: ServoRig) -> None:
        rig.put(1, MODE=1)
        self.refused(rig, ProtocolError, r"lift.*mode 1")

    def test_limits_beyond_the_servos_own(self, rig: ServoRig) -> None:
        rig.put(3, MIN_POSITION=500, MAX_POSITION=3000)
        self.refused(rig, ProtocolError, r"'flex' \(id 4\): .*steps 418 to 3678 .*own are 500 to 3000: correct")

    def test_a_whole_turn_asks_for_no_limits(self, tmp_path: Path) -> None:
        settings = [replace(m, range_rad=(-np.pi, np.pi - self.STEP_RAD)) for m in motors(self.RIG.MODEL)]
        rig = self.RIG(tmp_path, tuple(settings))
        try:
            rig.put(3, MIN_POSITION=500, MAX_POSITION=3000)
            rig.bus.connect(soon())
        finally:
            rig.close()

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"model": "x9999"}, r"'pan' \(id 1\): there is no \w+ motor 'x9999'"),
            ({"stiffness": 1.5}, r"'pan' \(id 1\): \w+ motors take no stiffness: leave it out"),
            ({"zero_step": 100}, "steps -1530 to 1730.*zero_step"),
        ],
    )
    def test_settings_that_cannot_be(self, tmp_path: Path, change: dict[str, object], says: str) -> None:
        first, *rest = motors(self.RIG.MODEL)
        rig = self.RIG(tmp_path, (replace(first, **change), *rest))  # type: ignore[arg-type]
        try:
            self.refused(rig, DriverError, says)
            assert rig.heard == []
        finally:
            rig.close()

    def test_damaged_answers(self, rig: ServoRig) -> None:
        rig.device.faults.corrupt.add(5)
        self.refused(rig, Corrupt, "roll")

    def test_no_torque_while_a_servo_stands_outside_its_own_limits(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        rig.joints.position_rad[4] = 3.0
        rig.bus.connect(soon())
        rig.put(4, MIN_POSITION=400, MAX_POSITION=3700)
        rig.bus.connect(soon())
        with pytest.raises(ProtocolError, match=r"'roll' \(id 5\) stands at step 4004, outside .* 400 to 3700"):
            rig.bus.enable_torque(soon())
        assert not rig.joints.torque_on.any()

    def test_enabling_torque_where_a_joint_leans_on_its_stop(self, rig: ServoRig) -> None:
        rig.put(4, MIN_POSITION=400, MAX_POSITION=3700)
        rig.joints.position_rad[4] = (3705 - 2048) * self.STEP_RAD
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        assert rig.joints.torque_on.all()
        assert rig.joints.goal_rad[4] == pytest.approx((3700 - 2048) * self.STEP_RAD)

    def test_the_safe_action_where_a_joint_leans_on_its_stop(self, rig: ServoRig) -> None:
        """A goal beyond its own limits a servo does not take; after a crash nobody has read them."""
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.bus.disconnect()
        rig.put(4, MIN_POSITION=400, MAX_POSITION=3700)
        rig.joints.position_rad[4] = (3705 - 2048) * self.STEP_RAD
        self.RIG.BUS(rig.bus.settings).safe_action(soon())
        assert rig.joints.torque_on[4]
        assert rig.joints.goal_rad[4] == pytest.approx((3700 - 2048) * self.STEP_RAD)

    @pytest.fixture
    def limited(self, tmp_path: Path) -> Iterator[ServoRig]:
        """The gripper's torque is limited to a quarter of its own."""
        *others, grip = motors(self.RIG.MODEL)
        rig = self.RIG(tmp_path, (*others, replace(grip, torque_limit=0.25)))
        yield rig
        rig.close()

    @pytest.mark.parametrize(("own", "kept"), [(800, 200), (330, 82), (1, 1)])
    def test_a_torque_limit_is_a_share_of_the_servos_own(self, limited: ServoRig, own: int, kept: int) -> None:
        rig, limit = limited, limited.TORQUE_LIMIT
        rig.put(5, **{rig.OWN_TORQUE: own, limit: 0})
        rig.put(4, **{limit: 7})  # an earlier run has left it
        rig.bus.connect(soon())
        assert (rig.get(5, limit), rig.get(4, limit)) == (0, 7)
        rig.bus.aim(soon())
        assert not rig.joints.torque_on.any()
        assert (rig.get(5, limit), rig.get(4, limit)) == (kept, rig.get(4, rig.OWN_TORQUE))
        rig.bus.enable_torque(soon())
        rig.bus.safe_action(soon())
        rig.bus.disable_torque(soon())
        assert rig.get(5, limit) == kept
        rig.supply(False)
        rig.supply(True)
        rig.bus.enable_torque(soon())
        assert rig.get(5, limit) == kept

    def test_torque_limits_are_set_before_torque(self, limited: ServoRig) -> None:
        rig, family = limited, limited.BUS.FAMILY
        rig.bus.connect(soon())
        rig.heard.clear()
        rig.bus.enable_torque(soon())
        own = [rig.get(i, rig.OWN_TORQUE) for i in range(6)]
        counts = [*own[:5], round(own[5] / 4)]
        rows = {i + 1: count.to_bytes(2, "little") for i, count in enumerate(counts)}
        limits = family.packets.sync_write(rows, family.torque_limit.address, 2)
        torque = family.packets.sync_write(dict.fromkeys(rows, b"\1"), family.torque.address, 1)
        heard = b"".join(rig.heard)
        assert heard.index(limits) < heard.index(torque)
        np.testing.assert_allclose(rig.joints.torque_limit, [1, 1, 1, 1, 1, 0.25], atol=2e-3)

    def test_a_servo_that_does_not_take_its_torque_limit_gets_no_torque(self, limited: ServoRig) -> None:
        limited.bus.connect(soon())
        limited.device.servos[5].write = lambda address, data: 0  # type: ignore[attr-defined]
        with pytest.raises(ProtocolError, match=r"'grip' \(id 6\) did not take its torque limit"):
            limited.bus.enable_torque(soon())
        assert not limited.joints.torque_on.any()

    def test_a_servo_that_does_not_take_its_goal_gets_no_torque(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        rig.joints.position_rad[:] += 0.1
        rig.device.servos[2].write = lambda address, data: 0  # type: ignore[attr-defined]
        with pytest.raises(ProtocolError, match=r"'elbow' \(id 3\) did not take its goal"):
            rig.bus.enable_torque(soon())
        assert not rig.joints.torque_on.any()

    def test_no_torque_while_answers_are_damaged(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        rig.device.faults.corrupt.add(6)
        with pytest.raises(Corrupt):
            rig.bus.enable_torque(soon(500))
        assert not rig.joints.torque_on.any(), "no torque before every goal is known to be the present position"

    def test_low_voltage_names_the_volts(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        rig.device.servos[2].supply_v = 3.2
        with pytest.raises(Overload, match=r"'elbow' \(id 3\) reports: supply voltage out of range \(3\.2 V, "):
            rig.bus.read_health(2, soon())
        assert rig.bus.state.voltage_v[2] == pytest.approx(3.2)

    def test_a_late_answer_is_not_taken_for_the_present_one(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        for _ in range(3):  # as many late answers as there are tags to spare
            rig.late_ns = 60_000_000
            with pytest.raises(Timeout):
                rig.bus.read_state(soon(5))
            rig.joints.position_rad[:] += 0.25
        rig.late_ns = 0  # asked now, yet the late answers arrive first
        rig.bus.read_state(soon(500))
        np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=self.STEP_RAD)

    def test_a_damaged_answer_names_the_joint_at_once(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        rig.device.faults.corrupt = {3}
        with pytest.raises(Corrupt, match=r"'elbow' \(id 3\)"):
            rig.bus.read_state(soon(50))
        start = time.monotonic()
        with pytest.raises(Corrupt, match=r"'elbow' \(id 3\)"):
            rig.bus.read_state(soon(2000))
        assert time.monotonic() - start < 1.0, "the last motor has answered: there is nothing to wait for"
        rig.device.faults.corrupt = set()
        rig.bus.read_state(soon())

    def test_noise_before_answers_is_passed_over_or_reported_and_forgotten(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        rng = np.random.default_rng(5)
        for _ in range(20):
            rig.joints.position_rad[:] = rng.uniform(-1, 1, 6)
            rig.prefix = rng.choice([0xFF, 0xFD, 0, 1, 3, 9], int(rng.integers(1, 40))).astype(np.uint8).tobytes()
            with contextlib.suppress(DriverError):
                rig.bus.read_state(soon(30))
                np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=self.STEP_RAD)
            rig.prefix = b""
            rig.bus.read_state(soon())
            np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=self.STEP_RAD)

    def test_speeds_of_either_sign(self, rig: ServoRig) -> None:
        rig.bus.connect(soon())
        rig.joints.velocity_rad_s[:] = [-3.0, -0.5, 0.0, 0.5, 3.0, -0.1]
        rig.bus.read_state(soon())
        np.testing.assert_allclose(rig.bus.state.velocity_rad_s, rig.joints.velocity_rad_s, atol=0.013)

    def test_zero_and_direction_map_both_ways(self, tmp_path: Path) -> None:
        settings = [replace(m, zero_step=2100, direction=-1, range_rad=(-1.0, 1.0)) for m in motors(self.RIG.MODEL)]
        rig = self.RIG(tmp_path, tuple(settings))
        try:
            rig.bus.connect(soon())
            rig.joints.position_rad[:] = 0.2
            rig.joints.velocity_rad_s[:] = 0.7
            rig.bus.read_state(soon())
            offset = (2100 - 2048) * self.STEP_RAD
            np.testing.assert_allclose(rig.bus.state.position_rad, offset - 0.2, atol=self.STEP_RAD)
            np.testing.assert_allclose(rig.bus.state.velocity_rad_s, -0.7, atol=0.013)
            rig.bus.write_setpoints(rig.bus.state.position_rad, soon())
            rig.bus.read_state(soon())
            np.testing.assert_allclose(rig.joints.goal_rad, 0.2, atol=self.STEP_RAD)
            rig.bus.write_setpoints(np.full(6, 9.0), soon())
            rig.bus.read_state(soon())
            np.testing.assert_allclose(rig.joints.goal_rad, offset - 1.0, atol=self.STEP_RAD)
        finally:
            rig.close()

    def test_a_slow_return_delay_is_seen_to(self, rig: ServoRig) -> None:
        rig.put(1, RETURN_DELAY=250)
        rig.put(2, RETURN_DELAY=250, TORQUE_ENABLE=1)
        rig.bus.connect(soon())
        slow = [i for i in range(6) if rig.get(i, "RETURN_DELAY")]
        assert len(rig.bus.notes) == len(slow) > 0
        assert all(f"(id {i + 1}) waits 500 µs" in note for i, note in zip(slow, rig.bus.notes, strict=True))
