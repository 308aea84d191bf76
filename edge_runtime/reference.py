"""What a motion asks of the joints at one tick: position, velocity and acceleration, or to come to rest."""

from __future__ import annotations

import numpy as np

from edge_runtime.limits import Floats


class Reference:
    """Arrays [n] that are allocated once: rad, rad/s, rad/s². A motion fills all three, or says `rest`.

    They are the `rows` of one array [3, n], so that a motion may fill all of them at once.
    """

    def __init__(self, n: int) -> None:
        self.rows: Floats = np.zeros((3, n))
        self.position_rad: Floats = self.rows[0]
        self.velocity_rad_s: Floats = self.rows[1]
        self.acceleration_rad_s2: Floats = self.rows[2]
        self.rest = True
        """Come to rest as quickly as the joints may; the arrays mean nothing then."""

    def hold(self, position_rad: Floats) -> None:
        """Ask for rest at `position_rad` [n]."""
        self.rows[0] = position_rad
        self.rows[1:] = 0.0
        self.rest = False
