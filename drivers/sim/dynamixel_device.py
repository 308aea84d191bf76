"""Simulated Dynamixel X servos: bytes in, bytes out. No clock, no port, no thread.

Each servo has the control table of the real one up to PRESENT_TEMPERATURE, and joins it to one joint of a `World`: goal
and torque go in, position, velocity, current and temperature come out. Encoders have 4096 steps a turn, zero at step
2048. Simulated is position control within one turn in the standard direction; indirect addresses and profiles are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from drivers.dynamixel import packets, x
from drivers.sim.device import Device, Joints, Reply
from drivers.sim.dynamixel_servo import NO_ACCESS, TABLE, UNKNOWN, WRONG_LENGTH, ZERO_STEP, DynamixelServo

STALL_CURRENT_A = 2.3
"""An XM430-W350 at 12 V (e-manual, specifications); load is current as a share of this."""
OVERLOAD, OVERLOAD_S = 0.8, 2.0
"""Share of the stall current that is an overload, and for how long: assumed, the e-manual names neither."""

Answer = tuple[DynamixelServo, int, bytes]
"""Who answers, with which error number, and with what."""


class DynamixelDevice(Device[DynamixelServo]):
    """All servos of one line. `feed` it what the host sends; call `protect` as time passes."""

    def __init__(
        self, world: Joints, ids: Sequence[int] = (), baud: int = 1_000_000, models: Sequence[str] = ()
    ) -> None:
        """One servo a joint; ids count from 1 and models are XM430-W350 unless given.

        Servos with the same id answer at once.
        """
        ids = ids or range(1, len(world.position_rad) + 1)
        models = models or ["xm430-w350"] * len(ids)
        servos = [
            DynamixelServo(id, i, x.MODELS[model], baud) for i, (id, model) in enumerate(zip(ids, models, strict=True))
        ]
        super().__init__(world, servos, baud, packets.find)
        for servo in servos:
            self._goal_to_present(servo)

    def power(self, on: bool, index: int | None = None) -> None:
        started = [s for i, s in enumerate(self.servos) if on and not s.powered and index in (None, i)]
        super().power(on, index)
        for servo in started:
            self._goal_to_present(servo)

    def protect(self, elapsed_s: float) -> None:
        """As in the base; the bus watchdogs count silence too."""
        for servo in self.servos:
            load = abs(float(self.world.current_a[servo.index])) / STALL_CURRENT_A
            servo.overloaded_s = servo.overloaded_s + elapsed_s if load > OVERLOAD else 0.0
            self._check(servo)
            servo.silent_s += elapsed_s
            allowed = servo.get(x.BUS_WATCHDOG)
            if servo.torque and 0 < allowed < servo.silent_s / x.BUS_WATCHDOG.scale:
                servo.expire(self._present(servo))
        self.obey()

    def obey(self) -> None:
        for servo in self.servos:
            goal = servo.get(x.GOAL_POSITION) - servo.homing
            self.world.goal_rad[servo.index] = (goal - ZERO_STEP) * x.RAD_PER_STEP
            self.world.torque_limit[servo.index] = min(abs(servo.get(x.GOAL_PWM)) * x.GOAL_PWM.scale, 1.0)
            in_position_mode = servo.get(x.MODE) == x.POSITION_MODE
            self.world.torque_on[servo.index] = servo.powered and servo.torque and in_position_mode

    def _answer(self, packet: bytearray) -> list[Reply]:
        end = packets.unstuff(packet, 7, len(packet) - 2)
        id, code, body = packet[4], packet[7], bytes(packet[8:end])
        if code == packets.STATUS:
            return []
        for servo in self.servos:
            servo.silent_s = 0.0
        if code == packets.PING:
            return self._ping(id)
        if code in (packets.READ, packets.SYNC_READ, packets.FAST_SYNC_READ, packets.BULK_READ):
            return self._reading(id, code, body)
        return self._change(id, code, body)

    def _ping(self, id: int) -> list[Reply]:
        ids = sorted({s.id for s in self.servos}) if id == packets.BROADCAST else [id]
        size = x.MODEL.size
        return self._say([[(s, 0, bytes((*s.table[:size], s.get(x.FIRMWARE)))) for s in self._with_id(i)] for i in ids])

    def _reading(self, id: int, code: int, body: bytes) -> list[Reply]:
        everyone = id == packets.BROADCAST
        if code == packets.READ and not everyone:
            return self._say([self._read(id, body)], needs=1)
        if code == packets.SYNC_READ and everyone:
            return self._say([self._read(i, body[:4]) for i in body[4:]], needs=1)
        if code == packets.BULK_READ and everyone:
            return self._say([self._read(body[at], body[at + 1 : at + 5]) for at in range(0, len(body), 5)], needs=1)
        if code == packets.FAST_SYNC_READ and everyone:
            return self._fast([self._read(i, body[:4]) for i in body[4:]], int.from_bytes(body[2:4], "little"))
        return []

    def _fast(self, turns: list[list[Answer]], size: int) -> list[Reply]:
        """Every servo goes on with the one answer where the last has stopped: one that is missing ends it."""
        if len(turns) * (size + packets.FAST_OVERHEAD) > packets.MAX_PACKET:
            return []
        nobody = (0, 0, bytes(size))
        parts = [
            next(((s.id, self._error(s, number), data.ljust(size, b"\0")) for s, number, data in turn), nobody)
            for turn in turns
        ]
        here = list(takewhile(bool, turns))
        pieces = packets.fast_status(parts)
        return self._in_turn([[(s, piece) for s, _, _ in turn] for turn, piece in zip(here, pieces, strict=False)])

    def _read(self, id: int, span: bytes) -> list[Answer]:
        """What the servos with one id say of a span: an address and a size, two bytes each."""
        if len(span) != 4:
            return [(servo, WRONG_LENGTH, b"") for servo in self._with_id(id)]
        address, size = int.from_bytes(span[:2], "little"), int.from_bytes(span[2:], "little")
        return [self._read_from(servo, address, size) for servo in self._with_id(id)]

    def _read_from(self, servo: DynamixelServo, address: int, size: int) -> Answer:
        self._measure(servo)
        if address + size > TABLE:
            return servo, NO_ACCESS, b""
        return servo, 0, bytes(servo.table[address : address + size])

    def _change(self, id: int, code: int, body: bytes) -> list[Reply]:
        """Instructions that change something: those that address one servo are answered with an error number."""
        asked = self._with_id(id)
        if code == packets.SYNC_WRITE:
            self._sync_write(id, body)
        elif id == packets.BROADCAST:
            asked = [servo for servo in self.servos if servo.powered]
        answers = [(servo, self._act(servo, code, body), b"") for servo in asked]
        self.obey()
        return self._say([answers], needs=2) if id != packets.BROADCAST else []

    def _act(self, servo: DynamixelServo, code: int, body: bytes) -> int:
        """Let one servo do one instruction: its error number."""
        if code == packets.REBOOT:
            servo.restart()
            self._goal_to_present(servo)
            return 0
        if code == packets.ACTION:
            return servo.finish()
        if code not in (packets.WRITE, packets.REG_WRITE):
            return UNKNOWN
        if len(body) < 3:
            return WRONG_LENGTH
        act = servo.write if code == packets.WRITE else servo.remember
        return act(int.from_bytes(body[:2], "little"), body[2:])

    def _sync_write(self, id: int, body: bytes) -> None:
        size = int.from_bytes(body[2:4], "little")
        if id != packets.BROADCAST or len(body) < 5:
            return
        for row in range(4, len(body) - size, size + 1):
            for servo in self._with_id(body[row]):
                servo.write(int.from_bytes(body[:2], "little"), body[row + 1 : row + 1 + size])

    def _goal_to_present(self, servo: DynamixelServo) -> None:
        servo.put(x.GOAL_POSITION, self._present(servo))

    def _present(self, servo: DynamixelServo) -> int:
        return round(float(self.world.position_rad[servo.index]) / x.RAD_PER_STEP) + ZERO_STEP + servo.homing

    def _measure(self, servo: DynamixelServo) -> None:
        """Bring the read-only part of the table up to date."""
        world, index = self.world, servo.index
        velocity = round(float(world.velocity_rad_s[index]) / x.RAD_S_PER_COUNT)
        current_a = float(world.current_a[index])
        unit_a = servo.model.current_a
        load = round(current_a / unit_a) if unit_a else round(1000 * current_a / STALL_CURRENT_A)
        most = 32_767 if unit_a else 1000
        servo.put(x.PRESENT_POSITION, self._present(servo))
        servo.put(x.PRESENT_VELOCITY, velocity)
        servo.put(x.PRESENT_CURRENT, max(-most, min(most, load)))
        servo.put(x.PRESENT_VOLTAGE, round(servo.supply_v / x.PRESENT_VOLTAGE.scale))
        servo.put(x.PRESENT_TEMPERATURE, max(0, min(255, round(float(world.temperature_c[index])))))
        servo.put(x.MOVING, int(abs(velocity) > servo.get(x.MOVING_THRESHOLD)))
        self._check(servo)

    def _check(self, servo: DynamixelServo) -> None:
        """Notice the hardware errors that hold now."""
        bits = x.OVERLOAD if servo.overloaded_s >= OVERLOAD_S else 0
        if not servo.get(x.MIN_VOLTAGE) <= round(servo.supply_v / x.PRESENT_VOLTAGE.scale) <= servo.get(x.MAX_VOLTAGE):
            bits |= x.VOLTAGE
        if self.world.temperature_c[servo.index] > servo.get(x.MAX_TEMPERATURE):
            bits |= x.TEMPERATURE
        if bits:
            servo.fail(bits)

    @staticmethod
    def _error(servo: DynamixelServo, number: int) -> int:
        """The error byte."""
        return number | (packets.ALERT if servo.get(x.HARDWARE_ERROR) else 0)

    def _say(self, turns: Sequence[Sequence[Answer]], needs: int = 0) -> list[Reply]:
        """Answers of those whose RESPONSE_LEVEL is at least `needs`."""
        return self._in_turn(
            [
                [
                    (s, packets.status(s.id, self._error(s, number), data))
                    for s, number, data in turn
                    if s.get(x.RESPONSE_LEVEL) >= needs
                ]
                for turn in turns
            ]
        )
