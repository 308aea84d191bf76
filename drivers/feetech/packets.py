"""Packets of the Feetech SCS protocol, byte for byte, for both ends of the wire. Nothing here does input or output.

Source: Feetech, "SCS serial servo communication protocol" (doc.feetech.cn, FT-SCS-Protocol). Every packet is

    FF FF | id | length | instruction, or error byte in an answer | parameters | checksum

where `length` counts what follows it, and the checksum is the inverted low byte of the sum from `id` on. An answer
carries nothing that says which request it answers, except its id and its length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PING, READ, WRITE, REG_WRITE, ACTION, SYNC_READ, SYNC_WRITE = 0x01, 0x02, 0x03, 0x04, 0x05, 0x82, 0x83
BROADCAST = 0xFE
MAX_ID = 0xFD
MAX_PACKET = 250
"""Longest packet in bytes (SCServo SDK, TXPACKET_MAX_LEN)."""
OVERHEAD = 6
"""Bytes of a packet without parameters."""
ID, DATA = 2, 5
"""Where an answer's id stands and where its data begin, counted from its header; its error byte stands before them."""
CHECK_SIZE = 1
"""Bytes at a packet's end that check the rest."""
PING_SIZE = 0
"""Bytes of data in the answer to a ping."""

Data = bytes | bytearray


def checksum(packet: Data, start: int, end: int) -> int:
    """Inverted low byte of the sum of packet[start:end], which begins at the id and ends before the checksum."""
    return ~sum(packet[start:end]) & 0xFF


def packet(id: int, code: int, parameters: Data = b"") -> bytes:
    """A whole packet: `code` is the instruction, or the error byte of an answer. `ValueError` if it is too long."""
    if len(parameters) + OVERHEAD > MAX_PACKET:
        raise ValueError(f"a packet holds at most {MAX_PACKET - OVERHEAD} bytes of parameters, not {len(parameters)}")
    body = bytes((id, len(parameters) + 2, code)) + parameters
    return b"\xff\xff" + body + bytes((checksum(body, 0, len(body)),))


def ping(id: int) -> bytes:
    """Ask one servo for its error byte."""
    return packet(id, PING)


def read(id: int, address: int, size: int) -> bytes:
    """Ask one servo for `size` bytes of its table."""
    return packet(id, READ, bytes((address, size)))


def write(id: int, address: int, data: Data) -> bytes:
    """Write bytes into one servo's table; it answers with its error byte. Nobody answers a broadcast."""
    return packet(id, WRITE, bytes((address,)) + data)


def sync_read(ids: Sequence[int], address: int, size: int) -> bytes:
    """Ask several servos for the same part of their tables; they answer one after another in the order of `ids`."""
    return packet(BROADCAST, SYNC_READ, bytes((address, size, *ids)))


def sync_write(rows: Mapping[int, Data], address: int, size: int) -> bytes:
    """Write `size` bytes into each servo's table, {id: data}, in one packet that nobody answers."""
    return packet(BROADCAST, SYNC_WRITE, bytes((address, size)) + b"".join(bytes((id,)) + d for id, d in rows.items()))


def seal(packet: bytearray) -> None:
    """Make the checksum of a packet right that was changed in place."""
    packet[-1] = checksum(packet, 2, len(packet) - 1)


def shortest_answer(size: int) -> int:
    """Fewest bytes that an answer with `size` bytes of data takes: all that there are."""
    return OVERHEAD + size


def longest_answer(size: int) -> int:
    """Most bytes that an answer with `size` bytes of data takes."""
    return OVERHEAD + size


def answer_size(data: bytearray, start: int, end: int) -> int:  # noqa: ARG001  (the length says it all)
    """Bytes of data in the answer data[start:end]."""
    return end - start - OVERHEAD


def find(data: Data, start: int, end: int, longest: int = MAX_PACKET) -> tuple[int, int]:
    """Find the next intact packet in data[start:end]: (where it begins, where the next search begins).

    (-1, resume) if there is none: what lies before `resume` is not part of any packet, and from there on one may have
    begun. A packet that claims more than `longest` bytes in all is damaged. The search goes on one byte behind a
    damaged packet's beginning, so that at most the packet it runs into is lost with it.
    """
    at = start
    while True:
        at = data.find(b"\xff\xff", at, end)
        if at < 0:
            return -1, end - 1 if end > start and data[end - 1] == 0xFF else end
        if at + 4 > end:
            return -1, at
        stop = at + 4 + data[at + 3]
        if data[at + 2] <= BROADCAST and OVERHEAD <= stop - at <= longest:
            if stop > end:
                return -1, at
            if checksum(data, at + 2, stop - 1) == data[stop - 1]:
                return at, stop
        at += 1
