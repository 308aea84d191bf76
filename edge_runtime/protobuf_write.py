"""Just enough of the protocol buffers' wire format to write a message, and the description of messages that goes along.

Sources: protobuf.dev/programming-guides/encoding, and google/protobuf/descriptor.proto for the field numbers of
descriptions. `edge_runtime.protobuf` reads messages.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.protobuf import BYTES, FIXED64, VARINT

DOUBLE, INT64, INT32, STRING, MESSAGE, DATA, UINT32, ENUM = 1, 3, 5, 9, 11, 12, 13, 14
"""Types of fields (FieldDescriptorProto.Type)."""
_OPTIONAL, _REPEATED = 1, 3


def key(number: int, wire: int) -> bytes:
    """What stands before a field's value."""
    return _varint(number << 3 | wire)


def integer(number: int, value: int) -> bytes:
    """A field of a whole number of at least 0, or of an enum."""
    return key(number, VARINT) + _varint(value)


def double(number: int, value: float) -> bytes:
    """A field of a double."""
    return key(number, FIXED64) + struct.pack("<d", value)


def data(number: int, value: bytes | str) -> bytes:
    """A field of bytes, of text, or of a message."""
    raw = value.encode() if isinstance(value, str) else value
    return key(number, BYTES) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@dataclass(frozen=True)
class Field:
    """One field of a message; `of` is the full name of the message or enum that its type needs."""

    name: str
    number: int
    type: int
    of: str = ""
    repeated: bool = False

    def describe(self) -> bytes:
        """A FieldDescriptorProto."""
        label = _REPEATED if self.repeated else _OPTIONAL
        named = data(6, f".{self.of}") if self.of else b""
        return data(1, self.name) + integer(3, self.number) + integer(4, label) + integer(5, self.type) + named


@dataclass(frozen=True)
class Enum:
    """Names of the numbers from 0."""

    name: str
    names: tuple[str, ...]

    def describe(self) -> bytes:
        """An EnumDescriptorProto."""
        values = b"".join(data(2, data(1, name) + integer(2, number)) for number, name in enumerate(self.names))
        return data(1, self.name) + values


@dataclass(frozen=True)
class Kind:
    """One kind of message, with the enums that live in it."""

    name: str
    fields: tuple[Field, ...]
    enums: tuple[Enum, ...] = ()

    def describe(self) -> bytes:
        """A DescriptorProto."""
        fields = b"".join(data(2, field.describe()) for field in self.fields)
        return data(1, self.name) + fields + b"".join(data(4, enum.describe()) for enum in self.enums)


@dataclass(frozen=True)
class File:
    """What a .proto file says."""

    name: str
    package: str
    kinds: tuple[Kind, ...]
    needs: tuple[str, ...] = ()

    def describe(self) -> bytes:
        """A FileDescriptorProto."""
        head = data(1, self.name) + data(2, self.package) + b"".join(data(3, name) for name in self.needs)
        return head + b"".join(data(4, kind.describe()) for kind in self.kinds) + data(12, "proto3")


def describe(files: Sequence[File]) -> bytes:
    """A FileDescriptorSet, files that others need first."""
    return b"".join(data(1, file.describe()) for file in files)
