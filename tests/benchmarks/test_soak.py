"""The soak in small: the story goes on, and what is not as it should be is said."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import soak


def test_a_short_one() -> None:
    found = soak.soak(4_000, 400)
    assert found["ticks"] >= 4_000
    assert found["episodes"] >= 2
    assert found["missed"] > 0, "the clock was late by whole slots, too"
    assert found["drift_ns"] == 0
    assert found["events"]["arrived"] == found["events"]["reported"] > 10
    assert len(list(soak.words(found))) == 6


GOOD: dict[str, Any] = {
    "resident_bytes": {"before": 70 << 20, "after": 70 << 20, "most": 71 << 20},
    "traced": {"ticks": 100_000, "bytes": 300},
    "drift_ns": 0,
    "events": {"reported": 9, "arrived": 9},
    "orders": {"given": 5, "answered": 4},
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, []),
        ({"resident_bytes": {"before": 0, "after": 1 << 20, "most": 1 << 20}}, ["memory has grown by 1024 KiB"]),
        ({"traced": {"ticks": 9, "bytes": 99_999}}, ["9 ticks left 99999 bytes behind"]),
        ({"drift_ns": -1}, ["the grid has drifted by -1 ns"]),
        ({"events": {"reported": 9, "arrived": 8}}, ["events: {'reported': 9, 'arrived': 8}"]),
        ({"orders": {"given": 5, "answered": 3}}, ["orders: {'given': 5, 'answered': 3}"]),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], says: list[str]) -> None:
    assert list(soak.wrong({**GOOD, **change})) == says
