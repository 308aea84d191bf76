"""Joints: which encoder count is angle zero, which way is positive, and how far each joint goes.

A person moves the limp arm by hand. In the reference pose every motor's present position is made the middle of its
encoder, so that no range wraps; then every joint is moved its positive way, then through all of its range. What has
been found is kept after each step, so that a procedure that was cut off goes on where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from calibration.joint_progress import Found, Progress, forget, resume
from calibration.person import Person, Table
from drivers.errors import DriverError
from drivers.motors.base import BusSettings, Floats, Identity, MotorBus, MotorSettings
from edge_runtime import calibration_files as files
from edge_runtime.calibration_files import BusCalibration, Motor

STEPS_PER_TURN = 4096
"""Feetech STS (memory table: 12 bits a turn) and Dynamixel X (control table: 4,096 pulses a turn) have the same."""
MIDDLE_STEP = STEPS_PER_TURN // 2
STEP_RAD = 2 * math.pi / STEPS_PER_TURN
TURN_LIMIT_RAD = (-math.pi, math.pi - STEP_RAD)
REST_SAMPLES = 50
RESTLESS_STEPS = 3.0
"""A joint whose encoder spreads wider than this was not held still: a resting one spreads by about a step."""
NUDGE_RAD = math.radians(5.0)
"""Least movement that says which way a joint was moved."""
NARROW_RAD = math.radians(10.0)
"""A joint that moved less than this was forgotten."""
CALL_NS = 1_000_000_000
"""Longest time for one call."""


def encoder_settings(settings: BusSettings) -> BusSettings:
    """The same bus in the encoders' own frame: zero is their middle, positive is growing counts, a turn is allowed."""
    motors = tuple(
        MotorSettings(m.name, m.id, m.model, MIDDLE_STEP, 1, TURN_LIMIT_RAD, "release") for m in settings.motors
    )
    return BusSettings(settings.name, settings.port, settings.baud, motors)


