"""An ONNX file's nodes as calls of PyTorch, in order; what does not hold together is refused before any of it runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import AttributeProto, TensorProto

from edge_runtime.errors import BackendError, one_line
from export.onnx_weights import DTYPES, onnx_weight, type_name
from export.torch_ops import OPS, Op

OPSETS = range(18, 23)
_CLEARED_BYTES = 1 << 16
"""Types and shapes do not depend on what is larger."""
Kind = tuple[torch.dtype, tuple[int, ...]]
"""Type and shape of a value."""


@dataclass(frozen=True)
class Step:
    """A node ready to run: what it takes and gives by name, which types and shapes that has, and what ends with it."""

    node: onnx.NodeProto
    said: str
    compute: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    made: tuple[Kind, ...]
    last: tuple[str, ...]


def read_graph(path: Path) -> onnx.ModelProto:
    """The graph without what stands beside it; refuse what is not standard ONNX of an opset that is known here."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # whatever its bytes lead to
        raise BackendError(f"{path}: cannot be read ({one_line(error)}); export the bundle again") from error
    opsets = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    if opsets.get("ai.onnx") not in OPSETS or model.functions or model.graph.sparse_initializer:
        raise BackendError(
            f"{path}: has operators of {opsets or 'no opset'}; PyTorch runs dense graphs of ai.onnx {OPSETS.start} to "
            f"{OPSETS.stop - 1}"
        )
    return model


def declared(value: onnx.ValueInfoProto) -> tuple[int, tuple[int, ...] | None]:
    """Type, and shape if that is static."""
    kind = value.type.tensor_type
    sizes = tuple(dim.dim_value for dim in kind.shape.dim if dim.HasField("dim_value") and dim.dim_value >= 0)
    return kind.elem_type, sizes if kind.HasField("shape") and len(sizes) == len(kind.shape.dim) else None


def graph_steps(path: Path, model: onnx.ModelProto) -> list[Step]:
    """Check every node against its operator and all types and shapes against each other. `model` is spent then."""
    graph = model.graph
    computed = [_computed(path, node) for node in graph.node]
    values = _inferred(path, model)
    _check_order(path, graph)
    steps: list[Step] = []
    read_later = {value.name for value in graph.output}
    fixed = {value.name for value in (*graph.input, *graph.initializer)}
    for node, compute in zip(reversed(graph.node), reversed(computed), strict=True):
        touched = dict.fromkeys(name for name in (*node.input, *node.output) if name)
        last = tuple(name for name in touched if name not in read_later and name not in fixed)
        read_later |= touched.keys()
        outputs = _outputs(node)
        made = tuple(_made(path, node, name, values) for name in outputs)
        own = onnx.NodeProto()  # one of the graph's would keep all of its file in memory
        own.CopyFrom(node)
        steps.append(Step(own, _said(node), compute, tuple(node.input), outputs, made, last))
    return steps[::-1]


def _computed(path: Path, node: onnx.NodeProto) -> Op:
    """The operator with the node's attributes; refuse what it does not have."""
    if node.op_type not in OPS or node.domain not in ("", "ai.onnx"):
        raise BackendError(f"{path}: {_said(node)}: there is no such operator in PyTorch's table")
    op = OPS[node.op_type]
    try:
        attributes = {attribute.name: _attribute(path, attribute) for attribute in node.attribute}
        inspect.signature(op).bind(*node.input, **attributes)
    except (TypeError, ValueError) as error:
        raise BackendError(f"{path}: {_said(node)} cannot be run: {one_line(error)}") from error
    if _lacks_input(op, node) or (len(_outputs(node)) != 1 and node.op_type != "Split"):
        raise BackendError(f"{path}: {_said(node)} lacks an input, or has an output that is not supported")
    return partial(op, **attributes)


def _lacks_input(op: Op, node: onnx.NodeProto) -> bool:
    """Whether one that is not optional is left out."""
    parameters = [p for p in inspect.signature(op).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    return any(
        not name and parameters[min(i, len(parameters) - 1)].default is inspect.Parameter.empty
        for i, name in enumerate(node.input)
    )


def _outputs(node: onnx.NodeProto) -> tuple[str, ...]:
    """Without those at the end that nobody wants."""
    names = tuple(node.output)
    while names and not names[-1]:
        names = names[:-1]
    return names


def _attribute(path: Path, attribute: AttributeProto) -> Any:
    if attribute.type == AttributeProto.TENSOR:
        return onnx_weight(path, attribute.t).read()
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _inferred(path: Path, model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Every value by name, with its type; raise `BackendError` where two nodes do not agree. Large weights go."""
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= _CLEARED_BYTES:
            tensor.ClearField("raw_data")
    try:
        graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    except Exception as error:  # whatever its bytes lead to
        raise BackendError(f"{path}: is not a graph that holds together: {one_line(error)}") from error
    return {value.name: value for value in (*graph.value_info, *graph.output)}


def _made(path: Path, node: onnx.NodeProto, name: str, values: Mapping[str, onnx.ValueInfoProto]) -> Kind:
    """Type and shape of an output."""
    kind, shape = declared(values[name]) if name in values else (TensorProto.UNDEFINED, None)
    if kind not in DTYPES or kind == TensorProto.INT4:
        raise BackendError(f"{path}: {_said(node)}: {name} is {type_name(kind)}, which is not supported")
    if shape is None:
        raise BackendError(f"{path}: {_said(node)}: {name} has sizes that are not known; shapes must be static")
    return DTYPES[kind], shape


def _check_order(path: Path, graph: onnx.GraphProto) -> None:
    """Each value is made once, before it is taken."""
    known = {value.name for value in (*graph.input, *graph.initializer)}
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                raise BackendError(f"{path}: {_said(node)} takes {name}, which nothing before it gives")
        made = _outputs(node)
        if known & set(made) or len(set(made)) < len(made):
            raise BackendError(f"{path}: {_said(node)} gives {', '.join(made)}, which is there already")
        known |= set(made)
    for value in graph.output:
        if value.name not in known:
            raise BackendError(f"{path}: nothing gives the output {value.name}")


def _said(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0] if node.output else node.name}"
