"""Graphs in few bits, by hand: balancing changes nothing, rounding changes what its scales say, weights stream."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.rounding import block_scales, scale_for, to_int8
from export.half import TYPES
from export.initializers import lazily, write_beside
from export.layers import groups, layers
from export.quantize import Recipe, may_balance, quantize, rounded_input, rounded_weight
from tests.export.by_hand import Floats, again, constants, error, model, node, normal, only, run, written

B, E = "model.language.layers.0.", "model.expert.layers.0."
LEVELS = {"int8": np.int8, "int4": ml_dtypes.int4, "fp8": ml_dtypes.float8_e4m3fn}


def quantized(whole: ir.Model, recipe: Recipe) -> onnx.ModelProto:
    quantize(whole, recipe)
    return written(whole)


def factors_for(whole: ir.Model, seed: int = 0) -> dict[str, Floats]:
    """Positive factors between 1/300 and 300 for every group of a graph."""
    found = {}
    for i, group in enumerate(groups(layers(whole.graph))):
        drawn = np.exp(np.random.default_rng([seed, i]).uniform(-5.7, 5.7, group[0].width))
        found.update({layer.name: drawn.astype(np.float32) for layer in group})
    return found


def after_norm(norm: str) -> ir.Model:
    """x [1, 5, 8] through a norm that scales its channels, then two layers that share its output."""
    vectors = {B + "g": normal(8, seed=1), B + "b": normal(8, seed=2)}
    made = {
        "Mul by a vector": node("Mul", ["x", B + "g"], ["n"]),
        "a vector by Mul": node("Mul", [B + "g", "x"], ["n"]),
        "LayerNormalization": node("LayerNormalization", ["x", B + "g", B + "b"], ["n"]),
        "LayerNormalization without bias": node("LayerNormalization", ["x", B + "g"], ["n"]),
    }[norm]
    nodes = [
        made,
        node("MatMul", ["n", B + "q"], ["q"]),
        node("MatMul", ["n", B + "k"], ["k"]),
        node("Add", ["q", "k"], ["y"]),
    ]
    used = {name: vectors[name] for name in made.input if name in vectors}
    weights = {B + "q": normal(8, 6, seed=3), B + "k": normal(8, 6, seed=4)}
    return model(nodes, {"x": (1, 5, 8)}, ("y",), {**used, **weights})


@pytest.mark.parametrize(
    "norm", ["Mul by a vector", "a vector by Mul", "LayerNormalization", "LayerNormalization without bias"]
)
def test_balance_goes_into_the_norm(norm: str) -> None:
    whole = after_norm(norm)
    x = {"x": normal(1, 5, 8, seed=9)}
    wanted, operators = run(again(whole), x)[0], [n.op_type for n in whole.graph]
    proto = quantized(whole, Recipe({}, factors=factors_for(whole)))
    assert [n.op_type for n in proto.graph.node] == operators
    assert error(run(proto, x)[0], wanted) < 1e-5


OTHERS: dict[str, Callable[[], ir.Model]] = {
    "the graph's input": lambda: model(
        [node("MatMul", ["x", B + "a"], ["y"])], {"x": (1, 5, 8)}, ("y",), {B + "a": normal(8, 6)}
    ),
    "an activation": lambda: model(
        [node("Relu", ["x"], ["r"]), node("MatMul", ["r", B + "a"], ["y"])],
        {"x": (1, 5, 8)},
        ("y",),
        {B + "a": normal(8, 6)},
    ),
    "a product of values": lambda: model(
        [node("Mul", ["x", "x"], ["r"]), node("MatMul", ["r", B + "a"], ["y"])],
        {"x": (1, 5, 8)},
        ("y",),
        {B + "a": normal(8, 6)},
    ),
    "a product with a number": lambda: model(
        [node("Mul", ["x", B + "s"], ["r"]), node("MatMul", ["r", B + "a"], ["y"])],
        {"x": (1, 5, 8)},
        ("y",),
        {B + "a": normal(8, 6), B + "s": np.array([3.0], np.float32)},
    ),
    "a norm that a residual reads too": lambda: model(
        [
            node("Mul", ["x", B + "g"], ["n"]),
            node("MatMul", ["n", B + "a"], ["h"]),
            node("Add", ["n", "h"], ["y"]),
        ],
        {"x": (1, 5, 8)},
        ("y",),
        {B + "a": normal(8, 8), B + "g": normal(8)},
    ),
    "a norm that a projection reads too": lambda: model(
        [
            node("LayerNormalization", ["x", B + "g"], ["n"]),
            node("MatMul", ["n", B + "a"], ["h"]),
            node("MatMul", ["n", "model.project"], ["p"]),
            node("Add", ["p", "h"], ["y"]),
        ],
        {"x": (1, 5, 8)},
        ("y",),
        {B + "a": normal(8, 8), B + "g": normal(8), "model.project": normal(8, 8, seed=1)},
    ),
    "a norm that is an output": lambda: model(
        [node("Mul", ["x", B + "g"], ["n"]), node("MatMul", ["n", B + "a"], ["y"])],
        {"x": (1, 5, 8)},
        ("n", "y"),
        {B + "a": normal(8, 8), B + "g": normal(8)},
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_balance_stands_beside_what_is_not_the_layers_alone(case: str) -> None:
    whole = OTHERS[case]()
    x = {"x": normal(1, 5, 8, seed=9)}
    wanted, products = run(again(whole), x), sum(n.op_type == "Mul" for n in whole.graph)
    proto = quantized(whole, Recipe({}, factors=factors_for(whole)))
    assert len(only(proto, "Mul")) == products + 1
    for one, other in zip(run(proto, x), wanted, strict=True):
        assert error(one, other) < 1e-5


@pytest.mark.parametrize("transposed", [0, 1])
def test_balance_of_a_gemm(transposed: int) -> None:
    gemm = node("Gemm", ["r", B + "a", B + "b"], ["y"], transB=transposed, alpha=0.5)
    shape = (6, 8) if transposed else (8, 6)
    weights = {B + "a": normal(*shape), B + "b": normal(6), B + "g": normal(8)}
    whole = model([node("Mul", ["x", B + "g"], ["r"]), gemm], {"x": (5, 8)}, ("y",), weights)
    x = {"x": normal(5, 8, seed=9)}
    wanted = run(again(whole), x)[0]
    assert error(run(quantized(whole, Recipe({}, factors=factors_for(whole))), x)[0], wanted) < 1e-5


def test_norms_may_share_a_constant() -> None:
    """As norms without weights do: their ones are one constant, and each group has its own factors."""
    nodes = [
        node("LayerNormalization", ["x", "ones"], ["n"]),
        node("MatMul", ["n", B + "a"], ["h"]),
        node("LayerNormalization", ["h", "ones"], ["m"]),
        node("MatMul", ["m", B + "b"], ["y"]),
    ]
    weights = {"ones": np.ones(8, np.float32), B + "a": normal(8, 8, seed=1), B + "b": normal(8, 8, seed=2)}
    whole = model(nodes, {"x": (1, 5, 8)}, ("y",), weights)
    x = {"x": normal(1, 5, 8, seed=9)}
    wanted = run(again(whole), x)[0]
    proto = quantized(whole, Recipe({}, factors=factors_for(whole)))
    assert len(proto.graph.node) == 4
    assert error(run(proto, x)[0], wanted) < 1e-5


def shared() -> ir.Model:
    """One weight that two nodes read, and a third layer that reads one of their inputs."""
    nodes = [
        node("MatMul", ["x", B + "a"], ["h"]),
        node("MatMul", ["x", B + "b"], ["g"]),
        node("Add", ["h", "g"], ["s"]),
        node("MatMul", ["s", B + "a"], ["y"]),
    ]
    weights = {B + "a": normal(8, 8, seed=1) / 3, B + "b": normal(8, 8, seed=2) / 3}
    return model(nodes, {"x": (1, 5, 8)}, ("y",), weights)


def test_a_weight_that_two_nodes_read_cannot_be_balanced() -> None:
    assert [may_balance(group) for group in groups(layers(shared().graph))] == [False, False]
    assert [may_balance(group) for group in groups(layers(after_norm("Mul by a vector").graph))] == [True]


@pytest.mark.parametrize("precision", ["int8", "int4", "fp8"])
def test_a_weight_that_two_nodes_read_is_quantized_once(precision: str) -> None:
    names, x = (B + "a", B + "b"), {"x": normal(1, 5, 8, seed=9)}
    proto = quantized(shared(), Recipe(dict.fromkeys(names, precision), inputs=dict.fromkeys(names, 8.0), block=4))
    levels = [n.input[0] for n in only(proto, "DequantizeLinear") if n.input[0] in constants(proto)]
    assert sorted(levels) == [f"{name}.{precision}" for name in names]
    assert len(only(proto, "QuantizeLinear")) == (0 if precision == "int4" else 2)
    assert error(run(proto, x, exact=True)[0], run(shared(), x)[0]) < {"int8": 0.02, "int4": 0.2, "fp8": 0.1}[precision]


def mlp() -> ir.Model:
    """Two layers that share an input, a Gemm as torch's Linear gives it, and one of the expert's."""
    nodes = [
        node("MatMul", ["x", B + "gate"], ["gate"]),
        node("MatMul", ["x", B + "up"], ["up"]),
        node("Mul", ["gate", "up"], ["both"]),
        node("Gemm", ["both", B + "down", B + "bias"], ["down"], transB=1),
        node("MatMul", ["down", E + "a"], ["y"]),
    ]
    weights = {
        B + "gate": normal(16, 32, seed=1) / 4,
        B + "up": normal(16, 32, seed=2) / 4,
        B + "down": normal(24, 32, seed=3) / 6,
        B + "bias": normal(24, seed=4),
        E + "a": normal(24, 8, seed=5) / 5,
    }
    return model(nodes, {"x": (7, 16)}, ("y",), weights)


MLP = (B + "gate", B + "up", B + "down", E + "a")
INPUTS = {B + "gate": 4.0, B + "up": 4.0, B + "down": 12.0, E + "a": 8.0}
X = {"x": normal(7, 16, seed=9)}


def recipe(precision: str, floats: str = "fp32", names: tuple[str, ...] = MLP) -> Recipe:
    types = dict.fromkeys(("backbone", "expert"), TYPES[floats])
    return Recipe(dict.fromkeys(names, precision), types, INPUTS, block=8)


@pytest.mark.parametrize("floats", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("precision", ["int8", "int4", "fp8"])
def test_structure(precision: str, floats: str) -> None:
    before, whole = written(mlp()), mlp()
    proto = quantized(whole, recipe(precision, floats))
    found = constants(proto)
    floating = np.dtype(ir.DataType[TYPES[floats].name].numpy())
    weights = [n for n in only(proto, "DequantizeLinear") if n.input[0] in found]
    assert [n.input[0].rpartition(".")[0] for n in weights] == list(MLP)
    assert all(found[n.input[0]].dtype == LEVELS[precision] for n in weights)
    assert all(found[n.input[1]].dtype == floating for n in weights)
    zeros = [found[n.input[2]] for n in weights if len(n.input) > 2]
    assert [z.shape for z in zeros] == ([(32,), (32,), (24,), (8,)] if precision == "int8" else [])
    assert not any(z.any() or z.dtype != np.int8 for z in zeros)
    assert len({n.input[2] for n in weights if len(n.input) > 2}) == len(zeros)
    pairs = only(proto, "QuantizeLinear")
    if precision == "int4":
        assert not pairs
        assert (proto.opset_import[0].version, proto.ir_version) == (21, 10)
        shapes = [(2, 32), (2, 32), (24, 4), (3, 8)]
        attributes = [{"axis": 0, "block_size": 8}] * 2 + [{"axis": 1, "block_size": 8}, {"axis": 0, "block_size": 8}]
    else:
        assert len(pairs) == 3, "one for both layers that read x"
        (zero,) = {n.input[2] for n in (*pairs, *only(proto, "DequantizeLinear")) if n not in weights}
        assert (found[zero].shape, found[zero].dtype, float(found[zero])) == ((), LEVELS[precision], 0.0)
        scales = [float(found[n.input[1]].astype(np.float32)) for n in pairs]
        wanted = [float(scale_for(INPUTS[name], precision, floating.type)) for name in MLP[1:]]
        assert scales == wanted
        assert (proto.opset_import[0].version, proto.ir_version) == (20, 9)
        shapes = [(32,), (32,), (24,), (8,)] if precision == "int8" else [()] * 4
        attributes = [{"axis": 1}, {"axis": 1}, {"axis": 0}, {"axis": 1}] if precision == "int8" else [{}] * 4
    assert [found[n.input[1]].shape for n in weights] == shapes
    assert [{a.name: a.i for a in n.attribute} for n in weights] == attributes
    assert B + "bias" in found if floats == "fp32" else f"{B}bias" not in found
    assert [v.SerializeToString() for v in proto.graph.input] == [v.SerializeToString() for v in before.graph.input]
    assert [v.SerializeToString() for v in proto.graph.output] == [v.SerializeToString() for v in before.graph.output]


BOUNDS = {"int8": 0.04, "int4": 0.25, "fp8": 0.08}


@pytest.mark.parametrize("floats", ["fp32", "fp16"])
@pytest.mark.parametrize("precision", BOUNDS)
def test_what_it_computes(precision: str, floats: str) -> None:
    """In float16 unfused only: ONNX Runtime makes an int32 of a Gemm's bias, whose levels float16 cannot hold."""
    wanted = run(mlp(), X)[0]
    for exact in (True, False) if floats == "fp32" else (True,):
        found = run(quantized(mlp(), recipe(precision, floats)), X, exact)[0]
        assert BOUNDS[precision] / 10 < error(found, wanted) < BOUNDS[precision]


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("shape", [(7, 16), (1, 7, 16), (2, 3, 16)])
def test_fused_with_its_bias_it_computes_the_same(precision: str, shape: tuple[int, ...]) -> None:
    """ONNX Runtime makes Gemm of MatMul and Add, with a Reshape around it, and moves Q and DQ past that."""
    nodes = [
        node("MatMul", ["x", B + "a"], ["p"]),
        node("Add", ["p", B + "bias"], ["q"]),
        node("MatMul", ["q", B + "b"], ["r"]),
        node("Add", ["r", B + "bias"], ["y"]),
    ]
    weights = {B + "a": normal(16, 16, seed=1) / 4, B + "b": normal(16, 16, seed=2) / 4, B + "bias": normal(16)}
    whole, x = model(nodes, {"x": shape}, ("y",), weights), {"x": normal(*shape)}
    names = (B + "a", B + "b")
    proto = quantized(whole, Recipe(dict.fromkeys(names, precision), inputs=dict.fromkeys(names, 5.0), block=8))
    assert error(run(proto, x)[0], run(proto, x, exact=True)[0]) < 1e-3


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", MLP)
def test_rounding_one_layer_outside_a_graph_is_what_its_graph_does(precision: str, name: str) -> None:
    """Of its weight, its input, and its factors; the layer alone in a graph of its own."""
    (layer,) = (found for found in layers(mlp().graph) if found.name == name)
    assert layer.weight.const_value is not None
    weight, x = layer.weight.const_value.numpy(), normal(5, layer.width) * 2
    factors = {name: np.exp(normal(layer.width)).astype(np.float32)}
    made = Recipe({name: precision}, inputs={name: 5.0}, factors=factors, block=8)
    single = node("Gemm", ["x", name], ["y"], transB=1 - layer.out_axis)
    (found,) = run(quantized(model([single], {"x": x.shape}, ("y",), {name: weight}), made), {"x": x}, exact=True)
    rounded = rounded_weight(weight, layer, made)
    wanted = rounded_input(x, layer, made) @ (rounded if layer.out_axis == 1 else rounded.T)
    assert error(found, wanted) < 1e-5
    assert error(found, x @ (weight if layer.out_axis == 1 else weight.T)) > 1e-3


