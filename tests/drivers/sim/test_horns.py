"""Servo horns: what an encoder says of a joint, and where a goal in the encoder's frame brings it."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.feetech.sts import RAD_PER_STEP
from drivers.sim.horns import Horns
from tests.drivers.fake_joints import FakeJoints


def test_as_delivered_encoders_and_joints_agree() -> None:
    joints = FakeJoints()
    np.testing.assert_array_equal(Horns(joints).position_rad, joints.position_rad)


@pytest.mark.parametrize("steps", [-2000, -3, 0, 137, 2047])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_goal_that_an_encoder_would_reach_brings_the_joint_there(steps: int, direction: int) -> None:
    joints = FakeJoints()
    horns = Horns(joints)
    horns.set(2, steps, direction)
    joints.position_rad[2], joints.velocity_rad_s[2] = 0.4, 0.3
    assert horns.position_rad[2] == pytest.approx(direction * 0.4 + steps * RAD_PER_STEP)
    assert horns.velocity_rad_s[2] == direction * 0.3
    wanted = direction * 0.5 + steps * RAD_PER_STEP
    horns.goal_rad[:] = horns.position_rad
    horns.goal_rad[2] = (wanted + np.pi) % (2 * np.pi) - np.pi  # an encoder has one turn
    horns.torque_on[:] = True
    horns.step(0.01)
    assert joints.position_rad[2] == pytest.approx(0.5)
