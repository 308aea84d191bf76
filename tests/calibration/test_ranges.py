"""What a layer's input was like, against numpy on everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibration.ranges import BINS, SMALLEST, Floats, InputRange

magnitudes = st.floats(0.0, 1e9, width=32)
values = st.builds(lambda x, negative: -x if negative else x, magnitudes, st.booleans())
inputs = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.integers(1, 6).flatmap(lambda rows: arrays(np.float32, (1, rows, width), elements=values)),
        min_size=1,
        max_size=5,
    )
)
percents = st.sampled_from((1.0, 50.0, 99.0, 99.9, 100.0))


def seen(xs: list[Floats]) -> InputRange:
    found = InputRange(xs[0].shape[-1])
    for x in xs:
        found.add(x)
    return found


def bin_of(largest: float) -> float:
    """How wide a bin may be: the largest magnitude stands in the upper half of them."""
    return max(2.0 * largest, SMALLEST) / BINS


@settings(max_examples=50)
@given(inputs)
def test_largest_and_mean_square(xs: list[Floats]) -> None:
    found, rows = seen(xs), np.concatenate([x[0] for x in xs])
    assert np.array_equal(found.largest, np.abs(rows).max(axis=0))
    assert found.maximum() == np.abs(rows).max()
    assert found.rows == len(rows)
    np.testing.assert_allclose(found.mean_square, np.mean(rows.astype(np.float64) ** 2, axis=0), rtol=1e-6, atol=1e-37)
    assert found.largest.dtype == found.mean_square.dtype == np.float32


@settings(max_examples=50)
@given(inputs, percents)
def test_percentile_is_within_a_bin_above_the_value(xs: list[Floats], percent: float) -> None:
    every = np.sort(np.concatenate([np.abs(x).ravel() for x in xs]))
    wanted = every[int(np.ceil(percent * every.size / 100.0)) - 1]
    found = seen(xs).percentile(percent)
    assert wanted <= found <= min(every[-1], wanted + bin_of(every[-1]) * 1.0001)


@settings(max_examples=50)
@given(inputs, percents, st.randoms(use_true_random=False))
def test_the_order_changes_nothing(xs: list[Floats], percent: float, random: object) -> None:
    shuffled = list(xs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = seen(xs), seen(shuffled)
    assert np.array_equal(one.largest, other.largest)
    np.testing.assert_allclose(one.mean_square, other.mean_square, rtol=1e-6)
    assert one.percentile(percent) == other.percentile(percent)


def test_powers_of_two_stand_where_a_bin_begins_whenever_they_come() -> None:
    one, four = np.ones((3, 1), np.float32), np.full((1, 1), 4.0, np.float32)
    assert seen([one, four]).percentile(50.0) == seen([four, one]).percentile(50.0) == 1.0 + 8.0 / BINS


def test_a_histogram_that_grows_over_many_adds() -> None:
    random = np.random.default_rng(0)
    xs = [random.standard_normal((40, 16)).astype(np.float32) * 1.7**i for i in range(60)]
    found, every = seen(xs), np.abs(np.concatenate(xs))
    for percent in (50.0, 90.0, 99.0, 99.9, 100.0):
        wanted = np.percentile(every, percent, method="inverted_cdf")
        assert wanted <= found.percentile(percent) <= wanted + bin_of(every.max())
    assert found.percentile(99.0) < found.percentile(99.9) < found.percentile(100.0) == found.maximum()


def test_one_outlier_in_a_thousand_is_beyond_its_percentile() -> None:
    x = np.ones((250, 4), np.float32)
    x[17, 2] = -1000.0
    assert seen([x]).percentile(100.0) == 1000.0
    assert seen([x]).percentile(99.9) <= 1.0 + bin_of(1000.0)
    assert seen([x]).largest.tolist() == [1.0, 1.0, 1000.0, 1.0]


def test_nothing_seen_and_zeros_alone() -> None:
    nothing = InputRange(3)
    assert (nothing.maximum(), nothing.percentile(99.9), nothing.mean_square.tolist()) == (0.0, 0.0, [0.0] * 3)
    nothing.add(np.zeros((0, 3), np.float32))
    assert (nothing.maximum(), nothing.rows) == (0.0, 0)
    zeros = seen([np.zeros((2, 5, 3), np.float32)] * 2)
    assert (zeros.maximum(), zeros.percentile(99.9), zeros.mean_square.tolist()) == (0.0, 0.0, [0.0] * 3)
    assert zeros.rows == 20


def test_zeros_count_whenever_they_come() -> None:
    zeros, ones = np.zeros((99, 1), np.float32), np.ones((1, 1), np.float32)
    for xs in ([zeros, ones], [ones, zeros]):
        assert seen(xs).percentile(99.0) <= bin_of(1.0)
        assert seen(xs).percentile(100.0) == 1.0


@pytest.mark.parametrize("magnitude", [1e-45, 1e-38, SMALLEST, 1.0, 2.0**100])
def test_any_magnitude(magnitude: float) -> None:
    found = seen([np.full((3, 2), magnitude, np.float32)])
    assert found.percentile(99.9) == found.maximum() == np.float32(magnitude)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused_and_leaves_nothing(value: float) -> None:
    found = seen([np.ones((4, 2), np.float32)])
    x = np.full((4, 2), 7.0, np.float32)
    x[3, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        found.add(x)
    assert (found.maximum(), found.rows, found.percentile(100.0)) == (1.0, 4, 1.0)
