"""Simulated Feetech STS servos: bytes in, bytes out. No clock, no port, no thread.

Each servo has the memory table of the real one, and joins it to one joint of a `World`: goal and torque go in,
position, speed, current and temperature come out. Encoders have 4096 steps a turn, zero at step 2048, direction +1.
What wears or breaks is here too: protections that switch torque off, supply and cables that fail, damaged answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drivers import feetech_packets as packets
from drivers import feetech_sts as sts
from drivers.feetech_sts import Register

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


class Joints(Protocol):
    """What the servos need of a world: arrays with one element a joint."""

    @property
    def goal_rad(self) -> NDArray[np.float64]: ...
    @property
    def torque_on(self) -> NDArray[np.bool_]: ...
    @property
    def position_rad(self) -> NDArray[np.float64]: ...
    @property
    def velocity_rad_s(self) -> NDArray[np.float64]: ...
    @property
    def current_a(self) -> NDArray[np.float64]: ...
    @property
    def temperature_c(self) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Reply:
    """One answer, and when its last byte leaves the wire: nanoseconds after the request's last byte."""

    packet: bytes
    end_ns: int


@dataclass
class Faults:
    """What is broken. `corrupt` holds ids; the rest of what can break is power, see `FeetechDevice.power`."""

    silence: bool = False
    corrupt: set[int] = field(default_factory=set)


class Servo:
    """One servo's memory table, and what it remembers without power."""

    def __init__(self, id: int, index: int) -> None:
        self.index = index
        self.powered = True
        self.table = bytearray(_TABLE)
        self.pending: tuple[int, bytes] | None = None
        self.overloaded_s = 0.0
        self.tripped = 0
        for register, value in {**_FACTORY, sts.ID: id}.items():
            self.put(register, value)
        self.eprom = bytes(self.table[: sts.EPROM_END])
        self.restart()

    @property
    def id(self) -> int:
        return self.table[sts.ID.address]

    def get(self, register: Register) -> int:
        start = register.address
        return register.decode(int.from_bytes(self.table[start : start + register.size], "little"))

    def put(self, register: Register, count: int) -> None:
        start = register.address
        self.table[start : start + register.size] = register.encode(count).to_bytes(register.size, "little")

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
        if self.get(sts.LOCK) == 0:
            self.eprom = bytes(self.table[: sts.EPROM_END])
        if first <= sts.TORQUE_ENABLE.address < end:  # switching torque ends a protection
            self.overloaded_s, self.tripped = 0.0, 0


