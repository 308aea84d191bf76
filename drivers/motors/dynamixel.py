"""Dynamixel X servos (protocol 2.0) on one serial line: one sync write of goals, one (fast) sync read of the state."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Sequence
from functools import partial

from drivers.dynamixel import packets
from drivers.dynamixel import x as dxl
from drivers.dynamixel.fast import FastQuestion
from drivers.errors import Corrupt, Overload, ProtocolError, Timeout
from drivers.motors.base import BusSettings
from drivers.servos.bus import ServoBus
from drivers.servos.line import Question
from drivers.servos.registers import names_of
from drivers.servos.setup import Family, Setup
from drivers.tries import TRY_NS, retry

WATCHDOG_COUNTS = 10
"""Silence after which a servo with torque stops by itself: 200 ms. Ten cycles at 50 Hz, so that a late one is none."""
_ALL_ANSWERED = 2
_PING_NS = 30_000_000
"""How long one servo may take to answer: the adapter's 16 ms, and 5 ms for both packets at 57600 bit/s."""
_PING_TRIES = _FAST_TRIES = 2
_BY_GOAL = "switches its torque on when it is sent a goal: clear bit 3 of its drive mode"
_SETUP = struct.Struct("<H4xBxxBBB8xi12xH10xii")
"""From address 0 on: model, firmware, return delay, drive mode, mode, homing offset, PWM limit, highest and lowest
position."""
_HEALTH_AT = dxl.BUS_WATCHDOG.address - 3
_HEALTH = struct.Struct("<3xb27xh16xHB")
"""From there to the table's end: watchdog, current, voltage, temperature."""


