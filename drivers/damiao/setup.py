"""What robot.toml says of a Damiao motor and what it says of itself: whether that can be, and what counts mean."""

from __future__ import annotations

import math
from typing import NamedTuple

from drivers.damiao import frames
from drivers.damiao import motors as dm
from drivers.damiao.line import Line
from drivers.motors.base import MotorSettings


class Setup(NamedTuple):
    """What a motor says of itself."""

    mode: float
    gear_ratio: float
    pole_pairs: float
    p_max_rad: float
    v_max_rad_s: float
    t_max_nm: float


_REGISTERS = (dm.CONTROL_MODE, dm.GEAR_RATIO, dm.POLE_PAIRS, dm.P_MAX, dm.V_MAX, dm.T_MAX)


def read_setups(line: Line, deadline_ns: int) -> list[Setup]:
    """The setup of every motor on the line."""
    columns = [line.read(register, line.all, deadline_ns) for register in _REGISTERS]
    return [Setup(*row) for row in zip(*columns, strict=True)]


def zero_count(motor: MotorSettings) -> float:
    """The count at joint angle zero: 32768 stands for the motor's own zero, which is half a count below it."""
    return motor.zero_step - 0.5


def counts_per_rad(motor: MotorSettings, p_max_rad: float) -> float:
    """Counts of position in a radian of the joint, negative where its direction is."""
    return motor.direction * frames.POSITION_TOP / (2 * p_max_rad)


def ends(motor: MotorSettings, p_max_rad: float) -> tuple[int, int]:
    """The lowest and the highest count of the joint's range, which may lie beyond what a count can be."""
    low, high = sorted(zero_count(motor) + angle * counts_per_rad(motor, p_max_rad) for angle in motor.range_rad)
    return round(low), round(high)


def settings_problem(motor: MotorSettings) -> str:
    """What is wrong with a motor as robot.toml describes it; empty if nothing is."""
    if not 1 <= motor.id <= frames.MAX_ID:
        return f"a state names its motor in four bits: give it an id from 1 to {frames.MAX_ID}"
    for name, value, most in (
        ("stiffness", motor.stiffness, dm.STIFFNESS_MAX),
        ("damping", motor.damping, dm.DAMPING_MAX),
    ):
        if not 0 < value <= most:
            return (
                f"{name} is {value:g} and must be above 0 and at most {most:g}: "
                f"without stiffness it hangs limp, without damping it shakes"
            )
    return ""


def setup_problem(motor: MotorSettings, setup: Setup) -> str:
    """What is wrong with a motor as it describes itself; empty if nothing is."""
    if not dm.fits(motor.model, setup.gear_ratio, setup.pole_pairs):
        return f"gear ratio {setup.gear_ratio:g} and {setup.pole_pairs:g} pole pairs are no {motor.model}'s"
    if setup.mode != dm.MIT_MODE:
        return f"it is in mode {setup.mode:g}: set it to MIT mode (register {dm.CONTROL_MODE.number}: {dm.MIT_MODE})"
    for name, value in (("P_MAX", setup.p_max_rad), ("V_MAX", setup.v_max_rad_s), ("T_MAX", setup.t_max_nm)):
        if not (math.isfinite(value) and value > 0):
            return f"its {name} is {value:g}: set it with the vendor's tool"
    low, high = ends(motor, setup.p_max_rad)
    if low < 0 or high > frames.POSITION_TOP:
        return (
            f"its limits are counts {low} to {high} and its P_MAX of {setup.p_max_rad:g} rad spans 0 to "
            f"{frames.POSITION_TOP}: correct zero_step or position"
        )
    return ""
