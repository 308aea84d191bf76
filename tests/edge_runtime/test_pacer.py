"""Absolute slots: no drift, no burst, every slot either ticked or counted."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.clock import FakeClock, MonotonicClock
from edge_runtime.pacer import APART, LEAD_NS, Pacer

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


@given(st.lists(st.tuples(st.integers(0, 3 * PERIOD), st.integers(0, 3 * PERIOD)), min_size=1, max_size=50))
def test_no_two_setpoints_are_closer_than_a_quarter_of_a_period(work: list[tuple[int, int]]) -> None:
    """However long it takes from waking to sending, and from sending to the end of the tick."""
    clock = FakeClock(0)
    pacer = Pacer(clock, PERIOD)
    sent = []
    for before, after in work:
        pacer.wait()
        assert pacer.lateness_ns == clock.now_ns() - (pacer.due_ns - pacer.skipped * PERIOD)
        clock.advance(before)
        pacer.sent_ns = clock.now_ns()
        sent.append(pacer.sent_ns)
        clock.advance(after)
    assert all(later - earlier >= APART * PERIOD for earlier, later in pairwise(sent))


def test_the_slot_after_a_setpoint_that_went_out_late_is_skipped() -> None:
    clock = FakeClock(0)
    pacer = Pacer(clock, PERIOD)
    pacer.wait()
    clock.advance(7_500_000)
    pacer.sent_ns = clock.now_ns()
    pacer.wait()
    assert (clock.now_ns(), pacer.skipped) == (20_000_000, 0)
    clock.advance(7_500_001)
    pacer.sent_ns = clock.now_ns()
    pacer.wait()
    assert (clock.now_ns(), pacer.skipped, pacer.missed, pacer.lateness_ns) == (40_000_000, 1, 1, 10_000_000)


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


@given(st.lists(st.tuples(*[st.integers(0, 3 * PERIOD)] * 3), min_size=1, max_size=50))
def test_what_is_made_ready_late_goes_out_late_and_is_followed_by_no_burst(work: list[tuple[int, int, int]]) -> None:
    """However long it takes to make a setpoint ready, to wake for its slot, and to the end of the tick."""
    clock = FakeClock(0)
    pacer = Pacer(clock, PERIOD)
    sent, slots = [], []
    for ready, woken, after in work:
        pacer.prepare()
        slots.append(pacer.due_ns)
        assert clock.now_ns() < pacer.due_ns + PERIOD
        clock.advance(ready)
        clock.sleep_until(pacer.due_ns)
        clock.advance(woken)
        pacer.wake(clock.now_ns())
        assert pacer.lateness_ns >= clock.now_ns() - slots[-1]
        pacer.sent_ns = clock.now_ns()
        sent.append(pacer.sent_ns)
        clock.advance(after)
    assert all(later - earlier >= APART * PERIOD for earlier, later in pairwise(sent))
    assert pacer.due_ns == (len(work) + pacer.missed) * PERIOD
    assert all(later > earlier for earlier, later in pairwise(slots))


def test_slots_that_pass_while_a_setpoint_waits_to_be_sent_are_told_to_the_next() -> None:
    clock = FakeClock(0)
    pacer = Pacer(clock, PERIOD)
    pacer.prepare()
    assert clock.now_ns() == PERIOD - LEAD_NS
    pacer.wake(35_000_000)
    clock.sleep_until(35_000_000)
    assert (pacer.lateness_ns, pacer.skipped, pacer.missed, pacer.due_ns) == (25_000_000, 0, 2, 30_000_000)
    pacer.prepare()
    assert (pacer.skipped, pacer.missed, pacer.due_ns) == (2, 2, 40_000_000)


def test_a_short_period_leaves_time_for_the_serial_cycle() -> None:
    clock = FakeClock(0)
    Pacer(clock, 1_000_000).prepare()
    assert clock.now_ns() == 300_000
