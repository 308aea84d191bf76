"""Simulated Damiao motors in MIT mode: frames in, frames out. No clock, no interface, no thread.

Each motor has the registers of the real one, and joins it to one joint of a `World`: goal and torque go in, position,
speed, current and temperature come out. Its zero is the joint's until somebody sets another, direction +1. What wears
or breaks is here too: faults that switch torque off, supply and cables that fail, answers under a wrong id (CAN itself
delivers no damaged frame).
A motor that has just been enabled forgets what it was commanded before: until the next command it hangs limp.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.damiao import frames
from drivers.damiao import motors as dm
from drivers.damiao.frames import Command, Data, Frame, State
from drivers.damiao.motors import Register
from drivers.sim.device import Faults, Joints

SUPPLY_V = 24.0
_LIMP = Command(0, frames.OTHER_ZERO, 0, 0, frames.OTHER_ZERO)


class Motor:
    """One motor's registers, and what it remembers without power."""

    def __init__(self, id: int, index: int, model: str) -> None:
        row = dm.MODELS[model]
        self.id = id
        self.index = index
        self.model = row
        self.powered = True
        self.zero_rad = 0.0
        self.saved = {
            dm.UNDERVOLTAGE: 15.0,
            dm.OVERTEMPERATURE: 100.0,
            dm.MST_ID: id + frames.ANSWER_OFFSET,
            dm.ESC_ID: id,
            dm.TIMEOUT: 0.0,
            dm.CONTROL_MODE: dm.MIT_MODE,
            dm.SOFTWARE: 5015,
            dm.POLE_PAIRS: row.pole_pairs,
            dm.GEAR_RATIO: row.gear_ratio,
            dm.P_MAX: row.p_max_rad,
            dm.V_MAX: row.v_max_rad_s,
            dm.T_MAX: row.t_max_nm,
            dm.SUPPLY: SUPPLY_V,
        }
        self.restart()

    def restart(self) -> None:
        """Power comes (back): registers as they were saved, torque off."""
        self.registers = dict(self.saved)
        self.status, self.command, self.unheard_s = dm.OFF, _LIMP, 0.0

    def numbered(self, number: int) -> Register | None:
        """The register with this number, if the motor has one."""
        return next((register for register in self.registers if register.number == number), None)

    @property
    def goal_rad(self) -> float:
        """What its last command asks for, as the joint's angle."""
        top = self.registers[dm.P_MAX]
        return frames.from_count(self.command.position, -top, top, frames.POSITION_BITS) + self.zero_rad


