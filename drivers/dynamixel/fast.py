"""The fast sync read: all servos of a line answer a question in one packet, each with its part of it."""

from __future__ import annotations

from drivers.dynamixel import packets
from drivers.servos.line import Question


class FastQuestion(Question):
    """A question whose answers come in one packet, into the same place as those of `plain`.

    Each servo sends its part once it has heard the one before it, so that one servo that is silent silences those
    behind it too, and only the plain question tells which of them are there.
    """

    def __init__(self, plain: Question) -> None:
        super().__init__(packets, plain.ids, plain.address, plain.size)
        self.data, self.errors = plain.data, plain.errors

    def longest(self) -> int:
        return self._bytes(len(self.requests) - 1)

    def expected(self, tag: int) -> int:
        return self._bytes(tag)

    def take(self, received: bytearray, start: int, end: int, tag: int) -> bool:
        if received[start + packets.ID] != packets.BROADCAST or end - start != self._bytes(tag):
            return False
        return self._keep_parts(received, self._places(start, tag), tag)

    def part(self, received: bytearray, end: int, tag: int) -> int:
        begin = received.find(packets.HEADER, 0, end)
        if begin < 0:
            return 0
        places = packets.fast_answers(received, begin, end, self.size + tag, len(self.ids))
        if not places or not self._keep_parts(received, places, tag):
            return 0
        return places[-1] + self.size + tag + 2 - begin

    def _request(self, address: int, size: int) -> bytes:
        return packets.fast_sync_read(self.ids, address, size)

    def _bytes(self, tag: int) -> int:
        """Of the whole answer."""
        return packets.FAST_DATA - 2 + len(self.ids) * (self.size + tag + packets.FAST_OVERHEAD)

    def _places(self, start: int, tag: int) -> list[int]:
        step = self.size + tag + packets.FAST_OVERHEAD
        return [start + packets.FAST_DATA + index * step for index in range(len(self.ids))]

    def _keep_parts(self, received: bytearray, places: list[int], tag: int) -> bool:
        if any(received[at - 1] != id for at, id in zip(places, self.ids, strict=False)):
            return False
        for index, at in enumerate(places):
            self._keep(index, received, at + self._lead[tag], received[at - 2])
        return True
