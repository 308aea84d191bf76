"""Lowers the floating point of a graph, part by part, to bfloat16 or float16, as mixed-precision PyTorch would run it.

Products run in their part's type, and so does what only brings a value to them: it is rounded first, and then moved,
or scaled by one number, which costs at most one more rounding. Attention's softmax and mask take the type of the
scores, as attention kernels do: ONNX Runtime's adds up in float32 inside. What
needs range or precision runs in float32: norms, rotary tables, reductions, squares. Everything between takes the wider
type of what it reads, so a residual stream keeps the type that it begins in and a norm stays in float32 until the next
product; what was looked up in a table counts as float32. Inputs and outputs of the graph keep their types. The
field's converters (onnxconverter-common, ONNX Runtime's float16 tool) make float16 of a whole graph, but for nodes that
they are told, and want all weights in memory: here every part has its type, and weights stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.initializers import lazily
from export.layers import parts_of_nodes

FLOAT = ir.DataType.FLOAT
TYPES = {"fp32": FLOAT, "bf16": ir.DataType.BFLOAT16, "fp16": ir.DataType.FLOAT16}
NUMPY: dict[ir.DataType, type] = {FLOAT: np.float32, TYPES["bf16"]: ml_dtypes.bfloat16, TYPES["fp16"]: np.float16}
FP16_LIMIT = 3e4
"""Largest recorded activation that float16 (65504) is trusted with: calibration does not see everything."""
PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"})
_NO_BFLOAT16 = frozenset({"Conv", "ConvTranspose", "Einsum"})
"""Products that standard ONNX has not in bfloat16 before opset 22; a patch embedding is small."""
_FLOAT32 = frozenset(
    {"Pow", "ReduceMean", "ReduceSum", "ReduceMax", "Sqrt", "Reciprocal", "Div", "Exp", "Log", "CumSum"}
    | {"LayerNormalization", "Cos", "Sin", "Cast"}
)
_MOVES = frozenset(
    {"Concat", "Expand", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze", "Identity"}
)
"""What only moves values: rounded before or after, they are the same."""


def lower(graph: ir.Graph, types: Mapping[str, ir.DataType]) -> None:
    """Rewrite `graph`, all of whose floats are float32, with the type of each part in `types` (others: float32)."""
    caster = _Caster(graph)
    parts = tuple(parts_of_nodes(graph))
    brought = _brought_to_products(parts, types)
    for node, part in parts:
        own = types.get(part, FLOAT)
        computed = brought.get(node) or _computed_in(node, own)
        for i, value in enumerate(node.inputs):
            if value is not None and _is_float(value):
                node.replace_input_with(i, caster.cast(value, computed, node))
        for output in node.outputs:
            if output.dtype is FLOAT and computed is not FLOAT:
                output.dtype = computed
    for i, output in enumerate(graph.outputs):
        if output.dtype in (TYPES["bf16"], TYPES["fp16"]):
            caster.restore(i, output)
    drop_unused(graph)


def _brought_to_products(
    parts: Sequence[tuple[ir.Node, str]], types: Mapping[str, ir.DataType]
) -> dict[ir.Node, ir.DataType]:
    """Nodes whose results nothing but products of one type reads, once moved and scaled → that type."""
    read_in: dict[ir.Node, ir.DataType] = {}
    found: dict[ir.Node, ir.DataType] = {}
    for node, part in reversed(parts):
        if node.op_type in PRODUCTS:
            read_in[node] = _product_in(node, types.get(part, FLOAT))
        elif brings(node):
            readers = {read_in.get(use.node) for output in node.outputs for use in output.uses()}
            last = any(output.is_graph_output() for output in node.outputs)
            kind = readers.pop() if len(readers) == 1 and not last else None
            if kind is not None:
                read_in[node] = found[node] = kind
    return found


def brings(node: ir.Node) -> bool:
    """Whether a node does no more than move values, or multiply them by one constant number."""
    if node.op_type in _MOVES:
        return not _looks_up(node)
    by = node.inputs[1] if node.op_type == "Mul" else None
    return by is not None and by.is_initializer() and by.shape is not None and math.prod(by.shape.numpy()) == 1


def drop_unused(graph: ir.Graph) -> None:
    """Drop the constants that nothing reads."""
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def _is_float(value: ir.Value) -> bool:
    return value.dtype in NUMPY


def _computed_in(node: ir.Node, own: ir.DataType) -> ir.DataType:
    """The type that a node with floating-point inputs runs in."""
    if node.op_type in PRODUCTS:
        return _product_in(node, own)
    squares = node.op_type == "Mul" and node.inputs[0] is node.inputs[1]
    if node.op_type in _FLOAT32 or squares:
        return FLOAT
    if _looks_up(node):
        return own
    read = [value for value in node.inputs if value is not None and _is_float(value) and not value.is_initializer()]
    if _masks(node):
        read = read[:1]
    given = {FLOAT if _looks_up(value.producer()) else value.dtype for value in read}
    return given.pop() or FLOAT if len(given) == 1 else FLOAT


def _masks(node: ir.Node) -> bool:
    """Attention's scores and what is added to them."""
    return node.op_type == "Add" and {use.node.op_type for use in node.outputs[0].uses()} == {"Softmax"}


