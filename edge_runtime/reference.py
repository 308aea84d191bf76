"""What a motion asks of the joints at one tick: position, velocity and acceleration, or to come to rest."""

from __future__ import annotations

import numpy as np

from edge_runtime.limits import Floats


class Reference:
    """Arrays [n] that are allocated once: rad, rad/s, rad/s². A motion fills all three, or says `rest`."""

    def __init__(self, n: int) -> None:
        self.position_rad: Floats = np.zeros(n)
        self.velocity_rad_s: Floats = np.zeros(n)
        self.acceleration_rad_s2: Floats = np.zeros(n)
        self.rest = True
        """Come to rest as quickly as the joints may; the arrays mean nothing then."""

    def hold(self, position_rad: Floats) -> None:
        """Ask for rest at `position_rad` [n]."""
        self.position_rad[:] = position_rad
        self.velocity_rad_s[:] = 0.0
        self.acceleration_rad_s2[:] = 0.0
        self.rest = False
