"""The Dynamixel bus against simulated servos over a real pseudo-terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from drivers.dynamixel import packets
from drivers.dynamixel import x as dxl
from drivers.errors import Overload, ProtocolError, Timeout
from drivers.motors.dynamixel import WATCHDOG_COUNTS
from drivers.sim.dynamixel_device import DynamixelDevice
from tests.drivers.motors.contract import soon
from tests.drivers.motors.dynamixel_rig import DynamixelRig
from tests.drivers.motors.servo_contract import ServoBusContract

IDS = range(1, 7)
READS_OF_MANY = (packets.SYNC_READ, packets.FAST_SYNC_READ)
EXPIRES_S = (WATCHDOG_COUNTS + 1) * dxl.BUS_WATCHDOG.scale


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[DynamixelRig]:
    rig = DynamixelRig(tmp_path)
    yield rig
    rig.close()


class TestContract(ServoBusContract):
    RIG = DynamixelRig
    SPEED_STEP_RAD_S = dxl.RAD_S_PER_COUNT


class OldFirmwareRig(DynamixelRig):
    """Servos with a firmware that does not know the fast sync read."""

    def make_device(self, ids: Sequence[int]) -> DynamixelDevice:
        device = super().make_device(ids)
        answer = device._answer
        device._answer = lambda p: [] if p[7] == packets.FAST_SYNC_READ else answer(p)  # type: ignore[method-assign]
        return device


class TestContractWithoutFastSyncRead(TestContract):
    RIG = OldFirmwareRig


@pytest.fixture
def old_rig(tmp_path: Path) -> Iterator[OldFirmwareRig]:
    rig = OldFirmwareRig(tmp_path)
    yield rig
    rig.close()


def test_one_cycle_is_two_packets_of_the_documented_bytes(rig: DynamixelRig) -> None:
    rig.bus.connect(soon())
    rig.heard.clear()
    rig.bus.write_setpoints(np.array([0.0, 1.0, -1.0, 0.5, -0.5, 2.0]), soon())
    rig.bus.read_state(soon())
    steps = [2048, 2700, 1396, 2374, 1722, 3352]  # 2048 + angle · 4096 / 2π, rounded
    rows = {i + 1: step.to_bytes(4, "little") for i, step in enumerate(steps)}
    expected = packets.sync_write(rows, 116, 4) + packets.fast_sync_read(IDS, 128, 8)
    assert b"".join(rig.heard) == expected
    assert len(expected) == 44 + 20


def test_without_the_fast_sync_read_the_plain_one_is_used(old_rig: OldFirmwareRig) -> None:
    old_rig.bus.connect(soon())
    old_rig.heard.clear()
    old_rig.bus.read_state(soon())
    assert [data[7] for data in old_rig.heard] == [packets.SYNC_READ]


def test_after_a_fast_answer_that_broke_off_the_plain_one_tells_who_is_silent(rig: DynamixelRig) -> None:
    rig.bus.connect(soon())
    rig.drop(0)  # nobody begins the one packet
    with pytest.raises(Timeout):
        rig.bus.read_state(soon(20))
    with pytest.raises(Timeout, match=r"no answer from joint 'pan' \(id 1\): check"):
        rig.bus.read_state(soon(20))
    rig.supply(True)
    rig.bus.read_state(soon())
    rig.heard.clear()
    rig.bus.read_state(soon())
    assert rig.heard[0][7] == packets.FAST_SYNC_READ, "fast again"


def test_data_that_look_like_a_header_arrive_as_they_were(rig: DynamixelRig) -> None:
    look_like_a_header(rig)


def test_and_so_without_the_fast_sync_read_where_they_are_stuffed(old_rig: OldFirmwareRig) -> None:
    look_like_a_header(old_rig)


def look_like_a_header(rig: DynamixelRig) -> None:
    rig.bus.connect(soon())
    rig.joints.velocity_rad_s[:] = -1 * dxl.RAD_S_PER_COUNT  # FF FF FF FF
    rig.joints.position_rad[:] = (0x0FD - 2048) * dxl.RAD_PER_STEP  # FD 00 00 00
    rig.bus.read_state(soon())
    np.testing.assert_allclose(rig.bus.state.velocity_rad_s, rig.joints.velocity_rad_s)
    np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad)


def test_the_watchdog_runs_while_torque_is_on(rig: DynamixelRig) -> None:
    rig.bus.connect(soon())
    assert [rig.get(i, "BUS_WATCHDOG") for i in range(6)] == [0] * 6
    rig.bus.enable_torque(soon())
    assert [rig.get(i, "BUS_WATCHDOG") for i in range(6)] == [0] * 6, "not before all of the arm has torque"
    rig.bus.watch(soon())
    assert [rig.get(i, "BUS_WATCHDOG") for i in range(6)] == [WATCHDOG_COUNTS] * 6
    rig.bus.disable_torque(soon())
    assert [rig.get(i, "BUS_WATCHDOG") for i in range(6)] == [0] * 6


def test_a_watchdog_that_expired_is_reported_and_cleared_by_enabling(rig: DynamixelRig) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    rig.bus.watch(soon())
    rig.bus.write_setpoints(np.full(6, 1.0), soon())
    rig.bus.read_state(soon())
    rig.pass_time(EXPIRES_S)
    with pytest.raises(Overload, match=r"'lift' \(id 2\) heard nothing for 200 ms and holds still by itself"):
        rig.bus.read_health(1, soon())
    rig.joints.position_rad[:] += 0.1
    rig.bus.disconnect()
    rig.bus.connect(soon())
    assert rig.get(1, "BUS_WATCHDOG") == dxl.WATCHDOG_EXPIRED, "connecting moves nothing"
    rig.bus.enable_torque(soon())
    rig.bus.read_health(1, soon())
    np.testing.assert_allclose(rig.joints.goal_rad, rig.joints.position_rad, atol=dxl.RAD_PER_STEP)


def test_the_safe_action_of_motors_whose_watchdog_expired(rig: DynamixelRig) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    rig.bus.watch(soon())
    rig.pass_time(EXPIRES_S)
    rig.joints.position_rad[:] += 0.1
    rig.bus.safe_action(soon())
    assert rig.joints.torque_on.tolist() == [True] * 5 + [False]
    np.testing.assert_allclose(rig.joints.goal_rad[:5], rig.joints.position_rad[:5], atol=dxl.RAD_PER_STEP)


def test_hardware_errors_are_named_and_nothing_is_rebooted(rig: DynamixelRig) -> None:
    rig.bus.connect(soon())
    rig.joints.temperature_c[2] = 95.0
    rig.device.servos[2].supply_v = 5.0
    rig.heard.clear()
    with pytest.raises(Overload, match=r"'elbow' \(id 3\).*voltage.*too hot \(5\.0 V, hardware error 0x05\)"):
        rig.bus.read_health(2, soon())
    assert rig.bus.state.temperature_c[2] == 95.0
    assert all(data[7] == packets.READ for data in rig.heard)


def test_a_servo_that_answers_pings_only_is_told_to_answer(rig: DynamixelRig) -> None:
    rig.put(3, RESPONSE_LEVEL=0)
    rig.bus.connect(soon())
    assert [row(data)[0] for data in written(rig)] == [dxl.RESPONSE_LEVEL.address]
    assert rig.get(3, "RESPONSE_LEVEL") == 2


def test_and_so_where_none_answers(rig: DynamixelRig) -> None:
    for index in range(6):
        rig.put(index, RESPONSE_LEVEL=0)
    rig.bus.connect(soon())


def test_connecting_changes_nothing_in_servos_that_answer(rig: DynamixelRig) -> None:
    """Neither in those of another arm nor in one's own."""
    rig.put(0, RETURN_DELAY=250)
    rig.bus.connect(soon())
    assert written(rig) == []
    rig.put(5, MODE=4)
    with pytest.raises(ProtocolError, match="mode 4"):
        rig.bus.connect(soon())
    assert written(rig) == []
    assert rig.get(0, "RETURN_DELAY") == 250


