"""The operators that TensorRT 10.3 (JetPack 6) has for ONNX, as data, and what of a graph is not among them.

`trt_10_3_operators.json` says where it comes from. A newer TensorRT has all of these and more.
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

from edge_runtime.onnx_nodes import Node, OnnxGraph

NEWEST_OPSET = 21
"""One more than the list's own: opset 21 adds types (4 bits, blocks) to what a bundle uses of it, and the importer of
that release takes a block's size from the shape of its scales (`QuantDequantLinearHelper` in onnxOpImporters.cpp)."""


class OperatorList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`operators`: name → types of its first input. `constant`: name → inputs whose values must stand in the file."""

    source: str
    opset: tuple[int, int]
    constant: dict[str, tuple[int, ...]]
    operators: dict[str, tuple[str, ...]]


@functools.cache
def tensorrt_10_3() -> OperatorList:
    """The list of TensorRT 10.3."""
    text = resources.files("edge_runtime.engines").joinpath("trt_10_3_operators.json").read_bytes()
    return msgspec.json.decode(text, type=OperatorList)


def unsupported(graph: OnnxGraph) -> tuple[str, ...]:
    """What in a graph TensorRT 10.3 does not take, a line each. A type that the file does not tell passes."""
    known = tensorrt_10_3()
    found = [line for node in graph.nodes for line in _flaws(node, graph, known)]
    if not known.opset[0] <= graph.opset <= NEWEST_OPSET:
        found.insert(0, f"opset {graph.opset}: it has {known.opset[0]} to {NEWEST_OPSET}")
    return tuple(dict.fromkeys(found))


def _flaws(node: Node, graph: OnnxGraph, known: OperatorList) -> list[str]:
    if node.domain not in ("", "ai.onnx"):
        return [f"operator {node}: it has none of {node.domain}"]
    if node.op not in known.operators:
        return [f"operator {node}: it has none such"]
    found = []
    kind = graph.types.get(node.inputs[0]) if node.inputs else None
    types = known.operators[node.op]
    if kind is not None and kind not in types:
        found.append(f"operator {node} of {kind}: it has {', '.join(types)}")
    given = [node.inputs[i] for i in known.constant.get(node.op, ()) if i < len(node.inputs)]
    varying = [name for name in given if name and name not in graph.constants]
    return found + [f"operator {node}: its input {name} must be a constant" for name in varying]
