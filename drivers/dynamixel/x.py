"""Registers and models of Dynamixel X servos, as data.

Source: the control tables of the ROBOTIS e-manual (emanual.robotis.com/docs/en/dxl/x), checked against the model files
of DynamixelSDK 4.1. Values wider than a byte are little-endian, negative ones two's complement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from drivers.servos.registers import Register

STEPS_PER_TURN = 4096
RAD_PER_STEP = 2 * math.pi / STEPS_PER_TURN
RAD_S_PER_COUNT = 0.229 * 2 * math.pi / 60
"""One count of velocity: 0.229 turns a minute."""

# EEPROM: kept without power, and read-only while torque is on.
MODEL = Register(0, 2)
FIRMWARE = Register(6, 1)
ID = Register(7, 1)
BAUD = Register(8, 1)
"""Index into BAUDS."""
RETURN_DELAY = Register(9, 1, 2e-6, "s")
DRIVE_MODE = Register(10, 1)
"""Bits: REVERSED, TIME_PROFILE, TORQUE_ON_BY_GOAL."""
MODE = Register(11, 1)
"""0 current, 1 velocity, 3 position, 4 extended position, 5 position with limited current, 16 PWM."""
SECONDARY_ID = Register(12, 1)
PROTOCOL = Register(13, 1)
HOMING_OFFSET = Register(20, 4, RAD_PER_STEP, "rad", signed=True)
"""Added to the actual position; beyond ±1024 it is ignored in position mode."""
MOVING_THRESHOLD = Register(24, 4, RAD_S_PER_COUNT, "rad/s")
MAX_TEMPERATURE = Register(31, 1, 1.0, "C")
MAX_VOLTAGE = Register(32, 2, 0.1, "V")
MIN_VOLTAGE = Register(34, 2, 0.1, "V")
PWM_LIMIT = Register(36, 2, 0.00113, "of full PWM")
CURRENT_LIMIT = Register(38, 2)
"""Counts of `Model.current_a`; absent where that is None."""
VELOCITY_LIMIT = Register(44, 4, RAD_S_PER_COUNT, "rad/s")
MAX_POSITION = Register(48, 4, RAD_PER_STEP, "rad")
MIN_POSITION = Register(52, 4, RAD_PER_STEP, "rad")
SHUTDOWN = Register(63, 1)
"""The faults, bits as in HARDWARE_ERROR, that switch torque off until the servo is started anew."""

# RAM: lost without power.
TORQUE_ENABLE = Register(64, 1)
LED = Register(65, 1)
RESPONSE_LEVEL = Register(68, 1)
"""0: only PING is answered; 1: READs are too; 2: every instruction to one servo is."""
REGISTERED = Register(69, 1)
"""1: a REG_WRITE waits for its ACTION."""
HARDWARE_ERROR = Register(70, 1)
VELOCITY_I = Register(76, 2)
VELOCITY_P = Register(78, 2)
POSITION_D = Register(80, 2)
POSITION_I = Register(82, 2)
POSITION_P = Register(84, 2)
FEEDFORWARD_2 = Register(88, 2)
FEEDFORWARD_1 = Register(90, 2)
BUS_WATCHDOG = Register(98, 1, 0.02, "s", signed=True)
"""0: off; 1 to 127: torque's longest silence on the line; WATCHDOG_EXPIRED: it was longer, and goals are refused."""
GOAL_PWM = Register(100, 2, 0.00113, "of full PWM", signed=True)
"""In position mode a limit of the PWM, at most PWM_LIMIT; a motor that stands still gives torque in proportion."""
GOAL_CURRENT = Register(102, 2, signed=True)
GOAL_VELOCITY = Register(104, 4, RAD_S_PER_COUNT, "rad/s", signed=True)
PROFILE_ACCELERATION = Register(108, 4, 214.577 * 2 * math.pi / 3600, "rad/s2")
"""0: as fast as it can."""
PROFILE_VELOCITY = Register(112, 4, RAD_S_PER_COUNT, "rad/s")
"""0: as fast as it can."""
GOAL_POSITION = Register(116, 4, RAD_PER_STEP, "rad", signed=True)
REALTIME_TICK = Register(120, 2, 0.001, "s")
MOVING = Register(122, 1)
MOVING_STATUS = Register(123, 1)
PRESENT_PWM = Register(124, 2, 0.00113, "of full PWM", signed=True)
PRESENT_CURRENT = Register(126, 2, signed=True)
"""Counts of `Model.current_a`; where that is None, load in thousandths of the greatest torque."""
PRESENT_VELOCITY = Register(128, 4, RAD_S_PER_COUNT, "rad/s", signed=True)
PRESENT_POSITION = Register(132, 4, RAD_PER_STEP, "rad", signed=True)
VELOCITY_TRAJECTORY = Register(136, 4, RAD_S_PER_COUNT, "rad/s", signed=True)
POSITION_TRAJECTORY = Register(140, 4, RAD_PER_STEP, "rad", signed=True)
PRESENT_VOLTAGE = Register(144, 2, 0.1, "V")
PRESENT_TEMPERATURE = Register(146, 1, 1.0, "C")

