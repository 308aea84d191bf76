"""A world of joints that jump: as little as the simulated servos need, for tests of what is around them."""

from __future__ import annotations

import numpy as np


class FakeJoints:
    """Six joints; `step` puts those with torque where their goals are and counts the time."""

    def __init__(self, n: int = 6) -> None:
        self.goal_rad = np.zeros(n)
        self.torque_on = np.zeros(n, bool)
        self.torque_limit = np.ones(n)
        self.position_rad = np.linspace(-0.5, 0.5, n)
        self.velocity_rad_s = np.zeros(n)
        self.current_a = np.full(n, 0.1)
        self.temperature_c = np.full(n, 25.0)
        self.time_s = 0.0
        self.seeds: list[int] = []

    def step(self, dt_s: float) -> None:
        self.time_s += dt_s
        self.position_rad[self.torque_on] = self.goal_rad[self.torque_on]

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)
        self.torque_on[:] = False
