"""Questions and answers on a line of servos: one deadline per question, late answers told from present ones.

An answer carries an id and a length but no number of its question, so an answer that comes after its deadline could be
taken for the answer to the next question. Therefore every question that failed is followed by one that asks for a
different number of bytes: sizes are multiples of four plus a tag that counts failures modulo four. A tag's bytes are
those before what is wanted, since a servo refuses to answer beyond the end of its table.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from drivers.errors import Corrupt, DriverError, ProtocolError, Timeout
from drivers.motors.base import Cycle
from drivers.serial_port import SerialPort
from drivers.silence import Silence
from drivers.tap import Tap

_TAGS = 4
_LATEST_NS = 1_000_000_000
"""After so long no answer is on its way any more, and the shortest question does again."""
_LINGER_NS = 3_000_000
"""How long a second servo with the same id may take to answer a ping."""

Data = bytes | bytearray


class Packets(Protocol):
    """What a protocol is to a line: a module of packets, such as `drivers.feetech.packets`."""

    ID: int
    DATA: int
    CHECK_SIZE: int
    PING_SIZE: int

    def ping(self, id: int, /) -> bytes: ...
    def read(self, id: int, address: int, size: int, /) -> bytes: ...
    def sync_read(self, ids: Sequence[int], address: int, size: int, /) -> bytes: ...
    def sync_write(self, rows: Mapping[int, Data], address: int, size: int, /) -> bytes: ...
    def seal(self, packet: bytearray, /) -> None: ...
    def shortest_answer(self, size: int, /) -> int: ...
    def longest_answer(self, size: int, /) -> int: ...
    def find(self, data: Data, start: int, end: int, longest: int, /) -> tuple[int, int]: ...
    def answer_size(self, data: bytearray, start: int, end: int, /) -> int: ...


class Question:
    """The same part of the tables of one or several servos: packets made once, and a place for the answers."""

    def __init__(self, packets: Packets, ids: Sequence[int], address: int, size: int) -> None:
        """`size` bytes from `address`, a multiple of four."""
        if size % _TAGS:
            raise ValueError(f"a question's size must be a multiple of {_TAGS}, not {size}")
        self.ids = tuple(ids)
        self.address = address
        self.size = size
        self.data = bytearray(size * len(self.ids))
        """What the servos said, `size` bytes each, in the order of `ids`; whole once `Line.ask` has returned."""
        self.errors = bytearray(len(self.ids))
        """The error byte of each answer."""
        self.waiting = len(self.ids)
        """How many have not answered."""
        self.packets = packets
        self._lead = tuple(tag if address >= _TAGS else 0 for tag in range(_TAGS))
        """Bytes before what is wanted, by tag; at the beginning of a table they stand behind it."""
        self.requests = tuple(self._request(address - self._lead[tag], size + tag) for tag in range(_TAGS))
        self._place = {id: index for index, id in enumerate(self.ids)}
        self._answered = bytearray(len(self.ids))
        self._nobody = bytes(len(self.ids))

    def forget(self) -> None:
        """Nobody has answered yet."""
        self._answered[:] = self._nobody
        self.waiting = len(self.ids)

    @property
    def over(self) -> bool:
        """They answer in turn: nothing comes after the last one's answer."""
        return bool(self._answered[-1])

    def longest(self) -> int:
        """Bytes of the longest packet that answers it, with any tag: a late answer is foreign, not damaged."""
        return self.packets.longest_answer(self.size | (_TAGS - 1))

    def expected(self, tag: int) -> int:
        """Bytes of all answers, where none needs stuffing."""
        return len(self.ids) * self.packets.shortest_answer(self.size + tag)

    def take(self, received: bytearray, start: int, end: int, tag: int) -> bool:
        """Keep what the packet received[start:end] says, if it answers this question."""
        packets = self.packets
        index = self._place.get(received[start + packets.ID], -1)
        if index < 0 or packets.answer_size(received, start, end) != self.size + tag:
            return False
        at = start + packets.DATA
        self._keep(index, received, at + self._lead[tag], received[at - 1])
        return True

    def part(self, received: bytearray, end: int, tag: int) -> int:  # noqa: ARG002  (an answer that breaks off is damaged)
        """Bytes of an answer in received[:end] that is good so far, where a servo did not go on with it."""
        return 0

    def silent(self) -> list[int]:
        """Ids of those that have not answered."""
        return [id for id, index in self._place.items() if not self._answered[index]]

    def _request(self, address: int, size: int) -> bytes:
        read, sync_read = self.packets.read, self.packets.sync_read
        return read(self.ids[0], address, size) if len(self.ids) == 1 else sync_read(self.ids, address, size)

    def _keep(self, index: int, received: bytearray, at: int, error: int) -> None:
        size = self.size
        self.data[index * size : (index + 1) * size] = received[at : at + size]
        self.errors[index] = error
        self.waiting -= not self._answered[index]
        self._answered[index] = 1


