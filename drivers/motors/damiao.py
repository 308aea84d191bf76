"""Damiao motors in MIT mode on one CAN line: every motor gets its setpoint and gains, and answers with its state.

`zero_step` 32768 is the motor's own zero, where `center` puts it; positions span its P_MAX either way in 65536 counts.
Ids are 1 to 15, each motor answers at its id + 16 (MST_ID), and its mode is MIT. A motor whose torque `enable_torque`
has switched on switches it off by itself once it hears nothing for `CONTACT_S`. One that `safe_action` holds no longer
does: it holds until somebody releases it, or its supply goes. Nothing of this has been run on hardware.
"""

from __future__ import annotations

import contextlib
import struct
import time

import numpy as np

from drivers.damiao import frames
from drivers.damiao import motors as dm
from drivers.damiao.frames import Frame, State
from drivers.damiao.line import Line, message
from drivers.damiao.setup import counts_per_rad, ends, read_setups, settings_problem, setup_problem, zero_count
from drivers.errors import Disconnected, Overload, ProtocolError, Timeout
from drivers.motors.base import BusSettings, Floats, Identity, MotorBus, MotorSettings
from drivers.safe_turns import make_all_safe
from drivers.tap import Tap

CONTACT_S = 2.0
"""Longer than a stuck process is left alone (`stuck_ms`) and its safe action takes: that shall find torque still on."""
_FIND_NS = 100_000_000
"""How long a motor may take to be found."""
_OPTIONAL_NS = 20_000_000
"""How long an answer may take that an older motor does not give."""