def test_layers_of_one_input_in_several_precisions() -> None:
    made = Recipe({B + "gate": "int8", B + "up": "int4", B + "down": "fp8"}, inputs=INPUTS, block=8)
    proto = quantized(mlp(), made)
    reads = {n.output[0]: n.input[0] for n in only(proto, "MatMul")}
    assert (reads["gate"], reads["up"], reads["y"]) == (f"{B}gate.x.DequantizeLinear", "x", "down")
    assert E + "a" in constants(proto), "layers that the recipe does not name stay"
    assert error(run(proto, X)[0], run(mlp(), X)[0]) < 0.2


def test_a_value_at_two_scales() -> None:
    made = Recipe(dict.fromkeys(MLP[:2], "int8"), inputs={B + "gate": 4.0, B + "up": 2.0})
    proto = quantized(mlp(), made)
    scales = [constants(proto)[n.input[1]] for n in only(proto, "QuantizeLinear")]
    assert scales == [np.float32(4.0 / 127), np.float32(2.0 / 127)]


def test_int4_weights_are_exactly_what_their_levels_say() -> None:
    weight = {B + "a": normal(64, 24)}
    whole = model([node("MatMul", ["x", B + "a"], ["y"])], {"x": (64, 64)}, ("y",), weight)
    proto = quantized(whole, Recipe({B + "a": "int4"}, block=16))
    q, scales = (constants(proto)[f"{B}a.{kind}"] for kind in ("int4", "scale"))
    assert np.array_equal(scales, block_scales(weight[B + "a"], 16, np.float32))
    assert proto.graph.initializer[0].ByteSize() < 64 * 24 / 2 + 100, "two a byte"
    found = run(proto, {"x": np.eye(64, dtype=np.float32)}, exact=True)[0]
    assert np.array_equal(found, q.astype(np.float32) * np.repeat(scales, 16, axis=0))
    assert np.all(np.abs(found - weight[B + "a"]) <= np.repeat(scales, 16, axis=0) * 0.50001)


