"""The order of a bus's safe action."""

from __future__ import annotations

import time

import pytest

from drivers.errors import ProtocolError, Timeout
from drivers.safe_turns import make_all_safe
from tests.drivers.motors.contract import motors, soon

MOTORS = motors("any", release=("elbow", "grip"))


class FakeLine:
    is_open = False

    def open(self) -> None:
        self.is_open = True


LINE = FakeLine()


def test_those_that_let_go_come_first() -> None:
    turns: list[int] = []
    make_all_safe(LINE, MOTORS, lambda index, deadline_ns: turns.append(index), soon())
    assert turns == [2, 5, 0, 1, 3, 4]


def test_one_that_fails_is_tried_again_after_the_others_and_says_what_it_said_first() -> None:
    turns: list[int] = []

    def make_safe(index: int, deadline_ns: int) -> None:
        turns.append(index)
        if index == 0:
            raise Timeout("silent") if len(turns) < 4 else ProtocolError("odd")
        if index == 1 and turns.count(1) == 1:
            raise ProtocolError("once")

    with pytest.raises(Timeout, match="silent"):
        make_all_safe(LINE, MOTORS, make_safe, soon())
    assert turns == [2, 5, 0, 1, 3, 4, 0, 1, 0]


def test_a_try_takes_no_more_than_its_share_of_what_is_left() -> None:
    shares_ns: list[int] = []
    begin_ns = time.monotonic_ns()

    def make_safe(index: int, deadline_ns: int) -> None:
        shares_ns.append(deadline_ns - time.monotonic_ns())

    make_all_safe(LINE, MOTORS, make_safe, begin_ns + 180_000_000)
    assert 0 < shares_ns[0] <= 10_000_000, "six motors with three tries each"
    assert shares_ns[-1] <= 60_000_000, "what the others have left over, for three tries"
    shares_ns.clear()
    make_all_safe(LINE, MOTORS, make_safe, time.monotonic_ns() + 60_000_000_000)
    assert max(shares_ns) <= 100_000_000
