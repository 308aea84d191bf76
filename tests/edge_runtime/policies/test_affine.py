"""Normalisation both ways: each scheme by hand, and back to where it came from."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundle_spec import Normalisation
from edge_runtime.policies.affine import Affine
from tests.edge_runtime.memory import growth

Array = np.ndarray[Any, Any]
REPLACE = msgspec.structs.replace
STD = Normalisation("mean_std", (1.0, -2.0), (0.5, 4.0))
RANGE = Normalisation("min_max", (0.0, -3.0), (10.0, 1.0))
QUANTILES = REPLACE(RANGE, kind="quantiles")
NONE = Normalisation("none")


def forth(spec: Normalisation, *x: float) -> list[float]:
    """What the model reads of `x`, written as float32."""
    out = np.full(len(x), np.nan, np.float32)
    Affine(spec, len(x)).forth(np.array(x, np.float32), out)
    return out.tolist()


def back(spec: Normalisation, *y: float) -> list[float]:
    out = np.full(len(y), np.nan, np.float32)
    Affine(spec, len(y)).back(np.array(y, np.float32), out)
    return out.tolist()


@pytest.mark.parametrize(
    ("spec", "x", "y"),
    [
        (STD, (1.0, -2.0), (0.0, 0.0)),  # the mean
        (STD, (1.5, 2.0), (1.0, 1.0)),  # one standard deviation
        (STD, (0.0, -12.0), (-2.0, -2.5)),
        *((spec, (0.0, -3.0), (-1.0, -1.0)) for spec in (RANGE, QUANTILES)),  # the low end
        *((spec, (10.0, 1.0), (1.0, 1.0)) for spec in (RANGE, QUANTILES)),  # the high end
        *((spec, (5.0, -1.0), (0.0, 0.0)) for spec in (RANGE, QUANTILES)),
        *((spec, (15.0, -5.0), (2.0, -2.0)) for spec in (RANGE, QUANTILES)),  # beyond
        (NONE, (7.0, -7.0), (7.0, -7.0)),
    ],
)
def test_by_hand(spec: Normalisation, x: tuple[float, float], y: tuple[float, float]) -> None:
    assert forth(spec, *x) == list(y)
    assert back(spec, *y) == list(x)


def test_each_way_has_its_own_epsilon() -> None:
    assert forth(REPLACE(STD, eps_in=0.5), 2.0, 2.5) == [1.0, 1.0]  # / (0.5 + 0.5), / (4 + 0.5)
    assert back(REPLACE(STD, eps_in=0.5), 1.0, 1.0) == [1.5, 2.0]
    assert back(REPLACE(STD, eps_out=0.5), 1.0, 1.0) == [2.0, 2.5]
    assert forth(REPLACE(STD, eps_out=0.5), 1.5, 2.0) == [1.0, 1.0]
    assert forth(REPLACE(RANGE, eps_in=10.0), 10.0, 4.0) == [0.0, 0.0]  # 2·10 / 20 - 1, 2·7 / 14 - 1
    assert back(REPLACE(RANGE, eps_in=10.0), 1.0, 1.0) == [10.0, 1.0]
    assert back(REPLACE(RANGE, eps_out=10.0), 1.0, 0.0) == [20.0, 4.0]
    assert forth(REPLACE(RANGE, eps_out=10.0), 10.0, 1.0) == [1.0, 1.0]


def test_a_span_of_nothing_is_held_up_by_its_epsilon() -> None:
    flat = Normalisation("quantiles", (3.0,), (3.0,), eps_in=1e-6, eps_out=1e-6)
    assert forth(flat, 3.0) == [-1.0]
    assert back(flat, 1.0) == pytest.approx([3.0])


@pytest.mark.parametrize("spec", [STD, RANGE, QUANTILES])
def test_where_the_mask_is_false_a_number_is_taken_as_it_is(spec: Normalisation) -> None:
    whole = forth(spec, 6.0, 6.0), back(spec, 6.0, 6.0)
    assert [forth(REPLACE(spec, mask=(True, False)), 6.0, 6.0), back(REPLACE(spec, mask=(True, False)), 6.0, 6.0)] == [
        [one[0], 6.0] for one in whole
    ]
    assert [forth(REPLACE(spec, mask=(False, True)), 6.0, 6.0), back(REPLACE(spec, mask=(False, True)), 6.0, 6.0)] == [
        [6.0, one[1]] for one in whole
    ]
    assert forth(REPLACE(spec, mask=(True, True)), 6.0, 6.0) == whole[0]


def test_what_is_not_used_may_divide_by_nothing() -> None:
    gripper = Normalisation("min_max", (0.0, 0.0), (2.0, 0.0), mask=(True, False))
    assert forth(gripper, 1.0, 0.7) == pytest.approx([0.0, 0.7])
    assert back(gripper, 1.0, 0.7) == pytest.approx([2.0, 0.7])


@pytest.mark.parametrize("spec", [STD, RANGE, NONE, REPLACE(STD, mask=(True, False))])
def test_the_model_is_shown_nothing_beyond_the_clip(spec: Normalisation) -> None:
    clipped = REPLACE(spec, clip=1.5)
    assert forth(clipped, 100.0, -100.0) == [1.5, -1.5]
    inside = back(spec, 1.25, -1.25)
    assert forth(clipped, *inside) == [1.25, -1.25]
    assert back(clipped, 3.0, -3.0) == back(spec, 3.0, -3.0)  # on the way out nothing is cut


def test_a_chunk_is_rows_of_the_same() -> None:
    chunk, out = np.array([[1, 1], [0, 0], [-1, 3]], np.float32), np.zeros((3, 2), np.float32)
    Affine(RANGE, 2, rows=3).back(chunk, out)
    assert out.tolist() == [[10.0, 1.0], [5.0, -1.0], [0.0, 5.0]]
    Affine(RANGE, 2, rows=3).forth(out, out)
    np.testing.assert_array_equal(out, chunk)


def test_a_policy_may_read_no_state() -> None:
    assert forth(NONE) == []


def test_numbers_are_doubles_in_between() -> None:
    """1 + 1e-9 is 1 in float32; its difference from the mean is not."""
    out = np.zeros(1)
    Affine(Normalisation("mean_std", (1.0,), (1e-9,)), 1).forth(np.array([1.0 + 1e-9]), out)
    assert out == pytest.approx([1.0], rel=1e-6)


def test_statistics_are_not_written_to() -> None:
    """`a` and `b` of one bundle serve two policies; a mask writes into copies of them."""
    spec = REPLACE(STD, mask=(False, False))
    assert forth(spec, 3.0, 3.0) == forth(spec, 3.0, 3.0) == [3.0, 3.0]
    assert (spec.a, spec.b) == (STD.a, STD.b)


def test_nothing_is_allocated() -> None:
    affine, chunk = Affine(REPLACE(RANGE, clip=1.0), 2, rows=3), np.zeros((3, 2), np.float32)
    assert growth(lambda: (affine.forth(chunk, chunk), affine.back(chunk, chunk))) < 500


finite = st.floats(-1e3, 1e3)
spans = st.floats(1e-3, 1e3)


@st.composite
def normalisations(draw: st.DrawFn) -> Normalisation:
    """Two dimensions; the same epsilon both ways, so that there is a way back."""
    kind = draw(st.sampled_from(["mean_std", "quantiles", "min_max", "none"]))
    if kind == "none":
        return NONE
    a, spread = draw(st.tuples(finite, finite)), draw(st.tuples(spans, spans))
    b = spread if kind == "mean_std" else (a[0] + spread[0], a[1] + spread[1])
    eps = draw(st.sampled_from([0.0, 1e-8, 1e-6, 0.1]))
    mask = draw(st.sampled_from([(), (True, True), (False, True), (False, False)]))
    return Normalisation(kind, a, b, eps_in=eps, eps_out=eps, mask=mask)


@given(spec=normalisations(), x=st.tuples(finite, finite))
def test_there_and_back(spec: Normalisation, x: tuple[float, float]) -> None:
    affine, y, again = Affine(spec, 2), np.zeros(2), np.zeros(2)
    affine.forth(np.array(x), y)
    affine.back(y, again)
    np.testing.assert_allclose(again, x, rtol=1e-9, atol=1e-9)


@given(spec=normalisations(), x=st.tuples(finite, finite))
def test_as_the_specification_writes_it(spec: Normalisation, x: tuple[float, float]) -> None:
    y = np.zeros(2)
    Affine(spec, 2).forth(np.array(x), y)
    for i, used in enumerate(spec.mask or (True, True)):
        if spec.kind == "none" or not used:
            wanted = x[i]
        elif spec.kind == "mean_std":
            wanted = (x[i] - spec.a[i]) / (spec.b[i] + spec.eps_in)
        else:
            wanted = 2.0 * (x[i] - spec.a[i]) / (spec.b[i] - spec.a[i] + spec.eps_in) - 1.0
        assert y[i] == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_none_is_nothing_whatever_its_epsilons() -> None:
    x, out = np.array([1.0, -2.0]), np.zeros(2)
    subject = Affine(Normalisation("none", eps_in=0.5, eps_out=0.5), 2)
    for way in (subject.forth, subject.back):
        way(x, out)
        assert out.tolist() == x.tolist()
