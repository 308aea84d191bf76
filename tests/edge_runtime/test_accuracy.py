"""The figures of accuracy.json by hand and by numpy, and the gate: what passes, what does not, NaN never."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.accuracy import (
    FLOAT32_GATE,
    QUANTIZED_GATE,
    Accuracy,
    ActionErrors,
    Gate,
    Running,
    action_errors,
    span,
)
from edge_runtime.bundle_spec import Normalisation, PolicySpec, VectorSpec
from tests.edge_runtime import tiny_bundle

Array = NDArray[Any]
REFERENCE = np.array([10.0, -4.0, 0.5], np.float32)
NOT_FINITE = (math.nan, math.inf, -math.inf)
REPLACE = msgspec.structs.replace


# ── one output of one graph ─────────────────────────────────────────────────────────────────────────────────────────

number = st.floats(-1e6, 1e6, width=32)
pairs = st.lists(
    st.integers(0, 5).flatmap(
        lambda n: st.tuples(st.lists(number, min_size=n, max_size=n), st.lists(number, min_size=n, max_size=n))
    ),
    min_size=1,
    max_size=6,
).filter(lambda found: any(a for a, _ in found))


def measured(*found: tuple[Any, Any], gate: float | None = None) -> Any:
    running = Running(gate)
    for a, b in found:
        running.add(np.asarray(a, np.float32), np.asarray(b, np.float32))
    return running.measure()


@given(pairs)
def test_pair_by_pair_is_all_at_once(found: list[tuple[list[float], list[float]]]) -> None:
    a, b = (np.concatenate([np.array(pair[i], np.float64) for pair in found]) for i in (0, 1))
    made, error = measured(*found), np.abs(a - b)
    assert made.max_error == error.max()
    assert made.mean_error == pytest.approx(error.mean(), rel=1e-9, abs=1e-12)
    assert made.scale == max(1.0, np.abs(b).max())
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    if norms > 1e-100:
        assert made.cosine == pytest.approx(float(a @ b) / norms, abs=1e-9)
        assert made.relative_error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-9)
    assert -1.0 <= made.cosine <= 1.0
    assert made.verdict == "pass"


def test_figures_by_hand() -> None:
    made = measured((REFERENCE, REFERENCE), (2.0 - REFERENCE, -REFERENCE))
    assert (made.max_error, made.mean_error, made.scale, made.gate) == (2.0, 1.0, 10.0, None)
    norm = float(REFERENCE.astype(np.float64) @ REFERENCE)
    assert made.relative_error == pytest.approx(math.sqrt(12.0 / (2 * norm)))
    assert 0.9 < made.cosine < 1.0


def test_the_gate_is_a_part_of_the_largest_value() -> None:
    assert measured((REFERENCE + 0.9e-3, REFERENCE), gate=1e-4).verdict == "pass"
    assert measured((REFERENCE + 1.1e-3, REFERENCE), gate=1e-4).verdict == "fail"
    assert measured((REFERENCE + 1e3, REFERENCE)).verdict == "pass"


def test_small_references_are_held_to_a_scale_of_one() -> None:
    assert measured(([1e-3 + 0.9e-4], [1e-3]), gate=1e-4).verdict == "pass"
    assert measured(([1e-3 + 1.1e-4], [1e-3]), gate=1e-4).verdict == "fail"


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("side", [0, 1, None])
def test_what_is_not_finite_fails_on_either_side_and_for_good(bad: float, side: int | None) -> None:
    broken = REFERENCE.copy()
    broken[1] = bad
    pair = (broken, broken) if side is None else (broken, REFERENCE) if side == 0 else (REFERENCE, broken)
    made = measured((REFERENCE, REFERENCE), pair, (REFERENCE, REFERENCE), gate=1e9)
    assert (made.verdict, made.cosine) == ("fail", 0.0)
    assert made.max_error == made.mean_error == made.relative_error == math.inf


@pytest.mark.parametrize("found", [(), (([], []),)])
def test_nothing_compared_is_no_pass(found: tuple[Any, ...]) -> None:
    assert measured(*found).verdict == "fail"


@pytest.mark.parametrize(
    ("a", "b", "cosine", "relative"),
    [([0, 0], [0, 0], 1.0, 0.0), ([3, 4], [0, 0], 0.0, 1.0), ([0, 0], [3, 4], 0.0, 1.0), ([-3], [3], -1.0, 2.0)],
)
def test_nothing_is_divided_by_zero(a: list[float], b: list[float], cosine: float, relative: float) -> None:
    made = measured((a, b))
    assert (made.cosine, made.relative_error) == (cosine, relative)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (2,), ()])
def test_shapes_that_differ_are_never_stretched(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is compared with"):
        measured((np.zeros(shape), REFERENCE))


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.uint8, np.float16])
def test_outputs_of_any_type(dtype: type[np.generic]) -> None:
    running = Running(0.0)
    running.add(np.array([1, 0, 1]).astype(dtype), np.array([0, 0, 1]).astype(dtype))
    made = running.measure()
    assert (made.max_error, made.verdict) == (1.0, "fail")  # bytes do not wrap


# ── actions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def spec(norm: Normalisation | None = None, units: tuple[str, ...] = ("rad", "rad")) -> PolicySpec:
    """Two dimensions, a of range 2 and b of range 10 unless `norm` says otherwise."""
    action = VectorSpec(("a", "b"), units, 5)
    return REPLACE(
        tiny_bundle.SPEC,
        action=action,
        action_normalisation=norm or Normalisation("min_max", (-1.0, 0.0), (1.0, 10.0)),
    )


OPEN = Gate()


def errors_of(error: Any, gate: Gate = OPEN, given_spec: PolicySpec | None = None, **more: Any) -> ActionErrors:
    """Errors of chunks [n, horizon, dims] beside a reference of ones."""
    error = np.asarray(error, np.float32)
    ones = np.ones_like(error)
    return action_errors(given_spec or spec(), list(ones + error), list(ones), gate, **more)


def test_shares_are_of_each_dimensions_own_range() -> None:
    found = errors_of([[[0.5, 0.5], [0.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert (found.observations, found.unit, found.verdict, found.fault) == (2, "rad", "pass", "")
    assert (found.mean, found.max) == (0.25, 1.0)
    assert found.max_share == pytest.approx(0.25)
    assert found.mean_share == pytest.approx((0.25 + 0.05 + 0.1) / 8)
    assert found.worst == "a"
    assert list(found.largest_shares) == ["a", "b"]
    assert found.largest_shares["a"] == found.max_share > found.largest_shares["b"]
    assert found.tokens_same is None
    assert errors_of([[[0.01, -0.5]]]).worst == "b"


def test_the_99th_percentile_is_one_of_the_errors() -> None:
    error = np.zeros((1, 100, 2))
    error[0, :, 1] = np.arange(100)  # of 200 errors, 100 are 0
    found = errors_of(error)
    assert found.p99 == np.quantile(np.abs(error), 0.99, method="higher") == 98.0
    assert found.p99_share == pytest.approx(9.8)
    assert found.max_share == pytest.approx(9.9)


@pytest.mark.parametrize(
    ("norm", "ranges"),
    [
        (Normalisation("none"), [2.0, 2.0]),
        (Normalisation("mean_std", (5.0, 0.0), (0.5, 3.0)), [2.0, 12.0]),
        (Normalisation("mean_std", (5.0, 0.0), (-0.5, 0.0)), [2.0, 1.0]),
        (Normalisation("min_max", (-1.0, 0.0), (1.0, 10.0)), [2.0, 10.0]),
        (Normalisation("quantiles", (1.0, 3.0), (-1.0, 3.0), eps_out=1e-6), [2.0, 1.0]),
        (Normalisation("quantiles", (-1.0, 0.0), (1.0, 10.0), mask=(True, False)), [2.0, 1.0]),
        (Normalisation("mean_std", (0.0, 0.0), (9.0, 0.25), mask=(False, True)), [1.0, 1.0]),
    ],
    ids=repr,
)
def test_the_range_of_a_dimension(norm: Normalisation, ranges: list[float]) -> None:
    assert span(spec(norm)).tolist() == ranges


def test_a_unit_is_named_where_all_dimensions_have_it() -> None:
    assert errors_of(np.zeros((1, 1, 2)), given_spec=spec(units=("m", "rad"))).unit == ""
    assert errors_of(np.zeros((1, 1, 2)), given_spec=spec(units=("", ""))).unit == ""


ERROR = [[[0.2, 0.0]] * 10]
"""A share of 0.1 in half of the numbers."""


@pytest.mark.parametrize(
    ("gate", "verdict"),
    [
        (OPEN, "pass"),
        (Gate(mean_share=0.051), "pass"),
        (Gate(mean_share=0.049), "fail"),
        (Gate(p99_share=0.101), "pass"),
        (Gate(p99_share=0.099), "fail"),
        (Gate(max_share=0.101), "pass"),
        (Gate(max_share=0.099), "fail"),
        (Gate(tokens_same=0.75), "pass"),
        (Gate(tokens_same=0.76), "fail"),
        (Gate(0.051, 0.101, 0.101, 0.75), "pass"),
    ],
)
def test_each_field_of_the_gate_decides_on_its_own(gate: Gate, verdict: str) -> None:
    found = errors_of(ERROR, gate, tokens=[((1, 2, 3, 4), (1, 2, 3, 9))])
    assert (found.verdict, found.gate, found.tokens_same) == (verdict, gate, 0.75)


def test_a_gate_of_tokens_is_not_for_heads_without() -> None:
    assert errors_of(ERROR, Gate(tokens_same=1.0), tokens=[((), ()), ((), ())]).verdict == "pass"


@pytest.mark.parametrize(
    ("pairs", "same"),
    [
        ([((1, 2), (1, 2))], 1.0),
        ([((1, 2), (2, 1))], 0.0),
        ([((1, 2), (1,))], 0.5),
        ([((1,), (1, 2, 3, 4))], 0.25),
        ([((), (1, 2))], 0.0),
        ([((1, 2), (1, 2)), ((3, 4), (3, 5))], 0.75),
        ([((1, 2, 2), (1, 2)), ((3,), (3,))], 0.75),
        ([], None),
    ],
)
def test_what_only_one_wrote_counts_against(pairs: list[Any], same: float | None) -> None:
    assert errors_of(ERROR, tokens=pairs).tokens_same == same


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("side", [0, 1, None])
def test_actions_that_are_not_finite_fail_and_are_named(bad: float, side: int | None) -> None:
    chunks = [np.zeros((1, 3, 2), np.float32), np.zeros((1, 3, 2), np.float32)]
    for i in (0, 1) if side is None else (side,):
        chunks[i][0, 1, 1] = bad
    found = action_errors(spec(), list(chunks[0]), list(chunks[1]), OPEN)
    assert (found.verdict, found.worst) == ("fail", "b")
    assert found.max == found.max_share == found.mean == found.mean_share == math.inf


@pytest.mark.parametrize(
    ("found", "reference"),
    [((0, 3, 2), (0, 3, 2)), ((1, 3, 2), (2, 3, 2)), ((2, 1, 2), (2, 3, 2)), ((1, 3, 1), (1, 3, 2))],
)
def test_chunks_that_do_not_belong_together(found: tuple[int, ...], reference: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"compared with|at least one array"):
        action_errors(spec(), list(np.zeros(found, np.float32)), list(np.zeros(reference, np.float32)), OPEN)


@pytest.mark.parametrize("gate", [FLOAT32_GATE, QUANTIZED_GATE])
def test_the_gates_that_are_in_use(gate: Gate) -> None:
    error = np.zeros((10, 10, 2), np.float32)
    same = [((1,) * 10, (1,) * 10)]
    assert errors_of(error, gate, tokens=same).verdict == "pass"
    error[0, 0, 0] = 0.5  # 0.25 of the range, once in 200: the mean is 0.00125 of it
    wanted = "fail" if gate is FLOAT32_GATE else "pass"
    assert errors_of(error, gate, tokens=same).verdict == wanted
    assert errors_of(error + 0.2, gate, tokens=same).verdict == "fail"
    one_of_five = [((1, 2, 3, 4, 5), (1, 2, 3, 4, 6))]
    assert errors_of(error * 0, gate, tokens=one_of_five).verdict == "fail"


def test_a_report_is_json_there_and_back() -> None:
    text = msgspec.json.encode(tiny_bundle.ACCURACY)
    assert msgspec.json.decode(text, type=Accuracy) == tiny_bundle.ACCURACY
    broken = errors_of([[[math.nan, 0.0]]])
    assert json.loads(msgspec.json.encode(broken))["max"] is None