class FeetechDevice:
    """All servos of one line. `feed` it what the host sends; call `protect` as time passes."""

    def __init__(self, world: Joints, ids: Sequence[int] = (), baud: int = 1_000_000) -> None:
        """One servo a joint; ids count from 1 unless given."""
        self.world = world
        self.servos = [Servo(id, i) for i, id in enumerate(ids or range(1, len(world.position_rad) + 1))]
        self.faults = Faults()
        self.supply_v = SUPPLY_V
        self._byte_ns = packets.BITS_PER_BYTE * 1_000_000_000 / baud
        self._received = bytearray()

    def feed(self, data: bytes) -> list[Reply]:
        """Take bytes from the line, do what the packets in them say, and return the answers in the order they leave."""
        self._received += data
        replies: list[Reply] = []
        found, end = packets.find(self._received, 0, len(self._received))
        while found >= 0:
            replies += self._answer(bytes(self._received[found:end]))
            found, end = packets.find(self._received, end, len(self._received))
        del self._received[:end]
        return replies

    def idle(self) -> None:
        """The line has been quiet for longer than a packet may pause: one that was cut off is forgotten."""
        self._received.clear()

    def power(self, on: bool, index: int | None = None) -> None:
        """Give or take the supply of one servo, or of all. SRAM, and with it torque, does not survive."""
        for servo in self.servos if index is None else [self.servos[index]]:
            if on and not servo.powered:
                servo.restart()
            servo.powered = on
        self.obey()

    def protect(self, elapsed_s: float) -> None:
        """Let time pass for the protections: a servo that stays overloaded, or is too hot, lets go."""
        for servo in self.servos:
            load = abs(float(self.world.current_a[servo.index])) / STALL_CURRENT_A
            limit = servo.get(sts.OVERLOAD_TORQUE) * sts.OVERLOAD_TORQUE.scale
            if not servo.tripped & sts.OVERLOAD:  # once tripped it stays so until torque is switched anew
                servo.overloaded_s = servo.overloaded_s + elapsed_s if load > limit else 0.0
            servo.tripped |= self._status(servo) & servo.get(sts.UNLOAD_ON)
        self.obey()

    def obey(self) -> None:
        """Carry goals and torque from the tables into the world."""
        for servo in self.servos:
            goal = min(max(servo.get(sts.GOAL_POSITION), servo.get(sts.MIN_POSITION)), servo.get(sts.MAX_POSITION))
            self.world.goal_rad[servo.index] = (goal - ZERO_STEP) * sts.RAD_PER_STEP
            self.world.torque_on[servo.index] = (
                servo.powered
                and servo.get(sts.TORQUE_ENABLE) == 1
                and servo.get(sts.TORQUE_LIMIT) > 0
                and servo.get(sts.MODE) == sts.POSITION_MODE
                and not servo.tripped
            )

    def _answer(self, packet: bytes) -> list[Reply]:
        id, code, body = packet[2], packet[4], packet[5:-1]
        everyone = [s for s in self.servos if s.powered]
        asked = [s for s in everyone if id in (s.id, packets.BROADCAST)]
        if code == packets.PING:
            return self._replies([(s, b"") for s in asked])
        if code == packets.SYNC_READ and len(body) > 2:
            return self._replies([(s, self._read(s, *body[:2])) for i in body[2:] for s in everyone if s.id == i])
        if code == packets.READ and len(body) == 2 and id != packets.BROADCAST:
            return self._replies([(s, self._read(s, *body)) for s in asked])
        if code == packets.SYNC_WRITE and len(body) > 2:
            for row in range(2, len(body), body[1] + 1):
                for servo in everyone:
                    if servo.id == body[row]:
                        servo.write(body[0], body[row + 1 : row + 1 + body[1]])
        elif code == packets.WRITE and body:
            for servo in asked:
                servo.write(body[0], body[1:])
        elif code == packets.REG_WRITE and body:
            for servo in asked:
                servo.pending = (body[0], body[1:])
        elif code == packets.ACTION:
            for servo in asked:
                if servo.pending:
                    servo.write(*servo.pending)
                    servo.pending = None
        else:
            return []
        self.obey()
        verbose = [s for s in asked if s.id == id and s.get(sts.RESPONSE_LEVEL)]
        return self._replies([(s, b"") for s in verbose])

    def _read(self, servo: Servo, address: int, size: int) -> bytes:
        self._measure(servo)
        return bytes(servo.table[address : address + size]).ljust(size, b"\0")[: packets.MAX_PACKET - packets.OVERHEAD]

    def _measure(self, servo: Servo) -> None:
        """Bring the read-only part of the table up to date."""
        world, index = self.world, servo.index
        speed = round(float(world.velocity_rad_s[index]) / sts.RAD_PER_STEP)
        current = float(world.current_a[index])
        position = round(float(world.position_rad[index]) / sts.RAD_PER_STEP) + ZERO_STEP
        servo.put(sts.PRESENT_POSITION, position % sts.STEPS_PER_TURN)
        servo.put(sts.PRESENT_SPEED, max(-32767, min(32767, speed)))
        servo.put(sts.PRESENT_LOAD, max(-1000, min(1000, round(1000 * current / STALL_CURRENT_A))))
        servo.put(sts.PRESENT_CURRENT, round(current / sts.PRESENT_CURRENT.scale))
        servo.put(sts.PRESENT_VOLTAGE, round(self.supply_v / sts.PRESENT_VOLTAGE.scale))
        servo.put(sts.PRESENT_TEMPERATURE, round(float(world.temperature_c[index])))
        servo.put(sts.STATUS, self._status(servo))
        servo.put(sts.MOVING, int(speed != 0))

    def _status(self, servo: Servo) -> int:
        """The faults that hold now."""
        volts = round(self.supply_v / sts.PRESENT_VOLTAGE.scale)
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

    def _replies(self, answers: list[tuple[Servo, bytes]]) -> list[Reply]:
        """Packets and times of answers that follow one another on the wire."""
        replies: list[Reply] = []
        end_ns = 0.0
        for servo, data in answers:
            packet = packets.packet(servo.id, self._status(servo), data)
            if servo.id in self.faults.corrupt:
                packet = packet[:-1] + bytes((packet[-1] ^ 0xFF,))
            end_ns += servo.get(sts.RETURN_DELAY) * sts.RETURN_DELAY.scale * 1e9 + len(packet) * self._byte_ns
            replies.append(Reply(packet, round(end_ns)))
        return [] if self.faults.silence else replies
