"""A leader arm: simulated servos behind the real driver; only what they are moved counts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import Disconnected, ProtocolError, Timeout
from drivers.hands.leader import Device
from drivers.motors.base import BusSettings, MotorSettings
from drivers.motors.feetech import Bus
from drivers.sim.adapter import Adapter
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.ports import PseudoTerminal
from tests.drivers.fake_joints import FakeJoints

STEP = math.tau / 4096


class Leader:
    """Six servos at `joints.position_rad` on a line, and the hand that reads them."""

    def __init__(self, folder: Path, scale: list[float]) -> None:
        self.joints = FakeJoints()
        self.servos = FeetechDevice(self.joints)
        self._path = folder / "leader"
        self.plug_in()
        motors = tuple(MotorSettings(f"j{i}", i + 1, "sts3215", 2048, 1, (0.0, 0.0), "release") for i in range(6))
        self.bus = Bus(BusSettings("leader", str(self._path), 1_000_000, motors))
        self.hand = Device(self.bus, scale)

    def plug_in(self) -> None:
        self.adapter = Adapter(PseudoTerminal(self._path), self.servos.feed, self.servos.idle, usb_latency_ns=0)

    def read(self) -> np.ndarray:
        out = np.zeros(6)
        self.hand.read_into(out, time.monotonic_ns() + 500_000_000)
        return out


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Leader]:
    made = Leader(tmp_path, [1.0, -1.0, 2.0, 1.0, 1.0, 0.5])
    yield made
    made.hand.close()
    made.adapter.close()


def test_a_reading_is_what_was_moved_times_the_scale(leader: Leader) -> None:
    leader.hand.open()
    before = leader.read()
    leader.joints.position_rad += [0.3, 0.3, 0.3, 0.0, -0.2, 0.2]
    assert leader.read() - before == pytest.approx([0.3, -0.3, 0.6, 0.0, -0.2, 0.1], abs=2 * STEP)


def test_a_leader_that_holds_is_let_go(leader: Leader) -> None:
    leader.bus.connect(time.monotonic_ns() + 1_000_000_000)
    leader.bus.enable_torque(time.monotonic_ns() + 1_000_000_000)
    leader.hand.open()
    assert not leader.joints.torque_on.any()


def test_an_encoder_that_passes_the_end_of_its_turn_goes_on(leader: Leader) -> None:
    leader.joints.position_rad[:] = math.pi - 0.05
    leader.hand.open()
    before = leader.read()
    for _ in range(10):
        leader.joints.position_rad += 0.05
        leader.read()
    assert (leader.read() - before)[0] == pytest.approx(0.5, abs=3 * STEP)


def test_what_moved_while_it_was_away_is_no_change(leader: Leader) -> None:
    leader.hand.open()
    before = leader.read()
    leader.adapter.close()
    with pytest.raises(Disconnected):
        leader.read()
    leader.hand.close()
    leader.joints.position_rad += 0.7
    leader.plug_in()
    leader.hand.open()
    assert leader.read() == pytest.approx(before, abs=2 * STEP)


def test_a_leader_without_supply_times_out(leader: Leader) -> None:
    leader.hand.open()
    leader.servos.power(False)
    with pytest.raises(Timeout, match="leader"):
        leader.hand.read_into(np.zeros(6), time.monotonic_ns() + 20_000_000)


def test_a_reading_that_is_no_number_is_refused_and_forgotten(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    leader.hand.open()
    before = leader.read()
    read_state = leader.bus.read_state

    def broken(deadline_ns: int) -> None:
        read_state(deadline_ns)
        leader.bus.state.position_rad[2] = math.nan

    monkeypatch.setattr(leader.bus, "read_state", broken)
    with pytest.raises(ProtocolError, match="bus leader: a position of the leader is not finite"):
        leader.read()
    monkeypatch.undo()
    leader.joints.position_rad += 0.1
    assert leader.read() - before == pytest.approx([0.1, -0.1, 0.2, 0.1, 0.1, 0.05], abs=2 * STEP)
