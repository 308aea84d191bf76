"""Questions and answers over a port made of bytes: whatever comes back, only drivers' errors come out."""

from __future__ import annotations

import contextlib
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dynamixel import packets as dynamixel_packets
from drivers.dynamixel.fast import FastQuestion
from drivers.errors import Corrupt, DriverError, ProtocolError, Timeout
from drivers.feetech import packets as feetech_packets
from drivers.servos.line import Line, Packets, Question

NAMES = {1: "pan", 2: "lift", 3: "elbow"}
IDS = tuple(NAMES)
PROTOCOLS = (feetech_packets, dynamixel_packets)
both = pytest.mark.parametrize("packets", PROTOCOLS, ids=["feetech", "dynamixel"])


class Script:
    """A port that answers every request with the same pieces, and then with silence."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.left: list[bytes] = []
        self.sent: list[bytes] = []

    def discard_input(self, view: memoryview, deadline_ns: int) -> None:
        self.left = []

    def write(self, data: bytes, deadline_ns: int) -> None:
        self.sent.append(bytes(data))
        self.left = [piece for piece in self.pieces if piece]

    def read_into(self, view: memoryview, deadline_ns: int) -> int:
        if not self.left:
            return 0
        piece, self.left[0] = self.left[0][: len(view)], self.left[0][len(view) :]
        if not self.left[0]:
            del self.left[0]
        view[: len(piece)] = piece
        return len(piece)


def line(packets: Packets, pieces: list[bytes]) -> tuple[Line, Script]:
    line, script = Line(packets, "bus arm", "/dev/x", 1_000_000, NAMES), Script(pieces)
    line._port = script  # type: ignore[assignment]
    return line, script


def answer(packets: ModuleType, id: int, tag: int = 0, fill: int = 7) -> bytes:
    data = bytes([fill]) * (4 + tag)
    whole: bytes = packets.packet(id, 0, data) if packets is feetech_packets else packets.status(id, 0, data)
    return whole


def fast(tag: int = 0, ids: tuple[int, ...] = IDS) -> list[bytes]:
    return dynamixel_packets.fast_status([(id, 0, bytes([id]) * (4 + tag)) for id in ids])


def size_asked(packets: ModuleType, request: bytes) -> int:
    return request[6] if packets is feetech_packets else request[10]


@both
def test_answers_in_any_pieces_are_found(packets: ModuleType) -> None:
    data = b"".join(answer(packets, id, fill=id) for id in IDS)
    for size in (1, 7, 10, 30):
        asked, _ = line(packets, [data[k : k + size] for k in range(0, len(data), size)])
        question = Question(packets, IDS, 56, 4)
        asked.ask(question, 0)
        assert question.data == bytes([1] * 4 + [2] * 4 + [3] * 4)


@both
def test_every_failure_changes_the_number_of_bytes_asked_for(packets: ModuleType) -> None:
    asked, script = line(packets, [])
    question = Question(packets, IDS, 56, 4)
    for _ in range(5):
        with pytest.raises(Timeout):
            asked.ask(question, 0)
    assert [size_asked(packets, request) for request in script.sent] == [4, 5, 6, 7, 4]
    script.pieces = [b"".join(answer(packets, id, tag=1) for id in IDS)]
    asked.ask(question, 0)
    asked.ask(question, 0)
    assert [size_asked(packets, request) for request in script.sent[-2:]] == [5, 5], "what was answered leaves nothing"
    asked._failed_ns -= 2_000_000_000
    script.pieces = [b"".join(answer(packets, id) for id in IDS)]
    asked.ask(question, 0)
    assert size_asked(packets, script.sent[-1]) == 4, "and later nothing is on its way any more"


@both
def test_the_tag_asks_for_bytes_before_those_that_are_wanted(packets: ModuleType) -> None:
    asked, script = line(packets, [])
    question = Question(packets, [2], 56, 4)
    with pytest.raises(Timeout):
        asked.ask(question, 0)
    data = bytes([9, 1, 2, 3, 4])
    whole = packets.packet(2, 0, data) if packets is feetech_packets else packets.status(2, 0, data)
    script.pieces = [whole]
    asked.ask(question, 0)
    assert question.requests[1] == packets.read(2, 55, 5)
    assert question.data == data[1:]


@both
@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        (lambda a: [], Timeout, r"bus arm on /dev/x: no motor answers though the port is there: is their supply on"),
        (lambda a: [a(2)], Timeout, r"no answer from joint 'pan' \(id 1\), joint 'elbow' \(id 3\): check"),
        (lambda a: [a(1), a(3)], Timeout, r"from joint 'lift' \(id 2\): check"),
        (lambda a: [a(1), a(2)[:-1] + b"\0", a(3)], Corrupt, r"damaged answer from joint 'lift' \(id 2\):"),
        (lambda a: [a(1), a(2)[:5]], Corrupt, "'lift'.*'elbow'"),
        (lambda a: [a(9)], ProtocolError, "other answers"),
        (lambda a: [a(id, tag=1) for id in IDS], ProtocolError, "other answers"),
        (lambda a: [a(1), a(2), a(3, tag=9)], Corrupt, "damaged answer from joint 'elbow'"),
    ],
)
def test_what_is_wrong_is_named(packets: ModuleType, what, error: type[DriverError], says: str) -> None:  # type: ignore[no-untyped-def]
    asked, _ = line(packets, what(lambda id, tag=0: answer(packets, id, tag)))
    with pytest.raises(error, match=says):
        asked.ask(Question(packets, IDS, 56, 4), 0)


def pieces_of(packets: ModuleType) -> st.SearchStrategy[list[bytes]]:
    answers = st.builds(answer, st.just(packets), st.integers(0, 4), st.integers(0, 2))
    fast_parts = st.builds(lambda tag: b"".join(fast(tag)), st.integers(0, 2))
    headers = st.sampled_from([b"\xff\xff", dynamixel_packets.HEADER])
    return st.lists(st.one_of(st.binary(max_size=40), answers, fast_parts, headers), max_size=12)


@given(st.sampled_from(PROTOCOLS).flatmap(lambda p: st.tuples(st.just(p), pieces_of(p))))
def test_whatever_comes_back_is_an_answer_or_a_drivers_error(given: tuple[ModuleType, list[bytes]]) -> None:
    packets, pieces = given
    asked, _ = line(packets, pieces)
    question = Question(packets, IDS, 56, 4)
    with contextlib.suppress(DriverError):
        asked.ask(question, 0)
        assert question.data == bytes([7] * 12)
    with contextlib.suppress(DriverError):
        asked.ping(2, 0)
    if packets is dynamixel_packets:
        with contextlib.suppress(DriverError):
            asked.ask(FastQuestion(question), 0)
            assert question.data == bytes([1] * 4 + [2] * 4 + [3] * 4)


@both
def test_a_flood_ends(packets: ModuleType) -> None:
    asked, _ = line(packets, [b"\xff\xff\x01" * 5000])
    with pytest.raises(Corrupt):
        asked.ask(Question(packets, IDS, 56, 4), 0)


def test_a_question_that_cannot_be_tagged_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        Question(feetech_packets, IDS, 56, 6)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_fast_answer_in_any_pieces(size: int) -> None:
    data = b"".join(fast())
    asked, _ = line(dynamixel_packets, [data[k : k + size] for k in range(0, len(data), size)])
    plain = Question(dynamixel_packets, IDS, 56, 4)
    asked.ask(FastQuestion(plain), 0)
    assert plain.data == bytes([1] * 4 + [2] * 4 + [3] * 4)


@pytest.mark.parametrize(
    ("pieces", "error", "says"),
    [
        (fast()[:1], Timeout, r"no answer from joint 'lift' \(id 2\), joint 'elbow' \(id 3\): check"),
        ([*fast()[:2], b"\0\3\3"], Corrupt, r"damaged answer from joint 'elbow' \(id 3\):"),
        ([fast()[0], b"\0" * 10, fast()[2]], Corrupt, r"damaged answer from joint 'lift'"),
        (fast(tag=1), ProtocolError, "other answers"),
        (fast(ids=(1, 3, 2)), ProtocolError, "other answers"),
        ([answer(dynamixel_packets, id) for id in IDS], ProtocolError, "other answers"),
    ],
)
def test_what_is_wrong_with_a_fast_answer(pieces: list[bytes], error: type[DriverError], says: str) -> None:
    asked, _ = line(dynamixel_packets, pieces)
    with pytest.raises(error, match=says):
        asked.ask(FastQuestion(Question(dynamixel_packets, IDS, 56, 4)), 0)
