"""Simulated Feetech STS servos: bytes in, bytes out. No clock, no port, no thread.

Each servo has the memory table of the real one, and joins it to one joint of a `World`: goal and torque go in,
position, speed, current and temperature come out. Encoders have 4096 steps a turn, zero at step 2048, direction +1.
What wears or breaks is here too: protections that switch torque off, supply and cables that fail, damaged answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drivers.feetech import packets, sts
from drivers.sim.device import Device, Joints, Reply, Servo

ZERO_STEP = sts.STEPS_PER_TURN // 2
STALL_CURRENT_A = 2.7
"""An STS3215 at 12 V (product page); load is current as a share of this."""
SUPPLY_V = 12.0
_TABLE = 256
_FACTORY = {
    sts.FIRMWARE: 0x0A03,
    sts.MODEL: sts.MODEL_NUMBERS["sts3215"],
    sts.RESPONSE_LEVEL: 1,
    sts.MAX_POSITION: 4095,
    sts.MAX_TEMPERATURE: 70,
    sts.MAX_VOLTAGE: 140,
    sts.MIN_VOLTAGE: 40,
    sts.MAX_TORQUE: 1000,
    sts.PHASE: 12,
    sts.UNLOAD_ON: sts.TEMPERATURE | sts.CURRENT | sts.OVERLOAD,
    sts.PROTECTION_CURRENT: 511,
    sts.PROTECTION_TIME: 200,
    sts.OVERLOAD_TORQUE: 80,
}
"""EPROM as delivered (memory table, column "default")."""


class FeetechServo(Servo):
    """One servo's memory table, and what it remembers without power."""

    RETURN_DELAY = sts.RETURN_DELAY

    def __init__(self, id: int, index: int) -> None:
        super().__init__(index, _TABLE, SUPPLY_V)
        self.tripped = 0
        for register, value in {**_FACTORY, sts.ID: id}.items():
            self.put(register, value)
        self.eprom = bytes(self.table[: sts.EPROM_END])
        self.restart()

    @property
    def id(self) -> int:
        return self.table[sts.ID.address]

    def restart(self) -> None:
        """Power comes (back): EPROM as it was saved, SRAM at its defaults."""
        self.table = bytearray(self.eprom.ljust(_TABLE, b"\0"))
        self.put(sts.TORQUE_LIMIT, self.get(sts.MAX_TORQUE))
        self.put(sts.LOCK, 1)
        self.pending, self.overloaded_s, self.tripped = None, 0.0, 0

    def write(self, address: int, data: bytes) -> None:
        """Write what may be written; the rest of the table stays as it is."""
        first, end = max(address, sts.ID.address), min(address + len(data), sts.READ_ONLY_FROM)
        if first >= end:
            return
        self.table[first:end] = data[first - address : end - address]
        self._save()
        if first <= sts.TORQUE_ENABLE.address < end:  # switching torque ends a protection
            self.overloaded_s, self.tripped = 0.0, 0

    def center(self, position: int) -> None:
        """Take `position`, an encoder step without offset, for the middle, as CENTER in TORQUE_ENABLE asks."""
        half = sts.STEPS_PER_TURN // 2
        self.put(sts.HOMING_OFFSET, max(position % sts.STEPS_PER_TURN - half, 1 - half))
        self.put(sts.TORQUE_ENABLE, 0)
        self._save()

    def _save(self) -> None:
        if self.get(sts.LOCK) == 0:
            self.eprom = bytes(self.table[: sts.EPROM_END])


