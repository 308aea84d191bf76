"""What a protocol's parser finds in a stream: `packets` is the module that has it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from types import ModuleType


def found(packets: ModuleType, data: bytes, longest: int) -> list[bytes]:
    """Every packet that `find` finds, front to back."""
    return _taken(packets, data, longest)[0]


def found_in_pieces(packets: ModuleType, data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """As `found`, where the line delivers so many bytes at a time and what is left is kept."""
    kept, result, sizes = b"", [], cycle(cuts)
    while data:
        size = next(sizes)
        more, kept = _taken(packets, kept + data[:size], packets.MAX_PACKET)
        result, data = result + more, data[size:]
    return result


def _taken(packets: ModuleType, data: bytes, longest: int) -> tuple[list[bytes], bytes]:
    """The packets, and what can still become one."""
    result, (at, end) = [], packets.find(data, 0, len(data), longest)
    while at >= 0:
        result.append(data[at:end])
        at, end = packets.find(data, end, len(data), longest)
    return result, data[end:]
