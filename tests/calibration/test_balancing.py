"""Factors between activations and weights: nothing changes before rounding, and less is lost in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.balancing import GRID, Floats, awq, smoothing
from calibration.rounding import block_scales, from_int4, scale_for, to_int4, to_int8

ml_dtypes = pytest.importorskip("ml_dtypes", reason="comes with onnx")

IN, OUT, BLOCK = 64, 48, 16


def activations(seed: int, outliers: float, rows: int = 200) -> Floats:
    """Rows [rows, IN] of independent channels, four of which are `outliers` times as large."""
    random = np.random.default_rng(seed)
    spread = np.exp(random.normal(0.0, 0.3, IN))
    spread[random.choice(IN, 4, replace=False)] *= outliers
    return np.asarray(random.standard_normal((rows, IN)) * spread, np.float32)


def weight(seed: int, out: int = OUT) -> Floats:
    return np.asarray(np.random.default_rng([seed, 1]).standard_normal((IN, out)) / np.sqrt(IN), np.float32)


def largest(x: Floats) -> Floats:
    return np.asarray(np.abs(x).max(axis=0))


def mean_square(x: Floats) -> Floats:
    return np.asarray(np.mean(np.square(x), axis=0))


def error(found: Floats, wanted: Floats) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def in_int8(x: Floats, w: Floats) -> Floats:
    """x·w with both in int8, as the layer will be."""
    sx = scale_for(float(np.abs(x).max()), "int8", np.float32)
    sw = scale_for(np.abs(w).max(axis=0), "int8", np.float32)
    product = to_int8(x, sx).astype(np.int32) @ to_int8(w, sw).astype(np.int32)
    return np.asarray(product * sx * sw, np.float32)


def in_int4(w: Floats, dtype: type = np.float32) -> Floats:
    scales = block_scales(w, BLOCK, dtype)
    return from_int4(to_int4(w, scales), scales)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(1.0, 1e3), st.floats(0.0, 1.0))
def test_the_product_is_what_it_was(seed: int, outliers: float, alpha: float) -> None:
    x, w = activations(seed, outliers, 5), weight(seed)
    for f in (smoothing(largest(x), [w], alpha), awq(mean_square(x), [w], BLOCK, np.float32)):
        assert (f.shape, f.dtype) == ((IN,), np.float32)
        assert np.all(f > 0)
        assert error((x / f) @ (f[:, None] * w), x @ w) < 1e-5


def test_smoothing_is_the_papers_equation() -> None:
    a, w = np.array([1.0, 100.0, 4.0], np.float32), np.array([[0.5, -4.0], [0.25, 0.1], [1.0, -1.0]], np.float32)
    np.testing.assert_allclose(smoothing(a, [w], 0.5), np.sqrt(a / [4.0, 0.25, 1.0]), rtol=1e-6)
    np.testing.assert_allclose(smoothing(a, [w], 0.75), a**0.75 / np.power([4.0, 0.25, 1.0], 0.25), rtol=1e-6)
    np.testing.assert_allclose(smoothing(a, [w, 2.0 * w[:, ::-1]]), np.sqrt(a / [8.0, 0.5, 2.0]), rtol=1e-6)
    f = smoothing(a, [w])
    np.testing.assert_allclose(a / f, np.abs(f[:, None] * w).max(axis=1), rtol=1e-6, err_msg="equally hard")


def test_channels_that_are_silent_on_either_side_stay() -> None:
    w = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0], [0.0, 0.0]], np.float32)
    f = smoothing(np.array([0.0, 5.0, 5.0, 0.0], np.float32), [w])
    assert f[[0, 1, 3]].tolist() == [1.0] * 3
    assert f[2] == pytest.approx(np.sqrt(5.0 / 3.0))


def test_factors_stay_within_reach_of_float16() -> None:
    a = np.array([1e-4, 1e30, 1.0], np.float32)
    w = np.array([[1e4], [1e-4], [1.0]], np.float32)
    for f in (smoothing(a, [w], 1.0), awq(np.square(np.minimum(a, 1e15)), [w], 3, np.float32)):
        assert np.all((f >= 0.99e-4) & (f <= 1.01e4))


@pytest.mark.parametrize("seed", range(5))
def test_smoothing_helps_activations_with_outlier_channels(seed: int) -> None:
    x, weights = activations(seed, 100.0), [weight(seed), weight(seed + 100, OUT // 2)]
    f = smoothing(largest(x), weights)
    for w in weights:
        plain = error(in_int8(x, w), x @ w)
        assert error(in_int8(x / f, f[:, None] * w), x @ w) < 0.5 * plain


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(1.0, 1e3), st.sampled_from((np.float32, np.float16, ml_dtypes.bfloat16)))
def test_awq_is_the_best_of_its_grid_by_its_own_estimate(seed: int, outliers: float, dtype: type) -> None:
    x, weights = activations(seed, outliers), [weight(seed), weight(seed + 1, 7)]
    squares = mean_square(x)
    f = awq(squares, weights, BLOCK, dtype)[:, None]

    def estimate(f: Floats) -> float:
        return sum(float(squares @ np.square(in_int4(w * f, dtype) / f - w).sum(axis=1)) for w in weights)

    powers = [np.power(squares, exponent / 2)[:, None] for exponent in GRID]
    tried = [estimate(p / np.sqrt(p.max() * p.min())) for p in powers]
    assert min(tried) <= tried[0] == estimate(np.ones_like(f))
    assert estimate(f) == pytest.approx(min(tried), rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_awq_helps_where_a_few_channels_are_large(seed: int) -> None:
    x, w = activations(seed, 30.0), weight(seed)
    f = awq(mean_square(x), [w], BLOCK, np.float32)[:, None]
    assert f.max() > 1.5 * np.median(f)
    assert error(x @ (in_int4(w * f) / f), x @ w) < 0.7 * error(x @ in_int4(w), x @ w)


def test_awq_leaves_alone_what_has_no_outliers() -> None:
    x = np.ones((3, IN), np.float32)
    assert np.array_equal(awq(mean_square(x), [weight(0)], BLOCK, np.float32), np.ones(IN, np.float32))
    assert np.array_equal(awq(np.zeros(IN, np.float32), [weight(0)], BLOCK, np.float32), np.ones(IN, np.float32))
