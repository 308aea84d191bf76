"""Servo horns: on a real arm no encoder's zero is the joint's, and some servos sit the other way round.

Between the joints of a world and the servos that measure them: encoder angle = direction · joint angle + offset.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.feetech.sts import RAD_PER_STEP
from drivers.sim.device import Joints

Floats = NDArray[np.float64]


class Stepped(Joints, Protocol):
    """A world of joints that moves on and starts anew."""

    def step(self, dt_s: float, /) -> None: ...
    def reset(self, seed: int, /) -> None: ...


class Horns:
    """A world as its servos see it. As assembled by `set`; until then encoders and joints agree."""

    def __init__(self, world: Stepped) -> None:
        n = len(world.position_rad)
        self._world = world
        self._offset_rad: Floats = np.zeros(n)
        self._direction: Floats = np.ones(n)
        self.goal_rad: Floats = np.array(world.goal_rad)
        """Encoder frame, written in place by the servos."""

    def set(self, index: int, offset_steps: int, direction: int) -> None:
        """Assemble one joint: `direction` is +1 or -1, `offset_steps` the count from the encoder's middle at zero."""
        self._offset_rad[index] = offset_steps * RAD_PER_STEP
        self._direction[index] = direction

    @property
    def torque_on(self) -> NDArray[np.bool_]:
        return self._world.torque_on

    @property
    def torque_limit(self) -> Floats:
        return self._world.torque_limit

    @property
    def position_rad(self) -> Floats:
        return self._direction * self._world.position_rad + self._offset_rad

    @property
    def velocity_rad_s(self) -> Floats:
        return self._direction * self._world.velocity_rad_s

    @property
    def current_a(self) -> Floats:
        return self._world.current_a

    @property
    def temperature_c(self) -> Floats:
        return self._world.temperature_c

    def step(self, dt_s: float) -> None:
        """Hand the goals on, by the turn that is nearest to the joint, and let `dt_s` pass."""
        goal = self._direction * (self.goal_rad - self._offset_rad)
        self._world.goal_rad[:] = goal - 2 * np.pi * np.round((goal - self._world.position_rad) / (2 * np.pi))
        self._world.step(dt_s)

    def reset(self, seed: int) -> None:
        """A new layout; the horns stay where they are."""
        self._world.reset(seed)
