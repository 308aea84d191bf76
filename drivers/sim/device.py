"""What simulated servos of every protocol share: joints to move, a memory table each, and one wire for all answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from drivers.servos.registers import Register

BITS_PER_BYTE = 10
"""On the line of every protocol here: start bit, eight data bits, stop bit."""


class Joints(Protocol):
    """What the servos need of a world: arrays with one element a joint."""

    @property
    def goal_rad(self) -> NDArray[np.float64]: ...
    @property
    def torque_on(self) -> NDArray[np.bool_]: ...
    @property
    def torque_limit(self) -> NDArray[np.float64]:
        """Shares of the stall torque, written like goals and torque."""
        ...

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
    """What is broken. `corrupt` holds ids; the rest of what can break is power, see `Device.power`."""

    silence: bool = False
    corrupt: set[int] = field(default_factory=set)


class Servo(ABC):
    """One servo: its memory table, its joint's index, and what it remembers."""

    RETURN_DELAY: Register

    def __init__(self, index: int, size: int, supply_v: float) -> None:
        self.index = index
        self.supply_v = supply_v
        self.powered = True
        self.table = bytearray(size)
        self.pending: tuple[int, bytes] | None = None
        """What a registered write has left to do."""
        self.overloaded_s = 0.0

    @property
    @abstractmethod
    def id(self) -> int: ...

    @abstractmethod
    def restart(self) -> None:
        """Power comes (back): what is kept as it was saved, the rest at its defaults."""

    @property
    def delay_ns(self) -> float:
        """From the end of a request, or of the answer before its own, to the beginning of its answer."""
        return self.get(self.RETURN_DELAY) * self.RETURN_DELAY.scale * 1e9

    def get(self, register: Register) -> int:
        start = register.address
        return register.decode(int.from_bytes(self.table[start : start + register.size], "little"))

    def put(self, register: Register, count: int) -> None:
        start = register.address
        self.table[start : start + register.size] = register.encode(count).to_bytes(register.size, "little")


ServoT = TypeVar("ServoT", bound=Servo)
Turn = Sequence[tuple[ServoT, bytes]]
"""Whose turn it is to answer, and with what: one servo, or all that have the same id."""


class Device(ABC, Generic[ServoT]):
    """All servos of one line. `feed` it what the host sends; call `protect` as time passes."""

    def __init__(
        self,
        world: Joints,
        servos: list[ServoT],
        baud: int,
        find: Callable[[bytearray, int, int], tuple[int, int]],
    ) -> None:
        self.world = world
        self.servos = servos
        self.faults = Faults()
        self._byte_ns = BITS_PER_BYTE * 1_000_000_000 / baud
        self._find = find
        self._received = bytearray()

    @property
    def supply_v(self) -> float:
        """The highest supply of any servo."""
        return max(servo.supply_v for servo in self.servos)

    @supply_v.setter
    def supply_v(self, volts: float) -> None:
        for servo in self.servos:
            servo.supply_v = volts

    def feed(self, data: bytes) -> list[Reply]:
        """Take bytes from the line, do what the packets in them say, and return the answers in the order they leave."""
        self._received += data
        replies: list[Reply] = []
        found, end = self._find(self._received, 0, len(self._received))
        while found >= 0:
            replies += self._answer(self._received[found:end])
            found, end = self._find(self._received, end, len(self._received))
        del self._received[:end]
        return replies

    def idle(self) -> None:
        """The line has been quiet for longer than a packet may pause: one that was cut off is forgotten."""
        self._received.clear()

    def power(self, on: bool, index: int | None = None) -> None:
        """Give or take the supply of one servo, or of all. What is not saved, torque with it, does not survive."""
        for servo in self.servos if index is None else [self.servos[index]]:
            if on and not servo.powered:
                servo.restart()
            servo.powered = on
        self.obey()

    @abstractmethod
    def protect(self, elapsed_s: float) -> None:
        """Let time pass for the protections: a servo that stays overloaded, or is too hot, lets go."""

    @abstractmethod
    def obey(self) -> None:
        """Carry goals and torque from the tables into the world."""

    @abstractmethod
    def _answer(self, packet: bytearray) -> list[Reply]:
        """Do what one intact packet says."""

    def _with_id(self, id: int) -> list[ServoT]:
        return [servo for servo in self.servos if servo.powered and servo.id == id]

    def _in_turn(self, turns: Sequence[Turn[ServoT]]) -> list[Reply]:
        """Packets and times of answers that follow one another on the wire; those of one turn may collide."""
        replies: list[Reply] = []
        for turn in turns:
            begin_ns = replies[-1].end_ns if replies else 0
            taken_ns = float(begin_ns)
            for servo, packet in sorted(turn, key=lambda answer: answer[0].delay_ns):
                sent = self._damaged(packet) if servo.id in self.faults.corrupt else packet
                start_ns = begin_ns + servo.delay_ns
                if start_ns < taken_ns:
                    sent = _collide(replies.pop().packet, sent)
                    start_ns = taken_ns - len(sent) * self._byte_ns
                taken_ns = max(taken_ns, start_ns + len(sent) * self._byte_ns)
                replies.append(Reply(sent, round(taken_ns)))
        return [] if self.faults.silence else replies

    @staticmethod
    def _damaged(packet: bytes) -> bytes:
        return packet[:-1] + bytes((packet[-1] ^ 0xFF,))


def _collide(first: bytes, second: bytes) -> bytes:
    """Two answers at once: a low bit wins. The second begins one byte late, as no two servos' clocks agree."""
    size = max(len(first), len(second) + 1)
    late = b"\xff" + second
    return bytes(a & b for a, b in zip(first.ljust(size, b"\xff"), late.ljust(size, b"\xff"), strict=True))
