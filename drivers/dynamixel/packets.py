"""Packets of the Dynamixel protocol 2.0, byte for byte, for both ends of the wire. Nothing here does input or output.

Source: ROBOTIS e-manual, "DYNAMIXEL Protocol 2.0" (emanual.robotis.com/docs/en/dxl/protocol2). Every packet is

    FF FF FD 00 | id | length | instruction | parameters | CRC

where length and CRC have two bytes, the low one first, `length` counts what follows it, and the CRC covers all before
it. In instruction and parameters FF FF FD is sent as FF FF FD FD, so that a header stands nowhere but at a beginning.
An answer's instruction is STATUS, and its first parameter is the error byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PING, READ, WRITE, REG_WRITE, ACTION, REBOOT = 0x01, 0x02, 0x03, 0x04, 0x05, 0x08
STATUS = 0x55
SYNC_READ, SYNC_WRITE, FAST_SYNC_READ, BULK_READ = 0x82, 0x83, 0x8A, 0x92
BROADCAST = 0xFE
"""Every servo; also the id of the one answer to a fast sync read."""
MAX_ID = 0xFC
MAX_PACKET = 1024
"""Longest packet in bytes (DynamixelSDK, TXPACKET_MAX_LEN)."""
HEADER = b"\xff\xff\xfd\x00"
OVERHEAD = 10
"""Bytes of an instruction packet without parameters."""
ANSWER_OVERHEAD = 11
"""Bytes of an answer without parameters: it has an error byte."""
ID, DATA = 4, 9
"""Where an answer's id stands and where its data begin, counted from its header; its error byte stands before them."""
CHECK_SIZE = 2
"""Bytes at a packet's end that check the rest."""
PING_SIZE = 3
"""Bytes of data in the answer to a ping."""
FAST_DATA = 10
"""Where the first servo's data begins in the answer to a fast sync read; its error byte and id stand before it."""
FAST_OVERHEAD = 4
"""Bytes that each servo adds to its data there: error byte, id, CRC."""

ALERT = 0x80
"""Bit of the error byte: the servo's register HARDWARE_ERROR says what is wrong with it."""
ERRORS = {
    1: "could not do it",
    2: "unknown instruction",
    3: "received a damaged packet",
    4: "value out of range",
    5: "wrong number of bytes",
    6: "value beyond a limit",
    7: "address is read-only, absent, or locked while torque is on",
}
"""The error byte's low seven bits."""

Data = bytes | bytearray

_TRUE_HEADER, _STUFFED = b"\xff\xff\xfd", b"\xff\xff\xfd\xfd"


def _row(value: int) -> int:
    """CRC of one byte, with the polynomial 0x8005."""
    value <<= 8
    for _ in range(8):
        value = value << 1 ^ (0x8005 if value & 0x8000 else 0)
    return value & 0xFFFF


_CRC = tuple(_row(value) for value in range(256))


def crc(data: Data, start: int, end: int, so_far: int = 0) -> int:
    """CRC-16 of data[start:end] (x^16 + x^15 + x^2 + 1, from zero), continued from `so_far`."""
    table, value = _CRC, so_far
    for byte in data[start:end]:
        value = (value << 8 & 0xFF00) ^ table[value >> 8 ^ byte]
    return value


def packet(id: int, code: int, parameters: Data = b"") -> bytes:
    """A whole packet, stuffed. `ValueError` if it is too long."""
    body = (bytes((code,)) + parameters).replace(_TRUE_HEADER, _STUFFED)
    if len(body) + OVERHEAD - 1 > MAX_PACKET:
        raise ValueError(f"a packet holds at most {MAX_PACKET - OVERHEAD} bytes of parameters, not {len(parameters)}")
    whole = HEADER + bytes((id,)) + (len(body) + 2).to_bytes(2, "little") + body
    return whole + crc(whole, 0, len(whole)).to_bytes(2, "little")


def status(id: int, error: int, parameters: Data = b"") -> bytes:
    """An answer."""
    return packet(id, STATUS, bytes((error,)) + parameters)


def fast_status(parts: Sequence[tuple[int, int, Data]]) -> list[bytes]:
    """The one answer to a fast sync read, cut into what each servo sends: parts are (id, error, data of equal size).

    The first servo sends the header with the length of all; each adds its error byte, id, data and the CRC of the
    whole answer so far. This answer is not stuffed, since the first servo cannot know what the others will add.
    """
    length = 1 + sum(FAST_OVERHEAD + len(data) for _, _, data in parts)
    sent, pieces = HEADER + bytes((BROADCAST,)) + length.to_bytes(2, "little") + bytes((STATUS,)), []
    begin = 0
    for id, error, data in parts:
        sent += bytes((error, id)) + data
        sent += crc(sent, 0, len(sent)).to_bytes(2, "little")
        pieces.append(sent[begin:])
        begin = len(sent)
    return pieces


def ping(id: int) -> bytes:
    """Ask one servo, or all, for model number (two bytes) and firmware version (one)."""
    return packet(id, PING)


def read(id: int, address: int, size: int) -> bytes:
    """Ask one servo for `size` bytes of its table."""
    return packet(id, READ, _words(address, size))


