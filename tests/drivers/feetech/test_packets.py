"""Packets against the examples in Feetech's protocol manual, and a parser that no bytes can upset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.feetech import packets
from tests.drivers import packet_streams

MOVE = bytes.fromhex("00 08 00 00 e8 03")
"""Position 2048, time 0, speed 1000: the manual's running example."""


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("made", "manual"),
    [
        (packets.ping(1), "ff ff 01 02 01 fb"),  # example 1
        (packets.read(1, 0x38, 2), "ff ff 01 04 02 38 02 be"),  # example 2
        (packets.write(packets.BROADCAST, 5, b"\x01"), "ff ff fe 04 03 05 01 f4"),  # example 3
        (packets.write(1, 0x2A, MOVE), "ff ff 01 09 03 2a 00 08 00 00 e8 03 d5"),  # example 4
        (packets.packet(10, packets.REG_WRITE, b"\x2a" + MOVE), "ff ff 0a 09 04 2a 00 08 00 00 e8 03 cb"),  # example 5
        (packets.packet(packets.BROADCAST, packets.ACTION), "ff ff fe 02 05 fa"),  # example 6
        (
            packets.sync_write(dict.fromkeys((1, 2, 3, 4), MOVE), 0x2A, 6),  # example 7
            "ff ff fe 20 83 2a 06 01 00 08 00 00 e8 03 02 00 08 00 00 e8 03"
            "03 00 08 00 00 e8 03 04 00 08 00 00 e8 03 58",
        ),
        (packets.sync_read((1, 2), 0x38, 8), "ff ff fe 06 82 38 08 01 02 36"),  # example 8
        (packets.packet(1, 0), "ff ff 01 02 00 fc"),  # the answer to example 1
        (packets.packet(1, 0, hexed("18 05")), "ff ff 01 04 00 18 05 dd"),  # the answer to example 2
        (packets.packet(1, 0, hexed("00 08 00 00 00 00 79 1e")), "ff ff 01 0a 00 00 08 00 00 00 00 79 1e 55"),
    ],
)
def test_packets_equal_the_manual(made: bytes, manual: str) -> None:
    assert made == hexed(manual)


def test_a_packet_that_is_too_long_is_refused() -> None:
    assert len(packets.packet(1, 0, bytes(244))) == packets.MAX_PACKET
    with pytest.raises(ValueError, match="at most 244"):
        packets.packet(1, 0, bytes(245))


def found(data: bytes, longest: int = packets.MAX_PACKET) -> list[bytes]:
    return packet_streams.found(packets, data, longest)


def test_the_answers_of_the_manuals_sync_read_come_apart() -> None:
    first, second = "ff ff 01 0a 00 00 08 00 00 00 00 79 1e 55", "ff ff 02 0a 00 ff 07 00 00 00 00 77 23 53"
    assert found(hexed(first + second)) == [hexed(first), hexed(second)]


bodies = st.tuples(st.integers(0, packets.MAX_ID), st.integers(0, 0x7F), st.binary(max_size=20))
answers = st.builds(lambda b: packets.packet(*b), bodies)


@given(st.lists(answers, max_size=6), st.lists(st.integers(1, 30), min_size=1))
def test_a_stream_yields_its_packets_however_it_is_cut(stream: list[bytes], cuts: list[int]) -> None:
    assert packet_streams.found_in_pieces(packets, b"".join(stream), cuts) == stream


@given(st.binary(max_size=400), st.integers(6, 250))
def test_no_bytes_upset_the_parser(data: bytes, longest: int) -> None:
    at, end = packets.find(data, 0, len(data), longest)
    assert 0 <= end <= len(data)
    if at >= 0:
        assert data[at : at + 2] == b"\xff\xff"
        assert 6 <= end - at <= longest
        assert packets.checksum(data, at + 2, end - 1) == data[end - 1]
    else:
        assert len(data) - end < longest  # what is kept can still become a packet


# Packets of one size, without 0xFF inside: where a packet begins is then certain, as it nearly always is on a line.
plain = st.builds(
    lambda id, data: packets.packet(id, 0, data),
    st.integers(0, packets.MAX_ID),
    st.binary(min_size=4, max_size=4).map(lambda d: d.replace(b"\xff", b"\xfe")),
)
SIZE = packets.OVERHEAD + 4


@given(st.binary(max_size=60), plain, plain)
def test_after_garbage_at_most_one_packet_is_lost(garbage: bytes, first: bytes, second: bytes) -> None:
    assert found(garbage + first + second, SIZE)[-1] == second


@given(st.lists(plain, min_size=3, max_size=6), st.data())
def test_one_damaged_byte_costs_at_most_two_packets(stream: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, SIZE * len(stream) - 1))
    damaged = bytearray(b"".join(stream))
    damaged[at] ^= data.draw(st.integers(1, 255))
    rest = found(bytes(damaged), SIZE)
    index = at // SIZE
    assert rest[:index] == stream[:index]
    assert rest[len(rest) - max(0, len(stream) - index - 2) :] == stream[index + 2 :]


@given(st.lists(plain, min_size=2, max_size=6), st.data())
def test_a_truncated_packet_costs_at_most_the_next(stream: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(stream) - 1))
    short = stream[index][: data.draw(st.integers(0, SIZE - 1))]
    rest = found(b"".join([*stream[:index], short, *stream[index + 1 :]]), SIZE)
    assert rest[:index] == stream[:index]
    assert rest[len(rest) - max(0, len(stream) - index - 2) :] == stream[index + 2 :]
