"""The last records of any size, in memory that is allocated once: one thread adds, another process copies meanwhile.

Nobody waits. Whoever adds says first how far its bytes will reach and last that the record is there; whoever copies
looks at both before and after, and drops what may have been written over in between. So a record is whole or not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_runtime.arena import Allocate, Array

RESERVED, TOTAL = 0, 1
"""In `head`: where the newest record's bytes end, counted from the first record on; records so far."""
T_NS, START, SIZE, KIND = range(4)
"""Columns of a record's row."""
SETTLE_S = 0.005
"""What one core has stored before, another sees in far less than this, also where it may see stores out of order."""

Data = bytes | bytearray | memoryview


class Journal:
    """Where one thread adds records. In memory there are `name`.head, `name`.rows and `name`.data."""

    def __init__(self, allocate: Allocate, name: str, records: int, size: int) -> None:
        """Keeps up to `records` of the last ones, and up to `size` bytes of them."""
        self._head = allocate(f"{name}.head", (2,), np.int64).data
        self._rows = allocate(f"{name}.rows", (records * 4,), np.int64).data
        self._data = allocate(f"{name}.data", (size,), np.uint8).data
        self._records = records
        self._size = size
        self._end = 0
        self._total = 0

    def add(self, t_ns: int, kind: int, data: Data) -> None:
        """Keep a record in place of the oldest; `kind` is the caller's. One greater than the journal is left out."""
        size, start = len(data), self._end
        if size > self._size:
            return
        at = start % self._size
        if at + size > self._size:  # a record lies in one piece
            start += self._size - at
            at = 0
        self._end = self._head[RESERVED] = start + size
        self._data[at : at + size] = data
        row, rows = 4 * (self._total % self._records), self._rows
        rows[row + T_NS] = t_ns
        rows[row + START] = start
        rows[row + SIZE] = size
        rows[row + KIND] = kind
        self._total += 1
        self._head[TOTAL] = self._total


@dataclass(frozen=True)
class Record:
    """One record: when, which kind, and its bytes."""

    t_ns: int
    kind: int
    data: bytes


Copy = Callable[[Array], Array]


def records(arrays: Mapping[str, Array], name: str, copy: Copy = np.copy, settle_s: float = SETTLE_S) -> list[Record]:
    """The whole records of a journal, oldest first, while another process may be adding to it."""
    head, rows, data = (arrays[f"{name}.{part}"] for part in ("head", "rows", "data"))
    total = int(head[TOTAL])
    time.sleep(settle_s)
    table, content = copy(rows).reshape(-1, 4), copy(data)
    time.sleep(settle_s)
    overwritten = int(head[TOTAL]) - len(table)  # this row and those before it
    lost = int(head[RESERVED]) - content.size  # bytes before this one
    found = []
    for number in range(max(0, overwritten + 1), total):
        t_ns, start, size, kind = table[number % len(table)].tolist()
        if start >= lost:
            at = start % content.size
            found.append(Record(t_ns, kind, content[at : at + size].tobytes()))
    return found
