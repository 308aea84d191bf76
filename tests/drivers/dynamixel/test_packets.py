"""Packets against the examples in ROBOTIS' protocol manual, and a parser that no bytes can upset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dynamixel import packets
from tests.drivers import packet_streams


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("made", "manual"),
    [
        (packets.ping(1), "ff ff fd 00 01 03 00 01 19 4e"),
        (packets.ping(packets.BROADCAST), "ff ff fd 00 fe 03 00 01 31 42"),
        (packets.status(1, 0, hexed("06 04 26")), "ff ff fd 00 01 07 00 55 00 06 04 26 65 5d"),
        (packets.status(2, 0, hexed("06 04 26")), "ff ff fd 00 02 07 00 55 00 06 04 26 6f 6d"),
        (packets.read(1, 132, 4), "ff ff fd 00 01 07 00 02 84 00 04 00 1d 15"),
        (packets.status(1, 0, hexed("a6 00 00 00")), "ff ff fd 00 01 08 00 55 00 a6 00 00 00 8c c0"),
        (packets.write(1, 116, hexed("00 02 00 00")), "ff ff fd 00 01 09 00 03 74 00 00 02 00 00 ca 89"),
        (packets.status(1, 0), "ff ff fd 00 01 04 00 55 00 a1 0c"),
        (packets.reg_write(1, 104, hexed("c8 00 00 00")), "ff ff fd 00 01 09 00 04 68 00 c8 00 00 00 ae 8e"),
        (packets.action(1), "ff ff fd 00 01 03 00 05 02 ce"),
        (packets.sync_read((1, 2), 132, 4), "ff ff fd 00 fe 09 00 82 84 00 04 00 01 02 ce fa"),
        (
            packets.sync_write({1: hexed("96 00 00 00"), 2: hexed("aa 00 00 00")}, 116, 4),
            "ff ff fd 00 fe 11 00 83 74 00 04 00 01 96 00 00 00 02 aa 00 00 00 82 87",
        ),
    ],
)
def test_packets_equal_the_manual(made: bytes, manual: str) -> None:
    assert made == hexed(manual)


def test_a_header_in_the_data_is_stuffed_and_comes_back() -> None:
    sent = packets.write(1, 0x0102, hexed("ff ff fd ff ff fd fd 00"))
    assert sent[7:-2] == hexed("03 02 01 ff ff fd fd ff ff fd fd fd 00")
    assert int.from_bytes(sent[5:7], "little") == len(sent) - 7
    received = bytearray(sent)
    end = packets.unstuff(received, 7, len(received) - 2)
    assert received[7:end] == hexed("03 02 01 ff ff fd ff ff fd fd 00")


@given(st.binary(max_size=40).map(lambda d: d.replace(b"\x01", b"\xff").replace(b"\x02", b"\xfd")))
def test_stuffed_packets_hold_no_second_header(data: bytes) -> None:
    sent = packets.packet(7, packets.WRITE, data + b"\xff\xff\xfd\x00")
    assert sent.find(packets.HEADER, 1, len(sent) - 2) < 0
    received = bytearray(sent)
    assert received[8 : packets.unstuff(received, 7, len(received) - 2)] == data + b"\xff\xff\xfd\x00"


def test_a_packet_that_is_too_long_is_refused() -> None:
    assert len(packets.packet(1, 0, bytes(1014))) == packets.MAX_PACKET
    with pytest.raises(ValueError, match="at most 1014"):
        packets.packet(1, 0, bytes(1015))


@pytest.mark.parametrize(
    ("error", "words"),
    [(0, ""), (4, "value out of range"), (0x80, "hardware error"), (0x87, f"{packets.ERRORS[7]}, hardware error")],
)
def test_errors_are_words(error: int, words: str) -> None:
    assert packets.errors(error) == words


def found(data: bytes, longest: int = packets.MAX_PACKET) -> list[bytes]:
    return packet_streams.found(packets, data, longest)


def test_a_packet_longer_than_any_that_is_awaited_is_damaged() -> None:
    answer = packets.status(1, 0, bytes(4))
    assert found(answer, 15) == [answer]
    assert packets.find(answer, 0, len(answer), 14) == (-1, 15)
    assert packets.find(answer, 0, 7, 14) == (-1, 7), "as soon as its length is known"


bodies = st.tuples(st.integers(0, packets.MAX_ID), st.integers(0, 0xFF), st.binary(max_size=20))
sent = st.builds(lambda b: packets.packet(*b), bodies)


@given(st.lists(sent, max_size=6), st.lists(st.integers(1, 30), min_size=1))
def test_a_stream_yields_its_packets_however_it_is_cut(stream: list[bytes], cuts: list[int]) -> None:
    assert packet_streams.found_in_pieces(packets, b"".join(stream), cuts) == stream


# Bytes that often look like headers, ids and lengths.
spiky = st.lists(st.sampled_from([0xFF, 0xFD, 0x00, 0xFE, 0x01, 0x03, 0x0B]), max_size=80).map(bytes)


@given(st.binary(max_size=400) | spiky, st.integers(11, 1024))
def test_no_bytes_upset_the_parser(data: bytes, longest: int) -> None:
    at, end = packets.find(data, 0, len(data), longest)
    assert 0 <= end <= len(data)
    if at >= 0:
        assert data[at : at + 4] == packets.HEADER
        assert packets.OVERHEAD <= end - at <= longest
        assert packets.crc(data, at, end - 2) == int.from_bytes(data[end - 2 : end], "little")
    else:
        assert len(data) - end < longest  # what is kept can still become a packet
    assert packets.unstuff(bytearray(data), 0, len(data)) <= len(data)
    packets.fast_answers(data, 0, len(data), longest, 6)


# Without 0xFF in the data, where a packet begins is certain even when a byte of it is damaged.
plain = st.builds(
    lambda id, data: packets.status(id, 0, data.replace(b"\xff", b"\xfe")),
    st.integers(0, packets.MAX_ID),
    st.binary(max_size=8),
)


@given(st.binary(max_size=60).map(lambda d: d.replace(packets.HEADER, b"")), st.lists(sent, min_size=1, max_size=3))
def test_no_garbage_costs_a_packet(garbage: bytes, stream: list[bytes]) -> None:
    assert found(garbage + b"".join(stream))[-len(stream) :] == stream


@given(st.lists(plain, min_size=1, max_size=6), st.data())
def test_one_damaged_byte_costs_one_packet(stream: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(stream) - 1))
    damaged = bytearray(stream[index])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    rest = found(b"".join([*stream[:index], bytes(damaged), *stream[index + 1 :]]))
    assert rest == [*stream[:index], *stream[index + 1 :]]


@given(st.lists(sent, min_size=1, max_size=6), st.data())
def test_a_truncated_packet_costs_none_but_itself(stream: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(stream) - 1))
    short = stream[index][: data.draw(st.integers(0, len(stream[index]) - 1))]
    rest = found(b"".join([*stream[:index], short, *stream[index + 1 :]]))
    assert rest == [*stream[:index], *stream[index + 1 :]]


parts = st.integers(0, 12).flatmap(
    lambda size: st.lists(
        st.tuples(st.integers(0, packets.MAX_ID), st.integers(0, 0xFF), st.binary(min_size=size, max_size=size)),
        min_size=1,
        max_size=6,
    )
)


@given(parts, st.data())
def test_fast_answers_are_taken_apart_as_far_as_they_came_whole(
    said: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    pieces, size = packets.fast_status(said), len(said[0][2])
    whole = b"".join(pieces)
    assert packets.find(whole, 0, len(whole)) == (0, len(whole))
    assert [len(piece) for piece in pieces] == [size + 12] + [size + 4] * (len(said) - 1)
    at = packets.fast_answers(whole, 0, len(whole), size, len(said))
    assert [(whole[a - 1], whole[a - 2], whole[a : a + size]) for a in at] == said
    cut = data.draw(st.integers(0, len(whole) - 1))
    ends = [sum(map(len, pieces[: k + 1])) for k in range(len(pieces))]
    assert packets.fast_answers(whole, 0, cut, size, len(said)) == at[: sum(end <= cut for end in ends)]
    damaged = bytearray(whole)
    damaged[cut] ^= data.draw(st.integers(1, 255))
    assert packets.fast_answers(damaged, 0, len(whole), size, len(said)) == at[: sum(end <= cut for end in ends)]
