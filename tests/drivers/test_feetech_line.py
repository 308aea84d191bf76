"""Questions and answers over a port made of bytes: whatever comes back, only drivers' errors come out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import feetech_packets as packets
from drivers.errors import Corrupt, DriverError, ProtocolError, Timeout
from drivers.feetech_line import Line, Question

NAMES = {1: "pan", 2: "lift", 3: "elbow"}
IDS = tuple(NAMES)


class Script:
    """A port that answers every request with the same pieces, and then with silence."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.left: list[bytes] = []
        self.sent: list[bytes] = []

    def discard_input(self, view: memoryview) -> None:
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


def line(pieces: list[bytes]) -> tuple[Line, Script]:
    line, script = Line("bus 'arm'", "/dev/x", 1_000_000, NAMES), Script(pieces)
    line._port = script  # type: ignore[assignment]
    return line, script


def answer(id: int, tag: int = 0, fill: int = 7) -> bytes:
    return packets.packet(id, 0, bytes([fill]) * (4 + tag))


def test_answers_in_any_pieces_are_found() -> None:
    data = b"".join(answer(id, fill=id) for id in IDS)
    for size in (1, 7, 10, 30):
        asked, _ = line([data[k : k + size] for k in range(0, len(data), size)])
        question = Question(IDS, 56, 4)
        asked.ask(question, 0)
        assert [asked.received[at] for at in question.at] == [1, 2, 3]


def test_every_failure_changes_the_number_of_bytes_asked_for() -> None:
    asked, script = line([])
    question = Question(IDS, 56, 4)
    for _ in range(5):
        with pytest.raises(Timeout):
            asked.ask(question, 0)
    assert [request[6] for request in script.sent] == [4, 5, 6, 7, 4]
    script.pieces = [b"".join(answer(id, tag=1) for id in IDS)]
    asked.ask(question, 0)
    asked.ask(question, 0)
    assert [request[6] for request in script.sent[-2:]] == [5, 5], "what was answered in full leaves nothing behind"


@pytest.mark.parametrize(
    ("pieces", "error", "says"),
    [
        ([], Timeout, r"bus 'arm' on /dev/x: none of the 3 motors answered in time"),
        ([answer(2)], Timeout, r"no answer from joint 'pan' \(id 1\), joint 'elbow' \(id 3\): check"),
        ([answer(1), answer(3)], Timeout, r"from joint 'lift' \(id 2\): check"),
        ([answer(1), answer(2)[:-1] + b"\0", answer(3)], Corrupt, r"damaged answer from joint 'lift' \(id 2\):"),
        ([answer(1), answer(2)[:5]], Corrupt, "'lift'.*'elbow'"),
        ([answer(9)], ProtocolError, "other answers"),
        ([answer(id, tag=1) for id in IDS], ProtocolError, "other answers"),
        ([answer(1), answer(2), answer(3, tag=4)], Corrupt, "damaged answer from joint 'elbow'"),
    ],
)
def test_what_is_wrong_is_named(pieces: list[bytes], error: type[DriverError], says: str) -> None:
    asked, _ = line(pieces)
    with pytest.raises(error, match=says):
        asked.ask(Question(IDS, 56, 4), 0)


pieces = st.lists(
    st.one_of(st.binary(max_size=40), st.builds(answer, st.integers(0, 4), st.integers(0, 2)), st.just(b"\xff\xff")),
    max_size=12,
)


@given(pieces)
def test_whatever_comes_back_is_an_answer_or_a_drivers_error(pieces: list[bytes]) -> None:
    asked, _ = line(pieces)
    question = Question(IDS, 56, 4)
    with contextlib.suppress(DriverError):
        asked.ask(question, 0)
        assert [asked.received[at - 3] for at in question.at] == list(IDS)
        assert [asked.received[at - 2] for at in question.at] == [6, 6, 6]
    with contextlib.suppress(DriverError):
        asked.ping(2, 0)


def test_a_flood_ends() -> None:
    asked, _ = line([b"\xff\xff\x01" * 5000])
    with pytest.raises(Corrupt):
        asked.ask(Question(IDS, 56, 4), 0)


def test_a_question_that_cannot_be_tagged_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        Question(IDS, 56, 6)