def written(rig: DynamixelRig) -> list[bytes]:
    """What the host sent that was to change something."""
    return [data for data in rig.heard if data[7] not in (packets.PING, packets.READ, *READS_OF_MANY)]


def row(data: bytes) -> tuple[int, int]:
    """Address and size of a sync write."""
    return int.from_bytes(data[8:10], "little"), int.from_bytes(data[10:12], "little")


def test_return_delays_are_taken_away_where_the_eeprom_is_open(rig: DynamixelRig) -> None:
    rig.put(1, RETURN_DELAY=250)
    rig.put(2, RETURN_DELAY=250, TORQUE_ENABLE=1)
    rig.bus.connect(soon())
    rig.bus.tune(soon())
    assert (rig.get(1, "RETURN_DELAY"), rig.get(2, "RETURN_DELAY")) == (0, 250)
    assert rig.bus.notes == [
        "bus arm: joint 'lift' (id 2) answers at once now: its return delay is set to 0",
        "bus arm: joint 'elbow' (id 3) waits 500 µs before each answer: "
        "set its return delay to 0 while its torque is off",
    ]


def test_a_drive_mode_that_switches_torque_on_unasked_is_refused(rig: DynamixelRig) -> None:
    rig.put(0, DRIVE_MODE=dxl.TORQUE_ON_BY_GOAL)
    with pytest.raises(ProtocolError, match=r"'pan' \(id 1\): switches its torque on when it is sent a goal"):
        rig.bus.connect(soon())


def test_a_middle_that_position_mode_cannot_have_is_refused(rig: DynamixelRig) -> None:
    rig.joints.position_rad[1] = 1.8  # 1173 steps
    rig.bus.connect(soon())
    with pytest.raises(ProtocolError, match=r"'lift' \(id 2\) stands at encoder step 3221.*at most 1024"):
        rig.bus.center(1, soon())
    assert rig.get(1, "HOMING_OFFSET") == 0
