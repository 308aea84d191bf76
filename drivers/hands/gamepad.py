"""A gamepad: each axis is a joint's velocity, full deflection its highest.

Axes come to rest at their middle: one that does not (a trigger, a stick that is held) is refused when the pad is
opened, or the arm would move by itself. A wireless pad that is out of reach may go on saying what it said last: use a
cable.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivers.errors import Disconnected, DriverError
from drivers.hands.base import Floats, Hand
from drivers.linux_input import EV_ABS, EV_SYN, SYN_DROPPED, Axis, InputDevice, axis_code

TRIGGERS = ("ABS_Z", "ABS_RZ")
"""What XInput pads call their triggers (drivers/input/joystick/xpad.c); other pads have their second stick there."""
DEAD_SHARE = 0.1
"""Least deflection, as a share of the full one, that moves a joint; more where the kernel says so (`flat`). XInput
proposes 0.24 (XINPUT_GAMEPAD_LEFT_THUMB_DEADZONE, 7849 of 32767) for sticks that rest anywhere; one that rests beyond
a tenth is refused here when the pad is opened."""
LONGEST_S = 0.1
"""A reading that comes later than this moves the joints no further: ten readings, so that a thread
that was held up makes no leap."""


@dataclass(frozen=True)
class AxisSettings:
    """An axis by name or number, which of the arm's joints it moves, and how fast at full deflection."""

    axis: str
    joint: int
    speed_rad_s: float
    """Negative turns the direction around."""


class Stick:
    """One axis: its value, and the velocity that it means."""

    def __init__(self, owner: str, settings: AxisSettings) -> None:
        self.code = axis_code(owner, settings.axis)
        if settings.axis in TRIGGERS:
            raise DriverError(
                f"{owner}: {settings.axis} is a trigger on most pads, which never rests at its middle: take another "
                f'axis, or where it is a stick on yours, its number, "{self.code}"'
            )
        self.joint = settings.joint
        self._name = settings.axis
        self._owner = owner
        self._speed_rad_s = settings.speed_rad_s
        self._now = Axis(0, 0, 0, 0)

    def place(self, now: Axis, *, at_rest: bool) -> None:
        """What the kernel says of it; raises `Disconnected` where there is none, or it should rest and does not."""
        self._now = now
        if now.minimum >= now.maximum:
            raise Disconnected(f"{self._owner}: the pad has no axis {self._name}")
        if at_rest and self.velocity_rad_s:
            raise Disconnected(
                f"{self._owner}: axis {self._name} is not at its middle: let go of it; a trigger cannot be used"
            )

    def turn(self, value: int) -> None:
        self._now = self._now._replace(value=value)

    @property
    def velocity_rad_s(self) -> float:
        """Zero within the dead zone, and from there evenly to full speed."""
        now = self._now
        half = (now.maximum - now.minimum) / 2
        deflection = (now.value - (now.maximum + now.minimum) / 2) / half
        dead = max(DEAD_SHARE, now.flat / half)
        if abs(deflection) <= dead:
            return 0.0
        share = min((abs(deflection) - dead) / (1.0 - dead), 1.0)
        return self._speed_rad_s * (share if deflection > 0 else -share)


class Device(Hand):
    """Joints without an axis stay where they are."""

    def __init__(self, path: str, axes: Sequence[AxisSettings], joints: int) -> None:
        owner = f"gamepad on {path}"
        self._pad = InputDevice("gamepad", path)
        sticks = [Stick(owner, axis) for axis in axes]
        self._sticks = {stick.code: stick for stick in sticks}
        if len(self._sticks) < len(sticks):
            raise DriverError(f"{owner}: two of its axes are one, by name and by number")
        self._position: Floats = np.zeros(joints)
        self._read_ns = 0

    def open(self) -> None:
        self._pad.open()
        try:
            self._ask(at_rest=True)
        except Disconnected:
            self._pad.close()
            raise
        self._read_ns = time.monotonic_ns()

    def read_into(self, position_rad: Floats, deadline_ns: int) -> None:  # noqa: ARG002 (nothing is waited for)
        """Time moves the joints at the velocities that were asked for until now."""
        now_ns = time.monotonic_ns()
        seconds = min((now_ns - self._read_ns) * 1e-9, LONGEST_S)
        self._read_ns = now_ns
        for stick in self._sticks.values():
            self._position[stick.joint] += stick.velocity_rad_s * seconds
        position_rad[:] = self._position
        for event in self._pad.events(0.0):
            if event.type == EV_ABS and event.code in self._sticks:
                self._sticks[event.code].turn(event.value)
            elif event.type == EV_SYN and event.code == SYN_DROPPED:
                self._ask(at_rest=False)

    def close(self) -> None:
        self._pad.close()

    def _ask(self, *, at_rest: bool) -> None:
        for stick in self._sticks.values():
            stick.place(self._pad.axis(stick.code), at_rest=at_rest)
