"""Just enough of the protocol buffers' wire format (protobuf.dev/programming-guides/encoding) to read a message."""

from __future__ import annotations

import struct

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types: the low three bits of a field's key. Groups (3 and 4) are long given up."""


class Message:
    """The fields of `data` by number. Of a number told twice the last counts; an unknown field does no harm.

    `ValueError` where `data` is no message.
    """

    def __init__(self, data: bytes) -> None:
        self.numbers: dict[int, int] = {}
        self.floats: dict[int, float] = {}
        self.doubles: dict[int, float] = {}
        self._parts: dict[int, list[bytes]] = {}
        at = 0
        while at < len(data):
            at = self._field(data, at)

    def parts(self, field: int) -> list[bytes]:
        """Strings, bytes or messages of a field that may repeat."""
        return self._parts.get(field, [])

    def last(self, field: int) -> bytes:
        """A string or bytes of a field that does not repeat; empty where it is not there."""
        return self.parts(field)[-1] if field in self._parts else b""

    def message(self, field: int) -> Message:
        """A message told in several parts is their sum."""
        return Message(b"".join(self.parts(field)))

    def _field(self, data: bytes, at: int) -> int:
        """Read the field that begins at byte `at`; return where the next one begins."""
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == VARINT:
            self.numbers[field], at = _varint(data, at)
            return at
        size, at = _size(data, at, wire)
        end = at + size
        if end > len(data):
            raise ValueError("it is cut short")
        if wire == BYTES:
            self._parts.setdefault(field, []).append(data[at:end])
        elif wire == FIXED32:
            (self.floats[field],) = struct.unpack("<f", data[at:end])
        elif wire == FIXED64:
            (self.doubles[field],) = struct.unpack("<d", data[at:end])
        return end


def _size(data: bytes, at: int, wire: int) -> tuple[int, int]:
    """How many bytes a value has and where they begin."""
    if wire == BYTES:
        return _varint(data, at)
    if wire not in (FIXED64, FIXED32):
        raise ValueError(f"wire type {wire} at byte {at}")
    return (8 if wire == FIXED64 else 4), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first, in at most ten bytes; the value and where the next begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of more than ten bytes ends at byte {at}")
