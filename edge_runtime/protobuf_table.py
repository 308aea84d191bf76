"""Many messages of one kind at once, where each has the same bytes but for its figures: an array, not a loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_runtime.arena import Array
from edge_runtime.protobuf import FIXED64, VARINT
from edge_runtime.protobuf_write import DOUBLE, ENUM, Kind, key

_WIRE = {DOUBLE: (FIXED64, "<f8"), ENUM: (VARINT, "u1")}
"""Wire type and NumPy type of what has the same size in every message: an enum, too, for numbers below 128."""


class Table:
    """Messages of `kind`, whose fields are doubles and enums and are all written, also where they are 0."""

    def __init__(self, kind: Kind) -> None:
        keys, columns = dict[str, Array](), list[tuple[str, str]]()
        for field in kind.fields:
            wire, column = _WIRE[field.type]
            before = key(field.number, wire)
            keys[f"key {field.number}"] = np.frombuffer(before, f"V{len(before)}")
            columns += [(f"key {field.number}", f"V{len(before)}"), (field.name, column)]
        self.names = tuple(field.name for field in kind.fields)
        self._keys = keys
        self._row = np.dtype(columns)

    def encode(self, columns: Mapping[str, Array]) -> list[bytes]:
        """A message for each row of the columns, which all have the same length."""
        size = len(columns[self.names[0]])
        rows = np.zeros(size, self._row)
        for name, (place, before) in zip(self.names, self._keys.items(), strict=True):
            rows[place] = before
            rows[name] = columns[name]
        whole, each = rows.tobytes(), self._row.itemsize
        return [whole[at : at + each] for at in range(0, len(whole), each)]

    def encode_rows(self, values: Array) -> list[bytes]:
        """A message for each row of `values` [N, fields]."""
        return self.encode({name: values[:, index] for index, name in enumerate(self.names)})

    def decode_rows(self, messages: Sequence[bytes]) -> Array:
        """[N, fields]. Raises `ValueError` as `decode`."""
        columns = self.decode(messages)
        return np.stack([columns[name] for name in self.names], axis=1)

    def decode(self, messages: Sequence[bytes]) -> dict[str, Array]:
        """The columns of messages that `encode` has made. Raises `ValueError` for any others."""
        whole = b"".join(messages)
        if any(len(message) != self._row.itemsize for message in messages):
            raise ValueError("a message has another size than its kind")
        rows = np.frombuffer(whole, self._row)
        for place, before in self._keys.items():
            if rows[place].tobytes() != before.tobytes() * len(rows):
                raise ValueError("a message has other fields than its kind")
        return {name: rows[name] for name in self.names}
