"""Rings keep the last rows in order; totals are exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.recorder import Inferences, Ticks, whole_rows


def fill(ticks: Ticks, count: int) -> None:
    for k in range(count):
        ticks.add(
            t_ns=k,
            lateness_ns=10 * k,
            tick_ns=20 * k,
            serial_ns=30 * k,
            sensor_age_ns=-1 if k % 2 else k,
            state=k % 6,
            setpoint_rad=np.full(2, float(k)),
            measured_rad=np.full(2, -float(k)),
        )


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_the_last_ticks_in_order(count: int) -> None:
    ticks = Ticks(8, 2)
    fill(ticks, count)
    kept, expected = ticks.order(), np.arange(max(0, count - 8), count)
    assert ticks.total == count
    assert ticks.t_ns[kept].tolist() == expected.tolist()
    assert ticks.lateness_ns[kept].tolist() == (10 * expected).tolist()
    assert ticks.setpoint_rad[kept].tolist() == [[k, k] for k in expected]
    assert ticks.measured_rad[kept].tolist() == [[-k, -k] for k in expected]
    assert ticks.state[kept].tolist() == (expected % 6).tolist()
    assert ticks.sensor_age_ns[kept].tolist() == [-1 if k % 2 else k for k in expected]


def test_the_last_inferences_in_order() -> None:
    inferences = Inferences(4)
    for k in range(6):
        inferences.add(k, 100 + k)
    assert inferences.total == 6
    assert inferences.t_ns[inferences.order()].tolist() == [2, 3, 4, 5]
    assert inferences.duration_ns[inferences.order()].tolist() == [102, 103, 104, 105]


@given(before=st.integers(0, 30), during=st.integers(0, 30), half=st.booleans())
def test_rows_that_were_whole_from_one_look_to_the_next(before: int, during: int, half: bool) -> None:
    ticks = Ticks(8, 2)
    fill(ticks, before)
    if half:  # the writer is in the midst of a row: its time is there, the rest is the old one's
        ticks.t_ns[before % 8] = before
    first = ticks.t_ns.copy()
    for k in range(before, before + during):
        ticks.t_ns[k % 8] = k
        ticks.lateness_ns[k % 8] = 10 * k
    copied = ticks.lateness_ns.copy()
    rows = whole_rows(first, ticks.t_ns, 0)
    found = first[rows].tolist()
    assert found == sorted(found)
    assert copied[rows].tolist() == [10 * t for t in found]
    newest = before if half else before - 1
    assert found == list(range(max(0, newest - 7, before + during - 8), newest))


def test_only_rows_since_a_time() -> None:
    ticks = Ticks(8, 2)
    fill(ticks, 6)
    assert ticks.t_ns[whole_rows(ticks.t_ns, ticks.t_ns, 3)].tolist() == [3, 4]
