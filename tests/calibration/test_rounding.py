"""Numbers in few bits: where each magnitude goes, and how far from where it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibration.rounding import LEVELS, SMALLEST, Floats, block_scales, from_int4, scale_for, to_int4, to_int8

ml_dtypes = pytest.importorskip("ml_dtypes", reason="comes with onnx")

TYPES: tuple[type, ...] = (np.float32, np.float16, ml_dtypes.bfloat16)
values = st.floats(-1e3, 1e3, width=32)
weights = st.tuples(st.integers(1, 3), st.sampled_from((2, 4)), st.integers(1, 4)).flatmap(
    lambda sizes: st.tuples(st.just(sizes[1]), arrays(np.float32, (sizes[0] * sizes[1], sizes[2]), elements=values))
)
types = st.sampled_from(TYPES)


@given(st.floats(0.0, 1e5, width=32), st.sampled_from(tuple(LEVELS)), types)
def test_a_scale_is_what_its_type_can_hold(largest: float, precision: str, dtype: type) -> None:
    scale = scale_for(largest, precision, dtype)
    assert scale.dtype == np.float32
    assert scale.astype(dtype).astype(np.float32) == scale
    assert scale >= SMALLEST
    wanted = max(largest / LEVELS[precision], SMALLEST)
    step = max(float(ml_dtypes.finfo(dtype).eps) * wanted, float(ml_dtypes.finfo(dtype).smallest_subnormal))
    assert abs(float(scale) - wanted) <= 0.5001 * step


@given(st.floats(2.0**-5, 1e5, width=32), types, st.sampled_from((-1.0, 1.0)))
def test_the_largest_magnitude_becomes_the_last_level(largest: float, dtype: type, sign: float) -> None:
    x = np.array([[sign * largest], [0.0]], np.float32)
    assert to_int8(x, scale_for(largest, "int8", dtype)).tolist() == [[sign * 127], [0]]
    assert to_int4(x, block_scales(x, 2, dtype)).tolist() == [[sign * 7], [0]]
    by_scale = np.clip(x / scale_for(largest, "fp8", dtype), -448.0, 448.0)
    assert by_scale.astype(ml_dtypes.float8_e4m3fn).astype(np.float32).tolist() == [[sign * 448.0], [0.0]]


@given(arrays(np.float32, (7,), elements=values), st.floats(2.0**-8, 1e3, width=32))
def test_int8(x: Floats, largest: float) -> None:
    scale = scale_for(largest, "int8", np.float32)
    q = to_int8(x, scale)
    assert q.dtype == np.int8
    assert np.array_equal(to_int8(-x, scale), -q)
    inside = np.abs(x) <= 127.0 * scale
    assert np.all(np.abs(q * scale - x)[inside] <= 0.50001 * scale)
    assert np.array_equal(q[~inside], 127 * np.sign(x[~inside]))


@pytest.mark.parametrize("convert", [to_int8, lambda x, scale: to_int4(x[:, None], scale[None, None])[:, 0]])
def test_halves_go_to_the_even_level(convert: object) -> None:
    x = np.array([0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, -3.5], np.float32)
    assert convert(x, np.float32(1.0)).tolist() == [0, 2, 2, 4, 0, -2, -2, -4]  # type: ignore[operator]


@given(weights, types)
def test_int4(drawn: tuple[int, Floats], dtype: type) -> None:
    block, weight = drawn
    scales = block_scales(weight, block, dtype)
    assert scales.shape == (len(weight) // block, weight.shape[1])
    assert np.array_equal(scales.astype(dtype).astype(np.float32), scales)
    q = to_int4(weight, scales)
    assert (q.dtype, q.shape) == (np.dtype(np.int8), weight.shape)
    assert np.array_equal(to_int4(-weight, scales), -q)
    for i, rows in enumerate(np.split(weight, len(scales))):
        largest = np.abs(rows).max(axis=0)
        assert np.array_equal(scales[i], scale_for(largest, "int4", dtype))
        inside = np.abs(rows) <= 7.0 * scales[i]
        error = np.abs(from_int4(q, scales)[i * block : (i + 1) * block] - rows)
        assert np.all((error <= 0.50001 * scales[i])[inside])
        assert np.all(np.abs(q[i * block : (i + 1) * block])[~inside] == 7)


def test_blocks_of_a_column_have_their_own_scales() -> None:
    weight = np.array([[7.0, 0.0], [-14.0, 1.0], [0.7, -3.5], [0.1, 2.0]], np.float32)
    scales = block_scales(weight, 2, np.float32)
    np.testing.assert_allclose(scales, [[2.0, 1.0 / 7.0], [0.1, 0.5]], rtol=1e-6)
    assert to_int4(weight, scales).tolist() == [[4, 0], [-7, 7], [7, -7], [1, 4]]


@pytest.mark.parametrize("dtype", TYPES)
def test_channels_of_zeros(dtype: type) -> None:
    zeros = np.zeros((4, 3), np.float32)
    for precision in LEVELS:
        assert scale_for(zeros.max(axis=0), precision, dtype).tolist() == [SMALLEST] * 3
    assert not to_int8(zeros, scale_for(zeros.max(axis=0), "int8", dtype)).any()
    assert not to_int4(zeros, block_scales(zeros, 2, dtype)).any()
    assert not from_int4(to_int4(zeros, block_scales(zeros, 2, dtype)), block_scales(zeros, 2, dtype)).any()