class Bus(MotorBus):
    """The driver. Angles become counts with `zero_step` and `direction`, clamped to `range_rad` as a last guard.

    Velocity and torque in a command are zero: stiffness pulls to the setpoint, damping brakes. Lost or damaged frames
    are sent again by the CAN controllers themselves. `read_health` gives the hotter of driver and winding, the phase
    current that the data sheet's torque constant makes of the torque, and 0 V where the motor does not tell its supply.
    """

    MODELS = tuple(dm.MODELS)
    GAINS = True
    CURRENT_EACH_CYCLE = True

    def __init__(self, settings: BusSettings) -> None:
        super().__init__(settings)
        motors = settings.motors
        self._label = f"bus {settings.name}"
        self._line = Line(self._label, settings.port, settings.baud, {m.id: m.name for m in motors})
        self._direction = np.array([m.direction for m in motors], float)
        self._zero = np.array([zero_count(m) for m in motors])
        self._known = False
        """The motors have told their ranges."""
        self._counts_per_rad, self._v_max, self._t_max = np.zeros((3, len(motors)))
        self._low, self._high = np.zeros((2, len(motors)))
        self._tells_supply = [False] * len(motors)
        self._counts = np.zeros(len(motors))
        self._commands = [message(_still(m)) for m in motors]

    def show(self, tap: Tap) -> None:
        self._line.show(tap)

    def _problem(self, motor: MotorSettings) -> str:
        return settings_problem(motor)

    def connect(self, deadline_ns: int) -> None:
        self.check()
        self.disconnect()
        self._line.open()
        try:
            self._line.find(min(deadline_ns, time.monotonic_ns() + _FIND_NS))
            self._take_setups(deadline_ns)
            self._ask_supply(deadline_ns)
            self._clear_lost_contact(deadline_ns)
            self._known = True
            self.read_state(deadline_ns)
        except BaseException:
            self.disconnect()
            raise

    def identify(self, index: int, deadline_ns: int) -> Identity:
        """As the contract says. A motor tells neither its model's name nor where `center` has put its zero: 0."""
        gear, poles, software = (
            self._line.read(register, [index], deadline_ns)[0]
            for register in (dm.GEAR_RATIO, dm.POLE_PAIRS, dm.SOFTWARE)
        )
        wanted = self.settings.motors[index].model
        names = [wanted] if self._fits(wanted, gear, poles) else [m for m in dm.MODELS if dm.fits(m, gear, poles)]
        unknown = f"unknown (gear ratio {gear:g}, {poles:g} pole pairs)"
        return Identity(names[0] if names else unknown, f"{software:.0f}", 0)

    def center(self, index: int, deadline_ns: int) -> None:
        """As the contract says: the present position becomes the motor's zero."""
        self._line.refresh([index], deadline_ns)
        if self._state(index).status == dm.ON:
            raise ProtocolError(f"{self._label}: {self._who(index)}: its torque is on: switch it off to center it")
        self._line.tell(frames.SET_ZERO, [index], deadline_ns)
        self._line.refresh([index], deadline_ns)
        middle = frames.POSITION_TOP / 2
        self._expect(index, abs(self._state(index).position - middle) < 0.01 * middle, "its zero")

    def aim(self, deadline_ns: int) -> bool:
        """As the contract says; a motor is told with the first command, as it has no goal without one."""
        self._check_known()
        self._clear_lost_contact(deadline_ns)
        self._line.refresh(self._line.all, deadline_ns)
        for index in self._line.all:
            self._check_fault(index)
            self._aim(index, self._standing(index))
        return any(self._state(index).status == dm.ON for index in self._line.all)

    def enable_torque(self, deadline_ns: int) -> None:
        line = self._line
        self.aim(deadline_ns)
        line.write(dm.TIMEOUT, CONTACT_S, line.all, deadline_ns)
        self._send_commands(deadline_ns)  # an older command, if the motor keeps one, must not be the first it follows
        line.tell(frames.ENABLE, line.all, deadline_ns)
        for index in line.all:
            self._expect(index, self._state(index).status == dm.ON, "torque on")
        self._send_commands(deadline_ns)

    def disable_torque(self, deadline_ns: int) -> None:
        self._line.tell(frames.DISABLE, self._line.all, deadline_ns)
        for index in self._line.all:
            self._expect(index, self._state(index).status != dm.ON, "torque off")

    def write_setpoints(self, position_rad: Floats, deadline_ns: int) -> None:
        self.told = 0
        self._check_known()
        if not np.isfinite(position_rad).all():
            index = int(np.argmin(np.isfinite(position_rad)))
            raise ProtocolError(f"{self._label}: the setpoint of {self._who(index)} is not a number; nothing was sent")
        counts = self._counts
        np.multiply(position_rad, self._counts_per_rad, out=counts)
        np.add(counts, self._zero, out=counts)
        np.rint(counts, out=counts)
        np.clip(counts, self._low, self._high, out=counts)
        for index in self._line.all:
            self._aim(index, int(counts[index]))
        try:
            self._line.send(self._commands, deadline_ns)
        finally:
            self.told = self._line.sent

    def read_state(self, deadline_ns: int) -> None:
        """As the contract says: what answers the setpoints just written, or the answers to a question of its own."""
        self._check_known()
        (self._line.states if self._line.asked else self._line.refresh)(self._line.all, deadline_ns)
        state = self.state
        for index in self._line.all:
            told = self._state(index)
            state.position_rad[index] = (told.position - self._zero[index]) / self._counts_per_rad[index]
            speed = _signed(told.velocity, self._v_max[index])
            state.velocity_rad_s[index] = speed * self._direction[index]
            state.current_a[index] = self._current(index, told)
        state.stamp_ns = time.monotonic_ns()

    def read_health(self, index: int, deadline_ns: int) -> None:
        self._check_known()
        if self._tells_supply[index]:
            self.state.voltage_v[index] = self._line.read(dm.SUPPLY, [index], deadline_ns)[0]
        self._line.refresh([index], deadline_ns)
        told = self._state(index)
        self.state.current_a[index] = self._current(index, told)
        self.state.temperature_c[index] = max(told.driver_c, told.winding_c)
        self._check_fault(index)

    def safe_action(self, deadline_ns: int) -> None:
        make_all_safe(self._line, self.settings.motors, self._make_safe, deadline_ns)

    def disconnect(self) -> None:
        """As the contract says; a motor whose torque is on then lets go by itself after `CONTACT_S`."""
        self._line.close()
        self._known = False

    def _take_setups(self, deadline_ns: int) -> None:
        """Check what the motors say of themselves, and make of it what counts mean."""
        setups = read_setups(self._line, deadline_ns)
        for index, (motor, setup) in enumerate(zip(self.settings.motors, setups, strict=True)):
            if problem := setup_problem(motor, setup):
                raise ProtocolError(f"{self._label}: {self._who(index)}: {problem}")
            self._counts_per_rad[index] = counts_per_rad(motor, setup.p_max_rad)
            self._low[index], self._high[index] = ends(motor, setup.p_max_rad)
            self._v_max[index], self._t_max[index] = setup.v_max_rad_s, setup.t_max_nm

    def _ask_supply(self, deadline_ns: int) -> None:
        """Find out which motors tell their supply voltage."""
        with contextlib.suppress(Timeout, ProtocolError):
            self._line.read(dm.SUPPLY, self._line.all, min(deadline_ns, time.monotonic_ns() + _OPTIONAL_NS))
        self._tells_supply = [answer is not None for answer in self._line.answers]

    def _clear_lost_contact(self, deadline_ns: int) -> None:
        """Clear what an absent host has left behind: torque is off then, and stays so. Other faults stay, too."""
        line = self._line
        line.refresh(line.all, deadline_ns)
        lost = [index for index in line.all if self._state(index).status == dm.LOST_CONTACT]
        if lost:
            line.tell(frames.CLEAR_ERROR, lost, deadline_ns)

    def _make_safe(self, index: int, deadline_ns: int) -> None:
        """Do one motor's safe action, and make sure that it is done. One without torque has nothing to hold."""
        if self.settings.motors[index].safe == "release":
            self._line.tell(frames.DISABLE, [index], deadline_ns)
            self._expect(index, self._state(index).status != dm.ON, "torque off")
            return
        self._line.refresh([index], deadline_ns)
        told = self._state(index)
        if told.status != dm.ON:
            return
        self._aim(index, told.position)
        self._line.send([self._commands[index]], deadline_ns)
        self._line.states([index], deadline_ns)
        self._expect(index, self._state(index).status == dm.ON, "torque on")
        self._line.write(dm.TIMEOUT, 0, [index], deadline_ns)

    def _aim(self, index: int, count: int) -> None:
        """Put a position into one motor's command, in place."""
        struct.pack_into(">H", self._commands[index].data, 0, count)

    def _send_commands(self, deadline_ns: int) -> None:
        self._line.send(self._commands, deadline_ns)
        self._line.states(self._line.all, deadline_ns)

    def _state(self, index: int) -> State:
        """What this motor has answered last."""
        answer = self._line.answers[index]
        assert answer is not None
        return frames.parse_state(answer)

    def _current(self, index: int, told: State) -> float:
        """Phase current, A, that the torque of a state means."""
        torque = _signed(told.torque, self._t_max[index])
        return abs(torque) / dm.MODELS[self.settings.motors[index].model].nm_per_a

    def _check_fault(self, index: int) -> None:
        fault = dm.fault(self._state(index).status)
        if fault:
            raise Overload(
                f"{self._label}: {self._who(index)} reports: {fault} (status 0x{self._state(index).status:x}); "
                f"its torque is off: take the load off it, check its supply, then reset"
            )

    def _standing(self, index: int) -> int:
        """The count at which a motor stands; at either end of its range it may stand anywhere beyond."""
        position = self._state(index).position
        if position in (0, frames.POSITION_TOP):
            raise ProtocolError(
                f"{self._label}: {self._who(index)} stands beyond its P_MAX: turn it back by hand; "
                f"no torque was switched on"
            )
        return position

    def _check_known(self) -> None:
        if not self._known:
            raise Disconnected(f"{self._label} on {self.settings.port}: not open; call connect first")

    @staticmethod
    def _fits(model: str, gear_ratio: float, pole_pairs: float) -> bool:
        return model in dm.MODELS and dm.fits(model, gear_ratio, pole_pairs)

    def _expect(self, index: int, taken: bool, what: str) -> None:
        if not taken:
            raise ProtocolError(f"{self._label}: {self._who(index)} did not take {what}")

    def _who(self, index: int) -> str:
        return self._line.who([index])


def _still(motor: MotorSettings) -> Frame:
    """A command with this motor's gains, no velocity and no torque; the position is filled in later."""
    gains = frames.gain_counts(motor.stiffness, motor.damping)
    return frames.command(motor.id, frames.Command(0, frames.OTHER_ZERO, *gains, frames.OTHER_ZERO))


def _signed(count: int, most: float) -> float:
    """A velocity or torque of a state."""
    return frames.from_count(count, -most, most, frames.OTHER_BITS)
