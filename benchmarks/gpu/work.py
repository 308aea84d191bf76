"""What a graph has to do at least, class by class: bytes and products of its ONNX nodes, from their shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from edge_runtime.roofline import Device
from export.flops import count_flops

KINDS = {
    "gemm": {"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"},
    "attention": {"Softmax"},
    "normalisation": {"LayerNormalization", "ReduceMean", "Pow", "Sqrt", "Reciprocal"},
    "copy": {"Cast", "Transpose", "Concat", "Split", "Slice", "Expand", "Tile", "Pad", "Gather", "Resize"},
}
"""Class → operators; every other one is elementwise, and those of `_FREE` cost nothing."""
Values = dict[str, onnx.ValueInfoProto]
_FREE = {"Reshape", "Unsqueeze", "Squeeze", "Identity", "Constant", "Shape"}
_PRECISION = {"FLOAT": "fp32", "BFLOAT16": "bf16", "FLOAT16": "fp16", "INT8": "int8", "FLOAT8E4M3FN": "fp8"}


@dataclass(frozen=True)
class Node:
    """One operator: its class, the bytes that it reads and writes, and its products, in the precision they are in."""

    kind: str
    bytes: int
    flops: int
    precision: str

    def floor_ms(self, device: Device) -> float:
        """No device does it faster, were it alone."""
        peak = device.peak.get(self.precision, device.peak["fp32"])
        return 1e3 * max(self.bytes / device.bandwidth, self.flops / peak)


def nodes(path: Path) -> list[Node]:
    """The operators of an ONNX file of static shapes."""
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > 1 << 10:
            tensor.ClearField("raw_data")
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = {value.name: value for value in (*graph.input, *graph.output, *graph.value_info)}
    values |= {tensor.name: _declared(tensor) for tensor in graph.initializer}
    return [_node(node, values) for node in graph.node if node.op_type not in _FREE]


def floors(found: list[Node], device: Device) -> dict[str, float]:
    """Class → ms of all its operators, one after the other."""
    total: dict[str, float] = {}
    for node in found:
        total[node.kind] = total.get(node.kind, 0.0) + node.floor_ms(device)
    return total


def _node(node: onnx.NodeProto, values: Values) -> Node:
    kind = next((kind for kind, operators in KINDS.items() if node.op_type in operators), "elementwise")
    names = [name for name in (*node.input, *node.output) if name]
    if node.op_type == "Gather":  # of a table, it reads the rows that it gives
        names = [node.input[1], node.output[0], node.output[0]]
    precision = _PRECISION.get(_type(values, node.input[0]), "fp32") if node.input else "fp32"
    flops = _flops(node, values) if kind == "gemm" else 0
    return Node(kind, sum(_bytes(values, name) for name in names), flops, precision)


def _flops(node: onnx.NodeProto, values: Values) -> int:
    """By itself, as `export.flops` counts a graph's."""
    known = [values[name] for name in dict.fromkeys((*node.input, *node.output)) if name in values]
    return count_flops(onnx.GraphProto(node=[node], value_info=known))


def _declared(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))


def _bytes(values: Values, name: str) -> int:
    if name not in values or not _type(values, name):
        return 0
    tensor = values[name].type.tensor_type
    return math.prod(d.dim_value for d in tensor.shape.dim) * ir.DataType(tensor.elem_type).bitwidth // 8


def _type(values: Values, name: str) -> str:
    kind = values[name].type.tensor_type.elem_type if name in values else 0
    return str(onnx.TensorProto.DataType.Name(kind)) if kind else ""
