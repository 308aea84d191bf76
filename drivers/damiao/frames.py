"""CAN frames of Damiao motors, byte for byte, for both ends of the wire. Nothing here does input or output.

Source: Damiao, "DM-J4310-2EC motor manual" V1.1 (CAN communication protocol, MIT mode); checked against the public code
of cmjang/DM_Control_Python, enactic/openarm_can and huggingface/lerobot. Frames are classic CAN: 11-bit id, 8 bytes.
The host speaks to a motor at the motor's id, or at 0x7FF with the motor's id in the data; the motor answers at its
MST_ID. Each frame from the host gets one answer, which does not say which frame it answers:

    state     id and status nibbles | position 16 | velocity 12 | torque 12 | driver °C 8 | winding °C 8
    register  id 16 | 0x33 read or 0x55 written | register 8 | value 32

States and commands are big-endian, registers little-endian. A quantity of n bits spans [-max, max] with 0 at count
(2^n - 1) / 2, between two counts; gains begin at 0.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from drivers.damiao.motors import DAMPING_MAX, STIFFNESS_MAX, Register

Data = bytes | bytearray

SIZE = 8
HOST_ID = 0x7FF
"""Where register and refresh frames go, whichever motor they are for."""
MAX_ID = 0xF
"""Highest motor id: a state names its motor in four bits."""
ANSWER_OFFSET = 0x10
"""A motor's MST_ID less its id, as the vendor recommends it."""

ENABLE, DISABLE, SET_ZERO, CLEAR_ERROR = 0xFC, 0xFD, 0xFE, 0xFB
READ, WRITE, REFRESH = 0x33, 0x55, 0xCC
POSITION_BITS, OTHER_BITS = 16, 12
POSITION_TOP, OTHER_TOP = (1 << POSITION_BITS) - 1, (1 << OTHER_BITS) - 1
OTHER_ZERO = OTHER_TOP // 2
"""No velocity, or no torque: the count below the middle, as the vendor's code sends it."""


class Frame(NamedTuple):
    """One frame on the wire: where it goes, and its eight bytes."""

    id: int
    data: Data


class Command(NamedTuple):
    """What a motor shall do, in counts: torque = stiffness · (position error) + damping · (velocity error) + torque."""

    position: int
    velocity: int
    stiffness: int
    damping: int
    torque: int


class State(NamedTuple):
    """What a motor says of itself: counts, and temperatures of its driver and its winding in °C."""

    status: int
    position: int
    velocity: int
    torque: int
    driver_c: int
    winding_c: int


def special(id: int, code: int) -> Frame:
    """ENABLE, DISABLE, SET_ZERO or CLEAR_ERROR."""
    return Frame(id, b"\xff" * 7 + bytes((code,)))


def command(id: int, counts: Command) -> Frame:
    """A command in MIT mode."""
    position, velocity, stiffness, damping, torque = counts
    packed = position << 48 | velocity << 36 | stiffness << 24 | damping << 12 | torque
    return Frame(id, packed.to_bytes(SIZE, "big"))


def refresh(id: int) -> Frame:
    """Ask for a motor's state without commanding it."""
    return Frame(HOST_ID, struct.pack("<HBxI", id, REFRESH, 0))


def read(id: int, register: Register) -> Frame:
    """Ask for a register."""
    return Frame(HOST_ID, struct.pack("<HBBI", id, READ, register.number, 0))


def write(id: int, register: Register, value: float) -> Frame:
    """Set a register until the motor's supply goes off; it answers with what it has taken."""
    return Frame(HOST_ID, struct.pack("<HBB", id, WRITE, register.number) + register.pack(value))


def parse_command(data: Data) -> Command:
    """The counts of a command; `data` is eight bytes."""
    packed = int.from_bytes(data, "big")
    return Command(packed >> 48, packed >> 36 & 0xFFF, packed >> 24 & 0xFFF, packed >> 12 & 0xFFF, packed & 0xFFF)


def state(id: int, told: State) -> Frame:
    """A motor's answer with its state."""
    packed = told.position << 24 | told.velocity << 12 | told.torque
    data = bytes((id | told.status << 4,)) + packed.to_bytes(5, "big") + bytes((told.driver_c, told.winding_c))
    return Frame(id + ANSWER_OFFSET, data)


def register_answer(id: int, code: int, register: Register, value: float) -> Frame:
    """A motor's answer to READ or WRITE."""
    return Frame(id + ANSWER_OFFSET, struct.pack("<HBB", id, code, register.number) + register.pack(value))


def is_state(id: int, data: Data) -> bool:
    """Whether eight bytes are a state of this motor, as far as they say.

    A state whose position is count 0x33 or 0x55, within 0.1 % of the range's lower end, looks like a register's answer
    and is taken for one.
    """
    return data[0] & 0xF == id and not (data[1] == 0 and data[2] in (READ, WRITE))


def is_register(id: int, data: Data, code: int, register: Register) -> bool:
    """Whether eight bytes are this motor's answer to READ or WRITE of this register."""
    return data[0] == id and data[1] == 0 and data[2] == code and data[3] == register.number


def parse_state(data: Data) -> State:
    """The counts of a state; `data` is eight bytes."""
    packed = int.from_bytes(data[1:6], "big")
    return State(data[0] >> 4, packed >> 24, packed >> 12 & 0xFFF, packed & 0xFFF, data[6], data[7])


def to_count(value: float, low: float, high: float, bits: int) -> int:
    """A quantity within [low, high] to the nearest count; clamped."""
    most = (1 << bits) - 1
    return min(max(round((value - low) / (high - low) * most), 0), most)


def from_count(count: int, low: float, high: float, bits: int) -> float:
    """A count to a quantity within [low, high]."""
    return count / ((1 << bits) - 1) * (high - low) + low


def gain_counts(stiffness: float, damping: float) -> tuple[int, int]:
    """N·m/rad and N·m·s/rad to the nearest counts; clamped."""
    return to_count(stiffness, 0, STIFFNESS_MAX, OTHER_BITS), to_count(damping, 0, DAMPING_MAX, OTHER_BITS)
