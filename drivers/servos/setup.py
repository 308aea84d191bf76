"""What a family of servos is, what one servo says of itself, and whether that fits what robot.toml says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.motors.base import MotorSettings
from drivers.servos.line import Packets
from drivers.servos.registers import Register

_ROUNDING_STEPS = 1
"""Limits are given as angles: what they may be beyond an encoder's or a servo's end."""


@dataclass(frozen=True)
class Family:
    """Servos that share a protocol and a memory table, as data for the body that serves them all."""

    packets: Packets
    models: Mapping[str, int]
    """What the model register says, by the name that robot.toml uses."""
    bauds: tuple[int, ...]
    position_mode: int
    steps_per_turn: int
    torque: Register
    goal: Register
    torque_limit: Register
    """Most torque in counts of what `Setup.most_torque` is in; lost without power."""
    position: Register
    speed: Register
    motion: tuple[int, int]
    """Address and size of what is read in every cycle, position and speed among it."""
    health: tuple[int, int]
    setup: tuple[int, int]

    @property
    def rad_per_step(self) -> float:
        return 2 * math.pi / self.steps_per_turn

    def model_name(self, number: int) -> str:
        """As robot.toml writes it."""
        return next((name for name, known in self.models.items() if known == number), f"unknown ({number})")


@dataclass(frozen=True)
class Setup:
    """What one servo keeps without power."""

    model: int
    firmware: str
    homing: int
    mode: int
    low: int
    high: int
    """Its own limits, steps."""
    most_torque: int
    """Its own torque limit, counts of `Family.torque_limit`."""
    rad_s_per_count: float
    """Its unit of speed."""
    return_delay_s: float
    """How long it waits before it answers."""
    problem: str = ""
    """What else of it no driver can work with."""


def ends(family: Family, motor: MotorSettings) -> tuple[float, float]:
    """A motor's range as steps, the lower first."""
    low, high = sorted(motor.zero_step + motor.direction * angle / family.rad_per_step for angle in motor.range_rad)
    return round(low), round(high)


def settings_problem(family: Family, motor: MotorSettings) -> str:
    """What no servo of this family can be; empty where that is nothing."""
    low, high = ends(family, motor)
    if low < -_ROUNDING_STEPS or high >= family.steps_per_turn + _ROUNDING_STEPS:
        return (
            f"its limits are steps {low:.0f} to {high:.0f} and its encoder has 0 to {family.steps_per_turn - 1}: "
            f"correct zero_step or position"
        )
    return ""


def setup_problem(family: Family, motor: MotorSettings, setup: Setup) -> str:
    """How a servo differs from what robot.toml says of it; empty where it does not."""
    low, high = ends(family, motor)
    if setup.model != family.models[motor.model]:
        return f"is model {setup.model} ({family.model_name(setup.model)}), not the asked {motor.model}"
    if setup.mode != family.position_mode:
        return f"is in mode {setup.mode}: set it to position mode ({family.position_mode})"
    whole_turn = low <= 0 and high >= family.steps_per_turn - 1  # asks for no limits, as calibration does
    if not whole_turn and (low < setup.low - _ROUNDING_STEPS or high > setup.high + 1 + _ROUNDING_STEPS):
        return (
            f"its limits are steps {low:.0f} to {high:.0f} and the servo's own are {setup.low} to {setup.high}: "
            f"correct zero_step or position, or the servo's limits"
        )
    return setup.problem
