"""Simulated Dynamixel servos and their driver."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.dynamixel import x as dynamixel_x
from drivers.motors.dynamixel import Bus
from drivers.sim.dynamixel_device import DynamixelDevice
from tests.drivers.motors.servo_rig import ServoRig


class DynamixelRig(ServoRig):
    BUS = Bus
    MODEL, OTHER_MODEL = "xm430-w350", "xl430-w250"
    REGISTERS = dynamixel_x
    TORQUE_LIMIT, OWN_TORQUE = "GOAL_PWM", "PWM_LIMIT"

    def make_device(self, ids: Sequence[int]) -> DynamixelDevice:
        return DynamixelDevice(self.joints, ids)
