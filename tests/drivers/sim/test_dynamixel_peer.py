"""ROBOTIS' own SDK (PyPI: dynamixel-sdk) as a judge: same bytes for the same calls, and it drives our servos."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.dynamixel import packets, x
from drivers.sim.adapter import Adapter
from drivers.sim.device import Reply
from drivers.sim.dynamixel_device import DynamixelDevice
from drivers.sim.ports import PseudoTerminal
from tests.drivers.fake_joints import FakeJoints
from tests.drivers.sdk_port import Recorder

sdk = pytest.importorskip("dynamixel_sdk", reason="dynamixel-sdk is not installed")

IDS = tuple(range(1, 7))
GOAL, PRESENT = x.GOAL_POSITION.address, x.PRESENT_POSITION.address


@pytest.fixture
def handler() -> Any:
    return sdk.PacketHandler(2.0)


def sync_writer(port: Any, handler: Any, goals: dict[int, int]) -> Any:
    writer = sdk.GroupSyncWrite(port, handler, GOAL, 4)
    for id, goal in goals.items():
        assert writer.addParam(id, list(goal.to_bytes(4, "little", signed=True)))
    return writer


def sync_reader(port: Any, handler: Any, address: int = 128, size: int = 8) -> Any:
    reader = sdk.GroupSyncRead(port, handler, address, size)
    for id in IDS:
        assert reader.addParam(id)
    return reader


@pytest.mark.parametrize("goal", [2048, -1, -513])
def test_the_sdk_sends_the_same_bytes(handler: Any, goal: int) -> None:
    port = Recorder()
    four = goal.to_bytes(4, "little", signed=True)
    handler.ping(port, 3)
    assert port.take() == packets.ping(3)
    handler.broadcastPing(port)
    assert port.take() == packets.ping(packets.BROADCAST)
    handler.read4ByteTxRx(port, 2, PRESENT)
    assert port.take() == packets.read(2, PRESENT, 4)
    handler.write4ByteTxRx(port, 4, GOAL, goal)
    assert port.take() == packets.write(4, GOAL, four)
    handler.regWriteTxRx(port, 4, GOAL, 4, list(four))
    assert port.take() == packets.reg_write(4, GOAL, four)
    handler.action(port, packets.BROADCAST)
    assert port.take() == packets.action(packets.BROADCAST)
    handler.reboot(port, 5)
    assert port.take() == packets.packet(5, packets.REBOOT)
    sync_writer(port, handler, dict.fromkeys(IDS, goal)).txPacket()
    assert port.take() == packets.sync_write(dict.fromkeys(IDS, four), GOAL, 4)
    sync_reader(port, handler).txPacket()
    assert port.take() == packets.sync_read(IDS, 128, 8)
    sync_reader(port, handler).fastSyncReadTxPacket()
    assert port.take() == packets.fast_sync_read(IDS, 128, 8)


@pytest.mark.parametrize("data", ["ff ff fd 00", "00 ff ff fd", "ff ff fd ff ff fd", "ff ff fd fd"])
def test_the_sdk_stuffs_the_same_bytes(handler: Any, data: str) -> None:
    # Its function is asked alone: txPacket of version 4.1 drops what that returns, and sends such packets unstuffed.
    plain = bytes.fromhex(f"74 00 {data}")
    head = packets.HEADER + bytes((1,)) + (len(plain) + 3).to_bytes(2, "little") + bytes((packets.WRITE,))
    stuffed = handler.addStuffing(list(head + plain + b"\0\0"))
    assert bytes(stuffed[:-2]) == packets.write(1, 0x74, bytes.fromhex(data))[:-2]


class Line:
    """Simulated servos, and the SDK's port to them."""

    def __init__(self, folder: Path) -> None:
        self.joints = FakeJoints()
        self.device = DynamixelDevice(self.joints)
        self.lock = threading.Lock()
        self._adapter = Adapter(PseudoTerminal(folder / "arm"), self._feed, self.device.idle, usb_latency_ns=0)
        self.port = sdk.PortHandler(str(folder / "arm"))
        # The SDK's timeout, 34 ms from the packet's first byte, is for a machine that is not also running tests.
        self.port.setPacketTimeout = lambda size: self.port.setPacketTimeoutMillis(500.0)
        assert self.port.openPort()

    def _feed(self, data: bytes) -> list[Reply]:
        with self.lock:
            return self.device.feed(data)

    def close(self) -> None:
        self.port.closePort()
        self._adapter.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    yield line
    line.close()


