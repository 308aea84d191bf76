"""Questions and answers on a line of Feetech servos: one deadline per question, late answers told from present ones.

An answer carries an id and a length but no number of its question, so an answer that comes after its deadline could be
taken for the answer to the next question. Therefore every question that failed is followed by one that asks for a
different number of bytes: sizes are multiples of four plus a tag that counts failures modulo four.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from drivers import feetech_packets as packets
from drivers.errors import Corrupt, DriverError, ProtocolError, Timeout
from drivers.serial_port import SerialPort

_TAGS = 4
_LINGER_NS = 3_000_000
"""How long a second servo with the same id may take to answer a ping."""


class Question:
    """The same part of the tables of one or several servos: packets made once, and where the answers lie."""

    def __init__(self, ids: Sequence[int], address: int, size: int) -> None:
        """`size` bytes from `address`, a multiple of four."""
        if size % _TAGS:
            raise ValueError(f"a question's size must be a multiple of {_TAGS}, not {size}")
        self.ids = tuple(ids)
        self.size = size
        self.place = {id: index for index, id in enumerate(self.ids)}
        self.blank = (-1,) * len(self.ids)
        self.at = list(self.blank)
        """Where in `Line.received` each servo's bytes begin, in the order of `ids`; -1: it has not answered."""
        self.requests = tuple(_request(self.ids, address, size + tag) for tag in range(_TAGS))


def _request(ids: tuple[int, ...], address: int, size: int) -> bytes:
    return packets.read(ids[0], address, size) if len(ids) == 1 else packets.sync_read(ids, address, size)


class Line:
    """One port and the servos on it. Calls raise only `DriverError`s, which name the joints that did not answer."""

    def __init__(self, owner: str, path: str, baud: int, names: Mapping[int, str]) -> None:
        self._label = f"{owner} on {path}"
        self._names = names
        self._port = SerialPort(owner, path, baud)
        self.received = bytearray(4096)
        self._view = memoryview(self.received)
        self._pings = {id: Question([id], 0, 0) for id in names}
        self._tag = 0

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    def open(self) -> None:
        self._port.open()

    def close(self) -> None:
        self._port.close()

    def tell(self, packet: bytes | bytearray, deadline_ns: int) -> None:
        """Send what nobody answers."""
        self._port.write(packet, deadline_ns)

    def ask(self, question: Question, deadline_ns: int) -> None:
        """Send a question and wait until every servo has answered; `question.at` then says where."""
        tag = self._tag
        try:
            self._port.discard_input(self._view)
            self._port.write(question.requests[tag], deadline_ns)
            self._gather(question, question.size + tag, deadline_ns)
        except DriverError:
            self._tag = (tag + 1) % _TAGS
            raise

    def ping(self, id: int, deadline_ns: int) -> None:
        """Ping one servo; `ProtocolError` if two answer."""
        self._port.discard_input(self._view)
        self._port.write(packets.ping(id), deadline_ns)
        size = self._gather(self._pings[id], 0, deadline_ns)
        linger_ns = min(deadline_ns, time.monotonic_ns() + _LINGER_NS)
        if size > packets.OVERHEAD or self._port.read_into(self._view, linger_ns):
            raise ProtocolError(
                f"{self._label}: two answers to one ping of {self._who([id])}: "
                f"two motors have this id (give one another id), or the adapter echoes what is sent"
            )

    def _gather(self, question: Question, size: int, deadline_ns: int) -> int:
        """Receive until every servo has answered with `size` bytes: how many bytes came in all."""
        at, place = question.at, question.place
        wanted = packets.OVERHEAD + size
        longest = packets.OVERHEAD + (size | (_TAGS - 1))  # an answer to an earlier question is foreign, not damaged
        at[:] = question.blank
        start = end = intact = foreign = 0
        missing = len(at)
        while missing and at[-1] < 0:  # they answer in turn: nothing comes after the last one's answer
            count = self._port.read_into(self._view[end:], deadline_ns) if end < len(self._view) else 0
            if not count:
                break
            end += count
            found, start = packets.find(self.received, start, end, longest)
            while found >= 0:
                index = place.get(self.received[found + 2], -1)
                intact += start - found
                if index >= 0 and start - found == wanted:
                    missing -= at[index] < 0
                    at[index] = found + 5
                else:
                    foreign += 1
                found, start = packets.find(self.received, start, end, longest)
        if missing:
            self._complain([id for id, index in place.items() if at[index] < 0], end - intact, foreign)
        return end

    def _complain(self, ids: list[int], damaged_bytes: int, foreign: int) -> None:
        who = self._who(ids)
        if damaged_bytes:
            raise Corrupt(f"{self._label}: damaged answer from {who}: bad cable, wrong baud rate, or an id used twice")
        if foreign:
            raise ProtocolError(f"{self._label}: other answers than the one asked of {who}")
        if len(ids) == len(self._names) > 1:
            raise Timeout(f"{self._label}: none of the {len(ids)} motors answered in time")
        raise Timeout(f"{self._label}: no answer from {who}: check its power, cable and id")

    def _who(self, ids: list[int]) -> str:
        return ", ".join(f"joint '{self._names[id]}' (id {id})" for id in ids)
