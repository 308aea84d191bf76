"""Simulated Feetech servos and their driver."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.feetech import sts as feetech_sts
from drivers.motors.feetech import Bus
from drivers.sim.feetech_device import FeetechDevice
from tests.drivers.motors.servo_rig import ServoRig


class FeetechRig(ServoRig):
    BUS = Bus
    MODEL, OTHER_MODEL = "sts3215", "sts3250"
    REGISTERS = feetech_sts
    TORQUE_LIMIT, OWN_TORQUE = "TORQUE_LIMIT", "MAX_TORQUE"

    def make_device(self, ids: Sequence[int]) -> FeetechDevice:
        return FeetechDevice(self.joints, ids)
