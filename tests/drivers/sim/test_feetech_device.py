"""The simulated servos, bytes in and bytes out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.feetech import packets, sts
from drivers.sim.feetech_device import FeetechDevice
from tests.drivers.fake_joints import FakeJoints


@pytest.fixture
def joints() -> FakeJoints:
    return FakeJoints()


@pytest.fixture
def device(joints: FakeJoints) -> FeetechDevice:
    return FeetechDevice(joints)


def sent(device: FeetechDevice, data: bytes) -> list[bytes]:
    return [reply.packet for reply in device.feed(data)]


def on(device: FeetechDevice, id: int, goal: int = 2048) -> None:
    device.feed(packets.write(id, 42, goal.to_bytes(2, "little")) + packets.write(id, 40, b"\1"))


def test_the_manuals_ping_and_read(device: FeetechDevice, joints: FakeJoints) -> None:
    assert sent(device, bytes.fromhex("ff ff 01 02 01 fb")) == [bytes.fromhex("ff ff 01 02 00 fc")]
    joints.position_rad[0] = (0x0518 - 2048) * sts.RAD_PER_STEP
    assert sent(device, bytes.fromhex("ff ff 01 04 02 38 02 be")) == [bytes.fromhex("ff ff 01 04 00 18 05 dd")]


def test_write_is_acknowledged_and_broadcast_is_not(device: FeetechDevice, joints: FakeJoints) -> None:
    move = bytes.fromhex("ff ff 01 09 03 2a 00 08 00 00 e8 03 d5")
    assert sent(device, move) == [bytes.fromhex("ff ff 01 02 00 fc")]
    assert joints.goal_rad[0] == 0.0
    assert sent(device, packets.write(packets.BROADCAST, 40, b"\1")) == []
    assert joints.torque_on.all()


def test_a_quiet_servo_answers_reads_only(device: FeetechDevice) -> None:
    device.servos[0].put(sts.RESPONSE_LEVEL, 0)
    assert sent(device, packets.write(1, 40, b"\1")) == []
    assert len(sent(device, packets.ping(1))) == len(sent(device, packets.read(1, 40, 1))) == 1


def test_reg_write_waits_for_action(device: FeetechDevice, joints: FakeJoints) -> None:
    for id in (1, 2):
        on(device, id)
        body = b"\x2a" + (2148).to_bytes(2, "little")
        assert sent(device, packets.packet(id, packets.REG_WRITE, body)) == [packets.packet(id, 0)]
    assert joints.goal_rad[0] == joints.goal_rad[1] == 0.0
    assert sent(device, bytes.fromhex("ff ff fe 02 05 fa")) == []
    np.testing.assert_allclose(joints.goal_rad[:2], 100 * sts.RAD_PER_STEP)


def test_answers_take_their_time_on_the_wire(device: FeetechDevice) -> None:
    replies = device.feed(packets.sync_read(range(1, 7), 56, 4))
    assert [r.packet[2] for r in replies] == [1, 2, 3, 4, 5, 6]
    assert [r.end_ns for r in replies] == [100_000 * k for k in range(1, 7)]  # ten bytes at 1 Mbit/s
    slow = FeetechDevice(FakeJoints(), baud=500_000)
    slow.servos[0].put(sts.RETURN_DELAY, 250)
    assert slow.feed(packets.ping(1))[0].end_ns == 500_000 + 120_000


def test_a_packet_may_come_in_pieces_but_not_with_a_pause(device: FeetechDevice) -> None:
    ping = packets.ping(3)
    assert sent(device, ping[:4]) == []
    assert sent(device, ping[4:]) == [packets.packet(3, 0)]
    device.feed(packets.write(1, 42, bytes(200))[:50])
    device.idle()
    assert sent(device, ping) == [packets.packet(3, 0)]


def test_read_only_registers_stay(device: FeetechDevice, joints: FakeJoints) -> None:
    joints.position_rad[0] = 1.0
    device.feed(packets.write(1, 54, b"\xff\1\xff\xff\xff\xff") + packets.write(1, 0, b"\0\0\0\0\0"))
    answer = sent(device, packets.read(1, 56, 2))[0]
    assert int.from_bytes(answer[5:7], "little") == 2048 + 652
    assert device.servos[0].get(sts.MODEL) == 777
    assert len(device.servos[0].table) == 256


def test_goals_stay_within_the_servos_own_limits(device: FeetechDevice, joints: FakeJoints) -> None:
    device.servos[0].put(sts.MAX_POSITION, 3000)
    on(device, 1, 4000)
    assert joints.goal_rad[0] == pytest.approx((3000 - 2048) * sts.RAD_PER_STEP)


@pytest.mark.parametrize("change", [(sts.TORQUE_LIMIT, 0), (sts.MODE, 1), (sts.TORQUE_ENABLE, 2)])
def test_no_torque_without_torque_limit_position_mode_and_switch(
    device: FeetechDevice, joints: FakeJoints, change: tuple[sts.Register, int]
) -> None:
    on(device, 1)
    assert joints.torque_on[0]
    register, value = change
    device.feed(packets.write(1, register.address, value.to_bytes(register.size, "little")))
    assert not joints.torque_on[0]


def test_eprom_is_saved_only_unlocked_and_sram_never(device: FeetechDevice, joints: FakeJoints) -> None:
    on(device, 1)
    device.feed(packets.write(1, 13, b"\x50"))  # locked: until the next power cut
    device.feed(packets.write(2, 55, b"\0") + packets.write(2, 13, b"\x50"))
    device.power(False)
    assert sent(device, packets.ping(1)) == []
    assert not joints.torque_on.any()
    device.power(True)
    assert sent(device, packets.read(1, 13, 1) + packets.read(2, 13, 1)) == [
        packets.packet(1, 0, b"\x46"),
        packets.packet(2, 0, b"\x50"),
    ]
    assert not joints.torque_on.any(), "torque does not come back by itself"


def test_a_stalled_servo_lets_go_after_two_seconds_until_switched_anew(
    device: FeetechDevice, joints: FakeJoints
) -> None:
    on(device, 1)
    joints.current_a[0] = 2.4  # of 2.7 A: above 80 %
    for _ in range(99):
        device.protect(0.02)
    assert joints.torque_on[0]
    device.protect(0.02)
    assert not joints.torque_on[0]
    joints.current_a[0] = 0.0
    device.protect(10.0)
    assert sent(device, packets.ping(1)) == [packets.packet(1, sts.OVERLOAD)]
    assert not joints.torque_on[0]
    on(device, 1)
    assert joints.torque_on[0]
    assert sent(device, packets.ping(1)) == [packets.packet(1, 0)]


def test_heat_and_supply_show_in_the_error_byte(device: FeetechDevice, joints: FakeJoints) -> None:
    on(device, 1)
    joints.temperature_c[0] = 70.0
    device.supply_v = 15.0
    device.protect(0.02)
    assert sent(device, packets.ping(1)) == [packets.packet(1, sts.TEMPERATURE | sts.VOLTAGE)]
    assert not joints.torque_on[0], "too hot: let go"


def test_silence_is_obedient_and_corruption_fails_the_checksum(device: FeetechDevice, joints: FakeJoints) -> None:
    device.faults.silence = True
    assert sent(device, packets.write(1, 40, b"\1")) == []
    assert joints.torque_on[0]
    device.faults.silence, device.faults.corrupt = False, {2}
    good, bad = sent(device, packets.sync_read((1, 2), 56, 2))
    assert packets.find(good, 0, len(good)) == (0, 8)
    assert packets.find(bad, 0, len(bad))[0] == -1


def test_the_homing_offset_is_subtracted_within_one_turn(device: FeetechDevice, joints: FakeJoints) -> None:
    joints.position_rad[0] = 0.0
    device.servos[0].put(sts.HOMING_OFFSET, -300)
    assert sent(device, packets.read(1, 56, 2)) == [packets.packet(1, 0, (2348).to_bytes(2, "little"))]
    on(device, 1, 2348)
    assert joints.goal_rad[0] == pytest.approx(0.0)
    device.servos[0].put(sts.HOMING_OFFSET, 2047)
    joints.position_rad[0] = -10 * sts.RAD_PER_STEP
    assert sent(device, packets.read(1, 56, 2)) == [packets.packet(1, 0, (4087).to_bytes(2, "little"))]


@pytest.mark.parametrize(("unlocked", "kept"), [(True, 100), (False, 0)])
def test_128_in_torque_enable_makes_the_present_the_middle(
    device: FeetechDevice, joints: FakeJoints, unlocked: bool, kept: int
) -> None:
    joints.position_rad[0] = 100 * sts.RAD_PER_STEP
    on(device, 1)
    device.servos[0].put(sts.LOCK, 0 if unlocked else 1)
    assert sent(device, packets.write(1, 40, bytes((128,)))) == [packets.packet(1, 0)]
    assert sent(device, packets.read(1, 56, 2)) == [packets.packet(1, 0, (2048).to_bytes(2, "little"))]
    assert not joints.torque_on[0]
    device.power(False)
    device.power(True)
    assert device.servos[0].get(sts.HOMING_OFFSET) == kept, "kept without power only if it was unlocked"


def test_two_servos_with_one_id_garble_each_other(joints: FakeJoints) -> None:
    device = FeetechDevice(joints, ids=(1, 2, 2, 4, 5, 6))
    for request in (packets.ping(2), packets.read(2, 56, 4)):
        (garbled,) = sent(device, request)
        assert packets.find(garbled, 0, len(garbled))[0] == -1
    good, _, last = sent(device, packets.sync_read((1, 2, 4), 56, 4))
    assert (good[2], last[2]) == (1, 4), "the others are heard"
    device.servos[2].put(sts.RETURN_DELAY, 250)
    assert [r.end_ns for r in device.feed(packets.ping(2))] == [60_000, 560_000], "the second speaks after the first"


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_bytes_upset_the_servos(pieces: list[bytes]) -> None:
    device = FeetechDevice(FakeJoints())
    for piece in pieces:
        device.feed(piece)
    device.idle()
    assert sent(device, packets.ping(1))[0][:3] == b"\xff\xff\x01"


whole = st.builds(
    packets.packet,
    st.sampled_from([1, 3, packets.BROADCAST]),
    st.sampled_from([1, 2, 3, 4, 5, 0x82, 0x83, 0x55]),
    st.binary(max_size=40),
)


@given(st.lists(whole, max_size=8))
def test_no_packet_upsets_the_servos(requests: list[bytes]) -> None:
    device = FeetechDevice(FakeJoints())
    for request in requests:
        for reply in device.feed(request):
            assert packets.find(reply.packet, 0, len(reply.packet)) == (0, len(reply.packet))
        assert all(len(servo.table) == 256 for servo in device.servos)