def test_fp8_is_what_the_format_does() -> None:
    weight, x = normal(32, 24), normal(7, 32) * 3
    whole = model([node("MatMul", ["x", B + "a"], ["y"])], {"x": (7, 32)}, ("y",), {B + "a": weight})
    proto = quantized(whole, Recipe({B + "a": "fp8"}, inputs={B + "a": 6.0}))  # beyond it, values are clipped
    sx, sw = np.float32(6.0 / 448), np.float32(np.abs(weight).max() / 448)

    def rounded(v: Floats) -> Floats:
        return np.clip(v, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)

    assert np.abs(x).max() > 6.0
    found = constants(proto)
    assert (found[f"{B}a.scale"], found[f"{B}a.x.scale"]) == (sw, sx)
    assert np.array_equal(found[f"{B}a.fp8"].astype(np.float32), rounded(weight / sw))
    assert error(run(proto, {"x": x}, exact=True)[0], (rounded(x / sx) * sx) @ (rounded(weight / sw) * sw)) < 1e-6


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 20), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 10**6))
def test_w8a8_is_within_what_its_scales_allow(width: int, out: int, large: float, heavy: float, seed: int) -> None:
    """|Δx| ≤ sx/2 and |Δw| ≤ sw/2, so that |Δy| ≤ sx/2 · Σ|w| + sw/2 · Σ|x| + width · sx/2 · sw/2."""
    x, weight = normal(5, width, seed=seed) * np.float32(large), normal(width, out, seed=seed + 1) * np.float32(heavy)
    whole = model([node("MatMul", ["x", B + "a"], ["y"])], {"x": (5, width)}, ("y",), {B + "a": weight})
    largest = float(np.abs(x).max())
    proto = quantized(whole, Recipe({B + "a": "int8"}, inputs={B + "a": largest}))
    assert np.array_equal(constants(proto)[f"{B}a.int8"], to_int8(weight, np.abs(weight).max(axis=0) / np.float32(127)))
    found, exact = run(proto, {"x": x}, exact=True)[0], x.astype(np.float64) @ weight
    sx, sw = largest / 127 / 2, np.abs(weight).max(axis=0) / 127 / 2
    bound = sx * np.abs(weight).sum(axis=0) + sw * np.abs(x).sum(axis=1, keepdims=True) + width * sx * sw
    assert np.all(np.abs(found - exact) <= bound * 1.001)


