"""The layer report: what TensorRT's engine inspector says of an engine, and which quantized products did not fuse.

A strongly typed engine never changes a type by itself: what can fail is that a product takes the quantized numbers
themselves, and then it runs in floating point behind a DequantizeLinear, right but slow. The inspector's JSON names the
ONNX nodes of each layer and the types of its inputs.

Held to hand-made samples in the documented format (NVIDIA TensorRT documentation, "Engine Inspector", and "Migrating
IEngineInspector Usage from TensorRT 10.x to 11.x") until it has run on hardware.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from edge_runtime.engines.api import Api
from edge_runtime.engines.store import Layers
from edge_runtime.onnx_nodes import Node, OnnxGraph

PRODUCTS = ("MatMul", "Gemm", "Conv")
_PASSING = ("Transpose", "Reshape", "Cast", "Identity", "Unsqueeze", "Squeeze")
"""Operators that may stand between a DequantizeLinear and the product that it is for."""
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_QUANTIZED = re.compile(r"\b(int8|int4|fp8|fp4)\b", re.IGNORECASE)


def inspect(api: Api, engine: memoryview, graph: OnnxGraph) -> Layers:
    """The report on a serialized engine; it is loaded for it, which takes the GPU that it is for."""
    log = api.log()
    loaded = api.trt.Runtime(log).deserialize_cuda_engine(engine)
    if loaded is None:
        return Layers(note=f"not inspected: {api.why(log)}")
    told = loaded.create_engine_inspector().get_engine_information(api.trt.LayerInformationFormat.JSON)
    return read_report(told, graph)


def read_report(text: str, graph: OnnxGraph) -> Layers:
    """The inspector's JSON as a report on `graph`."""
    try:
        told = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        return Layers(note=f"the engine inspector's answer is no JSON ({error})")
    layers = told.get("Layers") if isinstance(told, dict) else None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return Layers(note="the engine inspector tells no more than names")
    return Layers(unfused=tuple(_unfused(layers, graph)), layers=tuple(layers))


def _unfused(layers: list[dict[str, Any]], graph: OnnxGraph) -> Iterator[str]:
    """Every quantized product whose layers all take floating point, or that no layer names."""
    by_node: dict[str, list[dict[str, Any]]] = {}
    for layer in layers:
        for name in _NODE.findall(str(layer.get("Metadata", ""))):
            by_node.setdefault(name, []).append(layer)
    for node in quantized_products(graph):
        doing = by_node.get(node.name, [])
        kinds = sorted({kind for layer in doing for kind in _types(layer)})
        if not any(_QUANTIZED.search(kind) for kind in kinds):
            ran = f"runs in {', '.join(kinds)}" if kinds else "is in no layer of the report"
            yield f"{node} {ran}: its quantization did not fuse"


def quantized_products(graph: OnnxGraph) -> list[Node]:
    """Products with an input that was quantized."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    return [n for n in graph.nodes if n.op in PRODUCTS and any(_dequantized(name, makers) for name in n.inputs)]


def _dequantized(name: str, makers: Mapping[str, Node]) -> bool:
    node = makers.get(name)
    while node is not None and node.op in _PASSING:
        node = makers.get(node.inputs[0])
    return node is not None and node.op == "DequantizeLinear"


def _types(layer: dict[str, Any]) -> Iterator[str]:
    """Types of a layer's inputs: "Format/Datatype" in TensorRT 10, with the memory's format before or behind it."""
    inputs = layer.get("Inputs")
    for tensor in inputs if isinstance(inputs, list) else []:
        if isinstance(tensor, dict):
            yield from (str(value) for field, value in tensor.items() if "datatype" in field.lower())
