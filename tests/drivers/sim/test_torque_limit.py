"""Torque limits of simulated servos: how hard they push, and a gripper that closes on a cup for as long as it likes."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.dynamixel import x
from drivers.feetech import sts
from drivers.sim import arm
from drivers.sim.cups import Cup
from drivers.sim.dynamixel_device import DynamixelDevice
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.servos import IDLE_A, STALL_A
from drivers.sim.world import World
from tests.drivers.fake_joints import FakeJoints

GRIPPER = 5
CLOSED_RAD = 0.0


def gripping(share: float) -> tuple[World, FeetechDevice]:
    """Servos with torque, the fingers closed on a cup, and a goal that is far inside it."""
    world = World(0)
    at = np.array([0.25, 0.05, 0.0])
    world.cups = [Cup("red", at.copy(), np.zeros(3))]
    pose = np.append(arm.top_down(at + np.array([0.0, 0.0, 0.05])), 1.0)
    world.servos.place(pose)
    device = FeetechDevice(world)
    for servo, goal in zip(device.servos, [*pose[:GRIPPER], CLOSED_RAD], strict=True):
        servo.put(sts.GOAL_POSITION, round(goal / sts.RAD_PER_STEP) + 2048)
        servo.put(sts.TORQUE_ENABLE, 1)
    device.servos[GRIPPER].put(sts.TORQUE_LIMIT, round(1000 * share))
    device.obey()
    pass_time(world, device, 1.0)
    assert world.gripped == 0
    return world, device


def pass_time(world: World, device: FeetechDevice, seconds: float) -> None:
    for _ in range(round(seconds / 0.02)):
        world.step(0.02)
        device.protect(0.02)


def test_a_gripper_with_all_its_torque_overloads_and_lets_go() -> None:
    world, device = gripping(1.0)
    pass_time(world, device, 3.0)
    assert device.servos[GRIPPER].tripped == sts.OVERLOAD
    assert not world.torque_on[GRIPPER]


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_gripper_with_limited_torque_holds_a_cup_for_as_long_as_it_likes(share: float) -> None:
    world, device = gripping(share)
    pass_time(world, device, 20.0)
    assert world.gripped == 0
    assert device.servos[GRIPPER].tripped == 0
    assert world.torque_on.all()
    assert world.current_a[GRIPPER] == pytest.approx(share * STALL_A + IDLE_A, abs=0.01)
    assert world.temperature_c[GRIPPER] < 60.0


def test_a_dynamixel_gives_torque_in_proportion_to_its_goal_pwm() -> None:
    joints = FakeJoints()
    device = DynamixelDevice(joints)
    device.servos[0].put(x.GOAL_PWM, 221)
    device.servos[1].put(x.GOAL_PWM, 0)
    device.obey()
    np.testing.assert_allclose(joints.torque_limit, [0.25, 0.0, 1.0, 1.0, 1.0, 1.0], atol=1e-3)
