"""One simulated Dynamixel X servo: its control table, what may be written into it and when. No line, no world."""

from __future__ import annotations

from drivers.dynamixel import x
from drivers.dynamixel.packets import MAX_ID
from drivers.servos.registers import Register
from drivers.sim.device import Servo

ZERO_STEP = x.STEPS_PER_TURN // 2
TABLE = x.PRESENT_TEMPERATURE.address + x.PRESENT_TEMPERATURE.size
"""Bytes of the table that are simulated."""
COULD_NOT, UNKNOWN, OUT_OF_RANGE, WRONG_LENGTH, BEYOND_LIMIT, NO_ACCESS = 1, 2, 4, 5, 6, 7
"""Error numbers, see `drivers.dynamixel.packets.ERRORS`."""
_GOALS = (x.GOAL_PWM, x.GOAL_CURRENT, x.GOAL_VELOCITY, x.GOAL_POSITION)
"""What the bus watchdog locks."""
_FACTORY = {
    x.FIRMWARE: 48,
    x.MODE: x.POSITION_MODE,
    x.SECONDARY_ID: 255,
    x.PROTOCOL: 2,
    x.MOVING_THRESHOLD: 10,
    x.PWM_LIMIT: 885,
    x.VELOCITY_LIMIT: 200,
    x.MAX_POSITION: 4095,
}
"""EEPROM as delivered, where models agree or the difference does not matter here; but no return delay."""
_SWITCHED_ON = {
    x.RESPONSE_LEVEL: 2,
    x.VELOCITY_I: 1920,
    x.VELOCITY_P: 100,
    x.POSITION_P: 800,
}
"""RAM after a start, of an XM430; goals are added."""
_RANGES = {
    x.ID: (0, MAX_ID),
    x.BAUD: (0, len(x.BAUDS) - 1),
    x.RETURN_DELAY: (0, 254),
    x.DRIVE_MODE: (0, 0),
    x.MODE: (0, 16),
    x.SECONDARY_ID: (0, 255),
    x.PROTOCOL: (2, 2),
    x.HOMING_OFFSET: (-1_044_479, 1_044_479),
    x.MOVING_THRESHOLD: (0, 1023),
    x.MAX_TEMPERATURE: (0, 100),
    x.MAX_VOLTAGE: (31, 300),
    x.MIN_VOLTAGE: (31, 300),
    x.PWM_LIMIT: (0, 885),
    x.CURRENT_LIMIT: (0, 2047),
    x.VELOCITY_LIMIT: (0, 2047),
    x.MAX_POSITION: (0, 4095),
    x.MIN_POSITION: (0, 4095),
    x.SHUTDOWN: (0, 255),
    x.TORQUE_ENABLE: (0, 1),
    x.LED: (0, 1),
    x.RESPONSE_LEVEL: (0, 2),
    **dict.fromkeys((x.VELOCITY_I, x.VELOCITY_P, x.POSITION_D, x.POSITION_I, x.POSITION_P), (0, 16_383)),
    **dict.fromkeys((x.FEEDFORWARD_1, x.FEEDFORWARD_2), (0, 16_383)),
    x.BUS_WATCHDOG: (0, 127),
    **dict.fromkeys((x.PROFILE_ACCELERATION, x.PROFILE_VELOCITY), (0, 32_767)),
}
"""What may be written, apart from goals, and between which values."""
_WRITABLE = {register.address: register for register in (*_RANGES, *_GOALS)}


