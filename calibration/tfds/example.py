"""tf.train.Example from its protobuf bytes: a name for each feature, its values decoded only when asked for.

    Example   { Features features = 1 }
    Features  { map<string, Feature> feature = 1 }        an entry is a message { string key = 1; Feature value = 2 }
    Feature   { BytesList = 1 | FloatList = 2 | Int64List = 3 }
    BytesList { repeated bytes value = 1 }      FloatList { repeated float value = 1 [packed] }

(tensorflow/core/example/{example,feature}.proto; wire format: protobuf.dev/programming-guides/encoding.) Fields with
other numbers are skipped, as protobuf demands; anything else that is not as above raises `WireError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_KINDS = {1: "bytes", 2: "floats", 3: "integers"}


class WireError(ValueError):
    """Bytes that are no tf.train.Example; the message says what and where."""


@dataclass(frozen=True)
class Feature:
    """One feature: what kind of values it has, and the bytes of its list. `at` is where they begin in the record."""

    name: str
    kind: str
    payload: memoryview
    at: int

    def bytes_values(self) -> list[bytes]:
        """Values of a bytes feature."""
        self._expect("bytes")
        return [bytes(value) for _, value in _messages(self.payload, self.at, 1, "a value")]

    def float_values(self) -> NDArray[np.float32]:
        """Values of a float feature, in order."""
        self._expect("floats")
        parts = []
        for number, wire, at, value in _fields(self.payload, self.at):
            if number != 1:
                continue
            if wire not in (_BYTES, _FIXED32) or len(value) % 4:
                raise WireError(f"{self.name!r}: no float32 values at byte {at} (wire type {wire}, {len(value)} bytes)")
            parts.append(np.frombuffer(value, "<f4"))
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _expect(self, kind: str) -> None:
        if self.kind != kind:
            raise WireError(f"{self.name!r}: holds {self.kind}, {kind} are expected")


def parse_example(data: bytes) -> dict[str, Feature]:
    """Every feature of a serialized tf.train.Example, by name."""
    features: dict[str, Feature] = {}
    for features_at, message in _messages(memoryview(data), 0, 1, "features"):
        for entry_at, entry in _messages(message, features_at, 1, "an entry"):
            name, feature = _entry(entry, entry_at)
            if name in features:
                raise WireError(f"{name!r} is there twice, again at byte {entry_at}")
            features[name] = feature
    return features


def _entry(entry: memoryview, at: int) -> tuple[str, Feature]:
    keys = list(_messages(entry, at, 1, "a key"))
    values = list(_messages(entry, at, 2, "a feature"))
    if len(keys) != 1 or len(values) != 1:
        raise WireError(f"an entry with {len(keys)} keys and {len(values)} values at byte {at}")
    try:
        name = bytes(keys[0][1]).decode()
    except UnicodeDecodeError as error:
        raise WireError(f"a feature's name that is not UTF-8 at byte {keys[0][0]}") from error
    lists = [field for field in _fields(values[0][1], values[0][0]) if field[0] in _KINDS]
    if len(lists) != 1 or lists[0][1] != _BYTES:
        raise WireError(f"{name!r} has not one list of values but {len(lists)} at byte {values[0][0]}")
    number, _, list_at, payload = lists[0]
    return name, Feature(name, _KINDS[number], payload, list_at)


def _messages(view: memoryview, at: int, number: int, what: str) -> Iterator[tuple[int, memoryview]]:
    """(place, bytes) of each length-delimited field `number` of a message that begins at byte `at` of the record."""
    for have, wire, field_at, value in _fields(view, at):
        if have == number:
            if wire != _BYTES:
                raise WireError(f"{what} of wire type {wire} at byte {field_at}")
            yield field_at, value


def _fields(view: memoryview, at: int) -> Iterator[tuple[int, int, int, memoryview]]:
    """(number, wire type, place, value bytes) of every field of a message."""
    position = 0
    while position < len(view):
        start = position
        tag, position = _varint(view, position, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise WireError(f"field number 0 at byte {at + start}")
        if wire == _VARINT:
            begin = position
            _, position = _varint(view, position, at)
        elif wire == _BYTES:
            size, begin = _varint(view, position, at)
            position = begin + size
        elif wire in _FIXED_SIZES:
            begin = position
            position = begin + _FIXED_SIZES[wire]
        else:
            raise WireError(f"wire type {wire} at byte {at + start}")
        if position > len(view):
            raise WireError(f"a field of {position - begin} bytes at byte {at + start}, {len(view) - begin} left")
        yield number, wire, at + begin, view[begin:position]


def _varint(view: memoryview, position: int, at: int) -> tuple[int, int]:
    """(value, position behind it): seven bits a byte, lowest first, at most 64."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise WireError(f"a number that does not end at byte {at + position}")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
    raise WireError(f"a number of more than 64 bits before byte {at + position}")
