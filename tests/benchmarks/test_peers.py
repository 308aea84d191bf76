"""The loops of others: what each does with the time, on a clock that is always a millisecond late."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import peers


class LateTime:
    """As the module `time`: sleeping takes a millisecond more than was asked for, a step takes four."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s

    time = perf_counter

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds + 0.001


@pytest.mark.parametrize(("name", "longest"), [("relative sleep", 0.4), ("sleep the rest", 0.4)])
def test_what_a_sleep_was_late_by_is_never_made_up_for(
    monkeypatch: pytest.MonkeyPatch, name: str, longest: float
) -> None:
    time, began = LateTime(), list[float]()
    monkeypatch.setattr(peers, "time", time)

    def step() -> None:
        began.append(time.now_s)
        time.now_s += 0.004 if len(began) != 5 else longest

    peers.LOOPS[name](step, 0.010, 1.0)
    periods = np.diff(began)
    assert periods[:4] == pytest.approx(0.011)
    assert periods[4] == pytest.approx(longest), "and a slot that was missed is gone"
    assert periods[5:] == pytest.approx(0.011)


def test_figures() -> None:
    found = peers.figures(np.array([0, 11_000_000, 20_000_000, 60_000_000]), 100.0)
    assert found["jitter_us"] == {"p50": 1000.0, "p99": 30_000.0, "p99_9": 30_000.0, "max": 30_000.0}
    assert (found["rounds"], found["due"]) == (4, 7)