EEPROM_END = 64
REVERSED, TIME_PROFILE, TORQUE_ON_BY_GOAL = 1, 4, 8
POSITION_MODE = 3
WATCHDOG_EXPIRED = -1
MAX_HOMING = 1024
"""Largest homing offset, either way, that position mode obeys (e-manual, Homing Offset)."""

BAUDS = (9_600, 57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 4_500_000)
"""Line speeds in bit/s by the value of BAUD; the x330 servos end at 4 Mbit/s."""


@dataclass(frozen=True)
class Model:
    """What differs from model to model: its number, and its registers as delivered."""

    number: int
    current_a: float | None
    """One count of current in amperes; None: the servo measures load only."""
    current_limit: int
    """Largest current, in counts; 0 without `current_a`."""
    supply_v: tuple[float, float]
    """Its voltage limits."""
    max_temperature: int
    shutdown: int = 52
    """Overload, electrical shock and heat, as a rule."""


def _small(number: int, limit: int, shutdown: int = 52) -> Model:
    """An x330 servo for 5 V: 1 mA a count."""
    return Model(number, 0.001, limit, (3.5, 7.0), 70, shutdown)


def _strong(number: int, limit: int = 2047) -> Model:
    """A 12 V servo that measures its motor's current: 2.69 mA a count."""
    return Model(number, 0.00269, limit, (9.5, 16.0), 80)


MODELS = {
    "xl330-m077": _small(1190, 1750, 53),
    "xl330-m288": _small(1200, 1750, 53),
    "xc330-m181": _small(1230, 2352),
    "xc330-m288": _small(1240, 2352),
    "xc330-t181": Model(1210, 0.001, 910, (5.5, 14.0), 70),
    "xc330-t288": Model(1220, 0.001, 910, (5.5, 14.0), 70),
    "xl430-w250": Model(1060, None, 0, (6.0, 14.0), 72),
    "xc430-w150": Model(1070, None, 0, (6.0, 16.0), 80),
    "xc430-w240": Model(1080, None, 0, (6.0, 16.0), 80),
    "xm430-w210": _strong(1030, 1193),
    "xm430-w350": _strong(1020, 1193),
    "xm540-w150": _strong(1130),
    "xm540-w270": _strong(1120),
    "xh430-w210": _strong(1010, 648),
    "xh430-w350": _strong(1000, 648),
    "xh430-v350": Model(1040, 0.00134, 689, (11.0, 30.0), 80),
    "xh540-w270": _strong(1100),
    "xw430-t200": _strong(1280),
    "xw430-t333": _strong(1270),
    "xw540-t140": _strong(1180),
    "xw540-t260": _strong(1170),
}
"""By the name that robot.toml uses."""

VOLTAGE, TEMPERATURE, ENCODER, ELECTRICAL, OVERLOAD = 1, 4, 8, 16, 32
FAULTS = {
    VOLTAGE: "supply voltage out of range",
    TEMPERATURE: "too hot",
    ENCODER: "position sensor",
    ELECTRICAL: "electrical shock, or a supply that is too weak",
    OVERLOAD: "overload",
}
"""Bits of HARDWARE_ERROR."""
