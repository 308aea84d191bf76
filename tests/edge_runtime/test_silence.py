"""Silence: after a lost slot or two the motion goes on, later; after more it begins from rest."""

from __future__ import annotations

import pytest

from edge_runtime.silence import Silence

MS = 1_000_000


@pytest.mark.parametrize(("period_ms", "limit_ms"), [(1, 20), (5, 20), (10, 20), (20, 40), (50, 100)])
def test_the_limit_is_20_ms_or_two_periods(period_ms: int, limit_ms: int) -> None:
    made = Silence(3, period_ms * MS)
    made.end(0, 3, 700 * MS)
    assert made.over((700 + limit_ms) * MS) == []
    assert made.over((700 + limit_ms) * MS + 1) == [0, 1, 2]


def test_it_is_a_matter_of_each_joint() -> None:
    made = Silence(4, 10 * MS)
    made.end(0, 4, 100 * MS)
    made.end(1, 3, 110 * MS)
    assert made.over(120 * MS) == []
    assert made.over(121 * MS) == [0, 3]
    assert made.over(130 * MS) == []
    assert made.over(131 * MS) == [1, 2]  # the others' began anew, a period before 121 ms


def test_a_silence_that_was_over_begins_anew_a_period_before_the_slot() -> None:
    made = Silence(1, 10 * MS)
    assert made.over(500 * MS) == [0]
    assert made.over(510 * MS) == []
    assert made.over(510 * MS + 1) == [0]


def test_a_joint_that_was_never_told_anything_is_silent_since_the_clock_began() -> None:
    assert Silence(2, 10 * MS).over(20 * MS) == []
    assert Silence(2, 10 * MS).over(20 * MS + 1) == [0, 1]


def test_a_setpoint_may_be_late_by_20_ms_and_by_less_where_one_was_lost() -> None:
    made = Silence(2, 5 * MS)
    made.end(0, 2, 100 * MS)
    assert made.latest_ns(105 * MS) == 125 * MS
    made.end(0, 1, 105 * MS)
    assert made.latest_ns(110 * MS) == 125 * MS
    made.end(0, 2, 119 * MS)
    assert made.latest_ns(120 * MS) == 140 * MS
    slow = Silence(1, 50 * MS)
    slow.end(0, 1, 100 * MS)
    assert slow.latest_ns(150 * MS) == 170 * MS
    assert slow.latest_ns(200 * MS) == 220 * MS
    assert slow.latest_ns(240 * MS) == 250 * MS