class DynamixelServo(Servo):
    """One servo's control table, and what it remembers without power."""

    RETURN_DELAY = x.RETURN_DELAY

    def __init__(self, id: int, index: int, model: x.Model, baud: int) -> None:
        super().__init__(index, TABLE, 12.0 if model.supply_v[0] <= 12.0 <= model.supply_v[1] else 5.0)
        self.model = model
        self.silent_s = 0.0
        """For how long nothing was heard on the line."""
        low_v, high_v = model.supply_v
        own = {
            x.MODEL: model.number,
            x.ID: id,
            x.BAUD: x.BAUDS.index(baud) if baud in x.BAUDS else 0,
            x.MAX_TEMPERATURE: model.max_temperature,
            x.MIN_VOLTAGE: round(low_v / x.MIN_VOLTAGE.scale),
            x.MAX_VOLTAGE: round(high_v / x.MAX_VOLTAGE.scale),
            x.CURRENT_LIMIT: model.current_limit,
            x.SHUTDOWN: model.shutdown,
        }
        for register, value in {**_FACTORY, **own}.items():
            self.put(register, value)
        self.restart()

    @property
    def id(self) -> int:
        return self.table[x.ID.address]

    @property
    def homing(self) -> int:
        """The homing offset that position mode obeys."""
        offset = self.get(x.HOMING_OFFSET)
        return offset if abs(offset) <= x.MAX_HOMING else 0

    @property
    def torque(self) -> bool:
        return self.get(x.TORQUE_ENABLE) == 1

    def restart(self) -> None:
        """Power comes (back), or REBOOT: EEPROM as it is, RAM at its defaults, no hardware error."""
        self.table[x.EEPROM_END :] = bytes(TABLE - x.EEPROM_END)
        for register, value in _SWITCHED_ON.items():
            self.put(register, value)
        for goal, limit in ((x.GOAL_PWM, x.PWM_LIMIT), (x.GOAL_CURRENT, x.CURRENT_LIMIT)):
            self.put(goal, self.get(limit))
        self.put(x.GOAL_VELOCITY, self.get(x.VELOCITY_LIMIT))
        self.pending, self.overloaded_s, self.silent_s = None, 0.0, 0.0

    def write(self, address: int, data: bytes) -> int:
        """Write whole registers, all or none: the error number, 0 if it is done."""
        changes: list[tuple[Register, int]] = []
        at = 0
        while at < len(data) or not data:
            register = _WRITABLE.get(address + at)
            if register is None or (register.address < x.EEPROM_END and self.torque):
                return NO_ACCESS
            if len(data) - at < register.size:
                return WRONG_LENGTH
            count = register.decode(int.from_bytes(data[at : at + register.size], "little"))
            error = self._refuse(register, count)
            if error:
                return error
            changes.append((register, count))
            at += register.size
        for register, count in changes:
            self.put(register, count)
        return 0

    def remember(self, address: int, data: bytes) -> int:
        """REG_WRITE: leave a write for ACTION."""
        self.pending = (address, data)
        self.put(x.REGISTERED, 1)
        return 0

    def finish(self) -> int:
        """ACTION: do the write that was left."""
        if self.pending is None:
            return UNKNOWN
        pending, self.pending = self.pending, None
        self.put(x.REGISTERED, 0)
        return self.write(*pending)

    def fail(self, bits: int) -> None:
        """A hardware error: it is remembered until a restart, and those in SHUTDOWN switch torque off."""
        self.put(x.HARDWARE_ERROR, self.get(x.HARDWARE_ERROR) | bits)
        if self._shut_down:
            self.put(x.TORQUE_ENABLE, 0)

    def expire(self, present: int) -> None:
        """The bus watchdog has had enough: stop at `present`, and refuse goals until it is cleared with 0."""
        self.put(x.BUS_WATCHDOG, x.WATCHDOG_EXPIRED)
        self.put(x.GOAL_POSITION, present)
        for profile in (x.PROFILE_ACCELERATION, x.PROFILE_VELOCITY):
            self.put(profile, 0)

    @property
    def _shut_down(self) -> bool:
        return bool(self.get(x.HARDWARE_ERROR) & self.get(x.SHUTDOWN))

    def _refuse(self, register: Register, count: int) -> int:
        """Why not: an error number; 0 if it may be written.

        Assumed, as the e-manual does not say: which number refuses torque after a shutdown, and that 0 alone may be
        written into an expired watchdog.
        """
        expired = self.get(x.BUS_WATCHDOG) == x.WATCHDOG_EXPIRED
        if expired and (register in _GOALS or (register is x.BUS_WATCHDOG and count)):
            return OUT_OF_RANGE
        if register is x.TORQUE_ENABLE and count and self._shut_down:
            return COULD_NOT
        low, high = self._limits(register)
        if low <= count <= high:
            return 0
        return BEYOND_LIMIT if register in _GOALS else OUT_OF_RANGE

    def _limits(self, register: Register) -> tuple[int, int]:
        if register is x.GOAL_POSITION:
            return self.get(x.MIN_POSITION), self.get(x.MAX_POSITION)
        limits = {x.GOAL_PWM: x.PWM_LIMIT, x.GOAL_CURRENT: x.CURRENT_LIMIT, x.GOAL_VELOCITY: x.VELOCITY_LIMIT}
        if register in limits:
            limit = self.get(limits[register])
            return -limit, limit
        return _RANGES[register]
