"""Servos on a bench, as many as wanted, with nothing on their shafts: they follow their goals at a limited speed."""

from __future__ import annotations

import math

import numpy as np

from drivers.sim.arm import Floats
from drivers.sim.servos import AMBIENT_C, IDLE_A, NO_LOAD_RAD_S, STEP_RAD

LAG_S = 0.04
"""Time constant of a shaft near its goal: damping over gain of the simulated arm's servos."""


class Bench:
    """The joints' state. `goal_rad` and `torque_on` are written by whoever drives; `step` moves time on."""

    def __init__(self, servos: int) -> None:
        self.goal_rad: Floats = np.zeros(servos)
        self.torque_on = np.zeros(servos, bool)
        self.torque_limit: Floats = np.ones(servos)
        """Without a load on its shaft no servo comes near it."""
        self.shaft_rad: Floats = np.zeros(servos)
        self.velocity_rad_s: Floats = np.zeros(servos)
        self.temperature_c: Floats = np.full(servos, AMBIENT_C)

    @property
    def position_rad(self) -> Floats:
        """What the encoders say: the shafts, rounded to 12 bits a turn."""
        return np.round(self.shaft_rad / STEP_RAD) * STEP_RAD

    @property
    def current_a(self) -> Floats:
        """A servo without load draws little more than at rest: assumed, up to twice as much at full speed."""
        return IDLE_A * (1.0 + np.abs(self.velocity_rad_s) / NO_LOAD_RAD_S)

    def reset(self, seed: int) -> None:  # noqa: ARG002  (there is nothing to lay out)
        """All shafts back to the middle, without torque."""
        for array in (self.goal_rad, self.shaft_rad, self.velocity_rad_s):
            array[:] = 0.0
        self.torque_on[:] = False

    def step(self, dt_s: float) -> None:
        """Let `dt_s` pass. Without torque a shaft stays where it is."""
        way = (self.goal_rad - self.shaft_rad) * (1.0 - math.exp(-dt_s / LAG_S))
        way = np.clip(way, -NO_LOAD_RAD_S * dt_s, NO_LOAD_RAD_S * dt_s) * self.torque_on
        self.shaft_rad += way
        self.velocity_rad_s[:] = way / dt_s
