"""Whole graphs of models in low precision: pi0's step and OpenVLA's prefill, tiny, traced once for all tests here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from export.graphs import ModelGraph, PrefillGraph
from export.half import TYPES
from export.layers import ALL_PARTS, QUANTIZABLE, groups, layers, part_of, parts_of_nodes
from export.onnx_file import write_onnx
from export.quantize import Recipe, may_balance, quantize
from tests.export import tiny, tiny_graphs, tiny_prismatic
from tests.export.by_hand import Array, Floats, constants, error, run, written

GRAPHS = ("step", "prefill")
PARTS = {"step": {"expert"}, "prefill": {"vision", "backbone"}}
FLOAT32 = (
    *("LayerNormalization", "Pow", "ReduceMean", "ReduceSum", "ReduceMax", "Sqrt", "Reciprocal", "Div"),
    *("Cos", "Sin", "CumSum"),
)
KINDS = {"bf16": onnx.TensorProto.BFLOAT16, "fp16": onnx.TensorProto.FLOAT16}


def prefill() -> ModelGraph:
    """OpenVLA's, for ten tokens and six more."""
    model, size = tiny_prismatic.openvla(), tiny_prismatic.DINO.image
    seen = {
        "pixels": torch.zeros(1, 1, 6, size, size),
        "tokens": torch.zeros(1, 10, dtype=torch.int64),
        "token_mask": torch.ones(1, 10, dtype=torch.bool),
    }
    return PrefillGraph(model, seen, 6)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("traced")
    made = {"step": tiny_graphs.pi0_graphs(tiny.model())["step"], "prefill": prefill()}
    for name, graph in made.items():
        write_onnx(graph, graph.signature(), folder / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in made}


@pytest.fixture(params=GRAPHS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def whole(traced: dict[str, Path], name: str) -> ir.Model:
    return ir.load(traced[name])


def feeds(whole: ir.Model) -> dict[str, Array]:
    """Inputs of any graph: normal floats, small tokens, all valid but the last of each mask."""
    random, made = np.random.default_rng(0), dict[str, Array]()
    for value in whole.graph.inputs:
        assert value.shape is not None
        shape = value.shape.numpy()
        if value.dtype is ir.DataType.FLOAT:
            made[str(value.name)] = random.standard_normal(shape).astype(np.float32)
        elif value.dtype is ir.DataType.BOOL:
            made[str(value.name)] = np.arange(np.prod(shape)).reshape(shape) < np.prod(shape) - 1
        else:
            made[str(value.name)] = random.integers(3, 20, shape)
    return made


def observed(whole: ir.Model, given: Mapping[str, Array]) -> dict[str, Floats]:
    """What every layer reads, by its weight's name, rows first."""
    found = layers(whole.graph)
    values = list(dict.fromkeys(layer.x for layer in found))
    whole.graph.outputs[:] = values
    by_value = dict(zip(values, run(whole, given), strict=True))
    return {layer.name: by_value[layer.x].reshape(-1, layer.width) for layer in found}


def halved(half: str) -> dict[str, ir.DataType]:
    return {part: TYPES[half] for part in ALL_PARTS if part != "projections"}


def kinds(proto: onnx.ModelProto) -> dict[str, int]:
    graph = proto.graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_the_parts_of_a_model(whole: ir.Model, name: str) -> None:
    found = layers(whole.graph)
    assert {layer.part for layer in found} == PARTS[name]
    assert len({layer.name for layer in found}) == len(found)
    assert all(may_balance(group) for group in groups(found))
    sizes = {len(group) for group in groups(found)}
    assert {1, 2, 3} >= sizes >= {1, 3}, "one value read by queries, keys and values"


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_types_of_a_lowered_graph(whole: ir.Model, half: str) -> None:
    parts = {str(n.outputs[0].name): part for n, part in parts_of_nodes(whole.graph)}
    interface = [(v.name, v.dtype, v.shape) for v in (*whole.graph.inputs, *whole.graph.outputs)]
    quantize(whole, Recipe({}, halved(half)))
    assert [(v.name, v.dtype, v.shape) for v in (*whole.graph.inputs, *whole.graph.outputs)] == interface
    proto = written(whole)
    found, products = kinds(proto), 0
    for n in proto.graph.node:
        if n.op_type in FLOAT32 or (n.op_type == "Mul" and n.input[0] == n.input[1]):
            assert found[n.output[0]] in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64), (n.op_type, n.name)
        if n.op_type in ("MatMul", "Gemm"):
            part = parts[n.output[0].removesuffix(".half")]
            wanted = onnx.TensorProto.FLOAT if part == "projections" else KINDS[half]
            assert {found[name] for name in (*n.input, *n.output)} == {wanted}, (part, n.name)
            products += wanted == KINDS[half]
    assert products > 10
    copies = [t.name.rpartition(".")[0] for t in proto.graph.initializer if t.name.endswith((".bfloat16", ".float16"))]
    assert len(copies) == len(set(copies)), "once a type"
    weights = {t.name for t in proto.graph.initializer if t.name.startswith("model.")}
    for weight in weights:
        matrix = weight.removesuffix(".bfloat16").removesuffix(".float16")
        if part_of(matrix) == "projections":
            assert found[weight] == onnx.TensorProto.FLOAT


