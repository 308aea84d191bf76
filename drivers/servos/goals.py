"""The packet that sends all motors of a line their goals: made once, filled in place in every cycle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drivers.motors.base import Floats, MotorSettings
from drivers.servos.setup import Family, ends


class Goals:
    """A head, a row of id and goal for each motor, the check. Goals are from 0 to one turn: they need no stuffing."""

    def __init__(self, motors: Sequence[MotorSettings], family: Family) -> None:
        size, self._packets = family.goal.size, family.packets
        rows = {m.id: bytes(size) for m in motors}
        self.packet = bytearray(self._packets.sync_write(rows, family.goal.address, size))
        end = len(self.packet) - self._packets.CHECK_SIZE
        table = np.frombuffer(self.packet, np.uint8)[end - len(motors) * (1 + size) : end]
        self._bytes = table.reshape(-1, 1 + size)[:, 1:]
        self._counts = np.zeros(len(motors), f"<u{size}")
        self._count_bytes = self._counts.view(np.uint8).reshape(-1, size)
        self._zero = np.array([m.zero_step for m in motors], float)
        self._steps_per_rad = np.array([m.direction / family.rad_per_step for m in motors])
        self._low, self._high = np.clip([ends(family, m) for m in motors], 0.0, family.steps_per_turn - 1.0).T.copy()
        self._steps = np.zeros(len(motors))
        self._finite = np.zeros(len(motors), bool)

    def fill(self, position_rad: Floats) -> int:
        """Put positions [n] into the packet: -1, or the index of one that is no number, and the packet is unchanged."""
        steps = self._steps
        if not np.isfinite(position_rad, out=self._finite).all():
            return int(np.argmin(self._finite))
        np.multiply(position_rad, self._steps_per_rad, out=steps)
        np.add(steps, self._zero, out=steps)
        np.rint(steps, out=steps)
        np.maximum(steps, self._low, out=steps)
        np.minimum(steps, self._high, out=steps)
        np.copyto(self._counts, steps, casting="unsafe")
        np.copyto(self._bytes, self._count_bytes)
        self._packets.seal(self.packet)
        return -1
