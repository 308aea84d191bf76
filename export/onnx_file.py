"""One graph module → one ONNX file, and its check: standard operators, static shapes, no float64."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx
import torch
from torch import Tensor, nn

from export.errors import ExportError

OPSET = 20
"""The newest that TensorRT 10.3 and ONNX Runtime 1.17 both read."""
IR_VERSION = 9
"""The file format of that opset; ONNX Runtime 1.17 refuses newer ones."""
INLINE_BYTES = 1_000_000_000
"""Weights beyond this go to `<file>.data`: a protobuf cannot hold 2 GiB."""
_ALLOWED = {onnx.TensorProto.DataType.Name(t): t for t in (1, 2, 3, 6, 7, 9, 10, 16)}
"""FLOAT UINT8 INT8 INT32 INT64 BOOL FLOAT16 BFLOAT16."""


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
    """What stands in an ONNX file: how many numbers are weights, and in which type most of them are."""

    parameters: int
    precision: str


def write_onnx(module: nn.Module, signature: Signature, path: Path) -> Written:
    """Export `module` with static shapes to `path` and check the file; `ExportError` names what it must not have."""
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            module.eval(),
            tuple(signature.inputs.values()),
            str(path),
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=size > INLINE_BYTES,
            verbose=False,
        )
    _strip(path)
    return check_onnx(path)


def check_onnx(path: Path) -> Written:
    """Refuse a file with an operator, a type or a shape that a robot's backends may not take."""
    onnx.checker.check_model(str(path))
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path), load_external_data=False), strict_mode=True)
    domains = {o.domain: o.version for o in model.opset_import} | {n.domain: 0 for n in model.graph.node if n.domain}
    if set(domains) != {""} or domains[""] > OPSET or model.functions:
        raise ExportError(f"{path.name}: operators beyond the standard opset {OPSET}: {domains}")
    for name, kind in _types(model.graph):
        if kind not in _ALLOWED.values():
            raise ExportError(
                f"{path.name}: {name} is {onnx.TensorProto.DataType.Name(kind)}, which robots do not take"
            )
    for value in (*model.graph.input, *model.graph.output):
        if not all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim):
            raise ExportError(f"{path.name}: {value.name} has a shape that is not static")
    sizes: dict[int, int] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL):  # shapes and indices
            sizes[tensor.data_type] = sizes.get(tensor.data_type, 0) + math.prod(tensor.dims)
    precision = max(sizes, key=lambda kind: sizes[kind], default=onnx.TensorProto.FLOAT)
    return Written(sum(sizes.values()), str(onnx.helper.tensor_dtype_to_np_dtype(precision)))


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


def _strip(path: Path) -> None:
    """Remove the exporter's notes (stack traces, paths of this machine): the same checkpoint gives the same file."""
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.ir_version = IR_VERSION
    onnx.save(model, str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own insides from the person who waits for a bundle."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
