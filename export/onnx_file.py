"""One graph module → one ONNX file, and its check: standard operators, static shapes, no float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx
import onnx_ir as ir
from torch import Tensor, nn

from export.errors import ExportError
from export.flops import count_flops
from export.initializers import INSIDE_BYTES, fold_constants, give_values, read_all, weight_bytes, write_beside
from export.tracing import traced, weights_of
from export.weights import Weights

IR_VERSION = 9
"""The file format of that opset; ONNX Runtime 1.17 refuses newer ones."""
INLINE_BYTES = 64_000_000
"""Weights beyond this go to `<file>.data`: a session copies what stands in the protobuf, which cannot hold 2 GiB."""
_ALLOWED = frozenset({1, 2, 3, 6, 7, 9, 10, 16, 17, 22})
"""FLOAT UINT8 INT8 INT32 INT64 BOOL FLOAT16 BFLOAT16 FLOAT8E4M3FN INT4."""
NEWEST_OPSET = 21
"""With int4 weights; whatever else there is keeps to `OPSET`."""


@dataclass(frozen=True)
class Signature:
    """Inputs by name, with example values of their shapes, and names of the outputs."""

    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


class GraphModule(Protocol):
    """A module whose `forward` takes and returns exactly what its signature names."""

    def signature(self) -> Signature: ...


@dataclass(frozen=True)
class Written:
    """What stands in an ONNX file: how many numbers are weights, in which type most of them are, and what they take.

    `bytes`: what one run reads of them; a table that it only looks rows up in does not count.
    `flops`: multiplications and additions that one run takes in products of matrices and in convolutions.
    """

    parameters: int
    precision: str
    bytes: int
    flops: int


def write_onnx(module: nn.Module, signature: Signature, path: Path, weights: Weights | None = None) -> Written:
    """Export `module` with static shapes to `path` and check the file; `ExportError` names what it must not have.

    The module may have its parameters on the meta device: then `weights` reads them, by their names in it, one at a
    time while they are written. The file is the same.
    """
    model = traced(module, signature.inputs, signature.outputs)
    give_values(model.graph, _readers(module, weights or {}))
    fold_constants(model.graph)
    model.ir_version = IR_VERSION
    return save_graph(model, path)


def save_graph(model: ir.Model, path: Path) -> Written:
    """Write `model` to `path`, weights one at a time, and check the file. Its weights are gone then."""
    if weight_bytes(model.graph) > INLINE_BYTES:
        write_beside(model.graph, path.with_name(f"{path.name}.data"))
    else:
        read_all(model.graph)
    proto = ir.serde.serialize_model(model)
    _strip(proto)
    onnx.save(proto, str(path))
    del proto
    return check_onnx(path)


def _readers(module: nn.Module, weights: Weights) -> dict[str, Callable[[], Tensor]]:
    """What reads each weight of `module`, under each of its names: `weights`, else the module itself."""
    named = weights_of(module)
    given = {id(named[name]): read for name, read in weights.items() if name in named}
    own = {id(tensor): tensor.detach for tensor in named.values() if not tensor.is_meta}
    known = own | given
    return {name: known[id(tensor)] for name, tensor in named.items() if id(tensor) in known}


def check_onnx(path: Path) -> Written:
    """Refuse a file with an operator, a type or a shape that a robot's backends may not take."""
    onnx.checker.check_model(str(path))
    model = onnx.shape_inference.infer_shapes(_without_weights(path), strict_mode=True)
    domains = {o.domain: o.version for o in model.opset_import} | {n.domain: 0 for n in model.graph.node if n.domain}
    if set(domains) != {""} or domains[""] > NEWEST_OPSET or model.functions:
        raise ExportError(f"{path.name}: operators beyond the standard opset {NEWEST_OPSET}: {domains}")
    for name, kind in _types(model.graph):
        if kind not in _ALLOWED:
            raise ExportError(
                f"{path.name}: {name} is {onnx.TensorProto.DataType.Name(kind)}, which robots do not take"
            )
    for value in (*model.graph.input, *model.graph.output):
        if not all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim):
            raise ExportError(f"{path.name}: {value.name} has a shape that is not static")
    weights = [t for t in model.graph.initializer if t.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)]
    sizes: dict[int, int] = {}
    for tensor in weights:
        sizes[tensor.data_type] = sizes.get(tensor.data_type, 0) + math.prod(tensor.dims)
    precision = max(sizes, key=lambda kind: sizes[kind], default=onnx.TensorProto.FLOAT)
    tables = _tables(model.graph)
    return Written(
        parameters=sum(sizes.values()),
        precision=str(onnx.helper.tensor_dtype_to_np_dtype(precision)),
        bytes=sum(math.prod(t.dims) * ir.DataType(t.data_type).bitwidth // 8 for t in weights if t.name not in tables),
        flops=count_flops(model.graph),
    )


def _tables(graph: onnx.GraphProto) -> set[str]:
    """What is only looked up in: of a token table, a run reads a few rows."""
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    used = {name for node in graph.node for i, name in enumerate(node.input) if node.op_type != "Gather" or i}
    return looked_up - used


def _without_weights(path: Path) -> onnx.ModelProto:
    """The graph, with what shapes may depend on and no more: what follows copies it several times."""
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > INSIDE_BYTES:
            tensor.ClearField("raw_data")
    return model


def _types(graph: onnx.GraphProto) -> Iterator[tuple[str, int]]:
    """Every tensor type in a graph: values, weights, constants and casts."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name, value.type.tensor_type.elem_type
    for tensor in graph.initializer:
        yield tensor.name, tensor.data_type
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield node.name, attribute.t.data_type
            elif attribute.name == "to":
                yield node.name, attribute.i


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes (stack traces, paths of this machine): the same checkpoint gives the same file."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
