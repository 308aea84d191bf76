"""The expected delay: a percentile of the last times, without the cold ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.delay import COLD, KEPT, Delay


def test_before_anything_was_warm_nothing_is_expected() -> None:
    delay = Delay(0.9)
    assert delay.estimate_ns == 0
    for _ in range(COLD):
        delay.add(10**9)
        assert delay.estimate_ns == 0
    delay.add(5)
    assert delay.estimate_ns == 5


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 1.0]))
def test_it_is_the_percentile_of_the_last_times(times: list[int], share: float) -> None:
    delay = Delay(share)
    for time in [10**12] * COLD + times:
        delay.add(time)
    last = sorted(times[-KEPT:])
    assert delay.estimate_ns == last[math.ceil(share * len(last)) - 1]
    assert sum(t <= delay.estimate_ns for t in last) >= share * len(last)


def test_one_slow_time_among_many_changes_nothing() -> None:
    delay = Delay(0.9)
    for time in [0] * COLD + [100] * 40 + [9_000]:
        delay.add(time)
    assert delay.estimate_ns == 100
    assert Delay(0.5).estimate_ns == pytest.approx(0)
