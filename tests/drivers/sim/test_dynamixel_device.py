"""The simulated Dynamixel servos, bytes in and bytes out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dynamixel import packets, x
from drivers.servos.registers import Register
from drivers.sim.dynamixel_device import DynamixelDevice
from tests.drivers.fake_joints import FakeJoints

RANGE, LENGTH, LIMIT, ACCESS, COULD_NOT, UNKNOWN = 4, 5, 6, 7, 1, 2


@pytest.fixture
def joints() -> FakeJoints:
    return FakeJoints()


@pytest.fixture
def device(joints: FakeJoints) -> DynamixelDevice:
    return DynamixelDevice(joints)


def sent(device: DynamixelDevice, data: bytes) -> list[bytes]:
    return [reply.packet for reply in device.feed(data)]


def put(device: DynamixelDevice, id: int, register: Register, count: int) -> int:
    """Write one register of one servo: the error byte of its answer."""
    data = register.encode(count).to_bytes(register.size, "little")
    (answer,) = sent(device, packets.write(id, register.address, data))
    return answer[8]


def get(device: DynamixelDevice, id: int, register: Register) -> int:
    (answer,) = sent(device, packets.read(id, register.address, register.size))
    assert answer[8] & ~packets.ALERT == 0
    return register.decode(int.from_bytes(answer[9 : 9 + register.size], "little"))


def on(device: DynamixelDevice, id: int, goal: int = 2048) -> None:
    assert put(device, id, x.GOAL_POSITION, goal) == 0
    assert put(device, id, x.TORQUE_ENABLE, 1) == 0


def test_the_manuals_ping_and_read(joints: FakeJoints) -> None:
    device = DynamixelDevice(joints, models=["xm430-w210"] * 6)
    for servo in device.servos:
        servo.put(x.FIRMWARE, 38)
    one = bytes.fromhex("ff ff fd 00 01 07 00 55 00 06 04 26 65 5d")
    two = bytes.fromhex("ff ff fd 00 02 07 00 55 00 06 04 26 6f 6d")
    assert sent(device, bytes.fromhex("ff ff fd 00 01 03 00 01 19 4e")) == [one]
    assert sent(device, bytes.fromhex("ff ff fd 00 fe 03 00 01 31 42"))[:2] == [one, two]
    joints.position_rad[0] = (166 - 2048) * x.RAD_PER_STEP
    joints.position_rad[1] = (2079 - 2048) * x.RAD_PER_STEP
    answers = [
        bytes.fromhex("ff ff fd 00 01 08 00 55 00 a6 00 00 00 8c c0"),
        bytes.fromhex("ff ff fd 00 02 08 00 55 00 1f 08 00 00 ba be"),
    ]
    assert sent(device, bytes.fromhex("ff ff fd 00 01 07 00 02 84 00 04 00 1d 15")) == answers[:1]
    assert sent(device, bytes.fromhex("ff ff fd 00 fe 09 00 82 84 00 04 00 01 02 ce fa")) == answers


def test_a_bulk_read_asks_each_servo_for_something_else(device: DynamixelDevice) -> None:
    request = bytes.fromhex("ff ff fd 00 fe 0d 00 92 01 90 00 02 00 02 92 00 01 00 1a 05")  # the manual's
    assert sent(device, request) == [packets.status(1, 0, b"\x78\x00"), packets.status(2, 0, b"\x19")]


def test_a_sync_write_moves_and_nobody_answers(device: DynamixelDevice, joints: FakeJoints) -> None:
    for id in (1, 2):
        on(device, id)
    assert sent(device, bytes.fromhex("ff ff fd 00 fe 11 00 83 74 00 04 00 01 96 00 00 00 02 aa 00 00 00 82 87")) == []
    np.testing.assert_allclose(joints.goal_rad[:2], (np.array([150, 170]) - 2048) * x.RAD_PER_STEP)
    assert joints.torque_on.tolist() == [True, True, False, False, False, False]


def test_all_answers_to_a_fast_sync_read_are_one_packet(device: DynamixelDevice, joints: FakeJoints) -> None:
    joints.velocity_rad_s[0] = -x.RAD_S_PER_COUNT
    joints.position_rad[0] = (253 - 2048) * x.RAD_PER_STEP  # velocity and position together: FF FF FF FF FD 00 00 00
    replies = device.feed(packets.fast_sync_read((1, 3, 5), 128, 8))
    data = b"".join(reply.packet for reply in replies)
    assert data[:11] == bytes.fromhex("ff ff fd 00 fe 25 00 55 00 01 ff")
    assert packets.find(data, 0, len(data)) == (0, len(data))
    at = packets.fast_answers(data, 0, len(data), 8, 3)
    assert [data[a - 1] for a in at] == [1, 3, 5]
    assert data[at[0] : at[0] + 8] == bytes.fromhex("ff ff ff ff fd 00 00 00")
    assert [r.end_ns for r in replies] == [200_000, 320_000, 440_000]  # at 1 Mbit/s, without return delay
    device.power(False, 2)
    (data,) = sent(device, packets.fast_sync_read((1, 3, 5), 128, 8))
    assert packets.fast_answers(data, 0, len(data), 8, 3) == [10], "the answer ends where a servo is missing"


def test_reg_write_waits_for_action(device: DynamixelDevice, joints: FakeJoints) -> None:
    on(device, 1)
    assert sent(device, packets.reg_write(1, 116, (2148).to_bytes(4, "little"))) == [packets.status(1, 0)]
    assert joints.goal_rad[0] == 0.0
    assert get(device, 1, x.REGISTERED) == 1
    assert sent(device, packets.action(1)) == [packets.status(1, 0)]
    assert joints.goal_rad[0] == pytest.approx(100 * x.RAD_PER_STEP)
    assert sent(device, packets.action(1)) == [packets.status(1, UNKNOWN)], "nothing is left to do"


@pytest.mark.parametrize(("level", "answers"), [(0, [1, 0, 0]), (1, [1, 1, 0]), (2, [1, 1, 1])])
def test_the_response_level_says_what_is_answered(device: DynamixelDevice, level: int, answers: list[int]) -> None:
    device.servos[0].put(x.RESPONSE_LEVEL, level)
    requests = packets.ping(1), packets.read(1, 64, 1), packets.write(1, 64, b"\1")
    assert [len(sent(device, request)) for request in requests] == answers
    assert device.servos[0].get(x.TORQUE_ENABLE) == 1


def test_return_delay_comes_before_every_answer(device: DynamixelDevice) -> None:
    for servo in device.servos:
        servo.put(x.RETURN_DELAY, 250)
    replies = device.feed(packets.sync_read((1, 2), 132, 4))
    assert [r.end_ns for r in replies] == [650_000, 1_300_000]  # 500 us and fifteen bytes at 1 Mbit/s each


@pytest.mark.parametrize(
    ("address", "data", "error"),
    [
        (132, bytes(4), ACCESS),  # read-only
        (66, b"\1", ACCESS),  # absent
        (116, bytes(2), LENGTH),
        (68, b"\3", RANGE),
        (7, b"\xfd", RANGE),
        (116, (4096).to_bytes(4, "little"), LIMIT),
        (116, b"\xff\xff\xff\xff", LIMIT),
        (102, (1194).to_bytes(2, "little"), LIMIT),
        (104, (200).to_bytes(4, "little") + bytes(8) + (99_999).to_bytes(4, "little"), LIMIT),
    ],
)
def test_what_may_not_be_written_is_refused_whole(
    device: DynamixelDevice, address: int, data: bytes, error: int
) -> None:
    before = bytes(device.servos[0].table)
    assert sent(device, packets.write(1, address, data)) == [packets.status(1, error)]
    assert device.servos[0].table == before


def test_eeprom_is_locked_while_torque_is_on_and_kept_without_power(device: DynamixelDevice) -> None:
    on(device, 1)
    assert put(device, 1, x.HOMING_OFFSET, 10) == ACCESS
    assert put(device, 1, x.TORQUE_ENABLE, 0) == 0
    assert put(device, 1, x.HOMING_OFFSET, -300) == 0
    assert put(device, 1, x.PROFILE_VELOCITY, 50) == 0
    device.power(False)
    assert sent(device, packets.ping(1)) == []
    device.power(True)
    assert get(device, 1, x.HOMING_OFFSET) == -300
    assert get(device, 1, x.PROFILE_VELOCITY) == 0


def test_torque_does_not_survive_a_power_cut(device: DynamixelDevice, joints: FakeJoints) -> None:
    on(device, 1)
    device.power(False, 0)
    assert not joints.torque_on[0]
    device.power(True, 0)
    assert not joints.torque_on[0], "torque does not come back by itself"
    assert get(device, 1, x.GOAL_POSITION) == get(device, 1, x.PRESENT_POSITION)


def test_the_homing_offset_is_added_unless_it_is_too_large(device: DynamixelDevice, joints: FakeJoints) -> None:
    joints.position_rad[0] = 0.0
    assert put(device, 1, x.HOMING_OFFSET, -1000) == 0
    assert get(device, 1, x.PRESENT_POSITION) == 1048
    on(device, 1, 1148)
    assert joints.goal_rad[0] == pytest.approx(100 * x.RAD_PER_STEP)
    device.servos[0].put(x.HOMING_OFFSET, 1025)
    assert get(device, 1, x.PRESENT_POSITION) == 2048


def test_no_torque_in_another_mode(device: DynamixelDevice, joints: FakeJoints) -> None:
    assert put(device, 1, x.MODE, 1) == 0
    assert put(device, 1, x.TORQUE_ENABLE, 1) == 0
    assert not joints.torque_on[0]


def test_a_hardware_error_lets_go_until_reboot(device: DynamixelDevice, joints: FakeJoints) -> None:
    on(device, 1)
    joints.current_a[0] = 2.2  # of 2.3 A
    for _ in range(99):
        device.protect(0.02)
    assert joints.torque_on[0]
    device.protect(0.03)
    assert not joints.torque_on[0]
    joints.current_a[0] = 0.0
    device.protect(10.0)
    assert sent(device, packets.ping(1))[0][8] == packets.ALERT
    assert put(device, 1, x.TORQUE_ENABLE, 1) == packets.ALERT | COULD_NOT
    assert get(device, 1, x.HARDWARE_ERROR) == x.OVERLOAD
    assert sent(device, packets.packet(1, packets.REBOOT)) == [packets.status(1, 0)]
    on(device, 1)
    assert joints.torque_on[0]


def test_a_supply_out_of_range_is_reported_and_by_default_no_reason_to_let_go(
    device: DynamixelDevice, joints: FakeJoints
) -> None:
    on(device, 1)
    device.supply_v = 9.0
    device.protect(0.02)
    assert get(device, 1, x.PRESENT_VOLTAGE) == 90
    assert get(device, 1, x.HARDWARE_ERROR) == x.VOLTAGE
    assert joints.torque_on[0]


def test_a_small_servo_has_its_own_supply_and_unit_of_current(joints: FakeJoints) -> None:
    device = DynamixelDevice(joints, models=["xl330-m288", "xl430-w250", *["xm430-w350"] * 4])
    device.protect(0.02)
    assert [get(device, id, x.PRESENT_VOLTAGE) for id in (1, 2, 3)] == [50, 120, 120]
    joints.current_a[:] = 0.269
    assert [get(device, id, x.PRESENT_CURRENT) for id in (1, 2, 3)] == [269, 117, 100]  # mA, load, 2.69 mA
    assert [get(device, id, x.HARDWARE_ERROR) for id in (1, 2, 3)] == [0, 0, 0]


def test_the_bus_watchdog_stops_and_refuses_goals_until_cleared(device: DynamixelDevice, joints: FakeJoints) -> None:
    on(device, 1, 3000)
    assert put(device, 1, x.BUS_WATCHDOG, 5) == 0
    for _ in range(20):  # 400 ms, but not silent
        device.protect(0.02)
        device.feed(packets.ping(6))
    assert joints.goal_rad[0] > 1.0
    joints.position_rad[0] = 0.5
    device.protect(0.101)
    assert joints.goal_rad[0] == pytest.approx(0.5, abs=x.RAD_PER_STEP)
    assert joints.torque_on[0], "it stops and holds"
    assert get(device, 1, x.BUS_WATCHDOG) == x.WATCHDOG_EXPIRED
    assert put(device, 1, x.GOAL_POSITION, 2048) == RANGE
    assert put(device, 1, x.BUS_WATCHDOG, 5) == RANGE
    assert put(device, 1, x.BUS_WATCHDOG, 0) == 0
    assert put(device, 1, x.GOAL_POSITION, 2048) == 0


def test_the_bus_watchdog_sleeps_without_torque(device: DynamixelDevice) -> None:
    assert put(device, 1, x.BUS_WATCHDOG, 5) == 0
    device.protect(10.0)
    assert get(device, 1, x.BUS_WATCHDOG) == 5


def test_silence_is_obedient_and_corruption_fails_the_crc(device: DynamixelDevice, joints: FakeJoints) -> None:
    device.faults.silence = True
    assert sent(device, packets.write(1, 64, b"\1")) == []
    assert joints.torque_on[0]
    device.faults.silence, device.faults.corrupt = False, {2}
    good, bad = sent(device, packets.sync_read((1, 2), 132, 4))
    assert packets.find(good, 0, len(good)) == (0, len(good))
    assert packets.find(bad, 0, len(bad))[0] == -1


def test_two_servos_with_one_id_garble_each_other(joints: FakeJoints) -> None:
    device = DynamixelDevice(joints, ids=(1, 2, 2, 4, 5, 6))
    for request in (packets.ping(2), packets.read(2, 132, 4), packets.fast_sync_read((2,), 132, 4)):
        data = b"".join(sent(device, request))
        assert data
        assert packets.find(data, 0, len(data))[0] == -1
    device.servos[2].put(x.RETURN_DELAY, 250)
    assert len(sent(device, packets.ping(2))) == 2, "the second waits until the first has spoken"


def test_a_cut_off_request_is_forgotten_after_a_pause(device: DynamixelDevice) -> None:
    assert sent(device, packets.ping(3)[:6]) == []
    assert len(sent(device, packets.ping(3)[6:])) == 1
    device.feed(packets.write(1, 116, bytes(200))[:50])
    device.idle()
    assert len(sent(device, packets.ping(3))) == 1


def test_what_nobody_has_heard_of_is_an_instruction_error(device: DynamixelDevice) -> None:
    assert sent(device, packets.packet(1, 0x77)) == [packets.status(1, UNKNOWN)]
    assert sent(device, packets.status(1, 0)) == [], "the answer of another servo is no instruction"


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_bytes_upset_the_servos(pieces: list[bytes]) -> None:
    device = DynamixelDevice(FakeJoints())
    for piece in pieces:
        device.feed(piece)
    device.idle()
    assert sent(device, packets.ping(1))[0][:5] == packets.HEADER + b"\x01"


codes = st.sampled_from([1, 2, 3, 4, 5, 8, 0x82, 0x83, 0x8A, 0x92, 0x77])
whole = st.builds(packets.packet, st.sampled_from([1, 3, packets.BROADCAST]), codes, st.binary(max_size=40))
writes = st.builds(packets.write, st.just(1), st.integers(0, 150), st.binary(max_size=16))


@given(st.lists(whole | writes, max_size=8))
def test_no_packet_upsets_the_servos(requests: list[bytes]) -> None:
    device = DynamixelDevice(FakeJoints())
    for request in requests:
        data = b"".join(sent(device, request))
        at, end = packets.find(data, 0, len(data))
        while at >= 0:
            data = data[end:]
            at, end = packets.find(data, 0, len(data))
        assert data == b"", "every answer is intact"
        assert all(len(servo.table) == 147 for servo in device.servos)
        device.protect(0.02)
