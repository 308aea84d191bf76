"""Feetech's own SDK (PyPI: feetech-servo-sdk) as a judge: same bytes for the same calls, and it reads our servos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.feetech import packets, sts
from tests.drivers.motors.contract import soon
from tests.drivers.motors.feetech_rig import FeetechRig
from tests.drivers.sdk_port import Recorder

sdk = pytest.importorskip("scservo_sdk", reason="feetech-servo-sdk is not installed")

IDS = tuple(range(1, 7))


@pytest.fixture
def handler() -> Any:
    return sdk.PacketHandler(0)


def sync_writer(port: Any, handler: Any, goals: dict[int, int]) -> Any:
    writer = sdk.GroupSyncWrite(port, handler, sts.GOAL_POSITION.address, 2)
    for id, goal in goals.items():
        assert writer.addParam(id, [goal & 0xFF, goal >> 8])
    return writer


def sync_reader(port: Any, handler: Any) -> Any:
    reader = sdk.GroupSyncRead(port, handler, sts.PRESENT_POSITION.address, 4)
    for id in IDS:
        assert reader.addParam(id)
    return reader


def test_the_sdk_sends_the_same_bytes(handler: Any) -> None:
    port = Recorder()
    handler.ping(port, 3)
    assert port.take() == packets.ping(3)
    handler.read2ByteTxRx(port, 2, 56)
    assert port.take() == packets.read(2, 56, 2)
    handler.write1ByteTxRx(port, 4, 40, 1)
    assert port.take() == packets.write(4, 40, b"\x01")
    handler.action(port, packets.BROADCAST)
    assert port.take() == packets.packet(packets.BROADCAST, packets.ACTION)
    goals = {id: 1000 + 7 * id for id in IDS}
    sync_writer(port, handler, goals).txPacket()
    assert port.take() == packets.sync_write({i: g.to_bytes(2, "little") for i, g in goals.items()}, 42, 2)
    sync_reader(port, handler).txPacket()
    assert port.take() == packets.sync_read(IDS, 56, 4)


def test_our_driver_sends_what_the_sdk_would(tmp_path: Path, handler: Any) -> None:
    rig = FeetechRig(tmp_path)
    try:
        rig.bus.connect(soon())
        rig.heard.clear()
        rig.bus.write_setpoints(np.array([0.1, -0.2, 0.3, -0.4, 0.5, -0.6]), soon())
        rig.bus.read_state(soon())
        port = Recorder()
        sync_writer(port, handler, {1: 2113, 2: 1918, 3: 2244, 4: 1787, 5: 2374, 6: 1657}).txPacket()
        sent = port.take()
        sync_reader(port, handler).txPacket()
        assert b"".join(rig.heard) == sent + port.take()
    finally:
        rig.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[FeetechRig, Any]]:
    rig = FeetechRig(tmp_path)
    port = sdk.PortHandler(str(tmp_path / "arm"))
    # The SDK's timeout, 34 ms from the packet's first byte, is for a machine that is not also running tests.
    port.setPacketTimeout = lambda size: port.setPacketTimeoutMillis(500.0)
    assert port.openPort()
    yield rig, port
    port.closePort()
    rig.close()


def test_the_sdk_finds_and_reads_our_servos(line: tuple[FeetechRig, Any], handler: Any) -> None:
    rig, port = line
    for id in IDS:
        assert handler.ping(port, id) == (777, sdk.COMM_SUCCESS, 0)
    rig.joints.position_rad[1] = 0.5
    steps, result, error = handler.read2ByteTxRx(port, 2, sts.PRESENT_POSITION.address)
    assert (steps, result, error) == (2048 + 326, sdk.COMM_SUCCESS, 0)


def test_the_sdk_moves_our_servos(line: tuple[FeetechRig, Any], handler: Any) -> None:
    rig, port = line
    for id in IDS:
        assert handler.write1ByteTxRx(port, id, sts.TORQUE_ENABLE.address, 1) == (sdk.COMM_SUCCESS, 0)
    goals = {id: 2048 + 100 * id for id in IDS}
    assert sync_writer(port, handler, goals).txPacket() == sdk.COMM_SUCCESS
    port.is_using = False
    rig.joints.velocity_rad_s[2] = -100 * sts.RAD_PER_STEP
    reader = sync_reader(port, handler)
    assert reader.txRxPacket() == sdk.COMM_SUCCESS
    np.testing.assert_allclose(rig.joints.goal_rad, [100 * id * sts.RAD_PER_STEP for id in IDS])
    assert rig.joints.torque_on.all()
    assert sdk.SCS_TOHOST(reader.getData(3, sts.PRESENT_SPEED.address, 2), 15) == -100


def test_the_sdk_sees_a_fault_of_ours(line: tuple[FeetechRig, Any], handler: Any) -> None:
    rig, port = line
    rig.joints.temperature_c[0] = 99.0
    _, result, error = handler.read2ByteTxRx(port, 1, sts.PRESENT_POSITION.address)
    assert result == sdk.COMM_SUCCESS
    assert "Overheat" in handler.getRxPacketError(error)
