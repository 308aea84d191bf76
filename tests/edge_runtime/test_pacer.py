"""Absolute slots: no drift, no burst, every slot either ticked or counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.clock import FakeClock, MonotonicClock
from edge_runtime.pacer import Pacer

PERIOD = 10_000_000


def test_work_within_the_period_adds_no_drift() -> None:
    clock = FakeClock(777)
    pacer = Pacer(clock, PERIOD)
    for count in range(1, 100):
        pacer.wait()
        assert clock.now_ns() == 777 + count * PERIOD
        clock.advance(3_000_000)
    assert pacer.missed == 0


@given(st.lists(st.integers(0, 5 * PERIOD), min_size=1, max_size=50))
def test_every_slot_is_ticked_once_or_missed(work: list[int]) -> None:
    clock = FakeClock(0)
    pacer = Pacer(clock, PERIOD)
    slots = []
    for duration in work:
        pacer.wait()
        slots.append(pacer.due_ns // PERIOD)
        assert pacer.due_ns % PERIOD == 0
        assert pacer.due_ns <= clock.now_ns() < pacer.due_ns + PERIOD
        assert pacer.lateness_ns == clock.now_ns() - (pacer.due_ns - pacer.skipped * PERIOD)
        clock.advance(duration)
    assert len(set(slots)) == len(slots)
    assert slots[-1] == len(slots) + pacer.missed


def test_a_stall_shows_in_full_and_is_not_made_up_for() -> None:
    clock = FakeClock(0)
    pacer = Pacer(clock, PERIOD)
    pacer.wait()
    clock.advance(95_000_000)
    pacer.wait()
    assert (pacer.skipped, pacer.missed, pacer.lateness_ns) == (8, 8, 85_000_000)
    pacer.wait()
    assert (pacer.skipped, pacer.lateness_ns) == (0, 0)


def test_beginning_again_forgets_what_was_not_due() -> None:
    clock = FakeClock(0)
    pacer = Pacer(clock, PERIOD)
    clock.advance(1_000_000_000)
    pacer.begin()
    pacer.wait()
    assert (pacer.missed, clock.now_ns()) == (0, 1_000_000_000 + PERIOD)


def test_the_real_clock_never_wakes_early() -> None:
    clock = MonotonicClock()
    pacer = Pacer(clock, 2_000_000)
    for _ in range(20):
        pacer.wait()
        assert pacer.lateness_ns >= 0
        assert clock.now_ns() >= pacer.due_ns
    before = clock.now_ns()
    clock.sleep_until(before - 1)  # a time that has passed
    assert clock.now_ns() - before < 50_000_000