class Guide:
    """One bus's procedure. `bus` is connected and has `encoder_settings`; `pose_rad` is the reference pose [n]."""

    def __init__(self, bus: MotorBus, pose_rad: Sequence[float], person: Person, path: Path, adapter: str) -> None:
        self._bus = bus
        self._names = [motor.name for motor in bus.settings.motors]
        self._pose_rad = pose_rad
        self._person = person
        self._path = path
        self._adapter = adapter
        n = len(self._names)
        self._low: Floats = np.full(n, np.inf)
        self._high: Floats = np.full(n, -np.inf)
        """Ends of the range [n] so far, rad, encoder frame."""

    def run(self, *, restart: bool = False) -> BusCalibration:
        """Guide the person through it and write the file. Raises `DriverError`; then, and where the person gives up,
        the arm is limp, what was found is kept for the next time, and the file is as it was."""
        progress = Progress() if restart else resume(self._path, self._identities())
        self._person.agree("torque goes off: the arm may sink, hold it")
        self._bus.disable_torque(_soon())
        if progress.motors:
            self._person.tell(f"going on with {self._path.name}: {progress.done} (--restart begins anew)")
        else:
            progress = self._reference()
        for index in range(len(self._names)):
            if not progress.motors[index].direction:
                progress = self._keep(progress, index, self._direction(index, progress.motors[index]))
        self._measure_ranges()
        found = self._file(progress)
        files.write(self._path, found)
        forget(self._path)
        return found

    def _reference(self) -> Progress:
        """Make the reference pose the middle of every encoder, and measure where exactly that is."""
        degrees = ", ".join(f"{n} {math.degrees(a):.4g}°" for n, a in zip(self._names, self._pose_rad, strict=True))
        words = f"hold every joint in its reference pose: {degrees}"
        steps, noise = self._center(words)
        while moved := [name for name, spread in zip(self._names, noise, strict=True) if spread > RESTLESS_STEPS]:
            steps, noise = self._center(f"{', '.join(moved)} moved meanwhile: {words}")
        found = (
            Found(id.homing, MIDDLE_STEP + int(step), float(spread))
            for id, step, spread in zip(self._identities(), steps, noise, strict=True)
        )
        return self._save(Progress(motors=tuple(found)))

    def _center(self, words: str) -> tuple[Floats, Floats]:
        """Ask for a pose and make it the middle of every encoder; where they are then, and how restless [n], counts."""
        self._person.wait(words, self._positions)
        self._save(Progress())  # from here on the motors count anew: nobody is to drive by an older file, or by none
        for index in range(len(self._names)):
            self._bus.center(index, _soon())
        rest = np.array([self._read().copy() for _ in range(REST_SAMPLES)]) / STEP_RAD
        return np.rint(np.mean(rest, axis=0)), np.std(rest, axis=0)

    def _direction(self, index: int, found: Found) -> int:
        """The sign of the encoder for the joint's positive way."""
        name = self._names[index]
        self._person.wait(f"move {name} a little in its positive direction, and hold it", self._positions)
        moved = self._read()[index] - (found.pose_step - MIDDLE_STEP) * STEP_RAD
        while abs(moved) < NUDGE_RAD:
            far = f"{math.degrees(NUDGE_RAD):g}°"
            self._person.wait(f"{name} has moved {math.degrees(moved):.1f}°: move it at least {far}", self._positions)
            moved = self._read()[index] - (found.pose_step - MIDDLE_STEP) * STEP_RAD
        return 1 if moved > 0 else -1

    def _measure_ranges(self) -> None:
        """How far each joint goes, into `_low` and `_high`."""
        self._low[:], self._high[:] = np.inf, -np.inf
        self._person.wait("move every joint through its whole range", self._ranges)
        while narrow := [n for n, width in zip(self._names, self._high - self._low, strict=True) if width < NARROW_RAD]:
            self._person.wait(f"{', '.join(narrow)} hardly moved: move it from stop to stop", self._ranges)

    def _file(self, progress: Progress) -> BusCalibration:
        ends = zip(self._low.tolist(), self._high.tolist(), strict=True)
        motors = self._bus.settings.motors
        rows = zip(motors, self._pose_rad, self._identities(), progress.motors, ends, strict=True)
        return BusCalibration(
            format=files.FORMAT,
            date=files.now(),
            tool=files.tool(),
            bus=self._bus.settings.name,
            adapter=self._adapter,
            motors=tuple(_motor(*row) for row in rows),
        )

    def _keep(self, progress: Progress, index: int, direction: int) -> Progress:
        motors = list(progress.motors)
        motors[index] = msgspec.structs.replace(motors[index], direction=direction)
        return self._save(Progress(motors=tuple(motors)))

    def _save(self, progress: Progress) -> Progress:
        progress.save(self._path)
        return progress

    def _identities(self) -> list[Identity]:
        return [self._bus.identify(index, _soon()) for index in range(len(self._names))]

    def _read(self) -> Floats:
        """Positions [n], rad, encoder frame; from one answer to the next none jumps by half a turn."""
        self._bus.read_state(_soon())
        return self._bus.state.position_rad

    def _positions(self) -> Table:
        rows = [(name, _count(at)) for name, at in zip(self._names, self._read(), strict=True)]
        return Table(self._bus.settings.name, ("joint", "encoder"), rows)

    def _ranges(self) -> Table:
        """Read once more, widen the ranges, and show them. Raises `DriverError` where an encoder wraps."""
        before = self._bus.state.position_rad.copy()
        at = self._read()
        jumped = np.abs(at - before) > math.pi
        if jumped.any():
            raise DriverError(
                f"bus {self._bus.settings.name}: the encoder of {self._names[int(np.argmax(jumped))]} wraps within "
                f"its range: begin anew with --restart and a reference pose that is nearer to its middle"
            )
        np.minimum(self._low, at, out=self._low)
        np.maximum(self._high, at, out=self._high)
        figures = zip(self._names, at, self._low, self._high, strict=True)
        rows = [(name, *map(_count, row)) for name, *row in figures]
        return Table(self._bus.settings.name, ("joint", "encoder", "lowest", "highest"), rows)


def _motor(
    settings: MotorSettings, pose_rad: float, identity: Identity, found: Found, ends_rad: tuple[float, float]
) -> Motor:
    """From counts in the reference pose to the joint's frame: angle = direction · (count - zero_step) · STEP_RAD."""
    zero_step = found.pose_step - round(found.direction * pose_rad / STEP_RAD)
    ends = sorted(found.direction * (end - (zero_step - MIDDLE_STEP) * STEP_RAD) for end in ends_rad)
    return Motor(
        joint=settings.name,
        id=settings.id,
        model=identity.model,
        firmware=identity.firmware,
        homing=identity.homing,
        zero_step=zero_step,
        direction=1 if found.direction > 0 else -1,
        range_rad=(round(ends[0], 5), round(ends[1], 5)),
        noise_steps=round(found.noise_steps, 3),
    )


def _count(angle_rad: float) -> str:
    return f"{MIDDLE_STEP + angle_rad / STEP_RAD:.0f}"


def _soon() -> int:
    return time.monotonic_ns() + CALL_NS
