"""Intervals of shares and of paired differences."""

from __future__ import annotations

import pytest

from benchmarks.demo.statistics import paired_difference, wilson


def test_wilson_against_published_values() -> None:
    """Newcombe 1998, Stat. Med. 17, table I, method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_equal_outcomes_differ_by_nothing() -> None:
    share, low, high = paired_difference([True] * 50, [True] * 50)
    assert share == 0.0
    assert low < 0.0 < high
    assert high - low < 0.08


def test_difference_has_its_sign_and_narrows_with_agreement() -> None:
    a = [True] * 80 + [False] * 20
    b = [True] * 60 + [False] * 40
    share, low, high = paired_difference(a, b)
    assert share == pytest.approx(0.2)
    assert 0.0 < low < 0.2 < high
    crossed, wide_low, wide_high = paired_difference(a, b[::-1])
    assert crossed == pytest.approx(0.2)
    assert wide_high - wide_low > high - low