class DamiaoDevice:
    """All motors of one line. `feed` it what the host sends; call `protect` as time passes."""

    def __init__(self, world: Joints, models: Sequence[str], ids: Sequence[int] = ()) -> None:
        """One motor a joint; ids count from 1 unless given."""
        self.world = world
        self.motors = [
            Motor(id, index, model)
            for index, (id, model) in enumerate(zip(ids or range(1, len(models) + 1), models, strict=True))
        ]
        self.faults = Faults()
        self.supply_v = SUPPLY_V

    def feed(self, frame: Frame) -> list[Frame]:
        """Take one frame from the line, do what it says, and return the answers in the order they leave."""
        answers: list[Frame] = []
        for motor in self.motors:
            id = int.from_bytes(frame.data[:2], "little") if frame.id == frames.HOST_ID else frame.id
            if motor.powered and id == motor.id and len(frame.data) == frames.SIZE:
                motor.unheard_s = 0.0
                answer = self._answer(motor, frame)
                answers += [answer] if answer is not None else []
        self.obey()
        return [] if self.faults.silence else [self._named(answer) for answer in answers]

    def power(self, on: bool, index: int | None = None) -> None:
        """Give or take the supply of one motor, or of all. Torque and unsaved registers do not survive."""
        for motor in self.motors if index is None else [self.motors[index]]:
            if on and not motor.powered:
                motor.restart()
            motor.powered = on
        self.obey()

    def protect(self, elapsed_s: float) -> None:
        """Let time pass: a motor that is on and hears nothing for its TIMEOUT, or is in trouble, lets go."""
        for motor in self.motors:
            motor.unheard_s += elapsed_s
            timeout_s = motor.registers[dm.TIMEOUT]
            if motor.status == dm.ON and 0 < timeout_s < motor.unheard_s:
                motor.status = dm.LOST_CONTACT
            self._protect(motor)
        self.obey()

    def obey(self) -> None:
        """Carry goals and torque from the motors into the world."""
        for motor in self.motors:
            holds = motor.powered and motor.status == dm.ON and motor.command.stiffness > 0
            self.world.torque_on[motor.index] = holds
            if holds:
                self.world.goal_rad[motor.index] = motor.goal_rad

    def _answer(self, motor: Motor, frame: Frame) -> Frame | None:
        """What one motor does with a frame for it, and its answer; none to what it does not understand."""
        self._protect(motor)
        if frame.id != frames.HOST_ID:
            self._take(motor, frame.data)
        elif frame.data[2] != frames.REFRESH:
            return self._register(motor, frame.data)
        return frames.state(motor.id, self._state(motor))

    def _take(self, motor: Motor, data: Data) -> None:
        """A special frame or a command."""
        code = data[7] if data[:7] == b"\xff" * 7 else None
        if code == frames.ENABLE and motor.status == dm.OFF:
            motor.status, motor.command = dm.ON, _LIMP
        elif code == frames.DISABLE and motor.status == dm.ON:
            motor.status = dm.OFF
        elif code == frames.CLEAR_ERROR and motor.status != dm.ON:
            motor.status = dm.OFF
            self._protect(motor)
        elif code == frames.SET_ZERO:
            motor.zero_rad = float(self.world.position_rad[motor.index])
        elif code is None and motor.registers[dm.CONTROL_MODE] == dm.MIT_MODE:
            motor.command = frames.parse_command(data)

    def _register(self, motor: Motor, data: Data) -> Frame | None:
        code, register = data[2], motor.numbered(data[3])
        if register is None or code not in (frames.READ, frames.WRITE):
            return None
        if register is dm.SUPPLY:
            motor.registers[register] = self.supply_v
        elif code == frames.WRITE:
            motor.registers[register] = register.unpack(data[4:])
        return frames.register_answer(motor.id, code, register, motor.registers[register])

    def _protect(self, motor: Motor) -> None:
        """Faults that hold now switch torque off, and stay until they are cleared."""
        if self.world.temperature_c[motor.index] >= motor.registers[dm.OVERTEMPERATURE]:
            motor.status = dm.WINDING_FAULT
        if self.supply_v < motor.registers[dm.UNDERVOLTAGE]:
            motor.status = dm.UNDERVOLTAGE_FAULT

    def _state(self, motor: Motor) -> State:
        """Carry one joint from the world into a state."""
        world, index, registers = self.world, motor.index, motor.registers

        def count(value: float, range_of: Register, bits: int) -> int:
            return frames.to_count(value, -registers[range_of], registers[range_of], bits)

        return State(
            motor.status,
            count(float(world.position_rad[index]) - motor.zero_rad, dm.P_MAX, frames.POSITION_BITS),
            count(float(world.velocity_rad_s[index]), dm.V_MAX, frames.OTHER_BITS),
            count(float(world.current_a[index]) * motor.model.nm_per_a, dm.T_MAX, frames.OTHER_BITS),
            *[min(max(round(float(world.temperature_c[index])), 0), 255)] * 2,
        )

    def _named(self, answer: Frame) -> Frame:
        """An answer as it leaves: from the id that MST_ID says, or from a wrong one."""
        id = answer.id - frames.ANSWER_OFFSET
        if id in self.faults.corrupt:
            return Frame(answer.id + frames.MAX_ID, answer.data)
        motor = next(motor for motor in self.motors if motor.id == id)
        return Frame(round(motor.registers[dm.MST_ID]), answer.data)
