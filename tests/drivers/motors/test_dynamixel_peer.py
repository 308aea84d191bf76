"""ROBOTIS' own SDK (PyPI: dynamixel-sdk) as a judge of our driver: the same bytes for the same calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.dynamixel import x as dxl
from drivers.motors.dynamixel import WATCHDOG_COUNTS
from drivers.servos.registers import Register
from tests.drivers.motors.contract import soon
from tests.drivers.motors.dynamixel_rig import DynamixelRig
from tests.drivers.sdk_port import Recorder

sdk = pytest.importorskip("dynamixel_sdk", reason="dynamixel-sdk is not installed")

IDS = tuple(range(1, 7))


def sent_by_sdk(*calls: Callable[[Any, Any], object]) -> bytes:
    """What the SDK sends, one call after the other: each is given the SDK's packet handler and a port."""
    port, handler, sent = Recorder(), sdk.PacketHandler(2.0), b""
    for call in calls:
        call(handler, port)
        sent += port.take()
    return sent


def written(register: Register, rows: dict[int, int]) -> Callable[[Any, Any], object]:
    """A sync write."""

    def call(handler: Any, port: Any) -> None:
        writer = sdk.GroupSyncWrite(port, handler, register.address, register.size)
        for id, count in rows.items():
            assert writer.addParam(id, list(register.encode(count).to_bytes(register.size, "little")))
        writer.txPacket()

    return call


def asked(address: int, size: int, fast: bool = False) -> Callable[[Any, Any], object]:
    """A (fast) sync read from all."""

    def call(handler: Any, port: Any) -> None:
        reader = sdk.GroupSyncRead(port, handler, address, size)
        for id in IDS:
            assert reader.addParam(id)
        reader.fastSyncReadTxPacket() if fast else reader.txPacket()

    return call


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[DynamixelRig]:
    rig = DynamixelRig(tmp_path)
    rig.bus.connect(soon())
    rig.heard.clear()
    yield rig
    rig.close()


def test_a_cycle(rig: DynamixelRig) -> None:
    rig.bus.write_setpoints(np.array([0.1, -0.2, 0.3, -0.4, 0.5, -0.6]), soon())
    rig.bus.read_state(soon())
    goals = dict(zip(IDS, (2113, 1918, 2244, 1787, 2374, 1657), strict=True))
    assert b"".join(rig.heard) == sent_by_sdk(written(dxl.GOAL_POSITION, goals), asked(128, 8, fast=True))


def test_torque_on(rig: DynamixelRig) -> None:
    rig.joints.position_rad[:] = 0.0
    rig.bus.enable_torque(soon())
    rig.bus.watch(soon())
    assert b"".join(rig.heard) == sent_by_sdk(
        written(dxl.BUS_WATCHDOG, dict.fromkeys(IDS, 0)),
        asked(98, 4),
        written(dxl.GOAL_PWM, dict.fromkeys(IDS, 885)),
        asked(100, 4),
        asked(128, 8, fast=True),
        written(dxl.GOAL_POSITION, dict.fromkeys(IDS, 2048)),
        asked(116, 4),
        asked(64, 4),
        written(dxl.TORQUE_ENABLE, dict.fromkeys(IDS, 1)),
        asked(64, 4),
        written(dxl.BUS_WATCHDOG, dict.fromkeys(IDS, WATCHDOG_COUNTS)),
        asked(98, 4),
    )


def test_health_and_identity(rig: DynamixelRig) -> None:
    rig.bus.read_health(2, soon())
    rig.bus.identify(4, soon())
    assert b"".join(rig.heard) == sent_by_sdk(
        lambda handler, port: handler.readTx(port, 3, 95, 52), lambda handler, port: handler.readTx(port, 5, 0, 56)
    )


def test_centering(rig: DynamixelRig) -> None:
    rig.joints.position_rad[1] = 100 * dxl.RAD_PER_STEP
    rig.bus.center(1, soon())
    assert sent_by_sdk(written(dxl.HOMING_OFFSET, {2: -100})) in b"".join(rig.heard)