class FeetechDevice(Device[FeetechServo]):
    """All servos of one line. `feed` it what the host sends; call `protect` as time passes."""

    def __init__(self, world: Joints, ids: Sequence[int] = (), baud: int = 1_000_000) -> None:
        """One servo a joint; ids count from 1 unless given. Servos with the same id answer at once."""
        servos = [FeetechServo(id, i) for i, id in enumerate(ids or range(1, len(world.position_rad) + 1))]
        super().__init__(world, servos, baud, packets.find)
        self.told: Callable[[], None] | None = None
        """Called after each packet that gives several servos their goals."""

    def protect(self, elapsed_s: float) -> None:
        for servo in self.servos:
            load = abs(float(self.world.current_a[servo.index])) / STALL_CURRENT_A
            limit = servo.get(sts.OVERLOAD_TORQUE) * sts.OVERLOAD_TORQUE.scale
            if not servo.tripped & sts.OVERLOAD:  # once tripped it stays so until torque is switched anew
                servo.overloaded_s = servo.overloaded_s + elapsed_s if load > limit else 0.0
            servo.tripped |= self._status(servo) & servo.get(sts.UNLOAD_ON)
        self.obey()

    def obey(self) -> None:
        for servo in self.servos:
            goal = min(max(servo.get(sts.GOAL_POSITION), servo.get(sts.MIN_POSITION)), servo.get(sts.MAX_POSITION))
            self.world.goal_rad[servo.index] = self._shaft_rad(goal + servo.get(sts.HOMING_OFFSET))
            self.world.torque_limit[servo.index] = servo.get(sts.TORQUE_LIMIT) * sts.TORQUE_LIMIT.scale
            self.world.torque_on[servo.index] = (
                servo.powered
                and servo.get(sts.TORQUE_ENABLE) == 1
                and servo.get(sts.TORQUE_LIMIT) > 0
                and servo.get(sts.MODE) == sts.POSITION_MODE
                and not servo.tripped
            )

    def _answer(self, packet: bytearray) -> list[Reply]:
        id, code, body = packet[2], packet[4], bytes(packet[5:-1])
        if code == packets.PING:
            return self._status_packets([[(s, b"") for s in asked] for asked in self._each(id)])
        if code == packets.SYNC_READ and len(body) > 2:
            return self._status_packets([[(s, self._read(s, *body[:2])) for s in self._with_id(i)] for i in body[2:]])
        if code == packets.READ and len(body) == 2 and id != packets.BROADCAST:
            return self._status_packets([[(s, self._read(s, *body)) for s in self._with_id(id)]])
        if code == packets.SYNC_WRITE and len(body) > 2:
            for row in range(2, len(body), body[1] + 1):
                for servo in self._with_id(body[row]):
                    self._write(servo, body[0], body[row + 1 : row + 1 + body[1]])
        elif code in (packets.WRITE, packets.REG_WRITE, packets.ACTION) and (body or code == packets.ACTION):
            for asked in self._each(id):
                for servo in asked:
                    self._take(servo, code, body)
        else:
            return []
        self.obey()
        if self.told is not None and code == packets.SYNC_WRITE and body[0] == sts.GOAL_POSITION.address:
            self.told()
        verbose = [s for s in self._with_id(id) if s.get(sts.RESPONSE_LEVEL)]
        return self._status_packets([[(s, b"") for s in verbose]])

    def _each(self, id: int) -> list[list[FeetechServo]]:
        """Those that are asked, by id."""
        ids = dict.fromkeys(s.id for s in self.servos) if id == packets.BROADCAST else [id]
        return [self._with_id(one) for one in ids]

    def _take(self, servo: FeetechServo, code: int, body: bytes) -> None:
        """Do a WRITE, keep a REG_WRITE for later, do what one has left."""
        if code == packets.REG_WRITE:
            servo.pending = (body[0], body[1:])
        elif code == packets.WRITE:
            self._write(servo, body[0], body[1:])
        elif servo.pending:
            self._write(servo, *servo.pending)
            servo.pending = None

    def _write(self, servo: FeetechServo, address: int, data: bytes) -> None:
        if (address, data) == (sts.TORQUE_ENABLE.address, bytes((sts.CENTER,))):
            servo.center(self._step(servo))
        else:
            servo.write(address, data)

    def _read(self, servo: FeetechServo, address: int, size: int) -> bytes:
        self._measure(servo)
        return bytes(servo.table[address : address + size]).ljust(size, b"\0")[: packets.MAX_PACKET - packets.OVERHEAD]

    def _measure(self, servo: FeetechServo) -> None:
        """Bring the read-only part of the table up to date."""
        world, index = self.world, servo.index
        speed = round(float(world.velocity_rad_s[index]) / sts.RAD_PER_STEP)
        current = float(world.current_a[index])
        position = self._step(servo) - servo.get(sts.HOMING_OFFSET)
        servo.put(sts.PRESENT_POSITION, position % sts.STEPS_PER_TURN)
        servo.put(sts.PRESENT_SPEED, max(-32767, min(32767, speed)))
        servo.put(sts.PRESENT_LOAD, max(-1000, min(1000, round(1000 * current / STALL_CURRENT_A))))
        servo.put(sts.PRESENT_CURRENT, round(current / sts.PRESENT_CURRENT.scale))
        servo.put(sts.PRESENT_VOLTAGE, round(servo.supply_v / sts.PRESENT_VOLTAGE.scale))
        servo.put(sts.PRESENT_TEMPERATURE, round(float(world.temperature_c[index])))
        servo.put(sts.STATUS, self._status(servo))
        servo.put(sts.MOVING, int(speed != 0))

    def _status(self, servo: FeetechServo) -> int:
        """The faults that hold now."""
        volts = round(servo.supply_v / sts.PRESENT_VOLTAGE.scale)
        amperes = abs(float(self.world.current_a[servo.index]))
        bits = servo.tripped & sts.OVERLOAD
        if not servo.get(sts.MIN_VOLTAGE) <= volts <= servo.get(sts.MAX_VOLTAGE):
            bits |= sts.VOLTAGE
        if self.world.temperature_c[servo.index] >= servo.get(sts.MAX_TEMPERATURE):
            bits |= sts.TEMPERATURE
        if amperes > servo.get(sts.PROTECTION_CURRENT) * sts.PROTECTION_CURRENT.scale:
            bits |= sts.CURRENT
        if servo.overloaded_s >= servo.get(sts.PROTECTION_TIME) * sts.PROTECTION_TIME.scale:
            bits |= sts.OVERLOAD
        return bits

    def _step(self, servo: FeetechServo) -> int:
        """Where the encoder stands, without homing offset."""
        return round(float(self.world.position_rad[servo.index]) / sts.RAD_PER_STEP) + ZERO_STEP

    def _shaft_rad(self, step: int) -> float:
        return (step - ZERO_STEP) * sts.RAD_PER_STEP

    def _status_packets(self, turns: list[list[tuple[FeetechServo, bytes]]]) -> list[Reply]:
        answers = [[(s, packets.packet(s.id, self._status(s), data)) for s, data in turn] for turn in turns]
        return self._in_turn(answers)
