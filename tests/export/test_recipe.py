"""From ranges to levels and factors: the same for a weight wherever it stands, and one weight in memory at a time."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import pytest

from calibration.balancing import smoothing
from calibration.ranges import InputRange
from export.initializers import lazily
from export.layers import Layer, layers
from export.precision import Parts
from export.quantize import Recipe, quantize
from export.recipe import PERCENT, Ranges, make_recipe, tied
from tests.export.by_hand import Floats, again, error, model, node, normal, run, written

B, E = "model.language.layers.0.", "model.expert.layers.0."
PARTS = Parts({"backbone": "int8", "expert": "int8"}, {"backbone": "fp32", "expert": "fp32"})
QKV = {B + name: normal(32, 8, seed=i) for i, name in enumerate("qkv")}


def attention(apart: bool) -> ir.Model:
    """Queries, keys and values of one norm's output; `apart`: the queries read the last two rows of it alone."""
    nodes = [
        node("Mul", ["x", B + "norm"], ["n"]),
        node("Slice", ["n", "from", "to", "axis"], ["last"]),
        node("MatMul", ["last" if apart else "n", B + "q"], ["q"]),
        node("MatMul", ["n", B + "k"], ["k"]),
        node("MatMul", ["n", B + "v"], ["v"]),
        node("Concat", ["q", "k", "v"], ["y"], axis=0),
    ]
    where = {name: np.array([i], np.int64) for name, i in (("from", 3), ("to", 5), ("axis", 0))}
    return model(nodes, {"x": (5, 32)}, ("y",), {**QKV, B + "norm": 1.0 + normal(32) / 4, **where})


def ranges(**inputs: Floats) -> dict[str, InputRange]:
    """Of the layers of the backbone, by the ends of their names."""
    found = {}
    for name, x in inputs.items():
        found[B + name] = InputRange(x.shape[-1])
        found[B + name].add(x)
    return found


X = normal(100, 32, seed=7) * np.geomspace(0.1, 30.0, 32, dtype=np.float32)
SEEN = ranges(q=X, k=X, v=X)
INT8 = dict.fromkeys(QKV, "int8")


def recipe(
    graphs: Sequence[Sequence[Layer]],
    inputs: Mapping[str, InputRange] = SEEN,
    precision: Mapping[str, str] = INT8,
    kind: Ranges = "smooth",
    block: int = 16,
) -> Recipe:
    return make_recipe(graphs, inputs, precision, PARTS, kind, block)


def found(whole: ir.Model) -> list[Layer]:
    return layers(whole.graph)


def test_levels_reach_to_the_largest_or_to_a_percentile() -> None:
    wide = np.append(X, np.full((1, 32), 1e3, np.float32), axis=0)
    seen = ranges(q=wide, k=wide, v=wide)
    graphs = [found(attention(apart=False))]
    largest, percentile = (recipe(graphs, seen, kind=kind) for kind in ("max", "percentile"))
    assert set(largest.inputs.values()) == {1e3}
    assert set(percentile.inputs.values()) == {seen[B + "q"].percentile(PERCENT)}
    assert not largest.factors
    assert not percentile.factors


def test_smoothing_is_by_all_that_share_an_input() -> None:
    made = recipe([found(attention(apart=False))])
    wanted = smoothing(SEEN[B + "q"].largest, list(QKV.values()))
    for name in QKV:
        np.testing.assert_array_equal(made.factors[name], wanted)
        assert made.inputs[name] == pytest.approx(float((SEEN[name].largest / wanted).max()))
        assert made.inputs[name] < SEEN[name].maximum() / 3


def test_int4_is_balanced_whatever_ranges_are_asked_for() -> None:
    for kind in ("max", "percentile", "smooth"):
        made = recipe([found(attention(apart=False))], precision=dict.fromkeys(QKV, "int4"), kind=kind)
        assert set(made.factors) == set(QKV)
        assert len({factors.tobytes() for factors in made.factors.values()}) == 1


def test_a_layer_that_is_kept_is_balanced_with_its_group_and_not_quantized() -> None:
    kept = {name: "int8" for name in QKV if name != B + "k"}
    made = recipe([found(attention(apart=False))], precision=kept)
    assert set(made.precision) == {B + "q", B + "v"}
    assert set(made.factors) == set(QKV)
    np.testing.assert_array_equal(made.factors[B + "k"], smoothing(SEEN[B + "q"].largest, [QKV[name] for name in kept]))


