"""What reaches the simulated servos and what the joints do, with time stamps, in a file that another process may read.

A ring in a `.npy` file, mapped into memory and allocated before it starts: writing a row is a store, and reading costs
the simulator nothing. The newest `ROWS` rows are kept, a minute of an arm at 200 Hz.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sim.device import Joints
from drivers.sim.servos import Servos

ROWS = 1 << 15
ROW = np.dtype(
    [
        ("t_ns", np.int64),  # CLOCK_MONOTONIC; 0 in a row that was never written
        ("told", np.bool_),  # goals have just arrived; otherwise a look at the joints, every few milliseconds
        ("away_ns", np.int64),  # goals: how much earlier they may have come, as nobody had heard the line since
        ("torque_on", np.bool_, 6),
        ("goal_rad", np.float64, 6),  # as the servos were told: of their encoders
        ("link_rad", np.float64, 6),
    ]
)


class Trace:
    """Written by the simulator's threads, one at a time: under the lock of its `RealTime`, but for `turned`."""

    def __init__(self, path: Path, joints: Joints, servos: Servos) -> None:
        """`joints` are those that the servos' protocol writes goals to, `servos` those that move the links."""
        self._rows = np.lib.format.open_memmap(path, mode="w+", dtype=ROW, shape=(ROWS,))
        self._rows[:] = np.zeros((), ROW)  # every page is there before the first row
        self._joints = joints
        self._servos = servos
        self._count = 0
        self._heard_ns = self._turned_ns = time.monotonic_ns()

    def turned(self) -> None:
        """The thread that hears the line has looked."""
        self._heard_ns, self._turned_ns = self._turned_ns, time.monotonic_ns()

    def told(self) -> None:
        """Goals have arrived."""
        self._add(True)

    def looked(self) -> None:
        """Time has passed."""
        self._add(False)

    def _add(self, told: bool) -> None:
        joints, now_ns = self._joints, time.monotonic_ns()
        row = (now_ns, told, now_ns - self._heard_ns, joints.torque_on, joints.goal_rad, self._servos.link_rad)
        self._rows[self._count % ROWS] = row
        self._count += 1


def read(path: Path) -> NDArray[np.void]:
    """The rows so far, oldest first, of a simulator that may go on writing."""
    rows = np.array(np.load(path, mmap_mode="r"))
    rows = rows[rows["t_ns"] > 0]
    return rows[np.argsort(rows["t_ns"], kind="stable")]