def test_a_residual_stream_stays_as_wide_as_it_begins(traced: dict[str, Path]) -> None:
    """The expert's begins in a projection, in float32: there it stays, whatever is added."""
    whole = ir.load(traced["step"])
    quantize(whole, Recipe({}, halved("bf16")))
    sums = [
        n
        for n in whole.graph
        if n.op_type == "Add" and any(v is not None and v.dtype is TYPES["bf16"] for v in _before(n))
        if {use.node.op_type for use in n.outputs[0].uses()} != {"Softmax"}  # a mask
    ]
    assert len(sums) > tiny.CONFIG.expert.depth
    assert {n.outputs[0].dtype for n in sums} == {ir.DataType.FLOAT}


def _before(node: ir.Node) -> list[ir.Value | None]:
    """What a node reads, as it was before it was cast."""
    made_by = [(v.producer() if v is not None else None, v) for v in node.inputs]
    return [p.inputs[0] if p is not None and p.op_type == "Cast" else v for p, v in made_by]


def test_float16_computes_what_float32_does(whole: ir.Model) -> None:
    given = feeds(whole)
    wanted = run(whole, given)
    quantize(whole, Recipe({}, halved("fp16")))
    for one, other in zip(run(whole, given), wanted, strict=True):
        if one.dtype == np.float32:
            assert error(one, other) < 5e-3


def test_balanced_graphs_compute_the_same(whole: ir.Model) -> None:
    given, factors = feeds(whole), dict[str, Floats]()
    wanted = run(whole, given)
    for i, group in enumerate(groups(layers(whole.graph))):
        drawn = np.exp(np.random.default_rng(i).uniform(-3.0, 3.0, group[0].width)).astype(np.float32)
        factors.update({layer.name: drawn for layer in group})
    before = sum(n.op_type == "Mul" for n in whole.graph)
    quantize(whole, Recipe({}, factors=factors))
    added = sum(n.op_type == "Mul" for n in whole.graph) - before
    assert 0 < added < len(groups(layers(whole.graph))), "norms take theirs"
    for one, other in zip(run(whole, given), wanted, strict=True):
        if one.dtype == np.float32:
            assert error(one, other) < 1e-4


BOUNDS = {"int8": 0.1, "int4": 0.35, "fp8": 0.15}


@pytest.mark.parametrize(("precision", "floats"), [("int8", "fp32"), ("int4", "fp16"), ("fp8", "fp32")])
def test_quantized_graphs_are_close(traced: dict[str, Path], name: str, precision: str, floats: str) -> None:
    whole = ir.load(traced[name])
    given = feeds(whole)
    wanted = run(whole, given)
    inputs = {layer: float(np.abs(x).max()) for layer, x in observed(ir.load(traced[name]), given).items()}
    assert {part_of(layer) for layer in inputs} <= set(QUANTIZABLE)
    quantize(whole, Recipe(dict.fromkeys(inputs, precision), halved(floats), inputs, block=2))
    proto = written(whole)
    stored = {"int8": np.int8, "int4": "int4", "fp8": "float8_e4m3fn"}[precision]
    assert {f"{layer}.{precision}" for layer in inputs} <= set(constants(proto))
    assert all(constants(proto)[f"{layer}.{precision}"].dtype == stored for layer in inputs)
    for exact in (True, False):
        for one, other in zip(run(proto, given, exact), wanted, strict=True):
            if one.dtype == np.float32:
                assert 1e-4 < error(one, other) < BOUNDS[precision]
