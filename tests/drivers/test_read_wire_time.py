"""How long the bytes of one read take on the line, by the drivers' own reckoning."""

from __future__ import annotations

import pytest

from drivers.motors import dynamixel, feetech
from drivers.motors.base import BusSettings, MotorSettings


def settings(model: str, baud: int) -> BusSettings:
    motors = tuple(MotorSettings(f"j{id}", id, model, 2048, 1, (-3.0, 3.0), "hold") for id in range(1, 7))
    return BusSettings("arm", "/dev/none", baud, motors)


@pytest.mark.parametrize("baud", [500_000, 1_000_000])
def test_six_feetech_servos(baud: int) -> None:
    """A sync read of six ids is 14 bytes, each answer with four bytes of data 10; ten bits a byte."""
    assert feetech.Bus(settings("sts3215", baud)).read_wire_s == pytest.approx((14 + 6 * 10) * 10 / baud)


def test_dynamixel_servos_at_most() -> None:
    """A sync read of six ids is 20 bytes, each answer 11 and its data, with the stuffing that there may be."""
    found = dynamixel.Bus(settings("xl330-m288", 1_000_000)).read_wire_s
    assert (20 + 6 * (11 + 8)) * 1e-5 <= found <= (20 + 6 * (11 + 16)) * 1e-5
