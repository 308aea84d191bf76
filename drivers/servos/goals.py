"""The packet that sends all motors of a line their goals: made once, filled in place in every cycle."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from drivers.motors.base import Floats, MotorSettings
from drivers.servos.setup import Family, ends

_KINDS = {2: "H", 4: "I"}


class Goals:
    """A head, a row of id and goal for each motor, the check. Goals are from 0 to one turn: they need no stuffing."""

    def __init__(self, motors: Sequence[MotorSettings], family: Family) -> None:
        size, self._packets = family.goal.size, family.packets
        rows = {m.id: bytes(size) for m in motors}
        self.packet = bytearray(self._packets.sync_write(rows, family.goal.address, size))
        self._rows = struct.Struct("<" + f"B{_KINDS[size]}" * len(motors))
        self._at = len(self.packet) - self._packets.CHECK_SIZE - self._rows.size
        self._fields = [field for m in motors for field in (m.id, 0)]
        top = family.steps_per_turn - 1
        self._ways = [
            (m.zero_step, m.direction / family.rad_per_step, *(min(max(end, 0), top) for end in ends(family, m)))
            for m in motors
        ]

    def fill(self, position_rad: Floats) -> int:
        """Put positions [n] into the packet: -1, or the index of one that is no number, and the packet is unchanged."""
        fields = self._fields
        for index, position in enumerate(position_rad.tolist()):
            if not math.isfinite(position):
                return index
            zero, steps_per_rad, low, high = self._ways[index]
            step = position * steps_per_rad + zero
            fields[2 * index + 1] = round(low if step < low else high if step > high else step)
        self._rows.pack_into(self.packet, self._at, *fields)
        self._packets.seal(self.packet)
        return -1
