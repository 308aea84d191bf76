"""What all servos on a serial line have in common, so that a protocol's driver supplies only its registers.

Angles become encoder steps with `zero_step` and `direction`, clamped to `range_rad` as a last guard. Whatever changes a
motor is sent without asking for an answer and then read back, never just acknowledged.
"""

from __future__ import annotations

import struct
import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from drivers.errors import Overload, ProtocolError
from drivers.motors.base import BusSettings, Cycle, Floats, Identity, MotorBus, MotorSettings
from drivers.safe_turns import make_all_safe
from drivers.serial_port import BITS_PER_BYTE
from drivers.servos.column import Column
from drivers.servos.goals import Goals
from drivers.servos.line import Line, Question
from drivers.servos.registers import Register
from drivers.servos.search import find_all
from drivers.servos.setup import Family, Setup, settings_problem, setup_problem
from drivers.tap import Tap
from drivers.tries import retry

_PLAY_STEPS = 16
"""How far beyond its own limits a servo may stand and still be switched on: a joint's play at its stop, 1.4°."""

_LONG_DELAY_S = 100e-6
"""A return delay that six servos make 0.6 ms of in every cycle."""


class ServoBus(MotorBus):
    """The body of a bus. A driver names its `FAMILY`, decodes setup and health, and fills in the hooks it needs."""

    FAMILY: ClassVar[Family]
    TORQUE_LIMIT = True

    def __init__(self, settings: BusSettings) -> None:
        super().__init__(settings)
        family, motors = self.FAMILY, settings.motors
        self._label = f"bus {settings.name}"
        self._ids = tuple(m.id for m in motors)
        names = {m.id: m.name for m in motors}
        self._line = Line(family.packets, self._label, settings.port, settings.baud, names)
        self._speed_is_right = False
        self._zero = [m.zero_step for m in motors]
        self._rad_per_step = [m.direction * family.rad_per_step for m in motors]
        self._rad_s_per_count = list(self._rad_per_step)
        self._floats = struct.Struct(f"{len(motors)}d")
        self._state = self.state.position_rad.data, self.state.velocity_rad_s.data
        """Their memory, which numbers go into in less time than into the arrays."""
        self._own_ends = [(0, family.steps_per_turn - 1)] * len(motors)
        self._torque_limits = [0] * len(motors)
        self._slow: list[int] = []
        """Who has a long return delay, in the order of `notes`."""

        self._motion, self._one_motion = self._questions(*family.motion)
        self._torque, self._one_torque = self._questions(family.torque.address, 4)
        self._goal, self._one_goal = self._questions(family.goal.address, 4)
        self._torque_limit, _ = self._questions(family.torque_limit.address, 4)
        _, self._one_health = self._questions(*family.health)
        _, self._one_setup = self._questions(*family.setup)
        self._positions, self._speeds = (
            Column(register, self._motion.data, self._motion.size, self._motion.address)
            for register in (family.position, family.speed)
        )
        self._goals = Goals(settings.motors, family)
        self._asked = self._motion

    @property
    def read_wire_s(self) -> float:
        answers = len(self._ids) * self.FAMILY.packets.longest_answer(self._motion.size)
        return (len(self._motion.requests[0]) + answers) * BITS_PER_BYTE / self.settings.baud

    def show(self, tap: Tap) -> None:
        self._line.show(tap)

    @abstractmethod
    def _setup(self, data: bytearray) -> Setup:
        """Decode what `Family.setup` has asked for."""

    @abstractmethod
    def _take_health(self, index: int, data: bytearray, error: int, deadline_ns: int) -> None:
        """Decode what `Family.health` has asked for, and the answer's error byte; raise `Overload` for a fault."""

    @abstractmethod
    def _homing_at_center(self, index: int, homing: int, position: int) -> int:
        """The homing offset that makes `position`, read with the offset `homing`, the middle of the encoder."""

    @abstractmethod
    def _keep_homing(self, index: int, homing: int, deadline_ns: int) -> None:
        """Write a homing offset where it survives without power; whoever calls reads it back."""

    def _wake(self, deadline_ns: int) -> None:
        """Have servos answer that have been told not to."""

    def _prepare(self, deadline_ns: int) -> None:
        """What else `connect` has to see to, once every servo is known to be the right one."""

    def _watch(self, on: bool, ids: Sequence[int], deadline_ns: int) -> None:
        """Have the servos themselves watch for silence on the line, or end that, expired or not."""

    def _problem(self, motor: MotorSettings) -> str:
        return settings_problem(self.FAMILY, motor)

    def connect(self, deadline_ns: int) -> None:
        self.check()
        self.notes.clear()
        self._slow.clear()
        self._line.close()
        self._line.open()
        try:
            self._wake(deadline_ns)
            others = () if self._speed_is_right else self.FAMILY.bauds
            find_all(self._line, self._torque, self.settings, others, deadline_ns)
            self._speed_is_right = True
            for index in range(len(self._ids)):
                self._check_setup(index, deadline_ns)
            self._prepare(deadline_ns)
            retry(self.read_state, deadline_ns)
        except BaseException:
            self._line.close()
            raise

    def identify(self, index: int, deadline_ns: int) -> Identity:
        setup = self._read_setup(index, deadline_ns)
        return Identity(self.FAMILY.model_name(setup.model), setup.firmware, setup.homing)

    def center(self, index: int, deadline_ns: int) -> None:
        retry(partial(self._center, index), deadline_ns)

    def aim(self, deadline_ns: int) -> bool:
        retry(partial(self._watch, False, self._ids), deadline_ns)  # one that has expired refuses goals
        retry(self._limit_torque, deadline_ns)
        retry(self._goals_to_present, deadline_ns)
        retry(partial(self._line.ask, self._torque), deadline_ns)
        return any(self._torque.data[:: self._torque.size])

    def enable_torque(self, deadline_ns: int) -> None:
        self.aim(deadline_ns)
        retry(partial(self._switch, 1), deadline_ns)

    def watch(self, deadline_ns: int) -> None:
        retry(partial(self._watch, True, self._ids), deadline_ns)

    def disable_torque(self, deadline_ns: int) -> None:
        retry(partial(self._switch, 0), deadline_ns)
        retry(partial(self._watch, False, self._ids), deadline_ns)

    def write_setpoints(self, position_rad: Floats, deadline_ns: int) -> None:
        self._aim_at(position_rad)
        self._line.tell(self._goals.packet, deadline_ns)

    def read_state(self, deadline_ns: int) -> None:
        self._ask_motion(deadline_ns)
        self._take_motion(time.monotonic_ns())

    def stage(self, position_rad: Floats | None) -> Cycle:
        if position_rad is not None:
            self._aim_at(position_rad)
        self._asked = self._choose_motion()
        return self._line.stage(b"" if position_rad is None else self._goals.packet, self._asked)

    def finish_setpoints(self, cycle: Cycle, deadline_ns: int) -> None:
        self._line.finish_tell(cycle, deadline_ns)

    def finish_state(self, cycle: Cycle, deadline_ns: int) -> None:
        whole = cycle.received >= cycle.expected
        self._line.finish_ask(cycle, self._asked, deadline_ns)
        self._motion_answered()
        self._take_motion(cycle.answered_ns if whole else time.monotonic_ns())

    def _aim_at(self, position_rad: Floats) -> None:
        """Put setpoints into the packet that sends them."""
        index = self._goals.fill(position_rad)
        if index >= 0:
            raise ProtocolError(f"{self._label}: the setpoint of {self._who(index)} is not a number; nothing was sent")

    def _take_motion(self, stamp_ns: int) -> None:
        """Decode what the motors have said."""
        self.state.stamp_ns = stamp_ns
        position_rad, velocity_rad_s = self._state
        steps = zip(self._positions.counts(), self._zero, self._rad_per_step, strict=True)
        self._floats.pack_into(position_rad, 0, *[(step - zero) * unit for step, zero, unit in steps])
        speeds = zip(self._speeds.counts(), self._rad_s_per_count, strict=True)
        self._floats.pack_into(velocity_rad_s, 0, *[count * unit for count, unit in speeds])

    def read_health(self, index: int, deadline_ns: int) -> None:
        question = self._one_health[index]
        self._line.ask(question, deadline_ns)
        self._take_health(index, question.data, question.errors[0], deadline_ns)

    def safe_action(self, deadline_ns: int) -> None:
        make_all_safe(self._line, self.settings.motors, self._make_safe, deadline_ns)

    def disconnect(self) -> None:
        self._line.close()

    def _questions(self, address: int, size: int) -> tuple[Question, list[Question]]:
        """The same question to all motors, and to each."""
        packets, ids = self.FAMILY.packets, self._ids
        return Question(packets, ids, address, size), [Question(packets, [id], address, size) for id in ids]

    def _ask_motion(self, deadline_ns: int) -> None:
        self._line.ask(self._choose_motion(), deadline_ns)
        self._motion_answered()

    def _choose_motion(self) -> Question:
        """The next question about motion."""
        return self._motion

    def _motion_answered(self) -> None:
        """Every motor has answered the last one."""

    def _tell(self, register: Register, rows: dict[int, bytes], deadline_ns: int) -> None:
        self._line.tell(self.FAMILY.packets.sync_write(rows, register.address, register.size), deadline_ns)

    def _tell_all(self, register: Register, count: int, ids: Sequence[int], deadline_ns: int) -> None:
        self._tell(register, dict.fromkeys(ids, register.encode(count).to_bytes(register.size, "little")), deadline_ns)

    def _read_setup(self, index: int, deadline_ns: int) -> Setup:
        question = self._one_setup[index]
        retry(partial(self._line.ask, question), deadline_ns)
        return self._setup(question.data)

    def _check_setup(self, index: int, deadline_ns: int) -> None:
        setup = self._read_setup(index, deadline_ns)
        if problem := setup_problem(self.FAMILY, self.settings.motors[index], setup):
            raise ProtocolError(f"{self._label}: {self._who(index)}: {problem}")
        self._own_ends[index] = (setup.low, setup.high)
        self._torque_limits[index] = max(1, round(self.settings.motors[index].torque_limit * setup.most_torque))
        self._rad_s_per_count[index] = self.settings.motors[index].direction * setup.rad_s_per_count
        if setup.return_delay_s > _LONG_DELAY_S:
            self._slow.append(index)
            self.notes.append(
                f"{self._label}: {self._who(index)} waits {setup.return_delay_s * 1e6:.0f} µs before each answer: "
                f"set its return delay to 0 while its torque is off"
            )

    def _present(self, question: Question, place: int) -> int:
        """Encoder steps at which the motor in row `place` of an answer to a question about motion stands."""
        register = self.FAMILY.position
        at = place * question.size + register.address - question.address
        return register.decode(int.from_bytes(question.data[at : at + register.size], "little"))

    def _goals_to_present(self, deadline_ns: int) -> None:
        """Make every motor's goal its present position, and make sure that it is."""
        self._ask_motion(deadline_ns)
        steps = [self._standing(index) for index in range(len(self._ids))]
        self._set(self.FAMILY.goal, self._ids, steps, self._goal, deadline_ns)

    def _limit_torque(self, deadline_ns: int) -> None:
        """Set every motor's torque limit, 1 too: an earlier run may have left a lower one."""
        self._set(self.FAMILY.torque_limit, self._ids, self._torque_limits, self._torque_limit, deadline_ns)

    def _standing(self, index: int) -> int:
        """Where a motor stands, which must be where it may."""
        steps, (low, high) = self._present(self._motion, index), self._own_ends[index]
        if not low - _PLAY_STEPS <= steps <= high + _PLAY_STEPS:
            raise ProtocolError(
                f"{self._label}: {self._who(index)} stands at step {steps}, outside the servo's own limits "
                f"{low} to {high}: move it by hand; no torque was switched on"
            )
        return min(max(steps, low), high)

    def _set(
        self, register: Register, ids: Sequence[int], counts: Sequence[int], question: Question, deadline_ns: int
    ) -> None:
        """Send goals or torque limits, and ask with `question` whether they were taken."""
        values = [register.encode(count).to_bytes(register.size, "little") for count in counts]
        rows = dict(zip(ids, values, strict=True))
        self._tell(register, rows, deadline_ns)
        self._line.ask(question, deadline_ns)
        what = "its goal" if register is self.FAMILY.goal else "its torque limit"
        for place, id in enumerate(ids):
            at = place * question.size
            self._expect(id, question.data[at : at + register.size] == rows[id], what)

    def _switch(self, torque: int, deadline_ns: int) -> None:
        """Switch every motor's torque, and make sure that it is switched."""
        self._switch_some(torque, self._ids, self._torque, deadline_ns)

    def _switch_some(self, torque: int, ids: Sequence[int], question: Question, deadline_ns: int) -> None:
        self._tell_all(self.FAMILY.torque, torque, ids, deadline_ns)
        self._line.ask(question, deadline_ns)
        for place, id in enumerate(ids):
            self._expect(id, question.data[place * question.size] == torque, "torque on" if torque else "torque off")

    def _make_safe(self, index: int, deadline_ns: int) -> None:
        """Do one motor's safe action, and make sure that it is done. One without torque has nothing to hold."""
        ids, torque, motion = (self._ids[index],), self._one_torque[index], self._one_motion[index]
        setup = self._one_setup[index]
        hold = self.settings.motors[index].safe == "hold"
        if hold:
            self._line.ask(torque, deadline_ns)
            if not torque.data[0]:
                return
            self._watch(False, ids, deadline_ns)
            self._line.ask(setup, deadline_ns)  # nobody may have connected: its limits are not known
            self._line.ask(motion, deadline_ns)
            own = self._setup(setup.data)
            goal = min(max(self._present(motion, 0), own.low), own.high)  # a goal beyond them would be refused
            self._set(self.FAMILY.goal, ids, [goal], self._one_goal[index], deadline_ns)
        self._switch_some(int(hold), ids, torque, deadline_ns)

    def _center(self, index: int, deadline_ns: int) -> None:
        motion = self._one_motion[index]
        self._line.ask(self._one_torque[index], deadline_ns)
        if self._one_torque[index].data[0]:
            raise ProtocolError(f"{self._label}: {self._who(index)} has its torque on: switch it off to center it")
        setup = self._read_setup(index, deadline_ns)
        self._line.ask(motion, deadline_ns)
        homing = self._homing_at_center(index, setup.homing, self._present(motion, 0))
        self._keep_homing(index, homing, deadline_ns)
        taken = self._read_setup(index, deadline_ns).homing == homing
        self._expect(self._ids[index], taken, f"homing offset {homing}")

    def _overload(self, index: int, faults: str) -> Overload:
        return Overload(
            f"{self._label}: {self._who(index)} reports: {faults}; take the load off it, check its supply, then reset"
        )

    def _expect(self, id: int, taken: bool, what: str) -> None:
        if not taken:
            raise ProtocolError(f"{self._label}: {self._who(self._ids.index(id))} did not take {what}")

    def _who(self, index: int) -> str:
        return f"joint '{self.settings.motors[index].name}' (id {self._ids[index]})"
