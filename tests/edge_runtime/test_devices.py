"""What the drivers are given."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from edge_runtime import devices
from edge_runtime.config import Leader, LeaderJoint
from tests.drivers.motors.feetech_rig import FeetechRig
from tests.edge_runtime.fakes import robot


def test_a_torque_limit_reaches_the_driver() -> None:
    one = robot().buses[0]
    joints = (*one.joints[:5], msgspec.structs.replace(one.joints[5], torque_limit=0.4))
    settings = devices.bus_settings(msgspec.structs.replace(one, joints=joints))
    assert [motor.torque_limit for motor in settings.motors] == [1.0] * 5 + [0.4]


def test_a_leaders_own_limits_are_its_own(tmp_path: Path) -> None:
    """[leader] has no key for them, and nothing is ever commanded."""
    rig = FeetechRig(tmp_path)
    rig.put(5, MIN_POSITION=2060, MAX_POSITION=3400)
    joints = tuple(LeaderJoint(id=i + 1) for i in range(6))
    leader = Leader(kind="feetech", port=str(tmp_path / "arm"), joints=joints)
    bus = devices.leader_bus(leader, robot().joint_names)
    try:
        bus.connect(time.monotonic_ns() + 10**9)
    finally:
        bus.disconnect()
        rig.close()