class Line:
    """One port and the servos on it. Calls raise only `DriverError`s, which name the joints that did not answer."""

    def __init__(self, packets: Packets, owner: str, path: str, baud: int, names: Mapping[int, str]) -> None:
        self._packets = packets
        self._label = f"{owner} on {path}"
        self._names = names
        self._port = SerialPort(owner, path, baud)
        self._silence = Silence()
        self._received = bytearray(4096)
        self._view = memoryview(self._received)
        self._cycle = Cycle(self._received)
        self._pings = {id: _Ping(packets, id) for id in names}
        self._tag = 0
        self._failed_ns = 0

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    def show(self, tap: Tap) -> None:
        """Show the tap every byte from now on."""
        self._port.tap = tap

    def open(self) -> None:
        self._port.open()
        self._silence = Silence()

    def close(self) -> None:
        self._port.close()

    def tell(self, packet: Data, deadline_ns: int) -> None:
        """Send what nobody answers."""
        self._port.write(packet, deadline_ns)

    def ask(self, question: Question, deadline_ns: int) -> None:
        """Send a question and wait until every servo has answered; `question.data` then says what."""
        tag = self._next_tag()
        try:
            self._port.discard_input(self._view, deadline_ns)
            self._port.write(question.requests[tag], deadline_ns)
            self._gather(question, tag, deadline_ns)
        except DriverError:
            self._failed()
            raise

    def stage(self, setpoints: Data, question: Question) -> Cycle:
        """What `tell` and `ask` would send. Sends nothing."""
        tag = self._next_tag()
        self._cycle.say(self._port.descriptor(), setpoints, question.requests[tag], question.expected(tag))
        return self._cycle

    def finish_tell(self, cycle: Cycle, deadline_ns: int) -> None:
        """What `tell` has left to do."""
        if cycle.sent:
            self._port.tap.sent(memoryview(cycle.setpoints)[: cycle.sent])
        if cycle.sent < len(cycle.setpoints):
            self._port.write(memoryview(cycle.setpoints)[cycle.sent :], deadline_ns)

    def finish_ask(self, cycle: Cycle, question: Question, deadline_ns: int) -> None:
        """What `ask` has left to do; `question.data` then says what."""
        tap, half = self._port.tap, len(self._received) // 2
        if cycle.discarded:
            tap.received(self._view[half : half + cycle.discarded])
        if cycle.asked:
            tap.sent(memoryview(cycle.question)[: cycle.asked])
        if cycle.received:
            tap.received(self._view[: cycle.received])
        try:
            if cycle.asked < len(cycle.question):
                self._port.write(memoryview(cycle.question)[cycle.asked :], deadline_ns)
            late = time.monotonic_ns() >= deadline_ns  # and whoever did the cycle has waited for as long
            self._gather(question, self._tag, deadline_ns, cycle.received, wait=not late)
        except DriverError:
            self._failed()
            raise

    def _next_tag(self) -> int:
        """A late answer to an earlier question must not be taken for one to this."""
        if self._tag and time.monotonic_ns() - self._failed_ns > _LATEST_NS:
            self._tag = 0
        return self._tag

    def _failed(self) -> None:
        self._tag, self._failed_ns = (self._tag + 1) % _TAGS, time.monotonic_ns()

    def ping(self, id: int, deadline_ns: int) -> None:
        """Ping one servo; `ProtocolError` if two answer, one after the other or at once."""
        ping = self._pings[id]
        self._port.discard_input(self._view, deadline_ns)
        self._port.write(ping.requests[0], deadline_ns)
        try:
            end = self._gather(ping, 0, deadline_ns)
        except Corrupt:
            raise Corrupt(
                f"{self._label}: damaged answer to a ping of {self._who([id])}: "
                f"two motors have this id (unplug one and give the other another id), or the cable is bad"
            ) from None
        linger_ns = min(deadline_ns, time.monotonic_ns() + _LINGER_NS)
        if end > ping.longest() or self._port.read_into(self._view, linger_ns):
            raise ProtocolError(
                f"{self._label}: two answers to one ping of {self._who([id])}: "
                f"two motors have this id (unplug one and give the other another id), or the adapter echoes"
            )

    def anyone(self, question: Question, deadline_ns: int) -> bool:
        """Whether anyone answers a question, however damaged."""
        try:
            self.ask(question, deadline_ns)
        except Timeout:
            return question.waiting < len(question.ids)
        except (Corrupt, ProtocolError):
            pass
        return True

    def anyone_at(self, baud: int, question: Question, deadline_ns: int) -> bool:
        """Whether anyone answers a question, intact, at another line speed, which the port then keeps."""
        return self._port.set_baud(baud) and self.anyone(question, deadline_ns) and question.waiting < len(question.ids)

    def _gather(self, question: Question, tag: int, deadline_ns: int, end: int = 0, wait: bool = True) -> int:
        """Receive until every servo has answered, `end` bytes being there already: how many came in all.

        Without `wait` nothing but those is looked at.
        """
        received, view, find, longest = self._received, self._view, self._packets.find, question.longest()
        question.forget()
        start = intact = foreign = 0
        while True:
            found, start = find(received, start, end, longest)
            while found >= 0:
                intact += start - found
                foreign += not question.take(received, found, start, tag)
                found, start = find(received, start, end, longest)
            if not question.waiting or question.over:
                break
            count = self._port.read_into(view[end:], deadline_ns) if wait and end < len(view) else 0
            if not count:
                break
            end += count
        if question.waiting < len(question.ids):
            self._silence.end()
        if question.waiting:
            damaged_bytes = end - intact - question.part(received, end, tag)
            self._complain(question.silent(), len(question.ids), damaged_bytes, foreign)
        return end

    def _complain(self, ids: list[int], asked: int, damaged_bytes: int, foreign: int) -> None:
        who = self._who(ids)
        if damaged_bytes:
            raise Corrupt(f"{self._label}: damaged answer from {who}: bad cable, wrong baud rate, or an id used twice")
        if foreign:
            raise ProtocolError(f"{self._label}: other answers than the one asked of {who}")
        if len(ids) == asked == len(self._names):
            raise Timeout(f"{self._label}: {self._silence.words()}")
        raise Timeout(f"{self._label}: no answer from {who}: check its power, cable and id")

    def _who(self, ids: list[int]) -> str:
        return ", ".join(f"joint '{self._names[id]}' (id {id})" for id in ids)


class _Ping(Question):
    """A ping asks for no bytes of a table, and cannot be tagged."""

    def __init__(self, packets: Packets, id: int) -> None:
        super().__init__(packets, [id], 0, 0)
        self.requests = (packets.ping(id),)

    def longest(self) -> int:
        return self.packets.longest_answer(self.packets.PING_SIZE)

    def take(self, received: bytearray, start: int, end: int, tag: int) -> bool:  # noqa: ARG002
        packets, at = self.packets, start + self.packets.DATA
        size = packets.answer_size(received, start, end)
        if received[start + packets.ID] != self.ids[0] or size != packets.PING_SIZE:
            return False
        self._keep(0, received, at, received[at - 1])
        return True
