"""Registers of Feetech STS servos, as data.

Source: Feetech's "STS/SMS memory table" (doc.feetech.cn, FT-SMS-STS e-manual); addresses and sign bits checked against
the public tables of huggingface/lerobot and Feetech's own SCServo SDK. Values wider than a byte are little-endian.
A register with a sign bit holds sign and magnitude, not two's complement: bit 15 set and 100 means -100.
"""

from __future__ import annotations

import math

from drivers.servos.registers import Register

STEPS_PER_TURN = 4096
RAD_PER_STEP = 2 * math.pi / STEPS_PER_TURN

# EPROM: kept without power, but only what was written while LOCK was 0.
FIRMWARE = Register(0, 2)
MODEL = Register(3, 2)
ID = Register(5, 1)
BAUD = Register(6, 1)
"""Index into BAUDS."""
RETURN_DELAY = Register(7, 1, 2e-6, "s")
RESPONSE_LEVEL = Register(8, 1)
"""0: only PING and READ are answered; 1: every instruction to one servo is."""
MIN_POSITION = Register(9, 2, RAD_PER_STEP, "rad")
MAX_POSITION = Register(11, 2, RAD_PER_STEP, "rad")
MAX_TEMPERATURE = Register(13, 1, 1.0, "C")
MAX_VOLTAGE = Register(14, 1, 0.1, "V")
MIN_VOLTAGE = Register(15, 1, 0.1, "V")
MAX_TORQUE = Register(16, 2, 0.001, "of stall torque")
PHASE = Register(18, 1)
"""Bit 2 (SPEED_IN_STEPS): speeds are steps/s, otherwise 50 steps/s."""
UNLOAD_ON = Register(19, 1)
"""The faults, bits as in STATUS, that switch torque off."""
PROTECTION_CURRENT = Register(28, 2, 0.0065, "A")
HOMING_OFFSET = Register(31, 2, RAD_PER_STEP, "rad", sign_bit=11)
"""Subtracted from the encoder's step."""
MODE = Register(33, 1)
"""0 position, 1 speed, 2 PWM, 3 steps."""
PROTECTION_TIME = Register(35, 1, 0.01, "s")
OVERLOAD_TORQUE = Register(36, 1, 0.01, "of stall torque")

# SRAM: lost without power.
TORQUE_ENABLE = Register(40, 1)
"""1: torque on; CENTER: take the present position for the middle, step 2048."""
ACCELERATION = Register(41, 1, 100 * RAD_PER_STEP, "rad/s2")
GOAL_POSITION = Register(42, 2, RAD_PER_STEP, "rad", sign_bit=15)
GOAL_TIME = Register(44, 2)
GOAL_SPEED = Register(46, 2, RAD_PER_STEP, "rad/s", sign_bit=15)
TORQUE_LIMIT = Register(48, 2, 0.001, "of stall torque")
"""MAX_TORQUE after a start."""
LOCK = Register(55, 1)
PRESENT_POSITION = Register(56, 2, RAD_PER_STEP, "rad", sign_bit=15)
PRESENT_SPEED = Register(58, 2, RAD_PER_STEP, "rad/s", sign_bit=15)
PRESENT_LOAD = Register(60, 2, 0.001, "of stall torque", sign_bit=10)
PRESENT_VOLTAGE = Register(62, 1, 0.1, "V")
PRESENT_TEMPERATURE = Register(63, 1, 1.0, "C")
STATUS = Register(65, 1)
MOVING = Register(66, 1)
PRESENT_CURRENT = Register(69, 2, 0.0065, "A", sign_bit=15)

EPROM_END = 40
READ_ONLY_FROM = 56

CENTER = 128
POSITION_MODE = 0
SPEED_IN_STEPS = 1 << 2
COARSE_SPEED = 50
"""Steps/s of one count of speed where PHASE's bit 2 is not set."""

BAUDS = (1_000_000, 500_000, 250_000, 128_000, 115_200, 76_800, 57_600, 38_400)
"""Line speeds in bit/s by the value of BAUD."""

MODEL_NUMBERS = {"sts3215": 777, "sts3250": 2825}
"""What MODEL says, by the name that robot.toml uses."""

VOLTAGE, SENSOR, TEMPERATURE, CURRENT, OVERLOAD = 1, 2, 4, 8, 32
FAULTS = {
    VOLTAGE: "supply voltage out of range",
    SENSOR: "position sensor",
    TEMPERATURE: "too hot",
    CURRENT: "too much current",
    OVERLOAD: "overload",
}
"""Bits of STATUS, which is also the error byte of every answer."""
