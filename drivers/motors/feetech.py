"""Feetech STS servos on one serial line: goals leave in one sync write, positions and speeds come in one sync read."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from drivers import feetech_packets as packets
from drivers import feetech_sts as sts
from drivers.errors import Disconnected, DriverError, Overload, ProtocolError, Timeout
from drivers.feetech_line import Line, Question
from drivers.motors.base import BusSettings, Floats, MotorBus

_TRY_NS = 100_000_000
"""Longest single try outside the control loop: three answers of an adapter that waits 16 ms, or a busy machine."""
_TRIES = 3


class Bus(MotorBus):
    """The driver. Angles become encoder steps with `zero_step` and `direction`, clamped to `range_rad` as a last guard.

    Whatever changes a motor is sent without asking for an answer and then read back, never just acknowledged.
    """

    def __init__(self, settings: BusSettings) -> None:
        super().__init__(settings)
        motors = settings.motors
        self._label = f"bus '{settings.name}'"
        self._ids = ids = tuple(m.id for m in motors)
        self._line = Line(self._label, settings.port, settings.baud, {m.id: m.name for m in motors})
        self._zero = np.array([m.zero_step for m in motors], float)
        self._steps_per_rad = np.array([m.direction / sts.RAD_PER_STEP for m in motors])
        self._speed_unit = np.ones(len(motors))
        ends = self._zero[:, None] + np.array([m.range_rad for m in motors]) * self._steps_per_rad[:, None]
        self._ends = np.sort(np.rint(ends), axis=1)
        self._low, self._high = np.clip(self._ends, 0, sts.STEPS_PER_TURN - 1).T

        self._feedback = Question(ids, sts.PRESENT_POSITION.address, 4)
        self._control = Question(ids, sts.TORQUE_ENABLE.address, 4)
        self._one_setup = [Question([id], sts.MODEL.address, 32) for id in ids]
        self._one_feedback = [Question([id], sts.PRESENT_POSITION.address, 4) for id in ids]
        self._one_control = [Question([id], sts.TORQUE_ENABLE.address, 4) for id in ids]
        self._one_health = [Question([id], sts.PRESENT_LOAD.address, 12) for id in ids]

        # The packet of goals is filled in place: seven bytes of header, a row of id, low and high byte per motor.
        self._goals = bytearray(packets.sync_write(dict.fromkeys(ids, b"\0\0"), sts.GOAL_POSITION.address, 2))
        self._goal_bytes = np.frombuffer(self._goals, np.uint8)[7:-1].reshape(-1, 3)[:, 1:]
        self._steps = np.zeros(len(motors))
        self._counts = np.zeros(len(motors), "<u2")
        self._count_bytes = self._counts.view(np.uint8).reshape(-1, 2)

    def connect(self, deadline_ns: int) -> None:
        self._check_settings()
        self._line.close()
        self._line.open()
        try:
            self._find_all(deadline_ns)
            for index in range(len(self._ids)):
                self._retry(partial(self._line.ask, self._one_setup[index]), deadline_ns)
                self._check_setup(index)
            self._retry(self.read_state, deadline_ns)
        except BaseException:
            self._line.close()
            raise

    def enable_torque(self, deadline_ns: int) -> None:
        self._retry(self._goals_to_present, deadline_ns)
        self._retry(partial(self._switch, 1), deadline_ns)

    def disable_torque(self, deadline_ns: int) -> None:
        self._retry(partial(self._switch, 0), deadline_ns)

    def write_setpoints(self, position_rad: Floats, deadline_ns: int) -> None:
        if not np.isfinite(position_rad).all():
            index = int(np.argmin(np.isfinite(position_rad)))
            raise ProtocolError(f"{self._label}: the setpoint of {self._who(index)} is not a number; nothing was sent")
        steps = self._steps
        np.multiply(position_rad, self._steps_per_rad, out=steps)
        np.add(steps, self._zero, out=steps)
        np.rint(steps, out=steps)
        np.clip(steps, self._low, self._high, out=steps)
        np.copyto(self._counts, steps, casting="unsafe")
        np.copyto(self._goal_bytes, self._count_bytes)
        self._goals[-1] = packets.checksum(self._goals, 2, len(self._goals) - 1)
        self._line.tell(self._goals, deadline_ns)

    def read_state(self, deadline_ns: int) -> None:
        self._line.ask(self._feedback, deadline_ns)
        state, received = self.state, self._line.received
        for index, at in enumerate(self._feedback.at):
            position, speed = struct.unpack_from("<HH", received, at)
            per_rad = self._steps_per_rad[index]
            state.position_rad[index] = (sts.PRESENT_POSITION.decode(position) - self._zero[index]) / per_rad
            state.velocity_rad_s[index] = sts.PRESENT_SPEED.decode(speed) * self._speed_unit[index] / per_rad
        state.stamp_ns = time.monotonic_ns()

    def read_health(self, index: int, deadline_ns: int) -> None:
        question = self._one_health[index]
        self._line.ask(question, deadline_ns)
        at, received = question.at[0], self._line.received
        volts, celsius, status, current = struct.unpack_from("<xxBBxBxxxH", received, at)
        self.state.voltage_v[index] = volts * sts.PRESENT_VOLTAGE.scale
        self.state.temperature_c[index] = celsius * sts.PRESENT_TEMPERATURE.scale
        self.state.current_a[index] = abs(sts.PRESENT_CURRENT.decode(current)) * sts.PRESENT_CURRENT.scale
        faults = sts.faults(status | received[at - 1])
        if faults:
            raise Overload(
                f"{self._label}: {self._who(index)} reports: {faults} (status 0x{status | received[at - 1]:02x}); "
                f"take the load off it, check its supply, then reset"
            )

    def safe_action(self, deadline_ns: int) -> None:
        """As the contract says; opens the port where `connect` has not, so that one dead motor spares no other."""
        if not self._line.is_open:
            self._line.open()
        # Those that let go come first: they need no answer to do it, and wait for nobody who gives none.
        waiting = sorted(range(len(self._ids)), key=lambda index: self.settings.motors[index].safe == "hold")
        errors: dict[int, DriverError] = {}
        for tries_left in range(_TRIES, 0, -1):
            turns = list(waiting)
            for turn, index in enumerate(turns):
                now_ns = time.monotonic_ns()
                share_ns = (deadline_ns - now_ns) // ((len(turns) - turn) * tries_left)
                try:
                    self._make_safe(index, now_ns + min(_TRY_NS, share_ns))
                    waiting.remove(index)
                except DriverError as error:
                    errors.setdefault(index, error)
        if waiting:
            raise errors[waiting[0]]

    def disconnect(self) -> None:
        self._line.close()

    def _check_settings(self) -> None:
        """What robot.toml can get wrong about an STS servo."""
        for index, motor in enumerate(self.settings.motors):
            low, high = self._ends[index]
            if motor.model not in sts.MODEL_NUMBERS:
                known = ", ".join(sts.MODEL_NUMBERS)
                raise DriverError(f"{self._label}: {self._who(index)}: model '{motor.model}' is not one of {known}")
            if low < -1 or high > sts.STEPS_PER_TURN:
                raise DriverError(
                    f"{self._label}: {self._who(index)}: its limits are steps {low:.0f} to {high:.0f} and its encoder "
                    f"has 0 to {sts.STEPS_PER_TURN - 1}: correct zero_step or position"
                )

    def _find_all(self, deadline_ns: int) -> None:
        """Ping every motor and name all that are missing."""
        missing: list[int] = []
        for index, id in enumerate(self._ids):
            try:
                self._retry(partial(self._line.ping, id), deadline_ns)
            except Timeout:
                missing.append(index)
        if len(missing) == len(self._ids):
            raise Timeout(
                f"{self._label} on {self.settings.port}: no motor answers: "
                f"is their supply on, is this their port, and is {self.settings.baud} their baud rate?"
            )
        if missing:
            names = ", ".join(self._who(index) for index in missing)
            raise Timeout(f"{self._label} on {self.settings.port}: no answer from {names}: check power, cable and id")

    def _check_setup(self, index: int) -> None:
        """Check model and mode in the answer just received, and take its unit of speed."""
        at, received = self._one_setup[index].at[0], self._line.received
        model, phase, mode = struct.unpack_from("<H13xB14xB", received, at)
        wanted = self.settings.motors[index].model
        if model != sts.MODEL_NUMBERS[wanted]:
            name = next((n for n, number in sts.MODEL_NUMBERS.items() if number == model), "unknown")
            raise ProtocolError(f"{self._label}: {self._who(index)} is model {model} ({name}), not the asked {wanted}")
        if mode != sts.POSITION_MODE:
            raise ProtocolError(f"{self._label}: {self._who(index)} is in mode {mode}: set it to position mode (0)")
        self._speed_unit[index] = 1.0 if phase & sts.SPEED_IN_STEPS else sts.COARSE_SPEED

    def _goals_to_present(self, deadline_ns: int) -> None:
        """Make every motor's goal its present position, and make sure that it is."""
        self._line.ask(self._feedback, deadline_ns)
        received = self._line.received
        goals = {id: bytes(received[at : at + 2]) for id, at in zip(self._ids, self._feedback.at, strict=True)}
        self._line.tell(packets.sync_write(goals, sts.GOAL_POSITION.address, 2), deadline_ns)
        self._line.ask(self._control, deadline_ns)
        for index, at in enumerate(self._control.at):
            self._expect(index, received[at + 2 : at + 4] == goals[self._ids[index]], "its goal")

    def _switch(self, torque: int, deadline_ns: int) -> None:
        """Switch every motor's torque, and make sure that it is switched."""
        rows = dict.fromkeys(self._ids, bytes((torque,)))
        self._line.tell(packets.sync_write(rows, sts.TORQUE_ENABLE.address, 1), deadline_ns)
        self._line.ask(self._control, deadline_ns)
        for index, at in enumerate(self._control.at):
            self._expect(index, self._line.received[at] == torque, "torque on" if torque else "torque off")

    def _make_safe(self, index: int, deadline_ns: int) -> None:
        """Do one motor's safe action, and make sure that it is done. One without torque has nothing to hold."""
        id, received, control = self._ids[index], self._line.received, self._one_control[index]
        hold = self.settings.motors[index].safe == "hold"
        if hold:
            self._line.ask(control, deadline_ns)
            if not received[control.at[0]]:
                return
            self._line.ask(self._one_feedback[index], deadline_ns)
            at = self._one_feedback[index].at[0]
            goal = bytes(received[at : at + 2])
            self._line.tell(packets.sync_write({id: goal}, sts.GOAL_POSITION.address, 2), deadline_ns)
            self._line.ask(control, deadline_ns)
            self._expect(index, received[control.at[0] + 2 : control.at[0] + 4] == goal, "its goal")
        self._line.tell(packets.sync_write({id: bytes((hold,))}, sts.TORQUE_ENABLE.address, 1), deadline_ns)
        self._line.ask(control, deadline_ns)
        self._expect(index, received[control.at[0]] == hold, "torque on" if hold else "torque off")

    def _expect(self, index: int, taken: bool, what: str) -> None:
        if not taken:
            raise ProtocolError(f"{self._label}: {self._who(index)} did not take {what}")

    def _retry(self, action: Callable[[int], None], deadline_ns: int) -> None:
        """Try an action up to three times within the deadline; a port that is gone is gone."""
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                action(min(deadline_ns, time.monotonic_ns() + _TRY_NS))
                return
            except Disconnected:
                raise
            except DriverError:
                if not tries_left:
                    raise

    def _who(self, index: int) -> str:
        return f"joint '{self.settings.motors[index].name}' (id {self._ids[index]})"