def test_what_was_never_reached_stays_in_floating_point() -> None:
    made = recipe([found(attention(apart=True))], ranges(k=X, v=X))
    assert set(made.precision) == {B + "k", B + "v"}
    assert B + "q" not in made.factors


def test_nothing_was_reached() -> None:
    made = recipe([found(attention(apart=False))], {})
    assert (made.precision, made.factors, made.inputs) == ({}, {}, {})


def grouped(*graphs: ir.Model) -> list[tuple[set[str], bool]]:
    return [({name[-1] for name in one.layers}, one.balanced) for one in tied([found(whole) for whole in graphs])]


def test_layers_are_tied_by_any_graph() -> None:
    together, apart = attention(apart=False), attention(apart=True)
    assert grouped(together) == [({"q", "k", "v"}, True)]
    assert grouped(apart) == [({"q"}, True), ({"k", "v"}, True)]
    assert grouped(apart, together) == grouped(together, apart) == [({"q", "k", "v"}, True)]


def test_a_weight_that_one_graph_reads_twice_cannot_be_balanced_in_another() -> None:
    nodes = [node("MatMul", ["x", B + "q"], ["a"]), node("MatMul", ["x", B + "q"], ["b"]), node("Add", "ab", ["y"])]
    twice = model(nodes, {"x": (5, 32)}, ("y",), {B + "q": QKV[B + "q"]})
    assert grouped(twice, attention(apart=False)) == [({"q", "k", "v"}, False)]
    made = recipe([found(twice), found(attention(apart=False))])
    assert not made.factors
    assert set(made.inputs.values()) == {SEEN[B + "q"].maximum()}


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_prefill_and_decode_get_the_same_numbers(precision: str) -> None:
    """And balancing alone changes neither, although they group their layers differently."""
    graphs = attention(apart=True), attention(apart=False)
    few = ranges(q=X[:4], k=X, v=X)
    made = recipe([found(whole) for whole in graphs], few, dict.fromkeys(QKV, precision))
    assert len({factors.tobytes() for factors in made.factors.values()}) == 1
    np.testing.assert_array_equal(
        made.factors[B + "q"],
        recipe([found(graphs[1])], SEEN, dict.fromkeys(QKV, precision)).factors[B + "q"],
    )
    x, stored = {"x": X[:5]}, []
    for whole in graphs:
        balanced, exact = again(whole), run(again(whole), x)[0]
        quantize(balanced, Recipe({}, factors=made.factors))
        assert error(run(balanced, x)[0], exact) < 1e-5
        quantize(whole, made)
        proto = written(whole)
        stored.append({t.name: t.raw_data for t in proto.graph.initializer if t.name.startswith(tuple(QKV))})
    names = {f"{name}.{what}" for name in QKV for what in (precision, "scale")}
    assert names <= stored[0].keys() & stored[1].keys()
    assert all(stored[0][name] == stored[1][name] for name in names)


def test_layers_of_two_precisions_may_share_an_input() -> None:
    mixed = {B + "q": "int8", B + "k": "int4", B + "v": "int8"}
    whole = attention(apart=False)
    made = recipe([found(whole)], precision=mixed, kind="max")
    assert set(made.factors) == set(QKV)
    exact = run(again(whole), {"x": X[:5]})[0]
    quantize(whole, made)
    assert error(run(whole, {"x": X[:5]})[0], exact) < 0.1


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_no_more_weights_are_held_than_share_an_input(precision: str) -> None:
    count, alive, most = 12, [0], [0]
    nodes = [node("MatMul", ["x" if i == 0 else f"y{i - 1}", f"{B}w{i}"], [f"y{i}"]) for i in range(count)]
    weights = {f"{B}w{i}": normal(32, 32, seed=i) / 6 for i in range(count)}
    whole = model(nodes, {"x": (5, 32)}, (f"y{count - 1}",), weights)

    def gone() -> None:
        alive[0] -= 1

    def read(name: str) -> Floats:
        array = weights[name].copy()
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        weakref.finalize(array, gone)
        return array

    for name in weights:
        lazily(whole.graph.initializers[name], lambda name=name: read(name))
    seen = ranges(**{f"w{i}": X for i in range(count)})
    made = recipe([found(whole)], seen, dict.fromkeys(weights, precision))
    assert len(made.factors) == count
    assert most[0] <= 2