def _looks_up(node: ir.Node | None) -> bool:
    """Rows of a constant table, of numbers."""
    table = node.inputs[0] if node is not None and node.op_type == "Gather" else None
    return table is not None and table.is_initializer() and _is_float(table)


def _product_in(node: ir.Node, own: ir.DataType) -> ir.DataType:
    return FLOAT if own is TYPES["bf16"] and node.op_type in _NO_BFLOAT16 else own


class _Caster:
    """Casts of values and copies of constants, each made once a type."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def cast(self, value: ir.Value, to: ir.DataType, before: ir.Node) -> ir.Value:
        """`value` in type `to`; a node that is needed stands before the first that reads it."""
        if value.dtype is to:
            return value
        if (value, to) not in self._made:
            made = self._constant(value, to) if value.is_initializer() else self._node(value, to, before)
            self._made[value, to] = made
        return self._made[value, to]

    def _constant(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        return converted(self._graph, value, f"{value.name}.{to.name.lower()}", to, lambda x: x.astype(NUMPY[to]))

    def _node(self, value: ir.Value, to: ir.DataType, before: ir.Node) -> ir.Value:
        name = f"{value.name}.{to.name.lower()}"
        node = ir.node("Cast", [value], {"to": to}, outputs=[ir.Value(name=name, type=ir.TensorType(to))], name=name)
        node.outputs[0].shape = value.shape
        self._graph.insert_before(before, node)
        return node.outputs[0]

    def restore(self, i: int, output: ir.Value) -> None:
        """Give the graph's output `i` back as float32 and under its name."""
        name, output.name = output.name, f"{output.name}.half"
        node = ir.node("Cast", [output], {"to": FLOAT}, outputs=[ir.Value(name=name, type=ir.TensorType(FLOAT))])
        node.name, node.outputs[0].shape = f"{name}.restored", output.shape
        self._graph.append(node)
        self._graph.outputs[i] = node.outputs[0]


def converted(
    graph: ir.Graph,
    value: ir.Value,
    name: str,
    to: ir.DataType,
    convert: Callable[[NDArray[np.float32]], NDArray[np.generic]],
    shape: ir.Shape | None = None,
) -> ir.Value:
    """A new constant, of the shape of `value` unless told, that is computed from it when it is written."""
    tensor = value.const_value
    assert tensor is not None
    made = ir.Value(name=name, type=ir.TensorType(to), shape=value.shape if shape is None else shape)
    lazily(made, lambda: convert(np.asarray(tensor.numpy(), np.float32)))
    graph.initializers[name] = made
    return made
