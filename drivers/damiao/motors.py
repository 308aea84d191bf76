"""Damiao motors as data: registers, status codes and models.

Source: Damiao's motor manuals ("register list and range" and the data sheets' parameter tables), checked against the
public tables of cmjang/DM_Control_Python, enactic/openarm_can, huggingface/lerobot and jia-xie/python-damiao-driver.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

STIFFNESS_MAX = 500.0
"""N·m/rad: what the highest count of a command's stiffness means, for every model."""
DAMPING_MAX = 5.0
"""N·m·s/rad: what the highest count of a command's damping means, for every model."""


@dataclass(frozen=True)
class Register:
    """One register: its number, whether it holds a float32 or a uint32, and what one count is worth in `unit`."""

    number: int
    is_float: bool
    unit: str = ""
    scale: float = 1.0

    def pack(self, value: float) -> bytes:
        """Four bytes, little-endian; `struct.error` if the value does not fit."""
        return struct.pack("<f", value) if self.is_float else struct.pack("<I", round(value / self.scale))

    def unpack(self, data: bytes | bytearray) -> float:
        """The value in four bytes."""
        value: float = struct.unpack("<f" if self.is_float else "<I", data)[0]
        return value if self.is_float else value * self.scale


UNDERVOLTAGE = Register(0, True, "V")
OVERTEMPERATURE = Register(2, True, "C")
MST_ID = Register(7, False)
"""Where the motor's answers go."""
ESC_ID = Register(8, False)
"""Where the motor listens."""
TIMEOUT = Register(9, False, "s", 50e-6)
"""A motor that hears nothing for this long switches its torque off (LOST_CONTACT); 0: it waits for ever."""
CONTROL_MODE = Register(10, False)
"""1 MIT, 2 position and velocity, 3 velocity, 4 position and force."""
SOFTWARE = Register(14, False)
POLE_PAIRS = Register(16, False)
GEAR_RATIO = Register(20, True)
P_MAX = Register(21, True, "rad")
"""What the highest count of a position means; V_MAX and T_MAX likewise. The owner may have changed them."""
V_MAX = Register(22, True, "rad/s")
T_MAX = Register(23, True, "N·m")
SUPPLY = Register(60, True, "V")
"""Not in the older manuals' lists: a motor may not answer for it."""

MIT_MODE = 1

OFF, ON = 0, 1
OVERVOLTAGE_FAULT, UNDERVOLTAGE_FAULT, LOST_CONTACT = 0x8, 0x9, 0xD
WINDING_FAULT = 0xC
FAULTS = {
    OVERVOLTAGE_FAULT: "overvoltage",
    UNDERVOLTAGE_FAULT: "undervoltage",
    0xA: "overcurrent",
    0xB: "driver too hot",
    WINDING_FAULT: "winding too hot",
    LOST_CONTACT: "lost contact with the host",
    0xE: "overload",
}
"""Status codes with which a motor has switched its torque off by itself."""


@dataclass(frozen=True)
class Model:
    """What the data sheet says, and the three ranges with which the motor is delivered."""

    gear_ratio: int
    pole_pairs: int
    nm_per_a: float
    """Torque at the shaft per phase current: 1.5 · pole pairs · flux linkage · gear ratio."""
    p_max_rad: float
    v_max_rad_s: float
    t_max_nm: float


MODELS = {
    "dm3507": Model(7, 14, 0.5439, 12.566, 50, 5),
    "dm4310": Model(10, 14, 0.945, 12.5, 30, 10),
    "dm4340": Model(40, 14, 4.074, 12.5, 8, 28),
    "dm6006": Model(6, 14, 0.7308, 12.5, 45, 20),
    "dm8006": Model(6, 21, 1.0206, 12.5, 45, 40),
    "dm8009": Model(9, 21, 1.261575, 12.5, 45, 54),
    "dm10010": Model(10, 21, 2.59875, 12.5, 20, 200),
    "dm10010l": Model(10, 21, 2.00025, 12.5, 25, 200),
}
"""By the name that robot.toml uses. Variants for 48 V and with other bearings (P) are the same motor."""


def fits(model: str, gear_ratio: float, pole_pairs: float) -> bool:
    """Whether a motor that says this of itself can be this model: a motor does not say its model's name."""
    row = MODELS[model]
    return abs(gear_ratio - row.gear_ratio) < 0.5 and pole_pairs == row.pole_pairs


def fault(status: int) -> str:
    """The fault that a status code names, for a message; empty for OFF and ON."""
    return "" if status in (OFF, ON) else FAULTS.get(status, "unknown")
