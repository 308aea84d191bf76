"""Floating point lowered part by part, on graphs written by hand: which type everything has, and what comes out."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from export.half import TYPES, lower
from tests.export.by_hand import Floats, constants, error, model, node, normal, only, run, written

B, E, V = "model.language.layers.0.", "model.expert.", "model.vision."
KINDS = {"bf16": onnx.TensorProto.BFLOAT16, "fp16": onnx.TensorProto.FLOAT16, "fp32": onnx.TensorProto.FLOAT}
HALVES = ("bf16", "fp16")


def block() -> ir.Model:
    """x [1, 5, 16] through a projection, then a block as models have them: norm, attention, GLU, residuals, norm."""
    nodes = [
        node("MatMul", ["x", "model.project"], ["first"]),
        node("MatMul", ["first", B + "into"], ["h"]),
        node("Pow", ["h", "two"], ["squares"]),
        node("ReduceMean", ["squares", "last"], ["mean"]),
        node("Sqrt", ["mean"], ["root"]),
        node("Div", ["h", "root"], ["n"]),
        node("Mul", ["n", B + "norm"], ["normed"]),
        node("MatMul", ["normed", B + "q"], ["q"]),
        node("MatMul", ["normed", B + "k"], ["k"]),
        node("Cos", ["angles"], ["cos"]),
        node("Mul", ["q", "cos"], ["rotated"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["rotated", "kt"], ["scores"]),
        node("Mul", ["scores", "scale"], ["scaled"]),
        node("Softmax", ["scaled"], ["p"]),
        node("MatMul", ["p", "normed"], ["attended"]),
        node("MatMul", ["attended", B + "o"], ["o"]),
        node("Add", ["h", "o"], ["h2"]),
        node("LayerNormalization", ["h2", B + "g", B + "b"], ["normed2"]),
        node("Reshape", ["normed2", "rows"], ["flat"]),
        node("Gemm", ["flat", B + "up", B + "bias"], ["up"], transB=1),
        node("Gelu", ["up"], ["active"]),
        node("Mul", ["active", "up"], ["gated"]),
        node("Mul", ["gated", "gated"], ["squared"]),
        node("Reshape", ["squared", "like"], ["wide"]),
        node("Add", ["h2", "wide"], ["h3"]),
        node("MatMul", ["h3", "model.out"], ["y"]),
    ]
    square = {name: normal(16, 16, seed=i) / 4 for i, name in enumerate(("into", "q", "k", "o", "up"))}
    weights = {
        **{B + name: value for name, value in square.items()},
        **{B + name: 1.0 + normal(16, seed=i) / 10 for i, name in enumerate(("norm", "g", "b", "bias"))},
        "model.project": normal(16, 16, seed=7) / 4,
        "model.out": normal(16, 4, seed=8) / 4,
        "angles": np.linspace(0.0, 1.0, 16, dtype=np.float32),
        "two": np.float32(2.0),
        "scale": np.float32(0.25),
        "last": np.array([-1]),
        "rows": np.array([-1, 16]),
        "like": np.array([1, -1, 16]),
    }
    return model(nodes, {"x": (1, 5, 16)}, ("y", "h3"), weights)


def kinds(proto: onnx.ModelProto) -> dict[str, int]:
    """Type of every value."""
    graph = proto.graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def lowered(whole: ir.Model, **types: str) -> onnx.ModelProto:
    lower(whole.graph, {part: TYPES[name] for part, name in types.items()})
    return written(whole)


@pytest.mark.parametrize("half", HALVES)
def test_which_type_everything_has(half: str) -> None:
    proto = lowered(block(), backbone=half)
    found = kinds(proto)
    for name in ("h", "q", "k", "kt", "scores", "attended", "o", "up", "active", "gated"):
        assert found[name] == KINDS[half], name
    for name in ("h2", "scaled", "p"):
        assert found[name] == KINDS[half], f"{name}: everything between takes the type of what it reads"
    assert found["flat"] == KINDS[half], "what is only brought to a product is rounded first"
    for name in ("squares", "mean", "root", "n", "normed", "cos", "rotated", "normed2", "squared", "wide"):
        assert found[name] == KINDS["fp32"], name
    assert found["first"] == KINDS["fp32"], "projections stay"
    (out,) = (n for n in only(proto, "MatMul") if n.output[0] == "y")
    assert [found[name] for name in out.input] == [KINDS["fp32"]] * 2
    for n in (n for n in proto.graph.node if n.op_type in ("MatMul", "Gemm") and n is not out):
        part = KINDS["fp32"] if n.output[0] == "first" else KINDS[half]
        assert {found[name] for name in (*n.input, *n.output)} == {part}


@pytest.mark.parametrize("half", HALVES)
def test_the_interface_stays(half: str) -> None:
    before, after = written(block()), lowered(block(), backbone=half)
    for ours, theirs in ((before.graph.input, after.graph.input), (before.graph.output, after.graph.output)):
        assert [(v.name, v.type.SerializeToString()) for v in ours] == [
            (v.name, v.type.SerializeToString()) for v in theirs
        ]


def test_the_graph_stays_where_no_part_changes() -> None:
    whole = block()
    before = written(whole).SerializeToString(deterministic=True)
    assert lowered(whole, backbone="fp32", vision="bf16").SerializeToString(deterministic=True) == before


def test_float16_computes_what_float32_does() -> None:
    x = {"x": normal(1, 5, 16)}
    wanted, found = run(block(), x), run(lowered(block(), backbone="fp16"), x)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.float32
        assert 0 < error(one, other) < 3e-3


def test_bfloat16_computes_what_float32_does() -> None:
    x = {"x": normal(1, 5, 16)}
    wanted, found = run(block(), x), ReferenceEvaluator(lowered(block(), backbone="bf16")).run(None, x)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.float32
        assert 1e-4 < error(one, other) < 3e-2


def two_readers() -> ir.Model:
    """One norm that two products of the backbone and one of the expert read; one constant that both parts add."""
    nodes = [
        node("Exp", ["x"], ["e"]),
        node("MatMul", ["e", B + "a"], ["a"]),
        node("MatMul", ["e", B + "b"], ["b"]),
        node("MatMul", ["e", E + "c"], ["c"]),
        node("Add", ["a", "shift"], ["a2"]),
        node("Add", ["b", "shift"], ["b2"]),
        node("Add", ["c", "shift"], ["c2"]),
        node("Mul", ["a2", "b2"], ["ab"]),
        node("Add", ["ab", "c2"], ["y"]),
    ]
    weights = {B + "a": normal(8, 8, seed=1), B + "b": normal(8, 8, seed=2), E + "c": normal(8, 8, seed=3)}
    return model(nodes, {"x": (3, 8)}, ("y",), {**weights, "shift": normal(8)})


def test_values_and_constants_are_converted_once_a_type() -> None:
    proto = lowered(two_readers(), backbone="bf16", expert="fp16")
    casts = [(n.input[0], onnx.helper.get_attribute_value(n.attribute[0])) for n in only(proto, "Cast")]
    assert sorted(casts) == [("ab", 1), ("c2", 1), ("e", KINDS["fp16"]), ("e", KINDS["bf16"])]
    found = constants(proto)
    weights = [B + "a.bfloat16", B + "b.bfloat16", E + "c.float16"]
    assert sorted(found) == sorted([*weights, "shift.bfloat16", "shift.float16"])
    shift = normal(8)
    assert np.array_equal(found["shift.bfloat16"], shift.astype(ml_dtypes.bfloat16))
    assert np.array_equal(found["shift.float16"], shift.astype(np.float16))


def cached() -> ir.Model:
    """Attention of one head with a cache: x [1, 5, 16] sees `past` [1, 1, 3, 16] and itself, under a mask; then, what a
    query saw of them is an output too."""
    nodes = [
        node("MatMul", ["x", B + "q"], ["q"]),
        node("Cos", ["q"], ["turned"]),
        node("Reshape", ["turned", "heads"], ["q4"]),
        node("Mul", ["q4", "scale"], ["scaled"]),
        node("MatMul", ["x", B + "k"], ["k"]),
        node("Reshape", ["k", "heads"], ["own"]),
        node("Concat", ["past", "own"], ["keys"], axis=2),
        node("Transpose", ["keys"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["scaled", "kt"], ["scores"]),
        node("Exp", ["masking"], ["mask"]),
        node("Add", ["scores", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["p"]),
        node("MatMul", ["p", "keys"], ["y"]),
        node("Reshape", ["turned", "heads"], ["seen"]),
    ]
    weights = {
        **{B + name: normal(16, 16, seed=i) / 4 for i, name in enumerate("qk")},
        "heads": np.array([1, 1, -1, 16]),
        "scale": np.full(1, 0.25, np.float32),
        "masking": normal(5, 8),
    }
    return model(nodes, {"x": (1, 5, 16), "past": (1, 1, 3, 16)}, ("y", "seen"), weights)


@pytest.mark.parametrize("half", HALVES)
def test_what_is_brought_to_a_product_is_cast_once_and_first(half: str) -> None:
    proto = lowered(cached(), backbone=half)
    found = kinds(proto)
    for name in ("scaled", "own", "keys", "kt", "masked", "p"):
        assert found[name] == KINDS[half], name
    casts = sorted(n.input[0] for n in only(proto, "Cast") if found[n.output[0]] == KINDS[half])
    assert casts == ["mask", "past", "turned", "x"]
    assert found["seen"] == KINDS["fp32"], "an output that no product reads"


@pytest.mark.parametrize("also", ["moved", "z"], ids=["an output too", "read in float32 too"])
def test_what_is_not_for_products_alone_is_not_rounded(also: str) -> None:
    """The cosines go to a product, and besides out of the graph, or into an exponential."""
    nodes = [
        node("Cos", ["x"], ["turned"]),
        node("Transpose", ["turned"], ["moved"], perm=[1, 0]),
        node("MatMul", ["moved", B + "q"], ["y"]),
        *([node("Exp", ["moved"], ["z"])] if also == "z" else []),
    ]
    whole = model(nodes, {"x": (16, 5)}, ("y", also), {B + "q": normal(16, 16) / 4})
    given = {"x": normal(16, 5)}
    exact, wanted = run(whole, given)
    product, other = run(lowered(whole, backbone="fp16"), given)  # in place
    assert 0 < error(product, exact) < 3e-3
    assert other.tobytes() == wanted.tobytes()


def test_attention_with_a_cache_computes_what_float32_does() -> None:
    given = {"x": normal(1, 5, 16), "past": normal(1, 1, 3, 16, seed=1)}
    for one, other in zip(run(lowered(cached(), backbone="fp16"), given), run(cached(), given), strict=True):
        assert 0 < error(one, other) < 3e-3


@pytest.mark.parametrize(("half", "computed"), [("bf16", "fp32"), ("fp16", "fp16")])
def test_a_convolution_has_no_bfloat16(half: str, computed: str) -> None:
    nodes = [node("Conv", ["x", V + "patch", V + "bias"], ["c"], strides=[4, 4]), node("Relu", ["c"], ["y"])]
    weights = {V + "patch": normal(5, 3, 4, 4) / 7, V + "bias": normal(5)}
    whole = model(nodes, {"x": (1, 3, 8, 8)}, ("y",), weights)
    x = {"x": normal(1, 3, 8, 8)}
    wanted = run(whole, x)[0]
    proto = lowered(whole, vision=half)
    assert kinds(proto)["c"] == KINDS[computed]
    assert error(run(proto, x)[0], wanted) < 2e-3


def test_a_token_table_is_looked_up_in_its_own_type() -> None:
    table = "model.language.embed_tokens.weight"
    nodes = [node("Gather", [table, "i"], ["t"]), node("MatMul", ["t", B + "a"], ["y"])]
    whole = model(nodes, {"i": (1, 4)}, ("y",), {table: normal(11, 8), B + "a": normal(8, 8)})
    proto = lowered(whole, table="fp16", backbone="fp16")
    assert [t.data_type for t in proto.graph.initializer] == [KINDS["fp16"]] * 2
    assert kinds(proto)["t"] == KINDS["fp16"]
    assert [n.op_type for n in proto.graph.node] == ["Gather", "MatMul", "Cast"]


def test_a_table_that_is_also_a_head_has_both_types() -> None:
    table = "model.language.embed_tokens.weight"
    nodes = [
        node("Gather", [table, "i"], ["t"]),
        node("MatMul", ["t", B + "a"], ["h"]),
        node("Squeeze", ["h", "axis"], ["h2"]),
        node("Gemm", ["h2", table], ["y"], transB=1),
    ]
    weights = {table: normal(11, 8), B + "a": normal(8, 8), "axis": np.array([0])}
    whole = model(nodes, {"i": (1, 4)}, ("y",), weights)
    i = {"i": np.array([[3, 0, 10, 7]])}
    wanted = run(whole, i)[0]
    proto = lowered(whole, table="fp16", backbone="fp16")
    assert sorted(constants(proto)) == sorted([f"{table}.float16", B + "a.float16", "axis"])
    assert error(run(proto, i)[0], wanted) < 2e-3


def test_an_output_that_others_read_too() -> None:
    nodes = [node("MatMul", ["x", B + "a"], ["h"]), node("MatMul", ["h", B + "b"], ["y"]), node("Exp", ["h"], ["z"])]
    weights = {B + "a": normal(8, 8) / 3, B + "b": normal(8, 8, seed=1) / 3}
    x = {"x": normal(2, 8)}
    wanted = run(model(nodes, {"x": (2, 8)}, ("h", "y", "z"), weights), x)
    proto = lowered(model(nodes, {"x": (2, 8)}, ("h", "y", "z"), weights), backbone="fp16")
    assert [v.name for v in proto.graph.output] == ["h", "y", "z"]
    for one, other in zip(run(proto, x), wanted, strict=True):
        assert error(one, other) < 3e-3


def test_integers_and_booleans_pass_by() -> None:
    nodes = [
        node("Cast", ["i"], ["f"], to=onnx.TensorProto.FLOAT),
        node("MatMul", ["f", B + "a"], ["h"]),
        node("Greater", ["h", "zero"], ["positive"]),
        node("Where", ["positive", "h", "low"], ["chosen"]),
        node("Cast", ["chosen"], ["whole"], to=onnx.TensorProto.INT64),
        node("Cast", ["whole"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    weights: dict[str, Floats] = {B + "a": normal(4, 4), "zero": np.float32(0.0), "low": np.float32(-1e4)}
    whole = model(nodes, {"i": (2, 4)}, ("y",), weights)
    i = {"i": np.arange(8).reshape(2, 4) * 5}
    wanted = run(whole, i)[0]
    proto = lowered(whole, backbone="fp16")
    found = kinds(proto)
    assert (found["f"], found["h"], found["chosen"], found["whole"]) == (1, 10, 10, 7)
    assert np.abs(run(proto, i)[0] - wanted).max() <= 1


def test_nothing_is_kept_that_nobody_reads() -> None:
    whole = two_readers()
    lower(whole.graph, {"backbone": TYPES["bf16"], "expert": TYPES["bf16"]})
    assert all(value.uses() for value in whole.graph.initializers.values())
    assert {value.dtype for value in whole.graph.initializers.values()} == {TYPES["bf16"]}