def test_the_sdk_finds_and_reads_our_servos(line: Line, handler: Any) -> None:
    for id in IDS:
        assert handler.ping(line.port, id) == (1020, sdk.COMM_SUCCESS, 0)
    assert handler.broadcastPing(line.port) == ({id: [1020, 48] for id in IDS}, sdk.COMM_SUCCESS)
    line.joints.position_rad[1] = 0.5
    assert handler.read4ByteTxRx(line.port, 2, PRESENT) == (2048 + 326, sdk.COMM_SUCCESS, 0)


def test_the_sdk_moves_our_servos(line: Line, handler: Any) -> None:
    for id in IDS:
        assert handler.write1ByteTxRx(line.port, id, x.TORQUE_ENABLE.address, 1) == (sdk.COMM_SUCCESS, 0)
    assert sync_writer(line.port, handler, {id: 2048 + 100 * id for id in IDS}).txPacket() == sdk.COMM_SUCCESS
    line.port.is_using = False
    assert handler.ping(line.port, 6)[1] == sdk.COMM_SUCCESS  # answered after the goals were taken
    np.testing.assert_allclose(line.joints.goal_rad, [100 * id * x.RAD_PER_STEP for id in IDS])
    assert line.joints.torque_on.all()


@pytest.mark.parametrize("fast", [False, True])
def test_the_sdk_reads_all_our_servos_at_once(line: Line, handler: Any, fast: bool) -> None:
    line.joints.velocity_rad_s[:] = -x.RAD_S_PER_COUNT
    # The first servo's velocity and position together look like a header.
    line.joints.position_rad[:] = [(253 + id - 2048) * x.RAD_PER_STEP for id in range(6)]
    reader = sync_reader(line.port, handler)
    assert (reader.fastSyncRead() if fast else reader.txRxPacket()) == sdk.COMM_SUCCESS
    assert [reader.getData(id, PRESENT, 4) for id in IDS] == [253, 254, 255, 256, 257, 258]
    assert [reader.getData(id, 128, 4) for id in IDS] == [0xFFFFFFFF] * 6


def test_the_sdk_reads_something_else_of_each_servo(line: Line, handler: Any) -> None:
    reader = sdk.GroupBulkRead(line.port, handler)
    asked = {1: (x.PRESENT_VOLTAGE, 120), 4: (x.PRESENT_TEMPERATURE, 25)}
    for id, (register, _) in asked.items():
        assert reader.addParam(id, register.address, register.size)
    assert reader.txRxPacket() == sdk.COMM_SUCCESS
    for id, (register, count) in asked.items():
        assert reader.getData(id, register.address, register.size) == count


def test_the_sdk_sees_an_error_of_ours(line: Line, handler: Any) -> None:
    result, error = handler.write4ByteTxRx(line.port, 1, GOAL, 5000)
    assert (result, handler.getRxPacketError(error)) == (
        sdk.COMM_SUCCESS,
        "[RxPacketError] The data value exceeds the limit value!",
    )
    line.joints.temperature_c[0] = 99.0
    _, result, error = handler.read4ByteTxRx(line.port, 1, PRESENT)
    assert result == sdk.COMM_SUCCESS
    assert "Hardware error occurred" in handler.getRxPacketError(error)
    assert handler.reboot(line.port, 1)[0] == sdk.COMM_SUCCESS


def test_the_sdk_does_not_understand_two_servos_with_one_id(line: Line, handler: Any) -> None:
    line.device.servos[3].put(x.ID, 3)
    assert handler.ping(line.port, 3)[1] == sdk.COMM_RX_CORRUPT
    assert handler.ping(line.port, 2)[1] == sdk.COMM_SUCCESS


def test_the_sdk_is_not_understood_at_another_speed(line: Line, handler: Any) -> None:
    line.port.setPacketTimeout = lambda size: line.port.setPacketTimeoutMillis(50.0)
    assert line.port.setBaudRate(57_600)
    assert handler.ping(line.port, 1)[1] == sdk.COMM_RX_TIMEOUT
    line.port.setPacketTimeout = lambda size: line.port.setPacketTimeoutMillis(500.0)
    assert line.port.setBaudRate(1_000_000)
    assert handler.ping(line.port, 1)[1] == sdk.COMM_SUCCESS