def write(id: int, address: int, data: Data) -> bytes:
    """Write bytes into one servo's table; it answers with its error byte. Nobody answers a broadcast."""
    return packet(id, WRITE, _words(address) + data)


def reg_write(id: int, address: int, data: Data) -> bytes:
    """As `write`, but the servo waits for `action` before it does it."""
    return packet(id, REG_WRITE, _words(address) + data)


def action(id: int) -> bytes:
    """Do what `reg_write` has left to do."""
    return packet(id, ACTION)


def sync_read(ids: Sequence[int], address: int, size: int) -> bytes:
    """Ask several servos for the same part of their tables; they answer one after another in the order of `ids`."""
    return packet(BROADCAST, SYNC_READ, _words(address, size) + bytes(ids))


def fast_sync_read(ids: Sequence[int], address: int, size: int) -> bytes:
    """As `sync_read`, but all answers are one packet (see `fast_answers`)."""
    return packet(BROADCAST, FAST_SYNC_READ, _words(address, size) + bytes(ids))


def sync_write(rows: Mapping[int, Data], address: int, size: int) -> bytes:
    """Write `size` bytes into each servo's table, {id: data}, in one packet that nobody answers."""
    return packet(BROADCAST, SYNC_WRITE, _words(address, size) + b"".join(bytes((i,)) + d for i, d in rows.items()))


def seal(packet: bytearray) -> None:
    """Make the CRC of a packet right that was changed in place; what was put in must need no stuffing."""
    value = crc(packet, 0, len(packet) - 2)
    packet[-2], packet[-1] = value & 0xFF, value >> 8


def shortest_answer(size: int) -> int:
    """Fewest bytes that an answer with `size` bytes of data takes: without any stuffing."""
    return ANSWER_OVERHEAD + size


def longest_answer(size: int) -> int:
    """Most bytes that an answer with `size` bytes of data takes, all the stuffing there can be included."""
    return ANSWER_OVERHEAD + size + size // 3 + 1


def answer_size(data: bytearray, start: int, end: int) -> int:
    """Bytes of data in the answer data[start:end], without the stuffing, which is taken out; -1: it is no answer."""
    if data[start + DATA - 2] != STATUS:
        return -1
    return unstuff(data, start + DATA - 2, end - 2) - start - DATA


def find(data: Data, start: int, end: int, longest: int = MAX_PACKET) -> tuple[int, int]:
    """Find the next intact packet in data[start:end]: (where it begins, where the next search begins).

    (-1, resume) if there is none: what lies before `resume` is not part of any packet, and from there on one may have
    begun. A packet that claims more than `longest` bytes in all is damaged, and so is one into which another's header
    has run; the answer to a fast sync read alone may hold a header, as it is not stuffed. The search goes on behind a
    damaged packet's header, so that no other packet is lost with it.
    """
    at = start
    while True:
        at = data.find(HEADER, at, end)
        if at < 0:
            return -1, _resume(data, start, end)
        if at + 7 > end:
            return -1, at
        id, stop = data[at + 4], at + 7 + data[at + 5] + (data[at + 6] << 8)
        if (id <= MAX_ID or id == BROADCAST) and OVERHEAD <= stop - at <= longest:
            if stop <= end:
                if crc(data, at, stop - 2) == data[stop - 2] + (data[stop - 1] << 8):
                    return at, stop
            elif id == BROADCAST or data.find(HEADER, at + 1, end) < 0:
                return -1, at
        at += 1


def _resume(data: Data, start: int, end: int) -> int:
    """Where a header may have begun at the end of data[start:end], which holds none."""
    for size in (3, 2, 1):
        if end - size >= start and data[end - size : end] == HEADER[:size]:
            return end - size
    return end


def fast_answers(data: Data, begin: int, end: int, size: int, count: int) -> list[int]:
    """Where the data of each servo begins in the answer to a fast sync read, as far as it has come and is intact.

    The answer begins at `begin`, and each of `count` servos was asked for `size` bytes. Before a servo's data stand
    its error byte and its id. Every servo's CRC covers all that came before it, so the first damaged one is the last.
    """
    found: list[int] = []
    value, checked = 0, begin
    for index in range(count):
        at = begin + FAST_DATA + index * (size + FAST_OVERHEAD)
        stop = at + size
        value = crc(data, checked, stop, value)
        if stop + 2 > end or value != data[stop] + (data[stop + 1] << 8):
            break
        checked = stop
        found.append(at)
    return found


def unstuff(data: bytearray, start: int, end: int) -> int:
    """Take the stuffing out of data[start:end], where a packet's instruction and parameters lie: their new end."""
    if data.find(_STUFFED, start, end) < 0:
        return end
    plain = data[start:end].replace(_STUFFED, _TRUE_HEADER)
    data[start : start + len(plain)] = plain
    return start + len(plain)


def errors(error: int) -> str:
    """What an error byte says, for a message; empty if it says nothing."""
    number = error & ~ALERT
    words = [ERRORS.get(number, f"error {number}")] if number else []
    return ", ".join([*words, "hardware error"] if error & ALERT else words)


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "little") for value in values)