class Bus(ServoBus):
    """The driver: what a `ServoBus` needs of the X table, the fast sync read, and the servos' own watchdog.

    The watchdog runs from `watch` on while torque is on; where it has expired, the servo holds still and
    refuses goals until torque is enabled anew.
    """

    FAMILY = Family(
        packets=packets,
        models={name: model.number for name, model in dxl.MODELS.items()},
        bauds=dxl.BAUDS,
        position_mode=dxl.POSITION_MODE,
        steps_per_turn=dxl.STEPS_PER_TURN,
        torque=dxl.TORQUE_ENABLE,
        goal=dxl.GOAL_POSITION,
        torque_limit=dxl.GOAL_PWM,
        position=dxl.PRESENT_POSITION,
        speed=dxl.PRESENT_VELOCITY,
        motion=(dxl.PRESENT_VELOCITY.address, 8),
        health=(_HEALTH_AT, 52),
        setup=(0, 56),
    )
    MODELS, BAUDS = tuple(FAMILY.models), FAMILY.bauds

    def __init__(self, settings: BusSettings) -> None:
        super().__init__(settings)
        self._watchdog, self._one_watchdog = self._questions(dxl.BUS_WATCHDOG.address, 4)
        _, self._one_delay = self._questions(dxl.RETURN_DELAY.address, 4)
        _, self._one_fault = self._questions(dxl.HARDWARE_ERROR.address, 4)
        self._fast = FastQuestion(self._motion)
        self._has_fast = False
        self._ask_next: Question = self._motion

    def tune(self, deadline_ns: int) -> None:
        """As the contract says: return delays become 0 where torque is off."""
        for place, index in enumerate(self._slow):
            retry(partial(self._answer_at_once, place, index), deadline_ns)

    def _wake(self, deadline_ns: int) -> None:
        """A servo whose response level is 0 answers pings only: that register lives in RAM, and is set to 2."""
        with contextlib.suppress(Timeout, Corrupt, ProtocolError):
            self._line.ask(self._torque, min(deadline_ns, time.monotonic_ns() + TRY_NS))
        mute = [id for id in self._torque.silent() if self._answers_pings_only(id, deadline_ns)]
        if mute:
            self._tell_all(dxl.RESPONSE_LEVEL, _ALL_ANSWERED, mute, deadline_ns)

    def _answers_pings_only(self, id: int, deadline_ns: int) -> bool:
        if not any(self._pings(id, deadline_ns) for _ in range(_PING_TRIES)):
            return False
        read = self._one_torque[self._ids.index(id)]
        return not self._line.anyone(read, min(deadline_ns, time.monotonic_ns() + _PING_NS))

    def _pings(self, id: int, deadline_ns: int) -> bool:
        try:
            self._line.ping(id, min(deadline_ns, time.monotonic_ns() + _PING_NS))
        except (Timeout, Corrupt, ProtocolError):
            return False
        return True

    def _prepare(self, deadline_ns: int) -> None:
        """See whether all know the fast sync read: from some firmware on, by model, and nowhere to be read."""
        self._has_fast = any(self._answers_fast(deadline_ns) for _ in range(_FAST_TRIES))
        self._ask_next = self._fast if self._has_fast else self._motion

    def _answers_fast(self, deadline_ns: int) -> bool:
        try:
            self._line.ask(self._fast, min(deadline_ns, time.monotonic_ns() + TRY_NS))
        except (Timeout, Corrupt, ProtocolError):
            return False
        return True

    def _choose_motion(self) -> Question:
        """Ask fast; after a failure plainly, which tells who is silent, until that succeeds."""
        question, self._ask_next = self._ask_next, self._motion
        return question

    def _motion_answered(self) -> None:
        if self._has_fast:
            self._ask_next = self._fast

    def _setup(self, data: bytearray) -> Setup:
        model, firmware, delay, drive, mode, homing, most_pwm, high, low = _SETUP.unpack_from(data)
        return Setup(
            model=model,
            firmware=str(firmware),
            homing=homing,
            mode=mode,
            low=low,
            high=high,
            most_torque=most_pwm,
            rad_s_per_count=dxl.RAD_S_PER_COUNT,
            return_delay_s=delay * dxl.RETURN_DELAY.scale,
            problem=_BY_GOAL if drive & dxl.TORQUE_ON_BY_GOAL else "",
        )

    def _take_health(self, index: int, data: bytearray, error: int, deadline_ns: int) -> None:
        watchdog, current, volts, celsius = _HEALTH.unpack_from(data)
        state = self.state
        state.voltage_v[index] = volts * dxl.PRESENT_VOLTAGE.scale
        state.temperature_c[index] = celsius
        unit_a = dxl.MODELS[self.settings.motors[index].model].current_a
        state.current_a[index] = abs(current) * (unit_a or 0.0)
        if error & packets.ALERT:
            raise self._fault(index, deadline_ns)
        if watchdog == dxl.WATCHDOG_EXPIRED:
            silence_ms = round(1e3 * WATCHDOG_COUNTS * dxl.BUS_WATCHDOG.scale)
            raise Overload(
                f"{self._label}: {self._who(index)} heard nothing for {silence_ms} ms and holds still by itself: "
                f"see why the loop was silent, then reset"
            )

    def _fault(self, index: int, deadline_ns: int) -> Overload:
        question = self._one_fault[index]
        self._line.ask(question, deadline_ns)
        status = question.data[0]
        words = names_of(status, dxl.FAULTS) or "hardware error"
        return self._overload(index, f"{words} ({self.state.voltage_v[index]:.1f} V, hardware error 0x{status:02x})")

    def _watch(self, on: bool, ids: Sequence[int], deadline_ns: int) -> None:
        question = self._watchdog if len(ids) > 1 else self._one_watchdog[self._ids.index(ids[0])]
        count = WATCHDOG_COUNTS if on else 0
        self._tell_all(dxl.BUS_WATCHDOG, count, ids, deadline_ns)
        self._line.ask(question, deadline_ns)
        for place, id in enumerate(ids):
            self._expect(id, question.data[place * question.size] == count, "its bus watchdog")

    def _answer_at_once(self, place: int, index: int, deadline_ns: int) -> None:
        """Take a servo's return delay away for good, and say so in its note."""
        ids, delay = (self._ids[index],), self._one_delay[index]
        self._line.ask(self._one_torque[index], deadline_ns)
        if self._one_torque[index].data[0]:  # its EEPROM is locked
            return
        self._tell_all(dxl.RETURN_DELAY, 0, ids, deadline_ns)
        self._line.ask(delay, deadline_ns)
        self._expect(ids[0], delay.data[0] == 0, "its return delay")
        self.notes[place] = f"{self._label}: {self._who(index)} answers at once now: its return delay is set to 0"

    def _homing_at_center(self, index: int, homing: int, position: int) -> int:
        """X servos add it: position = encoder + offset."""
        offset = dxl.STEPS_PER_TURN // 2 - (position - homing)
        if abs(offset) > dxl.MAX_HOMING:
            raise ProtocolError(
                f"{self._label}: {self._who(index)} stands at encoder step {position - homing}, and in position mode "
                f"an offset moves the middle by at most {dxl.MAX_HOMING}: mount the horn closer to the middle"
            )
        return offset

    def _keep_homing(self, index: int, homing: int, deadline_ns: int) -> None:
        self._tell_all(dxl.HOMING_OFFSET, homing, (self._ids[index],), deadline_ns)