LAYERS, WIDTH = 6, 96


class Shelf:
    """Large weights that are made when they are read: how often, and how many of them are there at a time."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.alive = self.most = 0

    def put(self, value: ir.Value) -> None:
        seed = len(self.reads)

        def read() -> Floats:
            self.reads.append(str(value.name))
            self.alive += 1
            self.most = max(self.most, self.alive)
            made = normal(WIDTH, WIDTH, seed=seed) / 10
            weakref.finalize(made, self._gone)
            return made

        lazily(value, read)

    def _gone(self) -> None:
        self.alive -= 1


def deep() -> tuple[ir.Model, Shelf]:
    """A chain of large layers whose weights are on a shelf."""
    names = [f"{B}{i}" for i in range(LAYERS)]
    between = ["x", *(f"h{i}" for i in range(1, LAYERS)), "y"]
    nodes = [node("MatMul", [between[i], name], [between[i + 1]]) for i, name in enumerate(names)]
    empty = {name: np.zeros((WIDTH, WIDTH), np.float32) for name in names}
    whole, shelf = model(nodes, {"x": (3, WIDTH)}, ("y",), empty), Shelf()
    for value in whole.graph.initializers.values():
        shelf.put(value)
    return whole, shelf


@pytest.mark.parametrize("floats", ["fp32", "bf16"])
@pytest.mark.parametrize("precision", ["int8", "int4", "fp8", "no"])
def test_weights_are_read_when_they_are_written_one_at_a_time(tmp_path: Path, precision: str, floats: str) -> None:
    whole, shelf = deep()
    names = [layer.name for layer in layers(whole.graph)]
    made = Recipe(
        {} if precision == "no" else dict.fromkeys(names, precision),
        {"backbone": TYPES[floats]},
        dict.fromkeys(names, 4.0),
        {name: np.full(WIDTH, 2.0, np.float32) for name in names},
        block=32,
    )
    quantize(whole, made)
    assert shelf.reads == []
    write_beside(whole.graph, tmp_path / "x.onnx.data")
    assert set(shelf.reads) == set(names)
    assert len(shelf.reads) <= 2 * LAYERS, "for its levels, and for its scales"
    assert (shelf.most, shelf.alive) == (1, 0)


@pytest.mark.parametrize("precision", ["int8", "int4", "fp8"])
def test_beside_its_weights_a_graph_computes_the_same(tmp_path: Path, precision: str) -> None:
    x = {"x": normal(3, WIDTH)}
    names = [layer.name for layer in layers(deep()[0].graph)]
    made = Recipe(dict.fromkeys(names, precision), {}, dict.fromkeys(names, 4.0), block=32)
    wanted = run(quantized(deep()[0], made), x)[0]
    whole = deep()[0]
    quantize(whole, made)
    write_beside(whole.graph, tmp_path / "x.onnx.data")
    onnx.save(ir.serde.serialize_model(whole), tmp_path / "x.onnx")
    onnx.checker.check_model(str(tmp_path / "x.onnx"))
    beside = onnx.load(tmp_path / "x.onnx", load_external_data=False).graph.initializer
    sizes = {t.name: int(e.value) for t in beside for e in t.external_data if e.key == "length"}
    wanted_sizes = {f"{name}.{precision}": WIDTH * WIDTH * (4 if precision == "int4" else 8) // 8 for name in names}
    if precision == "int4":  # of the others, scales are few enough to stand in the graph
        wanted_sizes |= {f"{name}.scale": WIDTH // 32 * WIDTH * 4 for name in names}
    assert sizes == wanted_sizes
    assert np.array_equal(run(onnx.load(tmp_path / "x.onnx"), x)[0], wanted)
